import json

import pytest

from hwkd.data import data_folder
from hwkd.errors import InputError
from hwkd.measure.layer_table import codec_layers
from hwkd.models.architecture import is_architecture, parse_architecture
from hwkd.models.build import build
from hwkd.models.spec import HyperpriorSpec, PatchSpec

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
