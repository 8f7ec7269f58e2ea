"""The report of one run: teacher beside student, every figure with the way it was found. Pure; no torch."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from hwkd.errors import InputError
from hwkd.measure.latency import MIN_RUNS_INTERVAL, Latency
from hwkd.report.table import Table, render

NA = "n/a"
MIB = 2**20


@dataclass(frozen=True)
class CodecFigures:
    """One codec's figures; None where not known, with the reason in `missing` under the field's name.

    source: where the weights came from. weight_bits: the bits stored per weight, in words ("8", "4 to 8").
    weight_bytes: all weights at those bits. *_macs: for one image of the report's size.
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
    """All that a run's report says.

    mac_size, latency_size: (width, height) in pixels that those figures hold for.
    host: what the latencies were measured on. latency_method: with what, "torch eager, float32" say.
    evaluation_data, training_data: in words, with names and counts. not_counted: operator -> calls (MacCount).
    precision_plan: sentences. float_layers: names of layers that stay in float.
    lmbda: of the loss, or None where several or none apply. versions: of hwkd and the libraries.
    command: the line that makes the same run again.
    """

    teacher: CodecFigures
    student: CodecFigures
    mac_size: tuple[int, int]
    not_counted: Mapping[str, int]
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


@dataclass(frozen=True)
class _Row:
    """A line of the table: how to take its value from CodecFigures, print it, and compare it."""

    figure: str
    source_field: str
    value: Callable[[CodecFigures], float | Latency | None]
    digits: int
    how: str
    is_difference: bool = False
    """Compared by difference (dB, MS-SSIM), not in percent."""


def _rows(report: RunReport) -> tuple[_Row, ...]:
    width, height = report.mac_size
    pixels = width * height
    macs = f"counted by fvcore on the float model at {width}x{height}, multiply-accumulates of"
    image = f"measured on {report.evaluation_data}"
    timed = (
        f"measured with {report.latency_method} at {report.latency_size[0]}x{report.latency_size[1]}, entropy "
        "coding not included; median [95 % interval of the median, order statistics]; networks:"
    )
    stored = (
        f"computed: all weights at their stored bits (teacher {report.teacher.weight_bits}, "
        f"student {report.student.weight_bits})"
    )
    return (
        _Row("parameters", "parameters", lambda c: c.parameters, 0, "counted"),
        _Row("weight_mib", "weight_bytes", lambda c: c.weight_bytes / MIB, 3, stored),
        _Row("encode_gmacs", "", lambda c: c.encode_macs / 1e9, 3, f"{macs} g_a, h_a, h_s"),
        _Row("decode_gmacs", "", lambda c: c.decode_macs / 1e9, 3, f"{macs} h_s, g_s"),
        _Row(
            "kmac_per_pixel",
            "",
            lambda c: c.total_macs / pixels / 1e3,
            2,
            f"{macs} g_a, h_a, h_s, g_s, each once",
        ),
        _Row(
            "psnr_db",
            "psnr_db",
            lambda c: c.psnr_db,
            3,
            f"{image}: 8-bit output decoded from the real bytes",
            True,
        ),
        _Row("ms_ssim", "ms_ssim", lambda c: c.ms_ssim, 5, f"{image}: the same output", True),
        _Row(
            "bpp", "bpp", lambda c: c.bpp, 4, f"{image}: length of the real bytes, header included"
        ),
        _Row(
            "bpp_estimated",
            "bpp_estimated",
            lambda c: c.bpp_estimated,
            4,
            "estimated from the likelihoods on the same images",
        ),
        _Row(
            "encode_latency_ms",
            "encode_latency",
            lambda c: c.encode_latency,
            2,
            f"{timed} g_a, h_a, h_s",
        ),
        _Row(
            "decode_latency_ms",
            "decode_latency",
            lambda c: c.decode_latency,
            2,
            f"{timed} h_s, g_s",
        ),
    )


def report_table(report: RunReport) -> Table:
    """Teacher beside student, one figure a row, with the change and how the figure was found."""
    rows, notes = [], []
    for row in _rows(report):
        cells = []
        for role, codec in (("teacher", report.teacher), ("student", report.student)):
            value = row.value(codec)
            cells.append(_cell(value, row.digits))
            if value is None:
                notes.append(
                    f"{row.figure} of the {role} is n/a: {codec.missing[row.source_field]}"
                )
        change = _change(row.value(report.teacher), row.value(report.student), row)
        rows.append((row.figure, *cells, change, row.how))
    columns = ("figure", "teacher", "student", "change", "how it was found")
    return Table("", columns, tuple(rows), (*notes, _not_counted(report)))


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
    """The report as report.json holds it: every field, and the table's figures as numbers with their provenance."""
    figures = [
        {
            "figure": row.figure,
            "teacher": _number(row.value(report.teacher)),
            "student": _number(row.value(report.student)),
            "how": row.how,
        }
        for row in _rows(report)
    ]
    content = _without_non_finite(asdict(report))
    assert isinstance(content, dict)
    return {"report_version": 1, **content, "figures": figures}


def _cell(value: float | Latency | None, digits: int) -> str:
    match value:
        case None:
            return NA
        case Latency(median_ms=median_ms, interval95_ms=interval, runs=n):
            spread = (
                f"no interval below {MIN_RUNS_INTERVAL} runs"
                if interval is None
                else "{:.{d}f}, {:.{d}f}".format(*interval, d=digits)
            )
            return f"{median_ms:.{digits}f} [{spread}], p95 {value.p95_ms:.{digits}f}, n={n}"
        case _:
            return f"{value:,.{digits}f}"


def _change(teacher: float | Latency | None, student: float | Latency | None, row: _Row) -> str:
    if teacher is None or student is None:
        return NA
    suffix = ""
    if isinstance(teacher, Latency) and isinstance(student, Latency):
        suffix = "" if _is_apart(teacher, student) else " (not beyond the spread)"
        teacher, student = teacher.median_ms, student.median_ms
    assert isinstance(teacher, int | float) and isinstance(student, int | float)
    if row.is_difference:
        difference = student - teacher
        return NA if math.isnan(difference) else f"{difference:+.{row.digits}f}"
    return NA if teacher == 0 else f"{100 * (student / teacher - 1):+.1f} %{suffix}"


def _is_apart(a: Latency, b: Latency) -> bool:
    if a.interval95_ms is None or b.interval95_ms is None:
        return False
    return a.interval95_ms[1] < b.interval95_ms[0] or b.interval95_ms[1] < a.interval95_ms[0]


def _not_counted(report: RunReport) -> str:
    if not report.not_counted:
        return "Not counted in the MACs: ReLU, clamping and moving of data, entropy coding."
    calls = ", ".join(f"{name} x{n}" for name, n in report.not_counted.items())
    return f"Not counted in the MACs: {calls}; ReLU, clamping and moving of data, entropy coding."


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
