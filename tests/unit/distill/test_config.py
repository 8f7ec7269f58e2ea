import json
from dataclasses import replace

import pytest

from hwkd.bits import BitPlan
from hwkd.distill.config import RunConfig, config_from_json, differences
from hwkd.distill.losses import LossWeights
from hwkd.errors import InputError
from hwkd.models.spec import HyperpriorSpec, PatchSpec

CONFIG = RunConfig(
    spec=HyperpriorSpec("gdn", (8, 8, 8), 12, 8, 8),
    lmbda=0.0483,
    target="jetson-nano",
    bits=None,
    teacher="patch-q5",
    teacher_sha256="ab" * 32,
    second_teacher="",
    second_teacher_sha256="",
    start="random",
    start_sha256="",
    data="photos: 7 images, 1.2 Mpx, 1 held out",
    float_steps=1000,
    qat_steps=250,
    minutes=None,
)

MULTIPLE = "config.json: argument --crop: must be a multiple of 64 (the stride of z), got '100'; try 64 or 128"

SPECS = [
    HyperpriorSpec("gdn", (8, 8, 8), 12, 8, 8),
    HyperpriorSpec("relu", (4, 6, 8), 12, 8, 8),
    PatchSpec(M=12, H=8, Z=8, C=16, widths=(16, 12), post=(8,)),
    PatchSpec(M=12, H=8, Z=8, C=16, widths=(16,), post=()),
]
BITS = [
    None,
    BitPlan(),
    BitPlan(4, 8),
    BitPlan(4, 6, (("g_a.0", 8, 8), ("h_s.*", 6, 7))),
]


@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize("bits", BITS, ids=str)
def test_json_reads_back_whatever_the_family_and_the_bits(spec, bits) -> None:
    config = replace(CONFIG, spec=spec, bits=bits)
    again = config_from_json(config.to_json())
    assert again == config
    assert differences(config, again) == ()


def test_json_reads_back_every_other_field() -> None:
    config = replace(
        CONFIG,
        float_steps=None,
        qat_steps=None,
        minutes=12.5,
        ptq=True,
        loss=LossWeights(0.5, 0.1, 0.2, 0.3, "kld"),
        crop=128,
        batch=3,
        lr=1e-4 / 3,
        qat_lr=1e-5 / 3,
        schedule="plateau",
        precision="fp32",
        threads=2,
        seed=41,
        cached_crops=100,
        checkpoint_every=7,
    )
    assert config_from_json(config.to_json()) == config


def test_json_is_for_people_and_other_readers_too() -> None:
    raw = json.loads(CONFIG.to_json())
    assert (raw["format"], raw["lmbda"], raw["bits"]) == (2, 0.0483, None)
    assert raw["spec"]["family"] == "gdn"
    assert CONFIG.to_json().startswith('{\n  "format": 2,\n')


def test_differences_name_the_field_and_both_values() -> None:
    given = replace(CONFIG, lr=1e-3, schedule="plateau", bits=BitPlan(4, 8))
    assert differences(CONFIG, given) == (
        "bits was None, is now {'weight_bits': 4, 'act_bits': 8, 'layers': ()}",
        "lr was 0.0005, is now 0.001",
        "schedule was 'wsd', is now 'plateau'",
    )


def test_how_often_to_write_a_checkpoint_is_no_difference() -> None:
    assert differences(CONFIG, replace(CONFIG, checkpoint_every=3)) == ()


def test_a_run_that_falls_at_its_end_may_be_made_longer() -> None:
    longer = replace(CONFIG, float_steps=10**6, qat_steps=10**5)
    assert differences(CONFIG, longer) == ()
    of_cosine = replace(CONFIG, schedule="cosine")
    assert differences(of_cosine, replace(longer, schedule="cosine")) == (
        f"float_steps was {CONFIG.float_steps}, is now 1000000",
        f"qat_steps was {CONFIG.qat_steps}, is now 100000",
    )


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("batch", 0, "config.json: argument --batch: must be a whole number, 1 to 4096, got '0'"),
        ("batch", "4", "config.json: batch is a number, got the text '4': write batch = 4"),
        (
            "threads",
            -1,
            "config.json: argument --threads: must be a whole number, 1 to 4096, got '-1'",
        ),
        (
            "checkpoint_every",
            0,
            "config.json: argument --checkpoint-every: must be a whole number, 1 or more, got '0'",
        ),
        ("crop", 100, MULTIPLE),
        ("crop", 0, "config.json: argument --crop: must be a whole number, 64 or more, got '0'"),
        (
            "crop",
            -64,
            "config.json: argument --crop: must be a whole number, 64 or more, got '-64'",
        ),
        ("lr", 0.0, "config.json: argument --lr: must be a number above 0, got '0.0'"),
        (
            "qat_lr",
            float("nan"),
            "config.json: argument --qat-lr: must be a number above 0, got 'nan'",
        ),
        (
            "lmbda",
            float("inf"),
            "config.json: argument --lmbda: must be a number above 0, got 'inf'",
        ),
        ("schedule", "step", "unknown --schedule 'step': known are cosine, plateau, wsd"),
        ("optimizer", "sgd", "unknown --optimizer 'sgd': known are adam, auto, muon"),
        (
            "lmbda",
            None,
            "a student of one rate needs its lmbda, one of all rates has none: got None for gdn N=8 M=12 H=8 Z=8",
        ),
        (
            "precision",
            "fp16",
            "unknown --precision 'fp16': did you mean bf16 or fp32? Known: auto, bf16, fp32",
        ),
        ("float_steps", None, "give --steps or --minutes: the length of the run is not known"),
        ("qat_steps", None, "give --steps or --minutes: the length of the run is not known"),
        (
            "cached_crops",
            -1,
            "config.json: argument --cache-crops: must be a whole number, 0 to 1000000, got '-1'",
        ),
    ],
)
def test_a_value_out_of_range_is_refused(field: str, value: object, message: str) -> None:
    with pytest.raises(InputError) as error:
        replace(CONFIG, **{field: value})
    assert str(error.value) == message


def test_a_refused_value_in_the_file_is_refused_the_same_way() -> None:
    raw = json.loads(CONFIG.to_json())
    with pytest.raises(InputError) as error:
        config_from_json(json.dumps({**raw, "crop": 100}))
    assert str(error.value) == MULTIPLE


def test_another_format_is_refused() -> None:
    raw = json.loads(CONFIG.to_json())
    with pytest.raises(InputError) as error:
        config_from_json(json.dumps({**raw, "format": 3}))
    assert str(error.value) == "the run folder is of another format than 2"


def _without(name: str) -> str:
    raw = json.loads(CONFIG.to_json())
    del raw[name]
    return json.dumps(raw)


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "3", "null", "{}", '{"format": 2}'),
        *(_without(name) for name in ("format", "spec", "bits", "loss", "lmbda")),
        CONFIG.to_json().replace('"spec": {', '"spec": [], "other": {'),
        CONFIG.to_json().replace('"bits": null', '"bits": 8'),
        CONFIG.to_json().replace('"bits": null', '"bits": {"layers": 3}'),
        CONFIG.to_json().replace('"lmbda": 0.0483', '"lmbda": "much"'),
        CONFIG.to_json().replace('"lmbda"', '"lambda"'),
        CONFIG.to_json()[:200],
    ],
)
def test_a_file_that_describes_no_run_is_wrong_input(text: str) -> None:
    with pytest.raises(InputError):
        config_from_json(text)


def test_the_error_for_a_damaged_file_names_it_and_the_cause() -> None:
    with pytest.raises(InputError) as error:
        config_from_json(_without("bits"))
    assert str(error.value) == "config.json does not describe a run ('bits')"
