"""The sources of a report: each text that a user names, by what lies there, and the plots in their order."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from hwkd.codec.shipped import shipped, shipped_or_as_given
from hwkd.errors import InputError, unknown
from hwkd.files import data_folder
from hwkd.measure.bundles import (
    all_shipped_records,
    load_bundle_subject,
    predicted_records,
    records_named,
)
from hwkd.measure.machine import installed_version
from hwkd.measure.profile import Profiled, profile_target
from hwkd.measure.record import NO_RECORDS, Provenance, Record, read_record
from hwkd.models.shipped import shipped_names
from hwkd.models.spec import is_architecture
from hwkd.report.compare.published import read_paper, read_published_curves
from hwkd.report.plots.costs import cost_plots
from hwkd.report.plots.layers import layer_plots
from hwkd.report.plots.plot import Plot
from hwkd.report.plots.rd import rd_plot
from hwkd.report.plots.training import TrainingLog, read_training_log, training_plot
from hwkd.report.results import ARMS, ResultFiles, in_order, read_result_files, shipped_results
from hwkd.results import Result, read_result
from hwkd.runtime.bundle import is_bundle
from hwkd.schema import read_json
from hwkd.target import Target, list_targets, load_target, load_targets

# All that a report page and its figures are made from.


@dataclass(frozen=True)
class Gathered:
    """The content of the sources that the user named.

    Attributes:
        records: costs, on machines that were measured and on targets.
        results: rate and distortion of trained models; None where no source has any.
        logs: logs of training runs.
        targets: the boards that cards are made for, in that order.
        sources: what was read, in words, for the foot of the page.
    """

    records: tuple[Record, ...]
    results: ResultFiles | None
    logs: tuple[TrainingLog, ...]
    targets: tuple[Target, ...]
    sources: tuple[str, ...]


# What the sources of a report are: each text that a user names, by what lies there.

SHIPPED = "shipped"
"""The source that stands for all records, results and training logs that come with hwkd."""

WIDTH, HEIGHT = 768, 512
"""Size of the image that costs are predicted for: Kodak's, as in the records that ship."""

_NO_PROVENANCE = Provenance("", "", "", {})
"""Replaces the time, place and command of a prediction: they do not change it."""

CONFIG, METRICS = "config.json", "metrics.jsonl"


@dataclass
class _Sources:
    """The sources read so far."""

    records: list[Record] = field(default_factory=list)
    results: dict[str, Result] = field(default_factory=dict)
    shipped_results: ResultFiles | None = None
    logs: list[TrainingLog] = field(default_factory=list)
    is_on_all_targets: bool = False


def gather(
    sources: Sequence[str],
    targets: Sequence[str],
    progress: Callable[[str], None] = lambda _: None,
) -> Gathered:
    """Read `sources`: records, results, bundles and runs. Bundles and runs are predicted on every target.

    Args:
        sources: files, folders or names, as `hwkd report` describes them; with none, what ships.
        targets: names or .toml files. Other targets are left out; machines that were measured stay. With none: every shipped
            target if a source can be predicted there, else the targets of the records.
        progress: called with each source's name before it is read.

    Raises:
        InputError: a source that is nothing of this kind, a file that is damaged, two results of one name, a target that
            there is not, or nothing to report.
        HwkdError: a run is named and torch is not installed.
    """
    wanted = load_targets(targets)
    found = _Sources()
    for text in dict.fromkeys(sources) or (SHIPPED,):
        progress(text)
        _read(text, wanted or [load_target(name) for name in list_targets()], found)
    records = _on_targets(found.records, [t.name for t in wanted])
    results = _results(found)
    if not (records or results or found.logs):
        raise InputError(f"nothing to report in {' '.join(sources)}")
    named = {record.target for record in records if not record.is_host}
    boards = wanted or [
        load_target(name) for name in list_targets() if found.is_on_all_targets or name in named
    ]
    return Gathered(
        tuple(records), results, tuple(found.logs), tuple(boards), tuple(sources or (SHIPPED,))
    )


def _on_targets(records: Sequence[Record], names: Sequence[str]) -> list[Record]:
    """With `names`, only the records on these targets and those of machines that were measured; each record once.

    A repeated prediction is the same record, whatever its time and command.
    """
    distinct: list[Record] = []
    undated: list[Record] = []
    for record in records:
        if names and not record.is_host and record.target not in names:
            continue
        alike = record if record.is_host else replace(record, provenance=_NO_PROVENANCE)
        if alike not in undated:
            undated.append(alike)
            distinct.append(record)
    return distinct


def _results(found: _Sources) -> ResultFiles | None:
    held = dict(found.results)
    arms = None
    if found.shipped_results is not None:
        for stem, result in found.shipped_results.results.items():
            _add_result(held, stem, result)
        arms = found.shipped_results.arms
    if not held:
        return None
    return ResultFiles({stem: held[stem] for stem in in_order(held)}, arms)


def _add_result(held: dict[str, Result], stem: str, result: Result) -> None:
    if held.setdefault(stem, result) != result:
        raise InputError(
            f"two different results are called {stem}: rename one of the files, its name tells them apart"
        )


def _read(text: str, targets: Sequence[Target], found: _Sources) -> None:
    path = Path(text)
    if text == SHIPPED:
        _read_shipped(targets, found)
    elif text.partition("/")[0] in list_targets() and not path.exists():
        # Before bundles: TARGET/MODEL.hwkd is the record of one.
        found.records += records_named(text)
    elif text in shipped() or is_bundle(text):
        found.is_on_all_targets = True
        _predict(load_bundle_subject(shipped_or_as_given(text), WIDTH, HEIGHT), targets, found)
    elif is_architecture(text) or text in shipped_names():
        _predict_in_torch(text, targets, found)
    elif (path / CONFIG).is_file():
        _read_run(path, targets, found)
    elif path.is_dir():
        _read_folder(path, found)
    elif path.suffix == ".json":
        _read_file(path, found)
    else:
        found.records += _named(text)


def _named(text: str) -> tuple[Record, ...]:
    try:
        return records_named(text)
    except InputError as error:
        if text.endswith(".toml") or "/" in text or text in list_targets():
            raise
        known = (SHIPPED, *list_targets(), *shipped(), *shipped_names())
        raise unknown("source", text, known, see="hwkd report --help") from error


def _read_shipped(targets: Sequence[Target], found: _Sources) -> None:
    found.is_on_all_targets = True
    found.records += all_shipped_records()
    there = {record.target for record in found.records}
    for target in targets:
        if target.name not in there:
            found.records += predicted_records(target)
    found.shipped_results = read_result_files(shipped_results())
    folder = data_folder("profiles") / "results" / "training"
    found.logs += [read_training_log(p, p.stem) for p in sorted(folder.glob("*.jsonl"))]


def _read_run(path: Path, targets: Sequence[Target], found: _Sources) -> None:
    name = path.resolve().name
    if (path / METRICS).is_file():
        found.logs.append(read_training_log(path / METRICS, name))
    _predict_in_torch(str(path), targets, found)


def _predict_in_torch(text: str, targets: Sequence[Target], found: _Sources) -> None:
    if installed_version("torch") is None:
        raise InputError(
            f'{text} takes torch, which is not installed: pip install "hwkd[train]", or give a record that '
            "`hwkd profile --save` wrote of it"
        )
    from hwkd.measure.eager.models import load_subject

    found.is_on_all_targets = True
    _predict(load_subject(text, WIDTH, HEIGHT), targets, found)


def _predict(subject: Profiled, targets: Sequence[Target], found: _Sources) -> None:
    found.records += [
        profile_target(subject, WIDTH, HEIGHT, target, f"hwkd profile {subject.text}")
        for target in targets
    ]


def _read_folder(path: Path, found: _Sources) -> None:
    """Records and results, to the bottom of the folder."""
    paths = [
        p
        for p in sorted(path.rglob("*.json"))
        if NO_RECORDS[0] not in p.relative_to(path).parts and p.name != ARMS
    ]
    if not paths:
        raise InputError(
            f"{path} holds no records and no results (.json): make records with `hwkd profile --save {path}`, results "
            f"with `hwkd evaluate --save-results {path / 'NAME.json'}`, or give the folder of a run"
        )
    for each in paths:
        _read_file(each, found)


def _read_file(path: Path, found: _Sources) -> None:
    """A record or a result, by what it holds."""
    content = read_json(path, "give a record or a result")
    if isinstance(content, dict) and "results" in content:
        _add_result(found.results, path.stem, read_result(path))
    else:
        found.records.append(read_record(path))


# The plots of a report, in the order of the page. Pure.


def plots_of(gathered: Gathered) -> tuple[Plot, ...]:
    """Rate and distortion, quality over cost, layers, training: those that `gathered` holds figures for.

    Raises:
        HwkdError: a published table that ships with hwkd is missing or damaged.
    """
    paper = read_paper()
    rd = None
    if gathered.results is not None:
        rd = rd_plot(gathered.results, read_published_curves(), paper)
    training = training_plot(gathered.logs)
    found = (
        rd,
        *cost_plots(gathered.records, paper),
        *layer_plots(gathered.records, gathered.targets),
        training,
    )
    return tuple(plot for plot in found if plot is not None)
