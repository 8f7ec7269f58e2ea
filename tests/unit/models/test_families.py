"""What every family says of itself, held to its networks."""

import pytest
from torch import nn

from hwkd.bits import BitPlan
from hwkd.errors import InputError
from hwkd.models.build import build, recognise
from hwkd.models.families.family import (
    all_families,
    family_of,
    in_words,
    register,
    student_families,
    student_family,
    student_names,
)
from hwkd.models.spec import HyperpriorSpec, PatchSpec, Spec
from hwkd.quantize.qat import quantize

MEAN = HyperpriorSpec("mean", (8, 8, 8), 12, 8, 8)
SPECS = [
    *(
        HyperpriorSpec(family.name, (8, 9, 10), 12, 11, 7)
        for family in student_families()
        if family.spec_type is HyperpriorSpec
    ),
    PatchSpec(M=12, H=8, Z=7, C=16, widths=(16, 9), post=(8, 6)),
    PatchSpec(12, 8, 7, 16, (16,), (8,), 3, (4, 9), hyper_kernel=1),
    PatchSpec(12, 8, 7, 128, (9,), (8,)),
]


def test_every_family_is_held_here():
    assert {spec.family for spec in [*SPECS, MEAN]} == {family.name for family in all_families()}


@pytest.mark.parametrize("spec", [*SPECS, MEAN], ids=str)
def test_a_model_is_recognised_as_what_it_was_built_from(spec: Spec) -> None:
    model = build(spec)
    assert model.spec == spec
    assert model.family is family_of(spec)
    assert recognise(model.state_dict(), {}, "here") == spec


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_the_layers_are_those_of_the_networks(spec: Spec) -> None:
    codec = build(spec)
    quantize(codec, BitPlan())
    built = {
        name: (
            m.in_channels,
            m.out_channels,
            m.kernel_size[0],
            m.stride[0],
            m.groups,
            m.bias is not None,
        )
        for name, m in codec.named_modules()
        if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)
    }
    assert built == {
        layer.name: (layer.c_in, layer.c_out, layer.kernel, layer.stride, layer.groups, layer.bias)
        for layer in family_of(spec).layers(spec)
        if layer.operator != "gdn"
    }


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_an_input_on_a_grid_is_that_of_a_layer(spec: Spec) -> None:
    family = family_of(spec)
    names = {layer.name for layer in family.layers(spec)}
    given = family.given_inputs(spec)
    assert {name.partition(".")[0] for name in given} == {"g_a", "g_s"}
    assert set(given) <= names


@pytest.mark.parametrize("family", student_families(), ids=lambda family: family.name)
def test_the_options_of_a_student_make_it_again(family) -> None:
    spec = family.student((16,), 12, None, None, None, all_rates=False)
    options = family.options(spec)
    post = tuple(options["post"]) if "post" in options else None
    again = family.student(
        tuple(options["width"]),
        options["latent"],
        options["hyper"],
        options["hyper_latent"],
        post,
        all_rates=False,
    )
    assert again == spec


def test_a_family_that_only_teaches_is_no_students():
    with pytest.raises(
        InputError, match=rf"^unknown family 'mean': .*{', '.join(sorted(student_names()))}$"
    ):
        student_family("mean")


def test_two_families_of_one_name_are_refused():
    with pytest.raises(ValueError, match=r"^two families are called gdn$"):
        register(student_family("gdn"))


def test_a_list_in_words():
    assert in_words(["a"], "or") == "a"
    assert in_words(["a", "b"], "or") == "a or b"
    assert in_words(["a", "b", "c"], "and") == "a, b and c"
