"""Energy of encode and of decode on this host, in eager torch, as entries of a record."""

from collections.abc import Callable

import torch

from hwkd.images import Pixels
from hwkd.measure.coding import decode, encode
from hwkd.measure.emissions import emissions_g_per_1000
from hwkd.measure.energy import ImageEnergy, measure_energy
from hwkd.measure.host import eager_setting
from hwkd.measure.inference import evaluating
from hwkd.measure.meters import Meter
from hwkd.measure.pinning import pinned
from hwkd.measure.record import Entry, Setting
from hwkd.measure.subject import Subject
from hwkd.models.base import HyperpriorCodec
from hwkd.models.image_tensors import padded

Runs = dict[str, Callable[[], object]]
"""By side."""


def energy_entries(
    subject: Subject,
    image: Pixels,
    meter: Meter,
    *,
    threads: int,
    seconds: float,
    country: str | None,
) -> list[Entry]:
    """energy_mj and power_w of encode and decode, and emissions where a country is given.

    Counts: the whole way of a trained model (pixels to bytes, bytes to pixels); of a bare architecture its networks.

    Args:
        seconds: for each side. country: ISO code for the emissions of its electricity.

    Raises:
        InputError, HwkdError: as `hwkd.measure.energy.measure_energy`.
    """
    codec, setting = subject.codec, eager_setting(threads)
    height, width = image.shape[:2]
    part = "end_to_end" if subject.facts.is_trained else "networks"
    entries: list[Entry] = []
    with pinned(threads), evaluating(codec):
        runs = (
            _whole_runs(codec, image) if subject.facts.is_trained else _network_runs(codec, image)
        )
        for side, run in runs.items():
            energy = measure_energy(run, meter, pixels=width * height, seconds=seconds)
            entries += _energies(energy, side, part, setting, country)
    return entries


def _whole_runs(codec: HyperpriorCodec, image: Pixels) -> Runs:
    stream = encode(codec, image)
    return {"encode": lambda: encode(codec, image), "decode": lambda: decode(codec, stream)}


def _network_runs(codec: HyperpriorCodec, image: Pixels) -> Runs:
    """The networks alone, for random weights."""
    x = padded(image, codec.downsampling_factor)
    y = codec.g_a(x)
    z_hat, y_hat = torch.round(codec.hyper_analysis(y)), torch.round(y)
    return {
        "encode": lambda: (codec.hyper_analysis(codec.g_a(x)), codec.entropy_parameters(z_hat)),
        "decode": lambda: (codec.entropy_parameters(z_hat), codec.g_s(y_hat)),
    }


def _energies(
    energy: ImageEnergy, side: str, part: str, setting: Setting, country: str | None
) -> list[Entry]:
    entries = [
        Entry("energy_mj", side, part, setting, energy.energy_mj),
        Entry("power_w", side, part, setting, energy.power_w),
    ]
    joules = energy.energy_mj.value
    if country is not None and joules is not None:
        grams = emissions_g_per_1000(joules / 1e3, country)
        entries.append(Entry("emissions_g_per_1000", side, part, setting, grams))
    return entries
