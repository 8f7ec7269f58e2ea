"""The report of one run: its figures, as a table for the terminal, as Markdown and as JSON."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwkd import __version__
from hwkd.errors import InputError
from hwkd.files import write_text
from hwkd.images import ImageSource
from hwkd.measure.machine import describe_host, installed_version
from hwkd.measure.quality import Evaluation, evaluate
from hwkd.measure.timing import MIN_RUNS_INTERVAL, Latency, codec_latency
from hwkd.qualities import DEFAULT_QUALITY, lmbda_at
from hwkd.quantity import BRACKETS, MIB, NA, number_text, places_of_three, quantity_text
from hwkd.report.narrow import LINES, screen, wrap
from hwkd.report.table import Table, render

if TYPE_CHECKING:
    from hwkd.distill.config import RunConfig
    from hwkd.distill.run import Outcome
    from hwkd.models.base import HyperpriorCodec
    from hwkd.models.teacher import Teacher


# The figures of one run: teacher beside student, each with the way it was found. Pure.


@dataclass(frozen=True)
class CodecFigures:
    """One codec's figures; None if not known, with the reason in `missing` under the field's name.

    Attributes:
        source: the source of the weights.
        weight_bits: the bits stored per weight, in words ("8", "4 to 8").
        weight_bytes: bytes of all weights at those bits.
        encode_macs, decode_macs, total_macs: for one image of the report's size.
        not_counted: operator -> calls that the MACs leave out (hwkd.measure.eager.macs.MacCount).
        psnr_db, ms_ssim, bpp, bpp_estimated: means over the evaluation images.

    Raises:
        InputError: a figure is None without a reason.
    """

    name: str
    source: str
    architecture: str
    parameters: int
    weight_bits: str
    weight_bytes: int
    encode_macs: int
    decode_macs: int
    total_macs: int
    not_counted: Mapping[str, int]
    psnr_db: float | None
    ms_ssim: float | None
    bpp: float | None
    bpp_estimated: float | None
    encode_latency: Latency | None
    decode_latency: Latency | None
    missing: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is None and not self.missing.get(name):
                raise InputError(
                    f"{name} of {self.name!r} is unknown: say why in missing[{name!r}]"
                )


@dataclass(frozen=True)
class RunReport:
    """The content of a run's report.

    Attributes:
        mac_size, latency_size: (width, height) in pixels that those figures hold for.
        latency_method: the means of the latencies, for example "torch eager, float32".
        host: the machine on which the latencies were measured.
        evaluation_data, training_data: in words, with names and counts.
        precision_plan: sentences.
        float_layers: names of layers that stay in float.
        lmbda: lambda of the loss; None if several or none apply.
        versions: versions of hwkd and the libraries.
        command: the command line that makes the same run again.
        history: for a run that was interrupted, in sentences.
    """

    teacher: CodecFigures
    student: CodecFigures
    mac_size: tuple[int, int]
    latency_size: tuple[int, int]
    latency_method: str
    host: str
    evaluation_data: str
    precision_plan: tuple[str, ...]
    float_layers: tuple[str, ...]
    training_data: str
    steps: int
    lmbda: float | None
    seed: int
    versions: Mapping[str, str]
    command: str
    history: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReportQuantity:
    """One figure of both codecs.

    Attributes:
        field: field of CodecFigures; `missing` has the reason for a None under this name.
        digits: digits after the point.
        found: measured, counted, computed or estimated.
        how: in a sentence; figures found together share it.
        is_difference: compared by difference (dB, MS-SSIM), not in percent.
    """

    name: str
    field: str
    teacher: float | Latency | None
    student: float | Latency | None
    digits: int
    found: str
    how: str
    is_difference: bool = False


def figures(report: RunReport) -> Iterator[ReportQuantity]:
    """The figures of `report` in the order of its table."""
    t, s = report.teacher, report.student
    width, height = report.mac_size
    pixels = width * height
    stored = f"Weights of g_a, h_a, h_s, g_s at their stored bits, entropy models not counted (teacher {t.weight_bits}, student {s.weight_bits})."
    macs = _macs(report)
    quality = (
        f"On {report.evaluation_data}, means over the images. psnr_db and ms_ssim: of the 8-bit output decoded from "
        "the real bytes; bpp: the length of those bytes, header included."
    )
    likelihoods = "From the likelihoods, on the same images."
    timed = _timed(report)
    params = "Parameters of the float models, entropy models included."
    yield ReportQuantity(
        "parameters", "parameters", t.parameters, s.parameters, 0, "counted", params
    )
    mib = t.weight_bytes / MIB, s.weight_bytes / MIB
    yield ReportQuantity("weight_mib", "weight_bytes", *mib, 3, "computed", stored)
    gmacs = t.encode_macs / 1e9, s.encode_macs / 1e9
    yield ReportQuantity("encode_gmacs", "encode_macs", *gmacs, 3, "counted", macs)
    gmacs = t.decode_macs / 1e9, s.decode_macs / 1e9
    yield ReportQuantity("decode_gmacs", "decode_macs", *gmacs, 3, "counted", macs)
    per_pixel = t.total_macs / pixels / 1e3, s.total_macs / pixels / 1e3
    yield ReportQuantity("kmac_per_pixel", "total_macs", *per_pixel, 2, "counted", macs)
    yield ReportQuantity("psnr_db", "psnr_db", t.psnr_db, s.psnr_db, 3, "measured", quality, True)
    yield ReportQuantity("ms_ssim", "ms_ssim", t.ms_ssim, s.ms_ssim, 5, "measured", quality, True)
    yield ReportQuantity("bpp", "bpp", t.bpp, s.bpp, 4, "measured", quality)
    bpp = t.bpp_estimated, s.bpp_estimated
    yield ReportQuantity("bpp_estimated", "bpp_estimated", *bpp, 4, "estimated", likelihoods)
    encode = t.encode_latency, s.encode_latency
    yield ReportQuantity("encode_latency_ms", "encode_latency", *encode, 2, "measured", timed)
    decode = t.decode_latency, s.decode_latency
    yield ReportQuantity("decode_latency_ms", "decode_latency", *decode, 2, "measured", timed)


def _macs(report: RunReport) -> str:
    width, height = report.mac_size
    left_out = [
        f"{role}: {', '.join(f'{name} x{n}' for name, n in codec.not_counted.items())}"
        for role, codec in (("teacher", report.teacher), ("student", report.student))
        if codec.not_counted
    ]
    return (
        f"Multiply-accumulates of the float models at {width}x{height}, by fvcore. encode: g_a, h_a, h_s; decode: h_s, "
        "g_s; kmac_per_pixel: each of the four once. Not counted: "
        + "".join(f"{text}; " for text in left_out)
        + "ReLU, clamping and moving of data, entropy coding."
    )


def _timed(report: RunReport) -> str:
    width, height = report.latency_size
    runs = [
        f"{role} {name} {latency.p95_ms:.2f} ms, n={latency.runs}"
        for role, codec in (("teacher", report.teacher), ("student", report.student))
        for name, latency in (("encode", codec.encode_latency), ("decode", codec.decode_latency))
        if latency is not None
    ]
    return (
        f"With {report.latency_method} at {width}x{height}, entropy coding not included. encode: g_a, h_a, h_s; decode: "
        f"h_s, g_s. Median [95 % interval of the median, order statistics; n/a below {MIN_RUNS_INTERVAL} runs]; =: the "
        "intervals overlap or are n/a, so the change is not beyond the spread. "
        f"95th percentiles and runs: {'; '.join(runs) or 'none'}."
    )


# Gathers the figures of a finished run into its report: evaluates, counts, times, and writes the files.

MAC_SIZE = (768, 512)
LATENCY_SIZE = (768, 512)
LATENCY_SECONDS = 4.0
LIBRARIES = ("torch", "compressai", "brevitas", "fvcore")


@dataclass(frozen=True)
class Assembled:
    """A run's report, ready to print and to write."""

    report: RunReport

    def write(self, folder: Path) -> None:
        """Write report.md and report.json into `folder`. Raises as `hwkd.files.replacing`."""
        write_text(folder / "report.md", report_markdown(self.report))
        write_text(folder / "report.json", json.dumps(report_json(self.report), indent=2) + "\n")

    def terminal(self, width: int | None, folder: Path | None = None) -> str:
        """The report for a terminal of `width` columns; None: nothing is wrapped.

        Args:
            folder: where it was written: what is longer than a screen is left out here. None: all of it.
        """
        if folder is None:
            return report_terminal(self.report, width)
        return report_screen(self.report, width, f"{folder}/report.md holds all")


def assemble(
    config: "RunConfig",
    outcome: "Outcome",
    teacher: "Teacher",
    plan: list[str],
    images: ImageSource,
    name: str,
    command: str,
    history: tuple[str, ...] = (),
) -> Assembled:
    """Measure both codecs on `images` and on this host. A codec of all rates is measured at the default quality.

    Args:
        config: the run's configuration, with its steps.
        plan: the precision plan's sentences.
        name: the student's name.
        command: the command line that makes the same run again.
        history: history of the run, in sentences, if it was interrupted.
    """
    from hwkd.quantize.integer import left_in_float

    teacher_model = teacher.model.cpu()
    # Eager torch with fake quantization is no guide to a device's speed, so its float twin is timed.
    float_student = outcome.float_student.cpu()
    student = outcome.student.cpu()
    bits = config.bits
    for model in (teacher_model, float_student, student):
        model.set_lmbda(lmbda_at(DEFAULT_QUALITY))
    steps = ", ".join(f"{n} {phase}" for phase, n in outcome.steps.items() if n)
    return Assembled(
        RunReport(
            teacher=_figures(
                teacher.name,
                f"{teacher.source}{_at_default(teacher_model)}",
                str(teacher.spec),
                teacher_model,
                teacher_model,
                "32",
                evaluate(teacher_model, images),
            ),
            student=_figures(
                name,
                "; ".join((f"this run, {steps or 'no'} steps", *outcome.notes))
                + _at_default(student),
                str(config.spec),
                student,
                float_student,
                "32" if bits is None else bits.weights_in_words(),
                evaluate(student, images),
            ),
            mac_size=MAC_SIZE,
            latency_size=LATENCY_SIZE,
            latency_method="eager torch in float32 (both in float: int8 kernels come with an exported bundle)",
            host=str(describe_host()),
            evaluation_data=str(images),
            precision_plan=tuple(plan),
            float_layers=left_in_float(student),
            training_data=config.data,
            steps=sum(outcome.steps.values()),
            lmbda=config.lmbda,
            seed=config.seed,
            versions={
                "hwkd": __version__,
                **{n: installed_version(n) or "unknown" for n in LIBRARIES},
            },
            command=command,
            history=history,
        )
    )


def _at_default(model: "HyperpriorCodec") -> str:
    """Words for the quality at which a model of all rates has its figures."""
    return f"; at quality {DEFAULT_QUALITY}" if model.serves_all_rates else ""


def _figures(
    name: str,
    source: str,
    architecture: str,
    model: "HyperpriorCodec",
    float_model: "HyperpriorCodec",
    weight_bits: str,
    evaluation: Evaluation,
) -> CodecFigures:
    """The figures of one codec; `float_model` is its float twin, or itself."""
    from hwkd.measure.eager.macs import count_macs
    from hwkd.quantize.integer import weight_bytes
    from hwkd.quantize.qat import quantized_layers, with_empty_rests

    if quantized_layers(model):
        float_model = with_empty_rests(float_model)
    counts = count_macs(float_model, *MAC_SIZE)
    latency = codec_latency(float_model, *LATENCY_SIZE, seconds=LATENCY_SECONDS)
    missing = {} if evaluation.ms_ssim_reason is None else {"ms_ssim": evaluation.ms_ssim_reason}
    return CodecFigures(
        name=name,
        source=source,
        architecture=architecture,
        parameters=sum(p.numel() for p in float_model.parameters()),
        weight_bits=weight_bits,
        weight_bytes=weight_bytes(model),
        encode_macs=counts.encode_macs,
        decode_macs=counts.decode_macs,
        total_macs=counts.total_macs,
        not_counted=counts.not_counted,
        psnr_db=evaluation.psnr_db,
        ms_ssim=evaluation.ms_ssim,
        bpp=evaluation.bpp,
        bpp_estimated=evaluation.bpp_estimated,
        encode_latency=latency["encode"],
        decode_latency=latency["decode"],
        missing=missing,
    )


# The report of one run as a table, for the terminal, as Markdown and as JSON. Pure.


def report_table(report: RunReport) -> Table:
    """Teacher beside student, one figure a row, with the change and how the figure was found.

    The last column ends in the number of a note below; each way of finding has one note.
    """
    rows: list[tuple[str, ...]] = []
    reasons: list[str] = []
    notes = _notes(report)
    for figure in figures(report):
        reasons += _reasons(report, figure)
        cells = [_cell(value, figure.digits) for value in (figure.teacher, figure.student)]
        found = f"{figure.found} [{notes.index(figure.how) + 1}]"
        rows.append((figure.name, *cells, _change(figure), found))
    numbered = [f"[{i}] {note}" for i, note in enumerate(notes, 1)]
    columns = ("figure", "teacher", "student", "change", "found")
    return Table("", columns, tuple(rows), (*reasons, *numbered))


def report_terminal(report: RunReport, width: int | None = None) -> str:
    """The report for a terminal of `width` columns; None: nothing is wrapped."""
    teacher, student = report.teacher, report.student
    lines = [
        f"teacher: {teacher.name} ({teacher.architecture}; {teacher.source})",
        f"student: {student.name} ({student.architecture}; {student.source})",
        f"host:    {report.host}",
    ]
    plan = [f"- {sentence}" for sentence in report.precision_plan]
    return "\n".join(
        [
            wrap(report_verdict(report), width, 2),
            *(wrap(line, width, 9) for line in lines),
            render(report_table(report), "table", width),
            "precision plan:",
            *(wrap(line, width, 2) for line in plan),
        ]
    )


def report_screen(report: RunReport, width: int | None, in_full: str) -> str:
    """As report_terminal, or the most important parts where that is longer than a screen, which begin with the changes.

    Args:
        in_full: where all of it is, in words.
    """
    text = report_terminal(report, width)
    if len(text.splitlines()) <= LINES:
        return text
    also = ("teacher, student and host", "the precision plan")
    return screen((report_table(report),), width, report_verdict(report), also, in_full)


_IN_SHORT = (
    "psnr_db",
    "bpp",
    "weight_mib",
    "kmac_per_pixel",
    "encode_latency_ms",
    "decode_latency_ms",
)


def report_verdict(report: RunReport) -> str:
    """What the student saves and costs, in a sentence."""
    changes = {figure.name: _change(figure) for figure in figures(report)}
    known = [
        f"{name} {changes[name].removesuffix(' =')}{' (within the spread)' * changes[name].endswith(' =')}"
        for name in _IN_SHORT
        if changes[name] != NA
    ]
    return f"{report.student.name} against {report.teacher.name}: {', '.join(known)}."


def report_markdown(report: RunReport) -> str:
    """The report as report.md holds it."""
    teacher, student = report.teacher, report.student
    lmbda = "" if report.lmbda is None else f", lmbda {report.lmbda:g}"
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    return "\n".join(
        [
            f"# {student.name}",
            "",
            f"- Teacher: {teacher.name} ({teacher.architecture}), from {teacher.source}",
            f"- Student: {student.name} ({student.architecture}), from {student.source}",
            f"- Latency host: {report.host}",
            "",
            render(report_table(report), "md"),
            "",
            "## Precision",
            "",
            *[f"- {sentence}" for sentence in report.precision_plan or ("No plan was made.",)],
            f"- Layers left in float: {', '.join(report.float_layers) or 'none'}.",
            "",
            "## Training",
            "",
            f"- Data: {report.training_data}",
            f"- {report.steps} steps, seed {report.seed}{lmbda}",
            f"- Versions: {versions}",
            *(f"- {event}" for event in report.history),
            "",
            "The same run again:",
            "",
            "```",
            report.command,
            "```",
            "",
        ]
    )


def report_json(report: RunReport) -> dict[str, Any]:
    """The report as report.json holds it: every field, and the table's figures as numbers with their provenance.

    "note" of a figure counts "notes" from 1, as the table does.
    """
    notes = _notes(report)
    table = [
        {
            "figure": figure.name,
            "teacher": _number(figure.teacher),
            "student": _number(figure.student),
            "found": figure.found,
            "note": notes.index(figure.how) + 1,
        }
        for figure in figures(report)
    ]
    content = _without_non_finite(asdict(report))
    assert isinstance(content, dict)
    return {"report_version": 1, **content, "figures": table, "notes": notes}


def _notes(report: RunReport) -> list[str]:
    return list(dict.fromkeys(figure.how for figure in figures(report)))


def _reasons(report: RunReport, figure: ReportQuantity) -> list[str]:
    """The reasons why a figure is not known; one sentence if a reason holds for both codecs."""
    whose: dict[str, list[str]] = {}
    for role, value, codec in (
        ("teacher", figure.teacher, report.teacher),
        ("student", figure.student, report.student),
    ):
        if value is None:
            whose.setdefault(codec.missing[figure.field], []).append(f"the {role}")
    return [
        f"{figure.name} of {' and '.join(roles)} is n/a: {reason}."
        for reason, roles in whose.items()
    ]


def _cell(value: float | Latency | None, digits: int) -> str:
    match value:
        case None:
            return NA
        case Latency():
            # Three digits are enough beside an interval.
            places = places_of_three(max(value.median_ms, 0.01))
            text = quantity_text(value.quantity("the clock"), places, interval=BRACKETS)
            return f"{text} [{NA}]" if value.interval95_ms is None else text
        case _:
            return number_text(value, digits)


def _change(figure: ReportQuantity) -> str:
    teacher, student = figure.teacher, figure.student
    if teacher is None or student is None:
        return NA
    suffix = ""
    if isinstance(teacher, Latency) and isinstance(student, Latency):
        suffix = "" if _is_apart(teacher, student) else " ="
        teacher, student = teacher.median_ms, student.median_ms
    assert isinstance(teacher, int | float) and isinstance(student, int | float)
    if figure.is_difference:
        difference = student - teacher
        return NA if math.isnan(difference) else f"{difference:+.{figure.digits}f}"
    return NA if teacher == 0 else f"{100 * (student / teacher - 1):+.1f} %{suffix}"


def _is_apart(a: Latency, b: Latency) -> bool:
    if a.interval95_ms is None or b.interval95_ms is None:
        return False
    return a.interval95_ms[1] < b.interval95_ms[0] or b.interval95_ms[1] < a.interval95_ms[0]


def _number(value: float | Latency | None) -> Any:
    return _without_non_finite(asdict(value) if isinstance(value, Latency) else value)


def _without_non_finite(value: Any) -> Any:
    """`value` with inf and nan as strings, which JSON lacks, and tuples as lists."""
    match value:
        case float() if not math.isfinite(value):
            return str(value)
        case Mapping():
            return {key: _without_non_finite(v) for key, v in value.items()}
        case list() | tuple():
            return [_without_non_finite(v) for v in value]
        case _:
            return value
