"""The rate-distortion curves that others published for Kodak."""

import json
from dataclasses import dataclass

from hwkd.data import data_folder
from hwkd.errors import HwkdError, InputError
from hwkd.metrics import Curve
from hwkd.schema import read_table

FILE = "published/kodak-rd.json"
"""Below profiles/."""

HYPERPRIOR = "bmshj2018-hyperprior"
"""The name of the curve that the paper's teacher is a point of, qualities 1, 2, .. in order of rate."""


@dataclass(frozen=True)
class PublishedCurve:
    """One codec; means over the images. path: of its file in the repository. note: which encoder, in words.

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
    """Curves of one repository at one commit. note: how the figures were averaged, in sentences."""

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
    path = data_folder("profiles") / FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return read_table(PublishedCurves, content, str(path))
    except (OSError, ValueError, InputError) as error:
        raise HwkdError(f"cannot read {path} ({error}); install hwkd again") from error
