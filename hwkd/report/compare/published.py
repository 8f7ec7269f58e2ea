"""Figures that others published: those of arXiv 2509.10366, and rate-distortion curves for Kodak."""

import json
from dataclasses import dataclass

from hwkd.errors import HwkdError, InputError
from hwkd.files import data_folder
from hwkd.measure.record import Record
from hwkd.metrics import Curve
from hwkd.models.spec import HyperpriorSpec, spec_from_json
from hwkd.schema import read_table

# The figures that arXiv 2509.10366 published; others measured them, elsewhere.

PAPER_FILE = "published/arxiv-2509.10366.json"
"""Path below profiles/."""


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

    Every row is a scale hyperprior of `family` with N channels inside, N in the hyper networks and in z, M in y. The
    first row is the base of the paper's savings.

    Attributes:
        note: the meaning of the tables' headings, in sentences.
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
    path = data_folder("profiles") / PAPER_FILE
    try:
        return read_table(Paper, json.loads(path.read_text(encoding="utf-8")), str(path))
    except (OSError, ValueError, InputError) as error:
        raise HwkdError(f"cannot read {path} ({error}); install hwkd again") from error


# The rate-distortion curves that others published for Kodak.

CURVES_FILE = "published/kodak-rd.json"
"""Path below profiles/."""

HYPERPRIOR = "bmshj2018-hyperprior"
"""The name of the curve that the paper's teacher is a point of, qualities 1, 2, .. in order of rate."""


@dataclass(frozen=True)
class PublishedCurve:
    """One codec; means over the images.

    Attributes:
        path: path of its file in the repository.
        note: which encoder, in words.

    Raises:
        InputError: as Curve.
    """

    name: str
    path: str
    note: str
    bpp: tuple[float, ...]
    psnr_db: tuple[float, ...]
    ms_ssim: tuple[float, ...]

    def __post_init__(self) -> None:
        _ = self.curve

    @property
    def curve(self) -> Curve:
        """Its points."""
        return Curve(self.name, self.bpp, self.psnr_db, self.ms_ssim)


@dataclass(frozen=True)
class PublishedCurves:
    """Curves of one repository at one commit.

    Attributes:
        note: how the figures were averaged, in sentences.
    """

    source: str
    repository: str
    commit: str
    images: str
    note: str
    curves: tuple[PublishedCurve, ...]

    def named(self, name: str) -> PublishedCurve:
        """The curve of this name, which must be there."""
        return next(curve for curve in self.curves if curve.name == name)


def read_published_curves() -> PublishedCurves:
    """The shipped curves.

    Raises:
        HwkdError: the file is missing or damaged.
    """
    path = data_folder("profiles") / CURVES_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return read_table(PublishedCurves, content, str(path))
    except (OSError, ValueError, InputError) as error:
        raise HwkdError(f"cannot read {path} ({error}); install hwkd again") from error
