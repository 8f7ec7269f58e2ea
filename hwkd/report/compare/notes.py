"""The notes below a comparison: how figures were found, what is missing, and what is compared with what. Pure."""

from collections.abc import Iterable, Iterator, Sequence

from hwkd.quantity import NA, Quantity
from hwkd.report.compare.rows import Column, Compared, Row, names_of, of_all

MEMORY_NOTE = (
    "parameters_m: counted, of the float model, entropy models included. memory_mib: its float32 parameters and buffers "
    "(a trained model's coding tables among them), computed."
)
WEIGHT_NOTE = (
    "weight_mib: the weights of g_a, h_a, h_s, g_s at weight_bits, with their scales, computed."
)

PART_WORDS = {
    "networks": "of the networks alone (encode: g_a, h_a, h_s; decode: h_s, g_s)",
    "end_to_end": "end to end (encode: pixels to bytes; decode: bytes to pixels)",
}


def ways(figures: Iterable[tuple[str, Quantity]], every: Sequence[str]) -> str:
    """The ways in which figures were found: means, number of runs, and rows if not all; "" if there is no figure.

    Args:
        figures: pairs of a row's name and a figure.
        every: the names of all rows.
    """
    rows: dict[tuple[str, str], list[str]] = {}
    runs: dict[tuple[str, str], list[int]] = {}
    for name, cell in figures:
        if cell.value is not None:
            way = (cell.found, cell.by)
            rows.setdefault(way, []).append(name)
            runs.setdefault(way, []).extend([] if cell.runs is None else [cell.runs])
    parts = []
    for (found, by), names in rows.items():
        counts = sorted(set(runs[found, by]))
        in_runs = f", {_span(counts)} runs" if counts else ""
        where = "" if len(rows) == 1 else f" ({whose(names, every)})"
        parts.append(f"{found} by {by}{in_runs}{where}")
    return "; ".join(parts)


def whose(names: Sequence[str], every: Sequence[str]) -> str:
    """The rows' names, once each; "all rows" for all of them."""
    distinct = list(dict.fromkeys(names))
    return "all rows" if set(distinct) == set(every) and len(distinct) > 1 else ", ".join(distinct)


def change_notes(
    columns: Sequence[Column], rows: Sequence[Sequence[Quantity]], names: Sequence[str]
) -> Iterator[str]:
    """Notes on changes: their reference, missing changes with the reason, and comparisons of unlike figures."""
    if len(rows) < 2:
        return
    yield f"Changes (percent, PSNR in dB) are against the first row, {names[0]}."
    without = [
        column.name
        for j, column in enumerate(columns)
        if not rows[0][j].value and any(cells[j].value is not None for cells in rows[1:])
    ]
    if without:
        yield f"{', '.join(without)}: no change, because the first row's is {NA} or 0."
    others: dict[str, list[str]] = {}
    mixed: dict[tuple[str, str, str], list[str]] = {}
    for name, cells in zip(names[1:], rows[1:], strict=True):
        for reference, cell, column in zip(rows[0], cells, columns, strict=True):
            if cell.value is None or reference.value is None:
                continue
            if cell.on != reference.on:
                others.setdefault(name, []).append(column.name)
            elif cell.found != reference.found:
                mixed.setdefault((column.group, cell.found, reference.found), []).append(name)
    for name, keys in others.items():
        yield f"{', '.join(keys)} of {name}: no change, because it was evaluated on other images than {names[0]}."
    for (group, found, reference_found), whom in mixed.items():
        yield (
            f"Changes of {group} compare {found} figures ({', '.join(dict.fromkeys(whom))}) with {reference_found} "
            f"ones ({names[0]})."
        )


def missing_notes(
    columns: Sequence[Column], rows: Sequence[Sequence[Quantity]], names: Sequence[str]
) -> Iterator[str]:
    """The reasons why figures are not known: one sentence for all figures with the same reason."""
    by_reason: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for name, cells in zip(names, rows, strict=True):
        reasons: dict[str, list[str]] = {}
        for cell, column in zip(cells, columns, strict=True):
            if cell.value is None:
                reasons.setdefault(cell.reason, []).append(column.name)
        for reason, lacking in reasons.items():
            by_reason.setdefault((reason, tuple(lacking)), []).append(name)
    for (reason, keys), whom in by_reason.items():
        yield f"{', '.join(keys)} of {whose(whom, names)}: {NA}, {reason}."


def record_notes(rows: Sequence[Row], names: Sequence[str]) -> Iterator[str]:
    """How far to trust the records, in their own words, each sentence once."""
    sentences: dict[str, list[str]] = {}
    for row, name in zip(rows, names, strict=True):
        for sentence in row.record.notes:
            sentences.setdefault(sentence, []).append(name)
    for sentence, whom in sentences.items():
        yield f"{whose(whom, names)}: {sentence}"


def quality_notes(figures: Iterable[tuple[str, Quantity]], every: Sequence[str]) -> Iterator[str]:
    """The images on which psnr_db and bpp were measured, and the source of the figures."""
    rows: dict[tuple[str, str], list[str]] = {}
    for name, cell in figures:
        if cell.value is not None:
            rows.setdefault((cell.on, cell.by), []).append(name)
    for (images, source), names in rows.items():
        where = "" if len(rows) == 1 else f" of {whose(names, every)}"
        yield (
            f"psnr_db, bpp{where}: means over images, from real bytes, measured on {images} (source: {source})."
        )


def macs_note(rows: Sequence[Row], names: Sequence[str]) -> str:
    """The operations that the multiply-accumulates count, and those that they leave out."""
    left_out: dict[str, list[str]] = {}
    for row, name in zip(rows, names, strict=True):
        operators = ", ".join(f"{op} x{n}" for op, n in row.record.macs.not_counted.items())
        if operators:
            left_out.setdefault(operators, []).append(name)
    listed = "".join(f"{ops} ({whose(whom, names)}); " for ops, whom in left_out.items())
    return (
        "MACs: multiply-accumulates of the float models, counted. encode: g_a, h_a, h_s; decode: h_s, g_s; total and "
        f"kmac_per_pixel: each of the four once. Not counted: {listed}ReLU, clamping and moving of data, entropy coding."
    )


def latency_notes(compared: Compared) -> Iterator[str]:
    """The part that the latencies are of, and how they were found."""
    encode, decode = names_of(compared, ("encode_ms", "decode_ms"))
    found = ways(of_all(compared, "encode_ms", "decode_ms"), compared.names)
    if found:
        yield f"{encode}, {decode}: {PART_WORDS[compared.scope.latency_part]}; {found}."


def rate_notes(compared: Compared) -> Iterator[str]:
    """The meaning of fps."""
    encode, decode, rate = names_of(compared, ("encode_ms", "decode_ms", "fps"))
    what = "megapixels" if compared.scope.is_per_pixel else "images"
    yield (
        f"{rate}: {what} a second, encoded and decoded one after the other: 1000 / ({encode} + {decode}), found the way "
        "of the weaker of the two."
    )


def energy_notes(compared: Compared) -> Iterator[str]:
    """The part that the energies are of, and how they were found."""
    encode, decode, total = names_of(compared, ("encode_mj", "decode_mj", "total_mj"))
    found = ways(of_all(compared, "encode_mj", "decode_mj"), compared.names)
    if not found:
        return
    what = "a megapixel" if compared.scope.is_per_pixel else "one image"
    yield (
        f"{encode}, {decode}: for {what}, idle subtracted unless it says included, {PART_WORDS[compared.scope.energy_part]}; {found}. {total}: "
        "encode + decode, found the way of the weaker of the two."
    )


def emissions_notes(compared: Compared) -> Iterator[str]:
    """The part that the emissions are of, and how they were found."""
    (name,) = names_of(compared, ("emissions_g_per_1000",))
    found = ways(of_all(compared, "emissions_g_per_1000"), compared.names)
    what = "megapixels" if compared.scope.is_per_pixel else "images"
    if found:
        yield f"{name}: grams of CO2 equivalent for 1,000 {what}, encode + decode; {found}."


def per_pixel_notes(compared: Compared) -> Iterator[str]:
    """A warning if figures of different image sizes are side by side."""
    sizes = dict.fromkeys(f"{row.record.width}x{row.record.height}" for row in compared.rows)
    if compared.scope.is_per_pixel and len(sizes) > 1:
        yield (
            f"Divided by the pixels of images of {', '.join(sizes)}: padding and fixed costs weigh more in the smaller."
        )


def _span(counts: Sequence[int]) -> str:
    return f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
