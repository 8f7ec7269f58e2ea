"""Names of models on the command line, where bundles and models that torch runs are both taken."""

from collections.abc import Iterable
from pathlib import Path

from hwkd.codec.shipped import shipped, shipped_or_as_given
from hwkd.errors import InputError, unknown
from hwkd.runtime.bundle import is_bundle

ZOO = ("bmshj2018-hyperprior", "mbt2018-mean")
"""Copy of hwkd.models.teacher.TEACHERS, because that module needs torch."""

SHIPPED_FIRST = (
    "a name that ships comes before a file or folder of that name, which is written ./NAME"
)
"""The rule of every command that takes a shipped bundle by its name, for its help."""


def refuse_unknown(texts: Iterable[str]) -> None:
    """Refuse a bare name that no model has. A text with a colon, a dot or a folder is checked where it is loaded.

    Args:
        texts: as `hwkd.codec.shipped.shipped_or_as_given` returns them.
    Raises:
        InputError: there is such a name.
    """
    from hwkd.models.shipped import shipped_names

    known = (*shipped(), *shipped_names(), *ZOO)
    for text in texts:
        is_bare = not any(mark in text for mark in ":./")
        if is_bare and text not in known and not Path(text).exists():
            raise unknown("model", text, known, see="hwkd models")


def refuse_bundle(text: str) -> None:
    """Refuse a bundle: it holds integers, so its finer bits are lost.

    Raises:
        InputError: `text` names a bundle.
    """
    from hwkd.models.shipped import shipped_names

    if is_bundle(shipped_or_as_given(text)):
        raise InputError(
            f"{text} is a bundle, which holds no weights to quantize anew: give a run folder, RUN:float, a checkpoint, or "
            f"a float model that ships ({', '.join(shipped_names())})"
        )
