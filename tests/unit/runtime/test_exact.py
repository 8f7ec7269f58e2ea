"""The entropy path in whole numbers against its definition, and what of a damaged one is refused."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwkd.errors import InputError
from hwkd.runtime.bundle import pack_arrays, unpack_arrays
from hwkd.runtime.exact import (
    BOUND,
    CheckedPath,
    ExactLayer,
    ExactPath,
    WrongProduct,
    exact_path,
)


def layer(C_in, C_out, rng, kernel=3, block=1, low=0, high=255, shift=None):
    return ExactLayer(
        weight=rng.integers(-127, 128, (C_out, C_in, kernel, kernel)),
        bias=rng.integers(-(2**16), 2**16, C_out),
        shift=rng.integers(4, 9, C_out) if shift is None else np.full(C_out, shift),
        low=low,
        high=high,
        block=block,
    )


def two_layers(with_places=False):
    rng = np.random.default_rng(1)
    last = layer(2, 5, rng, high=299 if with_places else 63, shift=8 if with_places else 10)
    places = rng.integers(0, 64, 300).astype(np.uint8) if with_places else None
    return ExactPath((layer(3, 8, rng, block=2), last), places)


def by_definition(path, z, shifts=None):
    """Every sum term by term in Python's whole numbers, every rounding by Fraction's half to even."""
    x = z[0].astype(object)
    for one in path.layers:
        C_out, C_in, kernel, _ = one.weight.shape
        margin = kernel // 2
        height, width = x.shape[1:]
        q = np.zeros((C_out, height, width), object)
        for c, i, j in np.ndindex(C_out, height, width):
            acc = int(one.bias[c])
            for d, a, b in np.ndindex(C_in, kernel, kernel):
                row, column = i + a - margin, j + b - margin
                if 0 <= row < height and 0 <= column < width:
                    acc += int(one.weight[c, d, a, b]) * int(x[d, row, column])
            scaled = round(Fraction(acc) / Fraction(2) ** int(one.shift[c]))
            if shifts is not None and one is path.layers[-1]:
                scaled += shifts[c]
            q[c, i, j] = min(max(scaled, one.low), one.high)
        x = q
        if one.block == 2:
            x = np.zeros((C_out // 4, 2 * height, 2 * width), object)
            for c, i, j in np.ndindex(C_out, height, width):
                x[c // 4, 2 * i + c % 4 // 2, 2 * j + c % 2] = q[c, i, j]
    if path.places is None:
        return x.astype(np.uint8)[None]
    return path.places[x.astype(int)][None]


@pytest.mark.parametrize("with_places", [False, True])
@settings(max_examples=10, deadline=None)
@given(height=st.integers(1, 4), width=st.integers(1, 4), seed=st.integers(0, 999))
def test_the_path_is_its_definition(with_places, height, width, seed):
    path = two_layers(with_places)
    z = np.random.default_rng(seed).integers(-128, 128, (1, 3, height, width)).astype(np.int32)
    found = path.indexes(z)
    assert found.dtype == np.uint8 and found.shape == (1, 5, 2 * height, 2 * width)
    np.testing.assert_array_equal(found, by_definition(path, z))
    checked = CheckedPath(path).indexes(z)
    assert checked.dtype == np.uint8
    np.testing.assert_array_equal(checked, found)


def test_what_a_quality_adds_is_added_before_the_last_layer_is_clipped():
    path = two_layers()
    z = np.random.default_rng(5).integers(-128, 128, (1, 3, 3, 2)).astype(np.int32)
    shifts = [0, 7, -7, 9999, -9999]  # the last two beyond what a sum of this path can be
    found = path.indexes(z, np.array(shifts, np.float32))
    np.testing.assert_array_equal(found, by_definition(path, z, shifts))
    np.testing.assert_array_equal(found[0, 3], 63)
    np.testing.assert_array_equal(found[0, 4], 0)
    assert (found != path.indexes(z)).any()
    np.testing.assert_array_equal(CheckedPath(path).indexes(z, np.array(shifts, np.float32)), found)


@pytest.mark.parametrize("position", [0, 5])
def test_a_product_that_is_off_by_one_anywhere_is_found(monkeypatch, position):
    class OffByOne(np.ndarray):
        def __matmul__(self, other):
            product = self.view(np.ndarray) @ np.asarray(other)
            product[3, position] += 1
            return product

    checked = CheckedPath(two_layers())
    first = checked._layers[0]
    z = np.random.default_rng(2).integers(-128, 128, (1, 3, 2, 3)).astype(np.int32)
    checked.indexes(z)
    monkeypatch.setattr(first, "_weight", first._weight.view(OffByOne))
    with pytest.raises(WrongProduct, match="products of matrices are not exact"):
        checked.indexes(z)


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_kernels_of_any_odd_size(kernel):
    rng = np.random.default_rng(2)
    path = ExactPath((layer(2, 3, rng, kernel=kernel, high=63, shift=11),), None)
    z = rng.integers(-128, 128, (1, 2, 3, 4))
    np.testing.assert_array_equal(path.indexes(z), by_definition(path, z))


@pytest.mark.parametrize("shift", [0, 1, 2, 31, -1, -3])
def test_halves_are_rounded_to_even_at_every_shift(shift):
    one = ExactLayer(
        weight=np.ones((1, 1, 1, 1), int),
        bias=np.array([0]),
        shift=np.array([shift]),
        low=-(2**19),
        high=2**19,
        block=1,
    )
    # On and beside the halves, on both sides of zero.
    unit = Fraction(2) ** shift
    z = [int(np.floor(k * unit / 2)) + d for k in range(-7, 8) for d in (-1, 0, 1)]
    values = np.array(z).reshape(1, 1, 1, -1)
    # An index is not negative: shown by a second layer that lifts it.
    lift = replace(one, bias=np.array([32]), shift=np.array([0]), low=0, high=63)
    found = ExactPath((one, lift), None).indexes(values)
    expected = [min(max(round(v / unit) + 32, 0), 63) for v in z]
    assert found.ravel().tolist() == expected
    if np.abs(values).max() < BOUND:
        checked = CheckedPath(ExactPath((one, lift), None)).indexes(values)
        assert checked.ravel().tolist() == expected


def test_the_largest_sum_is_reached_by_the_worst_input_and_by_none_exceeded():
    rng = np.random.default_rng(3)
    one = layer(3, 6, rng)
    for limit in (1, 128, 255):
        # Signs matched to the weights, and to the bias: nothing larger can be made of inputs in -limit .. limit.
        worst = [
            sum(abs(int(w)) * limit for w in one.weight[c].ravel()) + abs(int(one.bias[c]))
            for c in range(6)
        ]
        assert one.largest(limit).tolist() == worst
        for _ in range(20):
            x = rng.choice([-limit, limit], one.weight.shape[1:])
            acc = (one.weight * x).sum((1, 2, 3)) + one.bias
            assert (np.abs(acc) <= one.largest(limit)).all()


@pytest.mark.parametrize("with_places", [False, True])
def test_a_path_comes_back_from_its_arrays(with_places):
    path = two_layers(with_places)
    arrays = unpack_arrays(pack_arrays(path.to_arrays()))
    assert {a.dtype for name, a in arrays.items() if name.endswith("weight")} == {np.dtype("i1")}
    again = exact_path(arrays)
    z = np.random.default_rng(4).integers(-128, 128, (1, 3, 5, 4))
    np.testing.assert_array_equal(again.indexes(z), path.indexes(z))
    for before, after in zip(path.layers, again.layers, strict=True):
        for name in ("weight", "bias", "shift", "low", "high", "block"):
            np.testing.assert_array_equal(getattr(after, name), getattr(before, name))
            assert np.asarray(getattr(after, name)).dtype == np.int64


def without(name):
    return lambda arrays: arrays.pop(name)


def given_as(name, value, dtype=np.int32):
    return lambda arrays: arrays.update({name: np.asarray(value, dtype)})


def changed(name, change):
    return lambda arrays: arrays.update({name: change(arrays[name].copy())})


def cut_to(count):
    return lambda weight: weight[:count]


def with_first(value):
    def change(array):
        array.flat[0] = value
        return array

    return change


DAMAGES = {
    "no arrays": lambda arrays: arrays.clear(),
    "a field is missing": without("1.bias"),
    "one too many": given_as("1.more", 1),
    "a name that is none": given_as("more", 1),
    "a layer is missing": lambda arrays: [arrays.pop(n) for n in list(arrays) if n[0] == "0"],
    "floats": changed("0.weight", lambda w: w.astype(np.float32)),
    "weights of another type": changed("0.weight", lambda w: w.astype(np.int64)),
    "biases of another type": changed("0.bias", lambda b: b.astype(np.int64)),
    "text": given_as("0.low", "0", str),
    "weights of three dimensions": changed("0.weight", lambda w: w[0]),
    "a kernel that is not square": changed("0.weight", lambda w: w[:, :, :, :1]),
    "an even kernel": changed("0.weight", lambda w: w[:, :, :2, :2]),
    "no kernel": changed("0.weight", lambda w: w[:, :, :0, :0]),
    "no channels out": changed("0.weight", cut_to(0)),
    "no channels in": changed("0.weight", lambda w: w[:, :0]),
    "another number of biases": changed("0.bias", cut_to(7)),
    "another number of shifts": changed("1.shift", cut_to(4)),
    "two low ends": given_as("0.low", [0, 0]),
    "a block of 3": given_as("0.block", 3),
    "a block of 0": given_as("0.block", 0),
    "a block that does not divide": changed("0.weight", cut_to(6)),
    "a shift over 31": changed("0.shift", with_first(32)),
    "a shift under -31": changed("0.shift", with_first(-32)),
    "the shift that has no absolute value": changed("0.shift", with_first(-(2**31))),
    "a low end over the high one": given_as("0.low", 256),
    "a high end beyond all": given_as("0.high", 2**20),
    "a low end beyond all": given_as("0.low", -(2**20)),
    "channels that the next layer does not read": changed("1.weight", lambda w: w[:, :1]),
    "sums beyond the bound": changed("1.bias", with_first(BOUND)),
    "the bias that has no absolute value": changed("1.bias", with_first(-(2**31))),
    "a first layer beyond the bound": changed("0.bias", with_first(BOUND)),
    "an index under 0": given_as("1.low", -1),
    "an index over 63": given_as("1.high", 64),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_arrays_are_refused(damage):
    arrays = two_layers().to_arrays()
    exact_path(arrays)  # as it is, it is right
    DAMAGES[damage](arrays)
    with pytest.raises(InputError, match=r"^the bundle's entropy path is damaged \(.*\): get the"):
        exact_path(arrays)


@pytest.mark.parametrize(
    "places",
    [
        np.zeros(299, np.uint8),
        np.zeros((300, 1), np.uint8),
        np.zeros(300, np.int64),
        np.full(300, 64, np.uint8),
        np.zeros(2**20 + 1, np.uint8),
        np.zeros(0, np.uint8),
    ],
    ids=["too short", "two dimensions", "another type", "an index over 63", "too long", "none"],
)
def test_a_damaged_table_of_indexes_is_refused(places):
    arrays = two_layers(with_places=True).to_arrays() | {"places": places}
    with pytest.raises(InputError, match="is damaged"):
        exact_path(arrays)


def test_too_many_layers_are_refused():
    one = layer(1, 1, np.random.default_rng(0), high=63)
    assert len(exact_path(ExactPath((one,) * 16, None).to_arrays()).layers) == 16
    with pytest.raises(InputError, match="is damaged"):
        exact_path(ExactPath((one,) * 17, None).to_arrays())


def test_the_bound_is_one_that_no_sum_may_reach():
    # 128 is the largest input of the first layer: 1 * 128 + bias.
    for bias, is_right in ((BOUND - 129, True), (BOUND - 128, False)):
        one = ExactLayer(
            np.ones((1, 1, 1, 1), int), np.array([bias]), np.array([16]), 0, 63, block=1
        )
        arrays = ExactPath((one,), None).to_arrays()
        if is_right:
            exact_path(arrays)
        else:
            with pytest.raises(InputError, match="is damaged"):
                exact_path(arrays)
