"""What stands below a plot of quality over cost: how its figures were found, and what it leaves out. Pure."""

from collections.abc import Iterator, Sequence

from hwkd.report.compare.published import Paper
from hwkd.report.compare.tables import whose
from hwkd.report.plot_cost_points import Costed, main_images
from hwkd.report.plot_words import PAPER, span


def rates(points: Sequence[Costed]) -> str:
    """From the lowest to the highest."""
    return span([point.rate.value or 0.0 for point in points], "bpp")


def rate_notes(points: Sequence[Costed]) -> Iterator[str]:
    """That rates differ, and images where they do."""
    yield (
        f"Rates: {rates(points)}. A model that spends more bits reaches a higher PSNR, so the front does not say which "
        "model codes better; the plot of rate and distortion does."
    )
    others = [p.name for p in points if p.psnr_db.basis != main_images(points)]
    if others:
        yield (
            f"On the front are models evaluated on {main_images(points)} only; on other images, and not to be compared "
            f"with them: {', '.join(others)}."
        )


def setting_notes(points: Sequence[Costed]) -> Iterator[str]:
    """In which settings the models run, the first of each record."""
    names = [point.name for point in points]
    by_setting: dict[str, list[str]] = {}
    for point in points:
        by_setting.setdefault(str(point.row.setting), []).append(point.name)
    for setting, of_setting in by_setting.items():
        yield f"Runs on {setting}: {whose(of_setting, names)}."


def interval_notes(points: Sequence[Costed]) -> Iterator[str]:
    """How sure the error bars are."""
    levels = sorted({round(100 * p.cost.level) for p in points if p.cost.level is not None})
    if levels:
        listed = " or ".join(f"{level} %" for level in levels)
        yield (
            f"Error bars: the intervals of encode and decode, ends added; they hold the truth with {listed} or more."
        )


def trust_notes(points: Sequence[Costed]) -> Iterator[str]:
    """How far to trust the records, in their own words, each sentence once."""
    sentences: dict[str, list[str]] = {}
    for point in points:
        units = () if point.row.setting is None else (point.row.setting.unit,)
        for sentence in point.row.record.notes_on(units):
            sentences.setdefault(sentence, []).append(point.name)
    for sentence, names in sentences.items():
        yield f"{whose(names, [point.name for point in points])}: {sentence}"


def architecture_note(points: Sequence[Costed], paper: Paper, cost: str) -> str:
    """How the paper's points were found. cost: how their cost was, in words."""
    names = ", ".join(point.row.record.model.name for point in points)
    return (
        f"{PAPER}: PSNR and rate as published ({paper.source}, on {paper.images}); cost {cost} here, for the float "
        f"architectures ({names})."
    )


def not_shown_notes(without: Sequence[tuple[str, str]]) -> list[str]:
    """Why models are not in the plot, a sentence for each reason."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in without:
        by_reason.setdefault(reason, []).append(name)
    return [
        f"Not shown: {', '.join(dict.fromkeys(names))}; {reason}."
        for reason, names in by_reason.items()
    ]
