"""CompressAI's own model zoo: its names, its table of addresses, torch.hub's cache.

compressai's loader unpickles what it downloads (weights_only=False), so only its table and cache are used here; the
file is read by `read_checkpoint`.
"""

import sys
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from urllib.error import URLError
from urllib.parse import urlparse

import torch

from hwkd.errors import HwkdError, InputError, unknown
from hwkd.models.compat import model_urls
from hwkd.models.quality import lmbda_of

TEACHERS = ("bmshj2018-hyperprior", "mbt2018-mean")
"""The architectures of the zoo that can teach."""


@dataclass(frozen=True)
class ZooName:
    """One model of the zoo: `ARCHITECTURE:QUALITY`, or `ARCHITECTURE:QUALITY:ms-ssim`."""

    architecture: str
    quality: int
    metric: str = "mse"

    def __str__(self) -> str:
        """As the user writes it."""
        tail = "" if self.metric == "mse" else f":{self.metric}"
        return f"{self.architecture}:{self.quality}{tail}"

    @property
    def lmbda(self) -> float | None:
        """The lmbda it was trained with; None for ms-ssim, whose lambdas weigh another distortion."""
        return lmbda_of(self.quality) if self.metric == "mse" else None

    @property
    def url(self) -> str:
        """Where CompressAI publishes it."""
        return str(model_urls[self.architecture][self.metric][self.quality])

    @property
    def file_name(self) -> str:
        """The published file's name."""
        return PurePosixPath(urlparse(self.url).path).name


def is_zoo_name(text: str) -> bool:
    """Whether `text` is meant as a name of the zoo: an architecture of it, or something with a colon."""
    return ":" in text or text in model_urls


def parse_zoo_name(text: str) -> ZooName:
    """Read `NAME:QUALITY[:METRIC]`, the metric being mse unless given.

    Raises:
        InputError: a name, quality or metric that the zoo lacks, or an architecture that cannot teach.
    """
    architecture, *rest = text.split(":")
    if architecture in model_urls and architecture not in TEACHERS:
        raise InputError(
            f"{architecture} is in CompressAI's zoo but cannot teach here (no hyperprior, or an autoregressive "
            f"context); use {' or '.join(TEACHERS)}"
        )
    if architecture not in TEACHERS:
        raise unknown("zoo model", architecture, TEACHERS)
    if len(rest) not in (1, 2):
        raise InputError(f"{text!r} is not NAME:QUALITY[:METRIC]; try {architecture}:5")
    metric = rest[1] if len(rest) == 2 else "mse"
    if metric not in model_urls[architecture]:
        raise unknown("metric", metric, model_urls[architecture])
    qualities = sorted(model_urls[architecture][metric])
    if not rest[0].isdecimal() or int(rest[0]) not in qualities:
        raise InputError(
            f"{architecture} has no quality {rest[0]!r}: it is {qualities[0]} to {qualities[-1]}; "
            f"try {architecture}:5"
        )
    return ZooName(architecture, int(rest[0]), metric)


def published_as(file_name: str) -> ZooName | None:
    """The zoo's name for a file that was downloaded from it by hand, or None."""
    for architecture in TEACHERS:
        for metric, qualities in model_urls[architecture].items():
            for quality in qualities:
                name = ZooName(architecture, quality, metric)
                if name.file_name == file_name:
                    return name
    return None


def fetch(name: ZooName) -> Path:
    """The model's file in torch.hub's cache (where compressai looks too), downloaded if it is not there.

    Progress goes to stderr.

    Raises:
        HwkdError: it could not be fetched.
    """
    cache = Path(torch.hub.get_dir()) / "checkpoints"
    path = cache / name.file_name
    if path.exists():
        return path
    print(f"downloading {name.url} to {path}", file=sys.stderr)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(name.url, str(path), progress=sys.stderr.isatty())
    except (OSError, HTTPException) as error:
        reason = error.reason if isinstance(error, URLError) else error
        raise HwkdError(
            f"could not fetch {name} from {name.url}: {reason}; it is kept in {cache} once fetched. Without a "
            f"network put {name.file_name} there, or give a checkpoint file, or leave --teacher out"
        ) from error
    return path


def digest_in(file_name: str) -> str:
    """The first digits of the SHA-256 that a published file's name ends in."""
    return file_name.split(".")[0].rsplit("-", 1)[-1]
