import pytest

from hwkd.errors import InputError
from hwkd.models.spec import HyperpriorSpec, PatchSpec, Spec
from hwkd.models.student import student_spec


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
    assert str(error.value) == "unknown family 'mean': known are gdn, patch, relu"


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
