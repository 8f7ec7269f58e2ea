import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwkd.errors import InputError
from hwkd.models.spec import HyperpriorSpec, PatchSpec, student_spec
from hwkd.search.space import Range, Space, distill_options, family_space, space_from_json

PATCH_TEACHER = PatchSpec(M=192, H=96, Z=64, C=192, widths=(192,) * 5, post=(48, 48))
GDN_TEACHER = HyperpriorSpec("gdn", (64, 48, 64), 192, 64, 64)
FAMILIES = {"gdn": GDN_TEACHER, "relu": GDN_TEACHER, "patch": PATCH_TEACHER}
SPACE = Space(tuple(family_space(family, teacher) for family, teacher in FAMILIES.items()))


def values_of(part):
    return st.fixed_dictionaries(
        {r.name: st.sampled_from(range(r.low, r.high + 1, r.step)) for r in part.ranges}
    )


def test_a_space_comes_back_from_its_json():
    assert space_from_json(SPACE.to_json()) == SPACE


def test_what_is_no_space_is_refused():
    with pytest.raises(InputError, match=r"not a search space: '\{\}'"):
        space_from_json("{}")


@pytest.mark.parametrize("part", SPACE.families, ids=lambda part: part.family)
@given(data=st.data())
def test_every_student_is_one_that_distill_makes_of_its_options(part, data):
    spec = part.spec(data.draw(values_of(part)))
    options = distill_options(spec)
    assert spec == student_spec(
        options["family"],
        tuple(options["width"]),
        options["latent"],
        options["hyper"],
        options["hyper_latent"],
        tuple(options["post"]) if "post" in options else None,
    )


@given(data=st.data())
def test_no_layer_is_wider_than_the_teachers(data):
    for part in SPACE.families:
        spec, teacher = part.spec(data.draw(values_of(part))), FAMILIES[part.family]
        assert (spec.M, spec.H, spec.Z) <= (teacher.M, teacher.H, teacher.Z)
        assert all(n <= m for n, m in zip(spec.widths, teacher.widths, strict=False))
        if part.family == "patch":
            assert spec.C <= teacher.C and spec.post[0] <= teacher.post[0]


def test_the_cheapest_student_has_the_fewest_channels_everywhere():
    gdn, patch = SPACE.of("gdn"), SPACE.of("patch")
    assert str(gdn.spec(gdn.cheapest())) == "gdn N=8 M=64 H=16 Z=16"
    assert str(patch.spec(patch.cheapest())) == "patch M=64 H=16 Z=16 C=16 widths=16-16-16 post=4"


def test_a_student_of_equal_widths_is_what_distill_makes_of_one_width():
    gdn, patch = SPACE.of("gdn"), SPACE.of("patch")
    assert gdn.spec(gdn.uniform(32)) == student_spec("gdn", (32,), 192, None, None)
    assert patch.spec(patch.uniform(96)) == student_spec("patch", (96,), 192, None, None)
    # A narrow trunk does not keep the wide hyper networks of the default.
    assert patch.spec(patch.uniform(40)) == student_spec("patch", (40,), 192, 40, 40, (8,))
    # The middle layer's teacher has 48 channels: no student of equal widths is wider.
    assert list(gdn.uniform_widths()) == [8, 16, 24, 32, 40, 48]


def test_a_tiny_teacher_leaves_a_tiny_space():
    part = family_space("patch", PatchSpec(M=12, H=8, Z=8, C=16, widths=(16, 16), post=(8,)))
    assert {r.name: (r.low, r.high) for r in part.ranges} == {
        "w1": (16, 16),
        "w2": (16, 16),
        "w3": (16, 16),
        "M": (12, 12),
        "H": (8, 8),
        "Z": (8, 8),
        "post": (4, 8),
    }


@pytest.mark.parametrize(
    ("channels", "found"), [(0, 8), (8, 8), (15.9, 8), (16, 16), (31, 24), (99, 32)]
)
def test_floor_stays_on_the_steps_of_a_range(channels, found):
    assert Range("N1", 8, 32, 8).floor(channels) == found
