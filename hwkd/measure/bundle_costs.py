"""What a bundle says that its model costs (costs.json), counted when it was exported: read without torch.

Every layer works on the area of the image, padded to multiples of 64, so that one block of 64x64 tells of any size.
"""

import json
from dataclasses import dataclass
from typing import Any

from hwkd.codec.codec import Z_PX
from hwkd.errors import InputError
from hwkd.measure.layers import NETWORKS, LayerCost
from hwkd.measure.record import Macs
from hwkd.runtime.bundle import Bundle
from hwkd.schema import read_table

COSTS = "costs.json"
"""The part's name."""

MAX_BYTES = 4 * 2**20
_MOST = 2**53
"""Of any number: what a float holds exactly. A forged one could be too large to divide."""
_SHOWN = 300


@dataclass(frozen=True)
class Costs:
    """The counts of the float model, for one block of 64x64 pixels.

    parameters: entropy models included. weight_bytes: of the four networks at the bits that the bundle stores, with
    scales. macs: of each network; layers: in the order they run.

    Raises:
        InputError: a number below 0 or beyond any model, a layer of no network, a text that is not one line.
    """

    parameters: int
    weight_bytes: int
    macs: Macs
    layers: tuple[LayerCost, ...]

    def __post_init__(self) -> None:
        counts = [self.parameters, self.weight_bytes, *self.macs.not_counted.values()]
        counts += [getattr(self.macs, network) for network in NETWORKS]
        for layer in self.layers:
            if layer.network not in NETWORKS:
                raise InputError(
                    f"network of layer {layer.name!r} must be one of {', '.join(NETWORKS)}; got {layer.network!r}"
                )
            counts += [value for value in vars(layer).values() if isinstance(value, int)]
        for value in counts:
            if not 0 <= value <= _MOST:
                raise InputError(f"counts must be 0 to {_MOST}, got {value}")
        for text in (*self.macs.not_counted, *(layer.name for layer in self.layers)):
            if not text.isprintable():
                raise InputError(f"{text!r} is not one line of printable text")

    def for_image(self, width: int, height: int) -> tuple[Macs, tuple[LayerCost, ...]]:
        """MACs and layers for one image of width x height pixels.

        Raises:
            InputError: a size under 1x1.
        """
        if width < 1 or height < 1:
            raise InputError(f"an image of {width}x{height} has no MACs to count; give 1x1 or more")
        blocks = -(-width // Z_PX) * -(-height // Z_PX)
        by_network = {network: blocks * getattr(self.macs, network) for network in NETWORKS}
        macs = Macs(**by_network, not_counted=self.macs.not_counted)
        return macs, tuple(layer.times(blocks) for layer in self.layers)


def read_costs(bundle: Bundle) -> Costs:
    """The costs in `bundle`.

    Raises:
        InputError: a bundle without them, or with such as no export writes; every field is checked.
    """
    content = bundle.parts.get(COSTS)
    if content is None:
        raise InputError(
            f"the bundle {bundle.manifest.name} does not say what its model costs (it has no {COSTS}): export it again "
            "with this hwkd"
        )
    if len(content) > MAX_BYTES:
        raise _refused(f"{len(content)} bytes, and {MAX_BYTES} are accepted")
    try:
        raw: Any = json.loads(content)
    # Deeply nested JSON overflows the stack; wrong UTF-8 is a ValueError too.
    except (ValueError, RecursionError) as error:
        raise _refused(f"not JSON: {error}") from error
    if not isinstance(raw, dict):
        raise _refused(f"got {type(raw).__name__}; an object is accepted")
    try:
        return read_table(Costs, raw, COSTS)
    except (InputError, RecursionError) as error:
        raise _refused(str(error).removeprefix(f"{COSTS}: ")) from error


def _refused(reason: str) -> InputError:
    line = "".join(sign if sign.isprintable() else "?" for sign in reason[:_SHOWN])
    return InputError(f"the part {COSTS}: {line}; export the bundle again")
