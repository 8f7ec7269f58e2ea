"""All that a report page and its figures are made from."""

from dataclasses import dataclass

from hwkd.measure.record import Record
from hwkd.report.result_files import ResultFiles
from hwkd.report.training_log import TrainingLog
from hwkd.target import Target


@dataclass(frozen=True)
class Gathered:
    """What was found in the sources that the user named.

    records: costs, on machines that were measured and on targets. results: rate and distortion of trained models, None
    where no source has any. logs: of training runs. targets: the boards that cards are made for, in that order.
    sources: what was read, in words, for the foot of the page.
    """

    records: tuple[Record, ...]
    results: ResultFiles | None
    logs: tuple[TrainingLog, ...]
    targets: tuple[Target, ...]
    sources: tuple[str, ...]
