import pytest

from hwkd.quantity import three_digits
from hwkd.report.plots.plot import counted, exact, in_words, short_name, span


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.01234, "0.0123"), (1.0, "1.00"), (12.34, "12.3"), (1234.5, "1,234"), (0.0, "0")],
)
def test_three_significant_digits(value, text):
    assert three_digits(value) == text


def test_an_unknown_number_is_not_zero():
    assert (exact(None), exact(1 / 3)) == ("n/a", "0.33333333")


def test_a_span_that_prints_alike_is_one_number():
    assert span([0.501, 0.5012], "bpp") == "0.501 bpp"
    assert span([2.0, 0.5, 1.0], "bpp") == "0.500 to 2.00 bpp"


def test_one_is_singular():
    assert [counted(n, "model") for n in (0, 1, 2)] == ["0 models", "1 model", "2 models"]


def test_a_bundle_loses_its_suffix_unless_another_model_has_that_name():
    assert short_name("a.hwkd", ["a.hwkd", "b"]) == "a"
    assert short_name("a.hwkd", ["a.hwkd", "a"]) == "a.hwkd"
    assert in_words("end_to_end") == "end to end"
