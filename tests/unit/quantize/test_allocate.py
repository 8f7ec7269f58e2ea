import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwkd.errors import InputError
from hwkd.quantize.allocate import LayerChoice, allocate, monotone


def test_costs_never_fall_with_fewer_bits_and_never_below_0() -> None:
    changes = {8: 0.0, 7: -0.5, 6: 0.3, 5: 0.1, 4: 2.0}
    assert monotone(changes) == {8: 0.0, 7: 0.0, 6: 0.3, 5: 0.3, 4: 2.0}


def test_bytes_of_a_layer_are_rounded_up() -> None:
    layer = LayerChoice("a", 3, {3: 0.0})
    assert [layer.stored_bytes(bits) for bits in (2, 3, 8)] == [1, 2, 3]  # 6, 9 and 24 bits


def test_bits_go_where_they_count_by_hand() -> None:
    # 100 bytes at 8 bits each; 150 in all leave 50 to save: 4 bits of the one that minds less, or 6 of both.
    layers = [
        LayerChoice("dear", 100, {8: 0.0, 6: 3.0, 4: 9.0}),
        LayerChoice("cheap", 100, {8: 0.0, 6: 1.0, 4: 2.0}),
    ]
    assert allocate(layers, 150) == {"dear": 8, "cheap": 4}
    assert allocate(layers, 149) == {"dear": 6, "cheap": 4}
    assert allocate(layers, 200) == {"dear": 8, "cheap": 8}
    assert allocate(layers, 157, other_bytes=7) == {"dear": 8, "cheap": 4}


def test_costs_of_a_million_times_less_are_told_apart() -> None:
    layers = [
        LayerChoice("ruin", 10, {8: 0.0, 2: 1e3}),
        LayerChoice("a", 100, {8: 0.0, 4: 2e-6}),
        LayerChoice("b", 100, {8: 0.0, 4: 1e-6}),
    ]
    assert allocate(layers, 160) == {"ruin": 8, "a": 8, "b": 4}


def test_a_size_that_cannot_be_reached_names_the_smallest() -> None:
    layers = [LayerChoice("a", 4096, {8: 0.0, 4: 1.0}), LayerChoice("b", 1024, {8: 0.0, 2: 1.0})]
    with pytest.raises(InputError) as error:
        allocate(layers, 1024, other_bytes=512)
    assert str(error.value) == (
        "no choice of bits fits into 1.0 KiB: with the fewest that are offered the weights take 2.8 KiB; give that or "
        "more, or offer fewer bits"
    )
    assert set(allocate(layers, 2.75 * 1024, other_bytes=512).values()) == {4, 2}


_LAYERS = st.lists(
    st.tuples(
        st.integers(1, 300),
        st.dictionaries(st.integers(2, 8), st.floats(0, 100, width=32), min_size=1, max_size=4),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=60, deadline=None)
@given(_LAYERS, st.floats(0, 1))
def test_nothing_that_fits_is_cheaper(given_layers: list, share: float) -> None:
    layers = [LayerChoice(str(i), *held) for i, held in enumerate(given_layers)]
    every = [
        dict(zip((layer.name for layer in layers), bits, strict=True))
        for bits in product(*(sorted(layer.costs) for layer in layers))
    ]

    def size(bits: dict[str, int]) -> int:
        return sum(math.ceil(layer.weight_count * bits[layer.name] / 8) for layer in layers)

    def cost(bits: dict[str, int]) -> float:
        return sum(layer.costs[bits[layer.name]] for layer in layers)

    smallest, largest = min(map(size, every)), max(map(size, every))
    budget = smallest + int(share * (largest - smallest))
    found = allocate(layers, budget)
    assert size(found) <= budget
    best = min(cost(bits) for bits in every if size(bits) <= budget)
    assert cost(found) == pytest.approx(best, rel=1e-6, abs=1e-6)


def test_the_solver_prints_nothing(capfd) -> None:
    """HiGHS says a line on standard output for a quarter of such problems."""
    rng = np.random.default_rng(0)
    for _ in range(30):
        layers = []
        for i in range(44):
            count, scale = int(rng.integers(500, 150000)), 10 ** rng.uniform(-6, 0)
            costs = {b: scale * 4.0 ** (8 - b) * rng.uniform(0.5, 1.5) for b in range(4, 8)}
            layers.append(LayerChoice(f"{i}", count, monotone({**costs, 8: 0.0})))
        whole = sum(layer.stored_bytes(8) for layer in layers)
        allocate(layers, int(whole * rng.uniform(0.55, 0.95)))
    assert capfd.readouterr().out == ""
