"""`hwkd export`: writes a trained student as a bundle for a target, which needs no torch."""

import argparse
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from hwkd.cli.measuring.profile import parse_size
from hwkd.cli.model_names import SHIPPED_FIRST, refuse_bundle
from hwkd.cli.tables import ScreenOptions, printed, terminal_width
from hwkd.cli.talk import stderr_console
from hwkd.codec.shipped import shipped
from hwkd.errors import InputError
from hwkd.export.card import CardFields, read_told
from hwkd.files import check_new, write_bytes
from hwkd.images import ImageSource, Pixels, open_images
from hwkd.measure.quality import set_name
from hwkd.options import option
from hwkd.quantize.precision import board_prefix
from hwkd.report.bundles import bundle_tables, first_tables
from hwkd.runtime.bundle import BUNDLE_SUFFIX
from hwkd.runtime.session import RUNTIMES
from hwkd.target import Target, load_target

if TYPE_CHECKING:
    from hwkd.export.export import Prepared

HELP = "write a trained student as a bundle (.hwkd) that encodes and decodes without torch"

EXAMPLES = """examples:
  hwkd export patch-small --target raspberry-pi-4
  hwkd export runs/demo --target raspberry-pi-4
  hwkd export runs/demo --target x86-avx2 -o small.hwkd --data photos/
  hwkd export runs/demo --target jetson-nano --size 1024x768
  hwkd export patch-q5 --bits 8 --target arm-server -o teacher.hwkd
  hwkd export runs/demo --target x86-avx2 --card card.toml --evaluate kodak/ -o demo.hwkd
"""

BOARD_GRAPHS = ("encoder.onnx", "decoder.onnx")
IMAGES_AT_MOST = 8


@dataclass(frozen=True, kw_only=True)
class ExportOptions(ScreenOptions):
    """The options of `hwkd export`."""

    model: str = option(
        "a run folder; with --bits a float model: a shipped one, a checkpoint, RUN:float. A bundle that ships is made anew from "
        f"its float student, by default in 8 bits or those that the target takes; {SHIPPED_FIRST}",
        "MODEL",
        default=MISSING,
        positional=True,
    )
    target: str = option("see `hwkd targets`", "NAME", default=MISSING)
    bits: str | None = option("quantize a float model after training: 8, or 4/8", "W[/A]")
    data: Path | None = option(
        "images to fit the entropy coder's tables and to check the export on, not those of --evaluate "
        "(default: embedded ones)",
        "DIR",
    )
    output: Path | None = option(
        "the bundle, which goes by the file's name (default: MODEL.hwkd)", "FILE", short="-o"
    )
    card: Path | None = option(
        "what only you know of the training: data, licence, hardware, recipe (texts), limits (a list of texts)",
        "FILE.toml",
    )
    evaluate: tuple[Path, ...] = option(
        "images for the card's figures, beside the embedded ones; may be given again",
        "DIR",
        default=(),
    )
    size: tuple[int, int] = option(
        "of the images, for a target whose engine is built for one (default: 768x512)",
        "WxH",
        parse_size,
        default=(768, 512),
    )
    force: bool = option("replace a file that exists", default=False)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `hwkd export` to `parser`."""
    ExportOptions.add_to(parser)


def run(args: argparse.Namespace) -> int:
    """Export, check, write, and print the findings."""
    options = ExportOptions.of(args)
    target = load_target(options.target)
    model, bits_text = _model_and_bits(options)
    images = _images(options.data)
    output = options.output or Path(f"{_stem(options.model)}{BUNDLE_SUFFIX}")
    if output.suffix != BUNDLE_SUFFIX:
        raise InputError(
            f"a bundle's name ends in {BUNDLE_SUFFIX}, got {output}; give -o NAME{BUNDLE_SUFFIX}"
        )
    board_paths = (
        [output.with_name(board_prefix(output.stem, target) + name) for name in BOARD_GRAPHS]
        if _has_compiler(target)
        else []
    )
    for path in (output, *board_paths):
        check_new(path, force=options.force)
    told = CardFields() if options.card is None else read_told(options.card)
    sets = _sets(options.evaluate)

    from hwkd.bits import parse_bits
    from hwkd.export.export import load_source, prepare
    from hwkd.measure.eager.bundle_file import write_bundle_file

    bits = None if bits_text is None else parse_bits(bits_text)
    with stderr_console().status("loading") as status:
        source = load_source(model, bits, target, options.data, status.update, told)
        status.update("reading the integers")
        prepared = prepare(replace(source, name=output.stem), target, images)
        board = _board_graphs(prepared, options.size)
        bundle = write_bundle_file(output, prepared, images, status.update, sets)
        for path, content in zip(board_paths, board, strict=True):
            write_bytes(path, content)
    tables, first = bundle_tables(bundle), first_tables(bundle)
    print(printed(tables, terminal_width(), is_full=options.full, first=first))
    print(f"written: {', '.join(str(path) for path in (output, *board_paths))}")
    return 0


def _model_and_bits(options: ExportOptions) -> tuple[str, str | None]:
    """What is loaded, and --bits. A bundle that ships holds integers alone: its float student takes its place.

    Raises:
        InputError: a bundle without a float student that ships.
    """
    from hwkd.models.shipped import shipped_names

    student = f"{options.model}-float"
    if options.model not in shipped() or student not in shipped_names():
        refuse_bundle(options.model)
        return options.model, options.bits
    stderr_console().print(
        f"{options.model} ships: it is made anew from its float student, {student}", soft_wrap=True
    )
    return student, options.bits or "8"


def _board_graphs(prepared: "Prepared", size: tuple[int, int]) -> list[bytes]:
    """The graphs for the target's own compiler, in the order of BOARD_GRAPHS; none if the target runs the bundle itself."""
    if not _has_compiler(prepared.target):
        return []
    from hwkd.export.board_graphs import board_graphs
    from hwkd.quantize.precision import plan_precision

    source = prepared.source
    form = plan_precision(
        prepared.target, source.bits.weight_bits, source.bits.act_bits, family=source.spec.family
    ).export
    graphs = board_graphs(
        source.codec, prepared.layers, prepared.latents, form.arithmetic, form.opset, size
    )
    return [graphs[name].SerializeToString(deterministic=True) for name in BOARD_GRAPHS]


def _has_compiler(target: Target) -> bool:
    return target.preferred.runtime.name not in RUNTIMES


def _images(folder: Path | None) -> dict[str, Pixels]:
    """The first images to check on, by name."""
    return dict(islice(open_images(folder), IMAGES_AT_MOST))


def _sets(folders: Sequence[Path]) -> list[ImageSource]:
    """The sets of images for the card: the embedded ones, and those of `folders`."""
    sets = [open_images(folder) for folder in (None, *folders)]
    names = [set_name(images) for images in sets]
    for name in names:
        if names.count(name) > 1:
            raise InputError(
                f"--evaluate: {names.count(name)} sets of images are called {name!r}, and a card names each once; "
                "rename a folder, or leave one out"
            )
    for images in sets:
        for _ in images:
            pass  # a damaged image is found now, not after the export
    return sets


def _stem(model: str) -> str:
    """A file name for the bundle of `model`: the run's or the model's own name."""
    return Path(model.partition(":")[0]).resolve().name.partition(".")[0]
