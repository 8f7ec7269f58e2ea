"""Which rows a comparison has: the settings of the records that the user wants. Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from hwkd.errors import InputError
from hwkd.measure.record import Entry, Record, Setting

WHICH = ("first", "all")
"""first: the first setting of each record that has a figure; all: a row for each."""

PARTS = ("end_to_end", "networks")
COMPARED = ("latency_ms", "energy_mj")


@dataclass(frozen=True)
class Wanted:
    """What a setting must have to be compared; None: anything.

    runtime: with or without its version ("openvino", "openvino 2026.4.1").
    """

    runtime: str | None = None
    threads: int | None = None
    unit: str | None = None
    precision: str | None = None

    def __str__(self) -> str:
        given = {name: value for name, value in vars(self).items() if value is not None}
        return " ".join(f"--{name} {value}" for name, value in given.items())

    def takes(self, setting: Setting) -> bool:
        """Whether `setting` has all that is wanted, upper and lower case alike."""
        has_runtime = self.runtime is None or f"{setting.runtime} ".lower().startswith(
            f"{self.runtime} ".lower()
        )
        return (
            has_runtime
            and self.threads in (None, setting.threads)
            and (self.unit is None or self.unit.lower() == setting.unit.lower())
            and (self.precision is None or self.precision.lower() == setting.precision.lower())
        )


@dataclass(frozen=True)
class Row:
    """One row of a comparison: a record in one of its settings; None where the record has no figure with one."""

    record: Record
    setting: Setting | None

    def entry(self, name: str, side: str, part: str) -> Entry | None:
        """The record's entry of that name, side and part in this row's setting."""
        for entry in self.record.entries:
            key = (entry.name, entry.side, entry.part, entry.setting)
            if key == (name, side, part, self.setting):
                return entry
        return None

    def has(self, name: str, part: str) -> bool:
        """Whether both sides' figures are known."""
        entries = [self.entry(name, side, part) for side in ("encode", "decode")]
        return all(e is not None and e.quantity.value is not None for e in entries)


def choose_rows(
    records: Sequence[Record], wanted: Wanted, which: str = "first"
) -> tuple[tuple[Row, ...], tuple[str, ...]]:
    """The rows to compare, in the order of `records`, and a sentence for each record that is left out.

    A record that is given twice is taken once, where it stands first: so `teacher.json folder/` puts one in front.
    Settings without a known figure are passed over where the record has others.

    Raises:
        InputError: no records, or `wanted` fits no setting of any of them.
    """
    distinct: list[Record] = []
    for record in records:
        if record not in distinct:
            distinct.append(record)
    if not distinct:
        raise InputError(
            "no records to compare: give record files (.json), folders of them, TARGET/MODEL or TARGET; "
            "make some with `hwkd profile`"
        )
    rows: list[Row] = []
    left_out: list[str] = []
    for record in distinct:
        settings = settings_of(record)
        if not settings and not str(wanted):
            rows.append(Row(record, None))
            continue
        fitting = [setting for setting in settings if wanted.takes(setting)]
        if not fitting:
            name = f"{record.model.name} on {record.target}"
            left_out.append(f"Left out: {name} has no setting that fits {wanted}.")
        rows += [Row(record, setting) for setting in (fitting[:1] if which == "first" else fitting)]
    if not rows:
        raise _no_fit(distinct, wanted)
    return tuple(rows), tuple(left_out)


def settings_of(record: Record) -> tuple[Setting, ...]:
    """The settings in which `record` has latency or energy of the networks or end to end, in order of its entries.

    Those with a known figure; where there are none, those whose figures say why they are not known.
    """
    entries = [e for e in record.entries if e.name in COMPARED and e.part in PARTS]
    known = [e for e in entries if e.quantity.value is not None]
    return tuple(dict.fromkeys(e.setting for e in known or entries))


def choose_part(rows: Sequence[Row], name: str) -> str:
    """The part whose figures `name` are compared: end to end where every row that has any has them so, else networks."""
    having = [row for row in rows if any(row.has(name, part) for part in PARTS)]
    if having and all(row.has(name, "end_to_end") for row in having):
        return "end_to_end"
    return "networks"


def row_names(rows: Sequence[Row]) -> tuple[str, ...]:
    """A name for each row, only as long as it must be to tell it from the others: model, target, setting."""
    by_model = [row.record.model.name for row in rows]
    by_target = [f"{row.record.model.name} on {row.record.target}" for row in rows]
    full = [f"{name} ({row.setting})" for name, row in zip(by_target, rows, strict=True)]
    models, targets = Counter(by_model), Counter(by_target)
    return tuple(
        m if models[m] == 1 else t if targets[t] == 1 else f
        for m, t, f in zip(by_model, by_target, full, strict=True)
    )


def _no_fit(records: Sequence[Record], wanted: Wanted) -> InputError:
    there: dict[str, list[str]] = {}
    for record in records:
        for setting in settings_of(record):
            there.setdefault(str(setting), []).append(record.model.name)
    if not there:
        return InputError(
            f"no setting fits {wanted}: the records hold no latency and no energy; compare them without it"
        )
    listed = "; ".join(f"{s} ({', '.join(dict.fromkeys(m))})" for s, m in there.items())
    return InputError(f"no setting fits {wanted}; the records have: {listed}")
