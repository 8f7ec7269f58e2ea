import json

import pytest

from hwkd.errors import InputError
from hwkd.files import data_folder
from hwkd.measure.eager.macs import codec_layers
from hwkd.models.build import build
from hwkd.models.families.family import student_names
from hwkd.models.spec import (
    HyperpriorSpec,
    PatchSpec,
    Spec,
    is_architecture,
    lmbda_of,
    parse_architecture,
    spec_from_json,
    spec_to_json,
    student_spec,
)

KNOWN = ", ".join(sorted(student_names()))

SPECS = [
    HyperpriorSpec("gdn", (64, 64, 64), 192, 64, 64),
    HyperpriorSpec("relu", (32, 48, 64), 192, 64, 32),
    HyperpriorSpec("mean", (128, 128, 128), 192, 128, 128),
    PatchSpec(M=192, H=96, Z=64, C=96, widths=(96, 64), post=(24,)),
    PatchSpec(M=12, H=8, Z=8, C=16, widths=(16,), post=()),
    PatchSpec(12, 8, 8, 16, (16,), (8,), anchors=5, context=(4, 8), hyper_kernel=1),
]


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_json_is_one_line_and_reads_back(spec: Spec) -> None:
    text = spec_to_json(spec)
    assert "\n" not in text
    assert spec_from_json(text) == spec


@pytest.mark.parametrize(
    ("spec", "text"),
    list(
        zip(
            SPECS,
            [
                "gdn N=64 M=192 H=64 Z=64",
                "relu N=32-48-64 M=192 H=64 Z=32",
                "mean N=128 M=192 H=128 Z=128",
                "patch M=192 H=96 Z=64 C=96 widths=96-64 post=24",
                "patch M=12 H=8 Z=8 C=16 widths=16",
                "patch M=12 H=8 Z=8 C=16 widths=16 post=8 context=4-8 hyper_kernel=1 anchors=5",
            ],
            strict=True,
        )
    ),
)
def test_a_spec_prints_as_its_numbers(spec: Spec, text: str) -> None:
    assert str(spec) == text


def test_an_unknown_family_is_refused() -> None:
    with pytest.raises(InputError) as error:
        HyperpriorSpec("gnd", (8, 8, 8), 12, 8, 8)
    assert str(error.value) == f"unknown family 'gnd': did you mean gdn? Known: {KNOWN}"


def test_two_widths_are_refused() -> None:
    with pytest.raises(InputError) as error:
        HyperpriorSpec("relu", (8, 8), 12, 8, 8)  # type: ignore[arg-type]
    assert str(error.value) == "family relu takes one width or three, got 2: (8, 8)"


@pytest.mark.parametrize("bad", [0, -1, 4097, 8.0, True, "8", None])
def test_channels_must_be_whole_numbers_from_1_to_4096(bad: object) -> None:
    with pytest.raises(InputError) as error:
        HyperpriorSpec("gdn", (8, 8, 8), bad, 8, 8)  # type: ignore[arg-type]
    assert str(error.value) == f"M must be 1 to 4096 channels, got {bad}"


def test_a_bad_width_among_good_ones_is_refused() -> None:
    with pytest.raises(InputError) as error:
        PatchSpec(M=12, H=8, Z=8, C=16, widths=(16, 0), post=(8,))
    assert str(error.value) == "widths must be 1 to 4096 channels, got (16, 0)"


@pytest.mark.parametrize("name", ["M", "C"])
def test_patch_has_no_more_channels_than_a_patch_has_values(name: str) -> None:
    fields = {"M": 12, "H": 8, "Z": 8, "C": 16}
    assert PatchSpec(**{**fields, name: 768}, widths=(16,), post=())
    with pytest.raises(InputError) as error:
        PatchSpec(**{**fields, name: 769}, widths=(16,), post=())
    assert str(error.value) == (
        f"{name} of family patch must be 1 to 768 channels (the values of a 16x16 patch), got 769"
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not json",
        "[]",
        "3",
        "null",
        "{}",
        json.dumps({"family": "gdn"}),
        json.dumps({"family": "patch", "M": 12}),
        json.dumps({"family": "gdn", "widths": 8, "M": 12, "H": 8, "Z": 8}),
        json.dumps({"family": ["gdn"], "widths": [8, 8, 8], "M": 12, "H": 8, "Z": 8}),
        json.dumps({"family": None, "widths": [8, 8, 8], "M": 12, "H": 8, "Z": 8}),
        json.dumps({"family": "gdn", "widths": [8, 8, 8], "M": [12], "H": 8, "Z": 8}),
        json.dumps({"family": "gdn", "widths": [8, 8, 8], "M": 12, "H": 8, "Z": 8, "depth": 3}),
    ],
)
def test_other_text_is_refused_as_wrong_input(text: str) -> None:
    with pytest.raises(InputError):
        spec_from_json(text)


def test_the_error_shows_the_start_of_the_text_and_the_cause() -> None:
    with pytest.raises(
        InputError, match=r"^not the description of a model: '\{\"M\": 12\}' \(.*\)$"
    ):
        spec_from_json('{"M": 12}')


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("anchors", 1, "anchors must be 0 (one rate) or 2 to 16 (all rates), got 1"),
        ("anchors", 17, "anchors must be 0 (one rate) or 2 to 16 (all rates), got 17"),
        ("hyper_kernel", 5, "hyper_kernel must be 1 or 3, got 5"),
        (
            "context",
            (13, 8),
            "context must be two numbers, channels of y (at most M, 12) and a width, got (13, 8)",
        ),
        (
            "context",
            (4,),
            "context must be two numbers, channels of y (at most M, 12) and a width, got (4,)",
        ),
    ],
)
def test_what_a_codec_of_all_rates_adds_is_checked(field: str, value: object, message: str) -> None:
    fields = {"M": 12, "H": 8, "Z": 8, "C": 16, "widths": (16,), "post": (8,)}
    with pytest.raises(InputError) as error:
        PatchSpec(**{**fields, field: value})  # type: ignore[arg-type]
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("arguments", "spec"),
    [
        (("gdn", None, 192, None, None), HyperpriorSpec("gdn", (64, 64, 64), 192, 64, 64)),
        (("relu", (32,), 192, None, None), HyperpriorSpec("relu", (32, 32, 32), 192, 32, 32)),
        (("gdn", (16, 24, 48), 96, None, None), HyperpriorSpec("gdn", (16, 24, 48), 96, 48, 48)),
        (("gdn", (32,), 192, 128, None), HyperpriorSpec("gdn", (32, 32, 32), 192, 128, 128)),
        (("relu", (32,), 192, 64, 24), HyperpriorSpec("relu", (32, 32, 32), 192, 64, 24)),
        (("relu", (32,), 192, None, 24), HyperpriorSpec("relu", (32, 32, 32), 192, 32, 24)),
        (
            ("patch", None, 192, None, None),
            PatchSpec(M=192, H=96, Z=64, C=96, widths=(96, 96, 96), post=(24,)),
        ),
        (
            ("patch", (48,), 128, 40, None),
            PatchSpec(M=128, H=40, Z=40, C=48, widths=(48, 48, 48), post=(12,)),
        ),
        (
            ("patch", (32, 64), 192, 40, 16),
            PatchSpec(M=192, H=40, Z=16, C=64, widths=(32, 64), post=(16,)),
        ),
        (
            ("patch", (3,), 4, None, None),
            PatchSpec(M=4, H=96, Z=64, C=3, widths=(3, 3, 3), post=(1,)),
        ),
        (
            ("patch", (32,), 192, 24, 24, (8,)),
            PatchSpec(M=192, H=24, Z=24, C=32, widths=(32, 32, 32), post=(8,)),
        ),
        (
            ("patch", (192,) * 5, 192, 96, 64, (48, 48)),
            PatchSpec(M=192, H=96, Z=64, C=192, widths=(192,) * 5, post=(48, 48)),
        ),
    ],
)
def test_a_student_follows_from_a_few_numbers(arguments: tuple, spec: Spec) -> None:
    assert student_spec(*arguments) == spec


@pytest.mark.parametrize("family", ["gdn", "relu"])
@pytest.mark.parametrize("count", [2, 4])
def test_a_convolutional_student_takes_one_width_or_three(family: str, count: int) -> None:
    with pytest.raises(InputError) as error:
        student_spec(family, (32,) * count, 192, None, None)
    assert str(error.value) == (
        f"family {family} takes one width or three (--width 64 or --width 32,48,64), got {count}"
    )


@pytest.mark.parametrize("family", ["gdn", "relu"])
def test_a_convolutional_student_has_no_deblocking_pairs(family: str) -> None:
    with pytest.raises(InputError) as error:
        student_spec(family, (32,), 192, None, None, (8,))
    assert str(error.value) == (
        f"--post is for family patch, family {family} has no deblocking pairs: leave it out"
    )


def test_a_teacher_only_family_is_refused() -> None:
    with pytest.raises(InputError) as error:
        student_spec("mean", None, 192, None, None)
    assert str(error.value) == f"unknown family 'mean': known are {KNOWN}"


@pytest.mark.parametrize("width", [0, -3, 5000])
@pytest.mark.parametrize("family", ["gdn", "patch"])
def test_a_width_out_of_range_is_refused(family: str, width: int) -> None:
    with pytest.raises(InputError, match="must be 1 to "):
        student_spec(family, (width,), 192, None, None)


@pytest.mark.parametrize("name", ["hyper", "hyper_latent"])
def test_a_hyperprior_of_no_channels_is_refused_and_not_the_default(name: str) -> None:
    widths = {"hyper": None, "hyper_latent": None, name: 0}
    with pytest.raises(InputError, match="must be 1 to 4096 channels, got 0"):
        student_spec("gdn", (8,), 192, **widths)
    with pytest.raises(InputError, match="must be 1 to 4096 channels, got 0"):
        student_spec("patch", (8,), 192, **widths)


PAPER = json.loads((data_folder("profiles") / "published/arxiv-2509.10366.json").read_text())


@pytest.mark.parametrize("row", PAPER["rows"], ids=lambda row: f"N={row['N']}")
def test_it_costs_what_the_paper_published(row):
    codec = build(parse_architecture(f"hyperprior:N={row['N']},M={PAPER['M']}"))
    layers = codec_layers(codec, PAPER["width"], PAPER["height"])
    assert round(sum(layer.macs for layer in layers) / 1e9, 2) == row["gmacs"]
    assert round(sum(p.numel() for p in codec.parameters()) / 1e6, 2) == row["parameters_m"]


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("hyperprior:N=64", HyperpriorSpec("gdn", (64, 64, 64), 192, 64, 64)),
        ("hyperprior:N=64,M=320", HyperpriorSpec("gdn", (64, 64, 64), 320, 64, 64)),
        ("hyperprior:N=32-48-64", HyperpriorSpec("gdn", (32, 48, 64), 192, 64, 64)),
        ("hyperprior: N = 64 , family = relu", HyperpriorSpec("relu", (64, 64, 64), 192, 64, 64)),
        ("hyperprior:H=8,N=64", HyperpriorSpec("gdn", (64, 64, 64), 192, 8, 8)),
        ("hyperprior:N=64,Z=8", HyperpriorSpec("gdn", (64, 64, 64), 192, 64, 8)),
        ("hyperprior:N=64,H=16,Z=8", HyperpriorSpec("gdn", (64, 64, 64), 192, 16, 8)),
    ],
)
def test_the_numbers_become_a_spec(text, spec):
    assert parse_architecture(text) == spec


def test_the_channels_of_patch_are_those_of_its_trunk():
    spec = parse_architecture("hyperprior:N=64-32,family=patch,M=96")
    assert isinstance(spec, PatchSpec)
    assert (spec.C, spec.widths, spec.M, spec.H, spec.Z) == (64, (64, 32), 96, 96, 64)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("hyperprior", True),
        ("hyperprior:N=64", True),
        ("hyperprior:", True),
        ("hyperprior-mine.safetensors", False),
        ("bmshj2018-hyperprior", False),
        ("./hyperprior:N=64", False),
    ],
)
def test_only_the_word_itself_or_with_a_colon_means_an_architecture(text, is_one):
    assert is_architecture(text) is is_one


EXAMPLE = "give hyperprior:N=64,M=192,family=relu"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hyperprior", f"'hyperprior' does not say how wide: {EXAMPLE}"),
        ("hyperprior:", f"'hyperprior:' does not say how wide: {EXAMPLE}"),
        ("hyperprior:M=9", f"'hyperprior:M=9' lacks N, the number of channels: {EXAMPLE}"),
        ("hyperprior:64", f"'64' in 'hyperprior:64' is not KEY=VALUE: {EXAMPLE}"),
        ("hyperprior:N=", f"'N=' in 'hyperprior:N=' is not KEY=VALUE: {EXAMPLE}"),
        ("hyperprior:N=8,", f"'' in 'hyperprior:N=8,' is not KEY=VALUE: {EXAMPLE}"),
        (
            "hyperprior:N=8,K=9",
            "unknown key in 'hyperprior:N=8,K=9' 'K': known are H, M, N, Z, family",
        ),
        ("hyperprior:N=8,N=9", "N stands twice in 'hyperprior:N=8,N=9': give it once, as in hyper"),
        (
            "hyperprior:N=8,family=rel",
            "unknown family 'rel': did you mean relu? Known: gdn, patch, ",
        ),
        ("hyperprior:N=six", f"N=six in 'hyperprior:N=six' is not a number of channels: {EXAMPLE}"),
        ("hyperprior:N=-8", f"N= in 'hyperprior:N=-8' is not a number of channels: {EXAMPLE}"),
        ("hyperprior:N=\u0663", "N=\u0663 in 'hyperprior:N=\u0663' is not a number of channels"),
        ("hyperprior:N=8,M=1.5", "M=1.5 in 'hyperprior:N=8,M=1.5' is not a number of channels"),
        ("hyperprior:N=8-8", "family gdn takes one width or three"),
        ("hyperprior:N=0", "widths must be 1 to 4096 channels, got (0, 0, 0)"),
        ("hyperprior:N=8,M=5000", "M must be 1 to 4096 channels, got 5000"),
    ],
)
def test_what_is_no_architecture_is_refused_with_an_example(text, message):
    with pytest.raises(InputError) as caught:
        parse_architecture(text)
    assert str(caught.value).startswith(message)


# Quality levels.


def test_lambdas_are_those_compressai_publishes() -> None:
    published = [0.0018, 0.0035, 0.0067, 0.0130, 0.0250, 0.0483, 0.0932, 0.1800]
    assert [lmbda_of(quality) for quality in range(1, 9)] == published


@pytest.mark.parametrize("quality", [0, 9, -1])
def test_a_quality_outside_1_to_8_is_refused(quality: int) -> None:
    with pytest.raises(InputError, match=f"^no quality {quality}: it is 1 "):
        lmbda_of(quality)
