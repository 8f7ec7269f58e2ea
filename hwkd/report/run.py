"""The report of one run as a table, for the terminal, as Markdown and as JSON. Pure."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from hwkd.measure.timing import Latency
from hwkd.report.run_figures import Figure, RunReport, figures
from hwkd.report.table import Table, render, wrap

NA = "n/a"


def report_table(report: RunReport) -> Table:
    """Teacher beside student, one figure a row, with the change and how the figure was found.

    The last column ends in the number of a note below; each way of finding is told once.
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
            *(wrap(line, width, 9) for line in lines),
            render(report_table(report), "table", width),
            "precision plan:",
            *(wrap(line, width, 2) for line in plan),
        ]
    )


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


def _reasons(report: RunReport, figure: Figure) -> list[str]:
    """Why a figure is not known, in one sentence where it holds for both codecs."""
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
            # Three digits say enough beside an interval.
            places = max(0, 2 - math.floor(math.log10(max(value.median_ms, 0.01))))
            if value.interval95_ms is None:
                return f"{value.median_ms:.{places}f} [{NA}]"
            low, high = value.interval95_ms
            return f"{value.median_ms:.{places}f} [{low:.{places}f}, {high:.{places}f}]"
        case _:
            return f"{value:,.{digits}f}"


def _change(figure: Figure) -> str:
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
