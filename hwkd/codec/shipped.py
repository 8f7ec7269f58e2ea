"""Finding a bundle: by what the user names, or by the model id that a stream carries.

A shipped bundle's name comes before a file or folder of that name, as a shipped teacher's does: so a command means the
same in every folder. The user's own is ./NAME, which is no shipped name.
"""

import zipfile
from collections.abc import Iterable
from pathlib import Path

from hwkd.errors import InputError, unknown
from hwkd.runtime.bundle import BUNDLE_SUFFIX, MAX_BYTES, MAX_MANIFEST_BYTES, bundle_id
from hwkd.runtime.manifest import MANIFEST

SHIPPED = Path(__file__).resolve().parents[1] / "bundles"
"""The folder of the bundles that come with hwkd; it may not exist."""

DEFAULT = "patch-medium"
"""The shipped bundle that encodes where none is named."""

_EXPORT = f"a {BUNDLE_SUFFIX} file, which `hwkd export` writes"


def shipped() -> dict[str, Path]:
    """The bundles that come with hwkd, by name."""
    return {path.stem: path for path in sorted(SHIPPED.glob(f"*{BUNDLE_SUFFIX}"))}


def shipped_or_as_given(text: str) -> str:
    """The file of the shipped bundle that `text` names; `text` itself where it names none."""
    return str(shipped().get(text, text))


def default_bundle() -> Path:
    """The bundle to encode with where the user names none.

    Raises:
        InputError: it does not ship.
    """
    held = shipped()
    if DEFAULT not in held:
        raise InputError(f"no model given: name one with --model, {_accepted(held)}")
    return held[DEFAULT]


def named_bundle(model: str) -> Path:
    """The bundle that `model` names: a shipped one by its name, or a file.

    Raises:
        InputError: neither is there, or it is a folder.
    """
    held = shipped()
    path = Path(model)
    if model in held:
        return held[model]
    if path.is_dir():
        raise InputError(f"{model} is a folder: give {_EXPORT}")
    if path.exists():
        return path
    if path.suffix == BUNDLE_SUFFIX or len(path.parts) > 1:
        raise InputError(f"no such file: {model}; give {_accepted(held)}")
    if not held:
        raise InputError(f"unknown model {model!r}: give {_accepted(held)}")
    raise unknown("model", model, held)


def id_at(path: Path) -> bytes | None:
    """The id of the bundle at `path`, from its manifest alone, not checked; None where there is no bundle."""
    try:
        # No bundle is so large, and of a zip that claims to be one the whole directory would be read.
        if not path.is_file() or path.stat().st_size > 2 * MAX_BYTES:
            return None
        with zipfile.ZipFile(path) as held:
            entry = held.getinfo(MANIFEST)
            if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > MAX_MANIFEST_BYTES:
                return None
            return bundle_id(held.read(entry))
    # zipfile raises a dozen classes on wrong bytes. The error is reported when the bundle is read.
    except Exception:
        return None


class BundleIndex:
    """Folders of bundles, each looked through once, when the first id is sought in it."""

    def __init__(self) -> None:
        self._held: dict[Path, dict[bytes, Path]] = {}

    def find(self, model_id: bytes, folders: Iterable[Path]) -> Path | None:
        """The first bundle of this id in `folders`, not below them; None where there is none."""
        for folder in folders:
            if folder not in self._held:
                paths = sorted(folder.glob(f"*{BUNDLE_SUFFIX}"), reverse=True)
                ids = {found: path for path in paths if (found := id_at(path)) is not None}
                self._held[folder] = ids
            if model_id in self._held[folder]:
                return self._held[folder][model_id]
        return None

    def bundle_of(self, model_id: bytes, beside: Path, model: str | None) -> Path:
        """The bundle that a stream was written with.

        Args:
            model_id: the stream's.
            beside: the stream's folder.
            model: as `named_bundle`, or a folder to look in; None: the shipped ones, then `beside`, then the current
                folder.
        Raises:
            InputError: it is not there, or `model` is another one; the message names the right one where it is found.
        """
        around = (SHIPPED, beside, Path())
        if model is None:
            found = self.find(model_id, around)
            if found is None:
                raise InputError(
                    f"written with the model {model_id.hex()}, which does not ship with hwkd and lies neither beside "
                    "the stream nor in the current folder; give its bundle with --model"
                )
            return found
        if model not in shipped() and Path(model).is_dir():
            found = self.find(model_id, (Path(model),))
            if found is not None:
                return found
            received = f"{model} holds no bundle of it"
        else:
            path = named_bundle(model)
            other = id_at(path)
            # A file that is no bundle is refused where it is read, with what is wrong with it.
            if other is None or other == model_id:
                return path
            received = f"{model} is {other.hex()}"
        raise InputError(_other_model(model_id, self.find(model_id, around), received))


def _other_model(model_id: bytes, found: Path | None, received: str) -> str:
    if found is None:
        return f"written with the model {model_id.hex()}, and {received}; give the bundle that it was written with"
    if found.parent == SHIPPED:
        return f"written with {found.stem}, which ships with hwkd: leave --model out"
    return f"written with {found}, and {received}: give --model {found}"


def _accepted(held: Iterable[str]) -> str:
    names = ", ".join(held)
    return (
        f"{_EXPORT}, or one that ships ({names})"
        if names
        else f"{_EXPORT} (none ships with hwkd yet)"
    )
