"""Which layer's weights get how many bits: the cheapest choice within a size, found exactly."""

import ctypes
import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from hwkd.errors import HwkdError, InputError

KIB = 1024


@dataclass(frozen=True)
class LayerChoice:
    """The choices of bits for one layer's stored weights.

    Attributes:
        weight_count: number of weights, without biases.
        costs: by bits, the cost to the loss if this layer alone has these bits, as `monotone` gives it; in any unit that is
            the same for every layer.
    """

    name: str
    weight_count: int
    costs: Mapping[int, float]

    def stored_bytes(self, bits: int) -> int:
        """Bytes of the layer's weights, as hwkd.quantize.integer.weight_bytes counts them: ceil(weights x bits / 8)."""
        return math.ceil(self.weight_count * bits / 8)


def monotone(changes: Mapping[int, float]) -> dict[int, float]:
    """Measured changes of the loss as costs: at fewer bits at least what more bits cost, and never below 0.

    cost(b) = max(0, change(c) for every c >= b). A change below 0 is rounding that happened to suit the images it was
    measured on: counted as a gain, it would be bought with the bits of a layer that needs them.

    Args:
        changes: change of the loss by bits, against the loss with the layer at its most bits.
    """
    costs: dict[int, float] = {}
    highest = 0.0
    for bits in sorted(changes, reverse=True):
        highest = max(highest, changes[bits])
        costs[bits] = highest
    return costs


def allocate(
    layers: Sequence[LayerChoice], at_most_bytes: float, other_bytes: int = 0
) -> dict[str, int]:
    """The bits of each layer that cost least in sum, all together in at most `at_most_bytes`.

    minimize sum_l cost_l(b_l) subject to other_bytes + sum_l ceil(weights_l x b_l / 8) <= at_most_bytes: a
    multiple-choice knapsack problem, solved exactly by HiGHS (scipy.optimize.milp). The costs of layers are taken to add
    up.

    Args:
        other_bytes: bytes that do not depend on the bits: biases and scales.
    Raises:
        InputError: the fewest bits of every layer take more; the message names what they take.
        HwkdError: the solver gives up.
    """
    smallest = other_bytes + sum(layer.stored_bytes(min(layer.costs)) for layer in layers)
    if smallest > at_most_bytes:
        raise InputError(
            f"no choice of bits fits into {at_most_bytes / KIB:.1f} KiB: with the fewest that are offered the weights take "
            f"{math.ceil(10 * smallest / KIB) / 10:.1f} KiB; give that or more, or offer fewer bits"
        )
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_array

    choices = [(i, bits) for i, layer in enumerate(layers) for bits in sorted(layer.costs)]
    sizes = np.array([layers[i].stored_bytes(bits) for i, bits in choices], np.float64)
    costs = np.array([layers[i].costs[bits] for i, bits in choices], np.float64)
    columns = np.arange(len(choices))
    one_of_each = csr_array(
        (np.ones(len(choices)), ([i for i, _ in choices], columns)), (len(layers), len(choices))
    )
    with _quiet_stdout():
        found = milp(
            # The solver takes differences below 1e-6 for none: costs may be far smaller.
            costs / (costs.max() or 1.0) * 1e6,
            integrality=np.ones(len(choices)),
            bounds=Bounds(0, 1),
            constraints=[
                LinearConstraint(one_of_each, 1, 1),
                LinearConstraint(sizes[None, :], -np.inf, at_most_bytes - other_bytes),
            ],
            options={"mip_rel_gap": 0.0},
        )
    if not found.success:
        raise HwkdError(f"no allocation was found: {found.message}")
    return {
        layers[i].name: bits
        for (i, bits), is_taken in zip(choices, found.x > 0.5, strict=True)
        if is_taken
    }


@contextmanager
def _quiet_stdout() -> Iterator[None]:
    """Keep the solver, HiGHS, from the process's standard output: whatever its options, it sometimes prints a line about itself
    there. Our output may be a table that a program reads."""
    sys.stdout.flush()
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        ctypes.CDLL(None).fflush(None)  # what it holds back would come out later
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)
