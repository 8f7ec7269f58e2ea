import pytest

from hwkd.runtime.saturation import saturation_warning


@pytest.fixture
def flags(tmp_path):
    """flags(text): a /proc/cpuinfo of an x86 with these flags."""

    def write(text):
        path = tmp_path / "cpuinfo"
        path.write_text(f"processor\t: 0\nmodel name\t: any\nflags\t\t: fpu {text} avx2\n")
        return path

    return write


def test_eight_bits_on_avx2_are_warned_of(flags):
    warning = saturation_warning(8, "x86_64", flags("sse4_2"))
    assert warning is not None
    assert "weights of 8 bits saturate" in warning
    assert "--target x86-avx2" in warning


@pytest.mark.parametrize("with_vnni", ["avx512_vnni", "avx_vnni"])
def test_vnni_does_not_saturate(flags, with_vnni):
    assert saturation_warning(8, "x86_64", flags(with_vnni)) is None


def test_seven_bits_never_saturate(flags):
    # Two products of the largest values fit in 16 bits, as the kernels add them.
    assert 2 * 255 * (2**6 - 1) <= 2**15 - 1 < 2 * 255 * (2**7 - 1)
    assert saturation_warning(7, "x86_64", flags("sse4_2")) is None


def test_arm_does_not_saturate(flags):
    assert saturation_warning(8, "aarch64", flags("sse4_2")) is None


def test_nothing_is_said_where_the_flags_are_not_known(tmp_path):
    assert saturation_warning(8, "x86_64", tmp_path / "none") is None
    (tmp_path / "empty").write_text("")
    assert saturation_warning(8, "x86_64", tmp_path / "empty") is None
