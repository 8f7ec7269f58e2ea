"""The figures that arXiv 2509.10366 published; others measured them, elsewhere."""

import json
from dataclasses import dataclass

from hwkd.data import data_folder
from hwkd.errors import HwkdError, InputError
from hwkd.measure.record import Record
from hwkd.models.spec import HyperpriorSpec, spec_from_json
from hwkd.schema import read_table

FILE = "published/arxiv-2509.10366.json"
"""Below profiles/."""


@dataclass(frozen=True)
class PaperRow:
    """One model of the paper's tables; gmacs and energy_mj for one image, memory_mib with buffers."""

    model: str
    N: int
    parameters_m: float
    memory_mib: float
    gmacs: float
    fps: float
    energy_mj: float
    psnr_db: float
    bpp: float

    @property
    def name(self) -> str:
        """As tables print it."""
        return f"{self.model} N={self.N}"


@dataclass(frozen=True)
class Paper:
    """The paper's tables: where they stand, what they were measured on, with which images and architectures.

    note: what its headings mean, in sentences.

    Every row is a scale hyperprior of `family` with N channels inside, N in the hyper networks and in z, M in y. The
    first row is the one that the paper's savings are told against.
    """

    source: str
    measured_on: str
    images: str
    note: str
    family: str
    M: int
    width: int
    height: int
    rows: tuple[PaperRow, ...]

    def row_for(self, record: Record) -> PaperRow | None:
        """The paper's row of the architecture that `record` has; None where it has none of them."""
        spec = spec_from_json(record.model.spec)
        for row in self.rows:
            if spec == HyperpriorSpec(self.family, (row.N,) * 3, self.M, row.N, row.N):
                return row
        return None


def read_paper() -> Paper:
    """The shipped figures of the paper.

    Raises:
        HwkdError: the file is missing or damaged.
    """
    path = data_folder("profiles") / FILE
    try:
        return read_table(Paper, json.loads(path.read_text(encoding="utf-8")), str(path))
    except (OSError, ValueError, InputError) as error:
        raise HwkdError(f"cannot read {path} ({error}); install hwkd again") from error
