"""Records by what the user names, a board without records of its own included: there they are predicted."""

from collections.abc import Sequence
from pathlib import Path

from hwkd.codec.shipped import shipped
from hwkd.data import data_folder
from hwkd.errors import InputError
from hwkd.measure.bundle_subject import load_bundle_subject
from hwkd.measure.profile import Profiled, profile_target
from hwkd.measure.record import Record
from hwkd.measure.record_file import NO_RECORDS, find_records, read_record
from hwkd.runtime.bundle import BUNDLE_SUFFIX, is_bundle
from hwkd.target import Target, list_targets, load_target

FLOAT_BITS = "32"
"""ModelFacts.weight_bits of a model in float."""


def records_named(text: str) -> tuple[Record, ...]:
    """The records that `text` names, as hwkd.measure.record_file.find_records; of a target that none ship for, or of the
    user's own board (a .toml file), those of the models that ship, predicted.

    Raises:
        InputError: nothing of that name, or a file that is no record and no target.
    """
    if text.endswith(".toml"):
        return predicted_records(load_target(text))
    is_target = text in list_targets() and not Path(text).exists()
    if is_target and not has_records(text):
        return predicted_records(load_target(text))
    return find_records(text)


def has_records(target: str) -> bool:
    """Whether records of this target ship."""
    return (data_folder("profiles") / target).is_dir()


def all_shipped_records() -> tuple[Record, ...]:
    """Every record that ships, and for targets that none ship for those of `predicted_records`; by target, and of each
    the most MACs first."""
    records = [read_record(path) for path in _paths()]
    for name in list_targets():
        if not has_records(name):
            records += predicted_records(load_target(name))
    return tuple(sorted(records, key=lambda r: (r.target, -r.macs.total_macs, r.model.name)))


def predicted_records(target: Target) -> tuple[Record, ...]:
    """The models that records ship of, on `target`: predicted from their layers, the most MACs first.

    Raises:
        InputError: as hwkd.measure.profile.profile_target.
    """
    found: dict[str, Record] = {}
    for path in _paths():
        record = read_record(path)
        found.setdefault(record.model.name, record)
    return predicted_for(list(found.values()), target)


def predicted_for(records: Sequence[Record], target: Target) -> tuple[Record, ...]:
    """The models of `records`, which are in float or bundles that ship, on `target`; the most MACs first.

    Raises:
        InputError: a quantized model that is no bundle that ships: a record does not hold all of its bits.
    """
    made = [
        profile_target(
            _subject(record),
            record.width,
            record.height,
            target,
            f"hwkd profile {record.model.name.removesuffix(BUNDLE_SUFFIX)} --target {target.name}",
        )
        for record in records
    ]
    return tuple(sorted(made, key=lambda r: (-r.macs.total_macs, r.model.name)))


def _subject(record: Record) -> Profiled:
    model = record.model
    if is_bundle(model.name):
        bundle = shipped().get(model.name.removesuffix(BUNDLE_SUFFIX))
        if bundle is not None:
            return load_bundle_subject(str(bundle), record.width, record.height)
    if model.weight_bits != FLOAT_BITS:
        raise InputError(
            f"{model.name} is quantized and does not ship: profile it on the target with `hwkd profile`"
        )
    return Profiled(
        model.name, model, None, record.size, record.macs, record.layers, record.quality
    )


def _paths() -> list[Path]:
    folder = data_folder("profiles")
    return sorted(p for p in folder.glob("*/*.json") if p.parent.name not in NO_RECORDS)
