import pytest

from hwkd.bits import BitPlan, parse_bits, parse_layer_bits
from hwkd.errors import InputError


def test_one_number_is_both_bits() -> None:
    assert parse_bits("8") == BitPlan(8, 8)


def test_two_numbers_are_weights_then_activations() -> None:
    assert parse_bits("4/8") == BitPlan(weight_bits=4, act_bits=8)


def test_layer_bits_are_pattern_and_bits() -> None:
    assert parse_layer_bits("g_a.0=8/8") == ("g_a.0", 8, 8)
    assert parse_layer_bits("g_s.*=6") == ("g_s.*", 6, 6)


def test_last_matching_pattern_wins() -> None:
    plan = BitPlan(4, 8, layers=(("g_*", 5, 7), ("g_a.0", 8, 8), ("g_s.?", 3, 6)))
    assert plan.bits_for("g_a.0") == (8, 8)
    assert plan.bits_for("g_a.2") == (5, 7)
    assert plan.bits_for("g_s.2") == (3, 6)
    assert plan.bits_for("h_a.0") == (4, 8)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "1/8",
            "1 bits for the weights is out of range; weights take 2 to 8 bits (--bits WEIGHTS/ACTIVATIONS, as 4/8)",
        ),
        (
            "9",
            "9 bits for the weights is out of range; weights take 2 to 8 bits (--bits WEIGHTS/ACTIVATIONS, as 4/8)",
        ),
        (
            "3",
            "3 bits for the activations is out of range; activations take 4 to 8 bits "
            "(--bits WEIGHTS/ACTIVATIONS, as 4/8)",
        ),
        (
            "8/8/8",
            "--bits '8/8/8' is not a number of bits; give one number for both as 8, or WEIGHTS/ACTIVATIONS as 4/8",
        ),
        (
            "int8",
            "--bits 'int8' is not a number of bits; give one number for both as 8, or WEIGHTS/ACTIVATIONS as 4/8",
        ),
        (
            "-4",
            "--bits '-4' is not a number of bits; give one number for both as 8, or WEIGHTS/ACTIVATIONS as 4/8",
        ),
    ],
)
def test_wrong_bits_are_refused(text: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        parse_bits(text)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "g_a.0",
            "--layer-bits 'g_a.0' is not LAYER=BITS; give a layer's name or pattern and its bits, as g_a.0=8/8",
        ),
        (
            "=8",
            "--layer-bits '=8' is not LAYER=BITS; give a layer's name or pattern and its bits, as g_a.0=8/8",
        ),
        (
            "g_a.0=x",
            "--layer-bits 'g_a.0=x' is not a number of bits; give one number for both as 8, "
            "or WEIGHTS/ACTIVATIONS as 4/8",
        ),
        (
            "g_a.0=8/2",
            "2 bits for the activations of g_a.0 is out of range; activations take 4 to 8 bits "
            "(--bits WEIGHTS/ACTIVATIONS, as 4/8)",
        ),
    ],
)
def test_wrong_layer_bits_are_refused(text: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        parse_layer_bits(text)
    assert str(error.value) == message


def test_plan_refuses_bits_out_of_range_in_an_exception() -> None:
    with pytest.raises(InputError, match=r"^9 bits for the weights of g_a.0 is out of range"):
        BitPlan(8, 8, layers=(("g_a.0", 9, 8),))


def test_pattern_without_a_layer_names_some_layers() -> None:
    plan = BitPlan(8, 8, layers=(("g_b.*", 4, 8),))
    with pytest.raises(InputError) as error:
        plan.check_patterns([f"g_a.{i}" for i in range(8)])
    assert str(error.value) == (
        "no layer matches 'g_b.*'; this model's layers are g_a.0, g_a.1, g_a.2, g_a.3, g_a.4, g_a.5 and 2 more; "
        "wildcards as in 'g_s.*' are accepted"
    )
