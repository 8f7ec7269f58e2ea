"""Load the teacher that the user names, ready to teach; CompressAI's model zoo."""

import json
import sys
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.error import URLError
from urllib.parse import urlparse

import torch

from hwkd.errors import HwkdError, InputError, unknown
from hwkd.files import in_home
from hwkd.models.base import HyperpriorCodec
from hwkd.models.build import build, recognise
from hwkd.models.checkpoint import Checkpoint, fill, read_checkpoint
from hwkd.models.compat import model_urls
from hwkd.models.shipped import read_card, shipped_names, shipped_path
from hwkd.models.spec import Spec, lmbda_of, spec_from_json

# CompressAI's own model zoo: its names, its table of addresses, torch.hub's cache.
#
# compressai's loader unpickles what it downloads (weights_only=False), so only its table and cache are used here; the
# file is read by `read_checkpoint`.

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
        """The lmbda it was trained with; None for ms-ssim: its lambdas weigh another distortion."""
        return lmbda_of(self.quality) if self.metric == "mse" else None

    @property
    def url(self) -> str:
        """The address where CompressAI publishes it."""
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
        torch.hub.download_url_to_file(
            name.url, str(path), hash_prefix=digest_in(path.name), progress=sys.stderr.isatty()
        )
    # RuntimeError: the download does not match the digest in the file's name (a proxy's page, for example).
    except (OSError, HTTPException, RuntimeError) as error:
        reason = error.reason if isinstance(error, URLError) else error
        raise HwkdError(
            f"could not fetch {name} from {name.url}: {reason}; it is kept in {cache} once fetched. Without a "
            f"network put {name.file_name} there, or give a checkpoint file, or leave --teacher out"
        ) from error
    return path


def digest_in(file_name: str) -> str:
    """The first digits of the SHA-256 that a published file's name ends in."""
    return file_name.split(".")[0].rsplit("-", 1)[-1]


# From what the user names to a teacher ready to teach.

DEFAULT = "patch-q5"
"""The shipped teacher that is used where none is named."""

STUDENT, FLOAT_STUDENT = "student.safetensors", "float.safetensors"
"""The files of weights in a run folder; the second is the student before it was quantized."""

SUFFIXES = (".safetensors", ".pth.tar", ".pth", ".pt", ".tar")


@dataclass(frozen=True)
class Teacher:
    """A trained codec, in evaluation mode, float32, without gradients, its entropy tables in place.

    Attributes:
        lmbda: the lambda that it was trained with, of R + lmbda * 255^2 * MSE; None where the file does not have it.
        source: where it came from, for people.
        sha256: digest of its file.
    """

    name: str
    model: HyperpriorCodec
    spec: Spec
    lmbda: float | None
    source: str
    sha256: str | None


def load_teacher(text: str | None) -> Teacher:
    """The teacher that `text` names.

    Args:
        text: a shipped teacher's name; `bmshj2018-hyperprior:5` (CompressAI's zoo, `:ms-ssim` may follow); a
            checkpoint file; a run folder; None for the shipped default.
    Raises:
        InputError: nothing of this name, or a file that is not a teacher.
        HwkdError: the zoo's file could not be fetched, or a shipped file is damaged.
    """
    if text is None:
        if DEFAULT not in shipped_names():
            raise HwkdError(
                f"this installation lacks the default teacher {DEFAULT}; install hwkd again, or name one with "
                "--teacher (bmshj2018-hyperprior:5, or a checkpoint file)"
            )
        return _shipped(DEFAULT)
    if text in shipped_names():
        return _shipped(text)
    path = in_home(text)
    if path.is_dir():
        return _run_folder(path)
    if path.exists() or path.name.endswith(SUFFIXES) or path.parent != Path():
        return _file(path)
    if is_zoo_name(text):
        return _zoo(parse_zoo_name(text))
    raise unknown("teacher", text, [*shipped_names(), *TEACHERS], see="hwkd models")


def _teacher(
    name: str, held: Checkpoint, spec: Spec, lmbda: float | None, source: str, path: Path
) -> Teacher:
    model = build(spec).eval().requires_grad_(False)
    fill(model, held.state, str(path))
    return Teacher(name, model, spec, lmbda, source, held.sha256)


def _shipped(name: str) -> Teacher:
    card, path = read_card(name), shipped_path(name)
    held = read_checkpoint(path)
    if held.sha256 != card.sha256:
        raise HwkdError(
            f"{path} is not the file its card describes (sha256 differs); install hwkd again"
        )
    return _teacher(name, held, card.spec, card.lmbda, f"shipped with hwkd ({card.file})", path)


def _zoo(name: ZooName) -> Teacher:
    path = fetch(name)
    source = f"CompressAI's zoo, {name.url}"
    try:
        held = read_checkpoint(path)
    except InputError as error:
        raise HwkdError(f"{error} (delete it, and it is fetched again)") from error
    if not _is_published(held, name):
        raise HwkdError(
            f"{path} is not the file that CompressAI publishes as {name}: its sha256 begins with {held.sha256[:8]}, not "
            f"{digest_in(name.file_name)} as its name says; delete it, and it is fetched again, or give it by its path, "
            "as your own"
        )
    spec = recognise(held.state, held.metadata, str(path))
    return _teacher(str(name), held, spec, name.lmbda, source, path)


def _file(path: Path) -> Teacher:
    held = read_checkpoint(path)
    spec = recognise(held.state, held.metadata, str(path))
    published = published_as(path.name)
    # A file of one's own may have been saved under a published name: then it is neither that model nor of its lambda.
    if published is not None and _is_published(held, published):
        return _teacher(str(published), held, spec, published.lmbda, str(path), path)
    name = next((path.name.removesuffix(s) for s in SUFFIXES if path.name.endswith(s)), path.name)
    lmbda = _positive(held.metadata.get("lmbda"), path)
    return _teacher(name, held, spec, lmbda, str(path), path)


def _is_published(held: Checkpoint, name: ZooName) -> bool:
    return held.sha256.startswith(digest_in(name.file_name))


def _run_folder(folder: Path) -> Teacher:
    config_path = folder / "config.json"
    try:
        config: dict[str, Any] = json.loads(config_path.read_text(encoding="utf-8"))
        described = config["spec"]
        spec = spec_from_json(described if isinstance(described, str) else json.dumps(described))
    except FileNotFoundError as error:
        raise InputError(
            f"{folder} is not a run folder: it has no config.json; give the folder that `hwkd distill` wrote, or "
            "a checkpoint file"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, InputError) as error:
        raise InputError(
            f"{config_path} does not describe a run ({error!r}); give another run folder, or its "
            f"{STUDENT}"
        ) from error
    lmbda = _positive(config.get("lmbda"), config_path)
    name, source = folder.resolve().name, f"run {folder}"
    path = folder / STUDENT
    # A quantized student has more than its weights: the float one it came from teaches.
    if config.get("bits") is not None:
        name, source, path = (
            f"{name} (float)",
            f"{source}, its float student",
            folder / FLOAT_STUDENT,
        )
    return _teacher(name, read_checkpoint(path), spec, lmbda, source, path)


def _positive(value: object, path: Path) -> float | None:
    if value is None:
        return None
    try:
        lmbda = float(str(value))
    except ValueError:
        lmbda = 0.0
    if not 0 < lmbda < float("inf"):
        raise InputError(f"{path}: lmbda must be a number above 0, got {value!r}")
    return lmbda
