import json

import pytest

from hwkd.errors import InputError
from hwkd.models.spec import HyperpriorSpec, PatchSpec, Spec, spec_from_json, spec_to_json

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
    assert str(error.value) == ("unknown family 'gnd': did you mean gdn? Known: gdn, patch, relu")


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
