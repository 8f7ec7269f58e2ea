"""The functions that hwkd offers to a program beside Codec. Each runs the command of the same name.

Arguments become the options of that command. So the function and the command check alike, and a record or a report names
the command line that repeats it.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hwkd.errors import InputError
from hwkd.quantity import Quantity

if TYPE_CHECKING:
    from hwkd.distill.options import DistillOptions
    from hwkd.measure.record import Macs, Record, Setting
    from hwkd.report.run import RunReport

SIZE = (768, 512)
"""Width and height, in pixels, of the image that costs hold for: Kodak's."""


@dataclass(frozen=True)
class ShippedModel:
    """A model that comes with hwkd and encodes: `Codec.load(name)`.

    Attributes:
        qualities: the lowest and the highest; None for a model of one rate.
        weight_bits: bits of the weights, in words.
        macs_per_pixel: multiply-accumulates per pixel, each of the four networks once.
        kodak_psnr_db, kodak_bpp: means over Kodak's 24 images, from real bytes. For a model of all rates: at the quality of
            its card, 50 or the nearest. None if they were not measured.
    """

    name: str
    family: str
    architecture: str
    qualities: tuple[int, int] | None
    weight_bits: str
    act_bits: int
    macs_per_pixel: float
    file_bytes: int
    kodak_psnr_db: float | None
    kodak_bpp: float | None


def models() -> tuple[ShippedModel, ...]:
    """The models that come with hwkd and encode, by name: those of the first table of `hwkd models`.

    Raises:
        InputError: one of them is damaged.
    """
    from hwkd.codec.shipped import shipped
    from hwkd.measure.bundles import macs_per_pixel
    from hwkd.runtime.bundle import read_bundle

    found = []
    for name, path in shipped().items():
        bundle = read_bundle(path)
        manifest, card = bundle.manifest, bundle.manifest.card
        on_kodak = None if card is None else card.on_kodak
        found.append(
            ShippedModel(
                name=name,
                family=manifest.family,
                architecture=manifest.architecture,
                qualities=manifest.qualities,
                weight_bits=manifest.weight_bits,
                act_bits=manifest.act_bits,
                macs_per_pixel=macs_per_pixel(bundle),
                file_bytes=path.stat().st_size,
                kodak_psnr_db=None if on_kodak is None else on_kodak.psnr_db,
                kodak_bpp=None if on_kodak is None else on_kodak.bpp,
            )
        )
    return tuple(found)


@dataclass(frozen=True)
class Predicted:
    """The predicted costs of a model on a target, for one image of width x height pixels.

    Each figure has value, low, high and level, the probability that the interval holds the truth; or None and the reason.

    Attributes:
        setting: unit, runtime, precision and threads that the figures hold for: the target's preferred ones.
        encode_latency_ms, decode_latency_ms: latency in milliseconds. For a bundle: end to end, entropy coding included;
            for all other models: the networks alone.
        encode_energy_mj, decode_energy_mj: energy of that time at the board's power, idle included, in millijoules.
        notes: how far to trust the prediction.
    """

    model: str
    target: str
    width: int
    height: int
    setting: "Setting"
    encode_latency_ms: Quantity
    decode_latency_ms: Quantity
    encode_energy_mj: Quantity
    decode_energy_mj: Quantity
    notes: tuple[str, ...]


def predict(model: str | Path, target: str, size: tuple[int, int] = SIZE) -> Predicted:
    """Latency and energy of `model` on a target that is not here.

    Args:
        model: as `hwkd profile` takes it: the name of a model that ships, a bundle (.hwkd), a run folder, a checkpoint,
            a bare architecture ("hyperprior:N=64,M=192"). All but bundles need torch.
        target: a name of `hwkd targets`, or a .toml file.
        size: (width, height) in pixels.
    Raises:
        InputError: there is no such model or target; the target is host, which is measured (`hwkd.profile`).
    """
    if target == "host":
        raise InputError(
            "hwkd.predict is for a target that is not here, got host; hwkd.profile measures"
        )
    record = profile(model, target, size=size)
    setting = record.entries[0].setting
    parts = {e.part for e in record.entries if e.setting == setting}
    part = "end_to_end" if "end_to_end" in parts else "networks"
    mine = {
        (e.side, e.name): e.quantity
        for e in record.entries
        if (e.setting, e.part) == (setting, part)
    }
    return Predicted(
        record.model.name,
        record.target,
        record.width,
        record.height,
        setting,
        mine["encode", "latency_ms"],
        mine["decode", "latency_ms"],
        mine["encode", "energy_mj"],
        mine["decode", "energy_mj"],
        record.notes_on({setting.unit}),
    )


def macs(model: str | Path, size: tuple[int, int] = SIZE) -> "Macs":
    """Multiply-accumulates of `model` for one image: encode_macs, decode_macs, total_macs, and those of each network.

    Counted: the convolutions and matrix products of the float model, the image padded to multiples of 64.
    Not counted: ReLU, clamping, entropy coding; not_counted lists the others.

    Args:
        model: as `predict`.
        size: (width, height) in pixels.
    Raises:
        InputError: there is no such model, or the size is under 1x1.
    """
    from hwkd.cli.measuring.profile import check_torch, load_model
    from hwkd.cli.model_names import refuse_unknown
    from hwkd.codec.shipped import shipped_or_as_given

    text = shipped_or_as_given(_as_text(model))
    refuse_unknown([text])
    check_torch([text])
    return load_model(text, *size, None).macs


def profile(
    model: str | Path,
    target: str = "host",
    *,
    size: tuple[int, int] = SIZE,
    threads: int | Sequence[int] | None = None,
    seconds: float = 4.0,
    energy: str = "auto",
    country: str | None = None,
    quality: int | None = None,
    bits: str | None = None,
    evaluate: Path | None = None,
    memory: bool = True,
) -> "Record":
    """The costs of `model`: measured on this machine, which takes a minute, or predicted for a target.

    Args:
        model, size: as `predict`.
        target: "host", this machine; or as `predict`.
        threads: threads on this machine. The first of several numbers is the main one. By default all usable cores.
        seconds: seconds for each group of latencies and for the energy of each side.
        energy: the sensor: auto, none, or a name that `hwkd profile --help` lists.
        country: three letters (FRA), for emissions.
        quality: the quality at which a model of all rates is measured.
        bits: "8" or "4/8": a bare architecture is predicted as quantized to these bits.
        evaluate: a folder of images to measure PSNR and rate on.
        memory: whether to start the processes that measure memory.
    Returns:
        The figures as entries of a record. Each has its unit in the name (latency_ms, energy_mj, peak_mib), its interval and
        how it was found. `hwkd.measure.record.write_record` writes the record for `hwkd compare`.
    Raises:
        InputError: there is no such model, target or sensor, or arguments contradict each other.
        HwkdError: a measurement failed.
    """
    from hwkd.cli.measuring.profile import ALL, ProfileOptions, profile_each

    if target == ALL:
        raise InputError("hwkd.profile takes one target, got all; give host or a name")
    each = (threads,) if isinstance(threads, int) else threads
    asked = ProfileOptions(
        models=(_as_text(model),),
        target=(target,),
        size="{}x{}".format(*size),
        threads=None if each is None else ",".join(map(str, each)),
        seconds=seconds,
        energy=energy,
        country=country,
        quality=quality,
        bits=bits,
        evaluate=evaluate,
        no_memory=not memory,
    ).given()
    command = shlex.join(["hwkd", "profile", *ProfileOptions.words(asked)])
    records: list[Record] = []
    options = ProfileOptions(**ProfileOptions.read(asked, "hwkd.profile"))
    profile_each(options, command, records.append)
    return records[0]


@dataclass(frozen=True)
class Distilled:
    """A finished run.

    Attributes:
        folder: the run's folder, with student.safetensors, report.md and report.json.
        report: the figures of teacher and student, side by side.
    """

    folder: Path
    report: "RunReport"


def distill(options: "DistillOptions") -> Distilled | None:
    """Train a student from a teacher for a target, evaluate both, and write the run's folder, as `hwkd distill` does.

    Messages go to standard error, with a bar on a terminal. Ctrl-C stops the run after a step, and the run can be resumed;
    so this runs in the main thread only.

    Returns:
        The finished run; None in every process but the first, under torchrun.
    Raises:
        InputError: a value is not accepted, a name has no match, or options contradict each other; raised before anything is
            written.
        HwkdError: the work failed, or was interrupted.
    """
    from hwkd.cli.training.distill import distilled

    done = distilled(options.read(options.given(), "hwkd.distill"))
    return None if done is None else Distilled(done[0], done[1].report)


def _as_text(model: str | Path) -> str:
    """A path as text that is never the name of a shipped model."""
    if isinstance(model, str):
        return model
    return str(model) if len(model.parts) > 1 else f"./{model}"
