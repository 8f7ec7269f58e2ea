"""`hwkd quantize`: what post-training quantization does to a trained model, by Brevitas or by torchao."""

import argparse
import math
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hwkd.bits import BitPlan, parse_bits
from hwkd.cli.model_names import refuse_bundle
from hwkd.cli.tables import TableOptions, emit_all
from hwkd.cli.talk import stderr_console
from hwkd.errors import InputError
from hwkd.images import open_images
from hwkd.options import crop, one_of, option
from hwkd.qualities import DEFAULT_QUALITY, lmbda_at
from hwkd.quantity import MIB
from hwkd.report.table import Table, number

if TYPE_CHECKING:
    from hwkd.models.base import HyperpriorCodec

HELP = "post-training quantization of a trained model: figures before and after, and what stays in float"

EXAMPLES = """examples:
  hwkd quantize runs/student:float --bits 8 --data photos/
  hwkd quantize patch-q5 --backend torchao --bits 4
  hwkd quantize patch-q5 --backend torchao-pt2e
"""

BACKENDS = ("brevitas", "torchao", "torchao-pt2e")


NO_ERROR = "infinite: an image came back without error"
ONE_SIZE = "they take one image size only, the calibration crops'"


@dataclass(frozen=True, kw_only=True)
class QuantizeOptions(TableOptions):
    """The options of `hwkd quantize`."""

    model: str = option(
        "a shipped model, a checkpoint, or RUN:float", "MODEL", default=MISSING, positional=True
    )
    backend: str = option(
        "brevitas: weights and activations; torchao: weights only, for storage; "
        "torchao-pt2e: int8 graphs of g_a and g_s for x86",
        "B",
        one_of("backend", *BACKENDS),
        default="brevitas",
    )
    bits: str = option("8, 4/8; torchao takes 8 or 4", "W[/A]", default="8")
    data: Path | None = option("images to calibrate on (default: embedded ones)", "DIR")
    crop: int = option(
        "side of the calibration crops, a multiple of 64", "PIXELS", crop, default=256
    )
    evaluate: Path | None = option("images of the figures (default: embedded ones)", "DIR")


def configure(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the arguments of `hwkd quantize`."""
    QuantizeOptions.add_to(parser)


def run(args: argparse.Namespace) -> int:
    """Quantize, evaluate before and after, print."""
    options = QuantizeOptions.of(args)
    plan = parse_bits(options.bits)
    if options.backend == "torchao" and plan.weight_bits not in (4, 8):
        raise InputError(f"--backend torchao stores weights in 8 or 4 bits, got {options.bits}")
    if options.backend == "torchao-pt2e" and options.bits != "8":
        raise InputError(f"--backend torchao-pt2e computes in 8 bits, got --bits {options.bits}")
    refuse_bundle(options.model)
    images = open_images(options.evaluate).readable()

    from hwkd.distill.run_folder import load_model
    from hwkd.measure.quality import evaluate
    from hwkd.quantize.integer import weight_bytes

    loaded = load_model(options.model)
    if loaded.bits is not None:
        raise InputError(
            f"{loaded.name} is quantized already: name its float student, {options.model}:float"
        )
    with stderr_console().status("quantizing and evaluating"):
        quantized, stored, in_float = _quantized(
            options.backend, loaded.codec, plan, options.data, options.crop
        )
        for codec in (loaded.codec, quantized):
            if codec is not None:
                codec.set_lmbda(lmbda_at(DEFAULT_QUALITY))
        before = evaluate(loaded.codec, images)
        after = None if quantized is None else evaluate(quantized, images)
    rows = [
        (
            "float",
            number(weight_bytes(loaded.codec) / MIB, ".3f"),
            number(before.psnr_db, ".3f", NO_ERROR),
            number(before.bpp, ".4f"),
        ),
        (
            f"{options.backend} {options.bits}",
            number(stored / MIB, ".3f"),
            number(after.psnr_db if after else None, ".3f", NO_ERROR if after else ONE_SIZE),
            number(after.bpp if after else None, ".4f", ONE_SIZE),
        ),
    ]
    at = f" at quality {DEFAULT_QUALITY}" if loaded.codec.serves_all_rates else ""
    notes = [
        f"Measured on {images}{at}, bpp of real bytes. weight_mib: at the stored bits, computed.",
        "In float:",
        *(f"- {sentence}" for sentence in in_float),
    ]
    if after is None:
        notes.append(f"psnr_db and bpp of PT2E graphs are n/a: {ONE_SIZE}.")
    columns = ("model", "weight_mib", "psnr_db", "bpp")
    verdict = (
        f"{options.backend} {options.bits}: {stored / weight_bytes(loaded.codec):.2f} of the size"
    )
    if after is not None:
        psnr_db, bpp = after.psnr_db - before.psnr_db, 100 * (after.bpp / before.bpp - 1)
        # Of an image that comes back without error, PSNR is infinite.
        shown = f", psnr_db {psnr_db:+.3f}" if math.isfinite(psnr_db) else ""
        verdict += f"{shown}, bpp {bpp:+.1f} %"
    table = Table(f"{loaded.name}, quantized", columns, tuple(rows), tuple(notes))
    emit_all((table,), options, f"{verdict}.")
    return 0


def _quantized(
    backend: str, codec: "HyperpriorCodec", plan: BitPlan, data: Path | None, side: int
) -> "tuple[HyperpriorCodec | None, int, tuple[str, ...]]":
    """The quantized codec where one can be evaluated, its weight bytes, and what stays in float."""
    from hwkd.distill.data import calibration_crops
    from hwkd.quantize.integer import left_in_float, weight_bytes
    from hwkd.quantize.ptq import post_training_quantize

    if backend == "brevitas":
        quantized = post_training_quantize(codec, plan, calibration_crops(data, side))
        return quantized, weight_bytes(quantized), left_in_float(quantized)
    # torchao takes a second to import, and only this branch needs it.
    from hwkd.quantize.torchao import pt2e, weight_only

    if backend == "torchao":
        result = weight_only(codec, plan.weight_bits)
        assert not isinstance(result.model, dict)
        return result.model, result.weight_bytes, result.left_in_float
    result = pt2e(codec, calibration_crops(data, side))
    return None, result.weight_bytes, result.left_in_float
