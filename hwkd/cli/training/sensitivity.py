"""`hwkd sensitivity`: the cost of each layer's bits, and the bits to choose for each layer at a given size."""

import argparse
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress

from hwkd import __version__
from hwkd.bits import WEIGHT_BITS
from hwkd.cli.measuring.profile import file_name
from hwkd.cli.model_names import refuse_bundle, refuse_unknown
from hwkd.cli.tables import FORMAT_HELP, FULL_HELP, TableOptions, emit_all
from hwkd.cli.talk import stderr_console
from hwkd.errors import HwkdError, InputError
from hwkd.files import claimed, write_text
from hwkd.images import ImageSource, also_among, find_images, open_images
from hwkd.measure.machine import host_facts, installed_version
from hwkd.measure.record import Entry
from hwkd.measure.sensitivity import (
    Allocation,
    CheckedAllocation,
    Sensitivity,
    allocated,
    base_allocation,
    check,
    measure_sensitivity,
    uniform,
    unmeasured,
)
from hwkd.models.shipped import shipped_names
from hwkd.options import Options, crop, option, positive
from hwkd.quantity import interval_text, three_digits
from hwkd.quantize.allocate import KIB
from hwkd.report.sensitivity import (
    NAME,
    RecipeBase,
    SensitivitySource,
    allocations_in_words,
    allocations_table,
    bits_table,
    layers_table,
    points_table,
    read_points,
    recipe_text,
    write_sensitivity,
)
from hwkd.report.table import FORMATS, Table, render
from hwkd.target import Target, load_target

if TYPE_CHECKING:
    from hwkd.measure.eager.sensitivity import Base


HELP = "what each layer's bits cost in rate and distortion, and bits for each layer for a size"

EXAMPLES = """examples:
  hwkd sensitivity patch-medium-float
  hwkd sensitivity runs/student:float --data photos/ --evaluate kodak/
  hwkd sensitivity runs/student --max-kib 700 --target raspberry-pi-4 --max-ms 150
"""

TRIED = "7,6,5,4,3,2"
VERSIONS = ("torch", "brevitas", "scipy")


@dataclass(frozen=True, kw_only=True)
class SensitivityOptions(Options):
    """The options of `hwkd sensitivity`. Its tables are printed; `output` is a folder."""

    model: str = option(
        "a float model, quantized after training first: one that ships, a checkpoint, RUN:float; or a quantized run "
        "folder, as it is",
        "MODEL",
        default=MISSING,
        positional=True,
    )
    bits: str = option(
        f"bits to try for the weights of each layer (default: {TRIED})", "B[,B..]", default=TRIED
    )
    data: Path | None = option(
        "images to calibrate and to measure on (default: the embedded training photographs)", "DIR"
    )
    evaluate: Path | None = option(
        "other images, to check the allocations on (default: the embedded ones for evaluation)",
        "DIR",
    )
    crop: int = option(
        "side of the crops of --data, a multiple of 64 (default: 256)", "PIXELS", crop, default=256
    )
    max_kib: float | None = option(
        "bits for weights of this size, scales and biases included (default: for the sizes of uniform bits)",
        "KIB",
        positive,
    )
    target: str | None = option(
        "see `hwkd targets`: bits that its kernels do not take are not offered, and its predicted latency is told",
        "NAME",
    )
    max_ms: float | None = option(
        "refuse where the predicted latency on --target is longer (768x512, the slower of encoding and decoding)",
        "MS",
        positive,
    )
    lmbda: float | None = option(
        "of the loss bpp + L 255^2 MSE (default: the model's; that of quality 50 for one of all rates)",
        "L",
        positive,
    )
    format: str = option(FORMAT_HELP, default="table", choices=FORMATS)
    full: bool = option(FULL_HELP, default=False)
    output: Path | None = option(
        "folder for figures, plot and recipes (default: runs/sensitivity-MODEL); what it holds of the same "
        "measurement is not measured again",
        "DIR",
        short="-o",
    )
    force: bool = option("start over where DIR holds a sensitivity", default=False)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `hwkd sensitivity` to `parser`."""
    SensitivityOptions.add_to(parser)


def run(args: argparse.Namespace) -> int:
    """Measure the layers, choose bits, check them, write and print."""
    options = SensitivityOptions.of(args)
    refuse_bundle(options.model)
    refuse_unknown([options.model])
    tried = parse_tried(options.bits)
    if options.max_ms is not None and options.target is None:
        raise InputError("--max-ms is a latency on a target: name it with --target")
    if installed_version("matplotlib") is None:
        raise HwkdError('matplotlib is not installed: pip install "hwkd[report]"')
    target = None if options.target is None else load_target(options.target)
    evaluation = open_images(options.evaluate)
    check_apart(options.data, evaluation)
    for _ in evaluation:
        pass  # a damaged image is found now, not after the measuring

    # torch takes seconds to import, so every check that does not need it comes first.
    from hwkd.measure.eager.sensitivity import fingerprint, load_base, measured_crops
    from hwkd.quantize.integer import weight_bytes

    console = stderr_console()
    with console.status("loading"):
        base = load_base(options.model, options.data, options.crop, options.lmbda, target)
        crops, images = measured_crops(options.data, options.crop)
        notes, latency = [], None
        if target is not None:
            latency = predicted_latency(base, target)
            notes.append(latency_note(latency, base.name, target.name, options.max_ms))
    folder = options.output or Path("runs") / f"sensitivity-{file_name(base.name)}"
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file, the figures need a folder: give another with -o")
    told = SensitivitySource(
        fingerprint=fingerprint(base, crops),
        model=base.name,
        base=base.how,
        measured_on=images,
        checked_on=str(evaluation),
        command=shlex.join(["hwkd", *args.argv]),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        host=str(host_facts()),
        versions={"hwkd": __version__, **{name: version(name) for name in VERSIONS}},
        latency=latency,
    )
    blank = unmeasured(base.layers, base.lmbda, weight_bytes(base.codec), tried)
    proposals(blank, tried, options.max_kib)  # refuses an impossible size before the measurements
    with claimed(folder), _progress(console) as progress:
        known = {} if options.force else read_points(folder / NAME, told.fingerprint)
        task = progress.add_task("measuring layers", total=len(base.layers))

        def keep(found: Sensitivity) -> None:
            # Finished measurements are kept if the rest is interrupted.
            write_sensitivity(folder / NAME, told, found)
            progress.advance(task)

        found = measure_sensitivity(
            base.codec, base.layers, base.lmbda, crops, tried, known=known, found=keep
        )
        allocations, recipes = proposals(found, tried, options.max_kib)
        count = len(allocations) * sum(1 for _ in evaluation)
        task = progress.add_task("checking allocations", total=count)
        checked = check(
            base.codec,
            base_allocation(found),
            allocations,
            evaluation,
            lambda _image: progress.advance(task),
        )
    tables = tables_of(told, found, checked, notes)
    origin = origin_of(base, options.model, options.target)
    # Printed before the files are written: so the results are seen even if the files cannot be written.
    layers, *others = tables
    to_terminal = TableOptions(format=options.format, full=options.full)
    verdict = allocations_in_words(found, checked, recipes.values(), told.checked_on)
    emit_all(tables, to_terminal, verdict, first=((*others, layers), ()))
    said = write_folder(folder, told, found, checked, tables, recipes, origin)
    for sentence in said:
        console.print(sentence, markup=False, highlight=False, soft_wrap=True)
    return 0


def _progress(console: Console) -> Progress:
    # Without a terminal, rich would leave an empty line.
    return Progress(console=console, transient=True, disable=not console.is_terminal)


# Input that `hwkd sensitivity` refuses before it measures, and the sizes for which it proposes bits.

FEWER = range(WEIGHT_BITS[0], WEIGHT_BITS[-1])


def parse_tried(text: str) -> tuple[int, ...]:
    """The numbers of bits in "6,4,3", the most first. Raises InputError for anything else."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and int(part) in FEWER for part in parts):
        raise InputError(
            f"--bits {text!r} is not a list of bits to try: give numbers from {FEWER[0]} to {FEWER[-1]} with commas "
            "between, as 6,4,3"
        )
    return tuple(sorted({int(part) for part in parts}, reverse=True))


def check_apart(data: Path | None, evaluation: ImageSource) -> None:
    """Refuse to check an allocation on the images from which it is made.

    Raises:
        InputError: an image of `evaluation`, or a copy of it, lies in `data`.
    """
    if data is None:
        return
    known = also_among(evaluation.paths, find_images(data))
    if known:
        raise InputError(
            f"{len(known)} of the {len(evaluation.paths)} images of --evaluate lie in --data {data} too, {known[0].name} say: "
            "allocations are checked on images that they are not made from, give other ones"
        )


def latency_note(latency: Entry, model: str, target: str, max_ms: float | None) -> str:
    """The predicted latency in a sentence, compared with --max-ms.

    Raises:
        InputError: it is longer.
    """
    time = latency.quantity
    assert time.value is not None
    figure = f"{three_digits(time.value)} ms ({interval_text(time.low, time.high)} at 90 %)"
    always = (
        f"fewer bits buy size there, not time: {latency.setting.precision} kernels compute the same in as long, however "
        "few bits are stored"
    )
    if max_ms is not None and time.value > max_ms:
        raise InputError(
            f"--max-ms {max_ms:g} cannot be met: {model} is predicted to take {figure} to {latency.side} an image of "
            f"768x512 on {target}, and {always}; give a smaller model, or another --max-ms"
        )
    held = ""
    if max_ms is not None:
        surely = time.high is not None and time.high <= max_ms
        held = f" Within --max-ms {max_ms:g}{', its interval too' if surely else ', its interval not'}."
    return (
        f"Predicted latency of every row on {target}, {latency.setting}: {figure} to {latency.side}, the slower side, an "
        f"image of 768x512.{held} That is one figure because {always}."
    )


def proposals(
    found: Sensitivity, tried: Sequence[int], max_kib: float | None
) -> tuple[list[Allocation], dict[str, Allocation]]:
    """The allocations to check, and the proposed ones by the name of their recipe.

    The first allocation to check is the model as it is. The uniform bits that an allocation is compared with come before it.

    Args:
        max_kib: None for the sizes of uniform bits, for all tried bits but the fewest.

    Raises:
        InputError: there is nothing to choose, a size cannot be reached, or the model already has that size.
    """
    base = base_allocation(found)
    uniforms = [uniform(found, bits) for bits in tried]
    smaller = [each for each in uniforms if each.weight_bytes < base.weight_bytes]
    if max_kib is not None:
        if base.weight_bytes <= max_kib * KIB:
            raise InputError(
                f"--max-kib {max_kib:g} leaves nothing to save: the weights take {base.weight_bytes / KIB:.1f} KiB as they "
                "are; give less"
            )
        proposed = allocated(found, f"allocated, at most {max_kib:g} KiB", max_kib * KIB)
        fitting = [each for each in smaller if each.weight_bytes <= max_kib * KIB]
        return [base, *fitting[:1], proposed], {"allocated": proposed}
    checked, recipes = [base], {}
    for bits, each in zip(tried[:-1], uniforms[:-1], strict=True):
        if each in smaller:
            proposed = allocated(found, f"allocated, size of {bits}", each.weight_bytes)
            checked += [each, proposed]
            recipes[f"allocated-{bits}"] = proposed
    if not recipes:
        raise InputError(
            f"--bits {','.join(map(str, tried))} leaves nothing to choose: give two numbers or more that are fewer than the "
            "model has, or --max-kib"
        )
    return checked, recipes


# The facts of the model beside its layers: its predicted latency, and its origin.

LATENCY_SIZE = (768, 512)


def predicted_latency(base: "Base", target: Target) -> Entry:
    """The latency of the slower side for an image of LATENCY_SIZE. Raises InputError if it cannot be predicted."""
    from hwkd.measure.eager.macs import codec_layers
    from hwkd.measure.predict.target import slower_side
    from hwkd.models.build import build
    from hwkd.quantize.precision import plan_precision
    from hwkd.quantize.qat import with_empty_rests

    plan = plan_precision(
        target,
        max(layer.weight_bits for layer in base.layers),
        max(layer.act_bits for layer in base.layers),
        family=base.spec.family,
    )
    layers = codec_layers(with_empty_rests(build(base.spec)), *LATENCY_SIZE)
    return slower_side(layers, target, plan)


def origin_of(base: "Base", text: str, target: str | None) -> RecipeBase:
    """The known origin of the model that `text` names.

    Args:
        target: the target as given; None for a run's own.
    """
    from hwkd.distill.run_folder import read_config
    from hwkd.models.teacher import is_zoo_name

    acts = {layer.name: layer.act_bits for layer in base.layers}
    folder = text.removesuffix(":float")
    if not Path(folder).is_dir():
        return RecipeBase(base.name, base.spec, base.lmbda, text, None, target, acts)
    config = read_config(Path(folder))
    is_known = config.teacher in shipped_names() or is_zoo_name(config.teacher)
    return RecipeBase(
        base.name,
        base.spec,
        base.lmbda,
        config.teacher if is_known else folder,
        folder,
        target or config.target,
        acts,
    )


# The files of `hwkd sensitivity` in its folder: figures as JSON and Markdown, the plot, and a recipe for each proposal.

PLOTS = ("sensitivity.svg", "sensitivity.png")


def tables_of(
    told: SensitivitySource,
    found: Sensitivity,
    checked: Sequence[CheckedAllocation],
    notes: Sequence[str],
) -> tuple[Table, ...]:
    """The printed tables: the layers, the allocations, and the bits of the chosen allocations."""
    model = f"{told.model}, {told.base}"
    chosen = [each for each in checked if each.allocation.name.startswith("allocated")]
    return (
        layers_table(found, model, told.measured_on),
        allocations_table(found, checked, told.checked_on, notes),
        bits_table(chosen),
    )


def write_folder(
    folder: Path,
    told: SensitivitySource,
    found: Sensitivity,
    checked: Sequence[CheckedAllocation],
    tables: Sequence[Table],
    recipes: Mapping[str, Allocation],
    origin: RecipeBase,
) -> list[str]:
    """Write all files. Returns sentences on what was written, and on what was not written and why.

    Raises as hwkd.files.write_text.
    """
    from hwkd.report.plots.sensitivity import FLOOR_PERCENT, write_figure

    write_sensitivity(folder / NAME, told, found, checked)
    parts = [render(table, "md") for table in (*tables, points_table(found))]
    head = (
        f"# Sensitivity of {told.model} to bits\n\n![What each layer's bits cost]({PLOTS[0]})\n\n"
        f"In the picture changes under {FLOOR_PERCENT:g} %, those below 0 among them, stand at {FLOOR_PERCENT:g} %: that "
        "much is chance.\n\n"
    )
    foot = f"\n\nMade on {told.host}, {told.created}, by\n\n```\n{told.command}\n```\n"
    write_text(folder / "sensitivity.md", head + "\n\n".join(parts) + foot)
    write_figure(found, f"Sensitivity of {told.model} to bits", [folder / name for name in PLOTS])
    written = f"written: {folder}/{NAME}, sensitivity.md, {', '.join(PLOTS)}"
    try:
        texts = {name: recipe_text(origin, chosen) for name, chosen in recipes.items()}
    except InputError as error:
        return [written, f"note: {error}"]
    for name, text in texts.items():
        write_text(folder / f"{name}.toml", text)
    target = "" if origin.target else " --target NAME"
    first, *others = texts
    more = f" (or {', '.join(f'{name}.toml' for name in others)})" if others else ""
    train = f"hwkd distill --recipe {folder}/{first}.toml{target} --data DIR"
    return [written, f"train in these bits: {train}{more}"]
