"""A bundle's card as tables: where the model comes from, and what it did to images."""

from hwkd.report.table import Table
from hwkd.runtime.card import NOT_RECORDED, Card

NA = "n/a"


def card_tables(card: Card) -> tuple[Table, ...]:
    """The facts of the card, and its figures where there are any."""
    return (_facts(card), _figures(card)) if card.figures else (_facts(card),)


def number(value: float | None, digits: int) -> str:
    """`value` with `digits` decimals; n/a for None."""
    return NA if value is None else f"{value:,.{digits}f}"


def hours_in_words(hours: float | None) -> str:
    """To three digits, so that a run of seconds is no zero; n/a for None."""
    if hours is None:
        return NA
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.3g}"


def _facts(card: Card) -> Table:
    rows = (
        ("data", card.data),
        ("licence of the data", card.licence),
        ("teacher", card.teacher or NA),
        ("first weights from", card.start or NA),
        ("seed", NA if card.seed is None else str(card.seed)),
        ("steps in float", number(card.float_steps, 0)),
        ("steps in bits", number(card.quantized_steps, 0)),
        ("hours", hours_in_words(card.hours)),
        ("hardware", card.hardware),
        ("recipe", card.recipe or "none"),
        ("known limits", " ".join(card.limits) or NOT_RECORDED),
    )
    notes = (
        "Steps and hours are those of this training; those of the run that its first weights come from stand in that "
        "run's own card. Hours: of training alone, all resumed parts together.",
    )
    return Table("Card", ("fact", "value"), rows, notes)


def _figures(card: Card) -> Table:
    has_qualities = any(one.quality is not None for one in card.figures)
    rows = tuple(
        (
            one.on,
            *((NA if one.quality is None else str(one.quality),) if has_qualities else ()),
            str(one.images),
            number(one.psnr_db, 3),
            number(one.ms_ssim, 5),
            number(one.bpp, 4),
            number(one.rd_loss, 4),
            one.runtime,
        )
        for one in card.figures
    )
    notes = (
        "Means over the images of a set, measured with this bundle when it was exported. bpp: of the stream's bytes, "
        "header included; rd_loss: bpp + lmbda * 255^2 * MSE, x in [0, 1]"
        + (", with the lmbda of the quality." if has_qualities else "."),
    )
    named = ("set", *(("quality",) if has_qualities else ()))
    columns = (*named, "images", "psnr_db", "ms_ssim", "bpp", "rd_loss", "runtime")
    return Table("Measured with this bundle", columns, rows, notes)
