"""Where the files that ship with hwkd lie."""

from pathlib import Path

from hwkd.errors import HwkdError

_PACKAGE = Path(__file__).resolve().parent


def data_folder(name: str) -> Path:
    """The folder of shipped data called `name` ("targets", "profiles").

    An installed wheel holds it at hwkd/_data/<name>; a source checkout, or an editable install of one, beside the
    package.

    Raises:
        HwkdError: neither is there, so the installation is damaged.
    """
    for folder in (_PACKAGE / "_data" / name, _PACKAGE.parent / name):
        if folder.is_dir():
            return folder
    raise HwkdError(
        f"the folder {name!r} that ships with hwkd is missing from {_PACKAGE}; install hwkd again"
    )
