import pytest

from hwkd.errors import HwkdError, InputError, unknown

KNOWN = ("jetson-nano", "jetson-orin-nano", "x86-vnni")


def test_exit_codes_tell_failed_work_from_wrong_input() -> None:
    assert (HwkdError.exit_code, InputError.exit_code) == (1, 2)
    assert issubclass(InputError, HwkdError)


def test_a_near_match_is_suggested_before_the_known_names() -> None:
    error = unknown("target", "jetsn-nano", KNOWN)
    assert isinstance(error, InputError)
    assert str(error) == (
        "unknown target 'jetsn-nano': did you mean jetson-nano or jetson-orin-nano? "
        "Known: jetson-nano, jetson-orin-nano, x86-vnni"
    )


def test_without_a_near_match_the_known_names_are_listed() -> None:
    assert str(unknown("family", "?", ("relu", "gdn"))) == "unknown family '?': known are gdn, relu"


def test_the_command_that_lists_them_is_named() -> None:
    assert str(unknown("family", "?", ("gdn",), see="hwkd models")) == (
        "unknown family '?': known are gdn (see `hwkd models`)"
    )


@pytest.mark.parametrize("received", ["JETSON-NANO", "Jetson-Nano"])
def test_case_does_not_hide_a_near_match(received: str) -> None:
    assert "did you mean jetson-nano" in str(unknown("target", received, KNOWN))


def test_the_message_is_one_line() -> None:
    assert "\n" not in str(unknown("target", "two\nlines", KNOWN))
