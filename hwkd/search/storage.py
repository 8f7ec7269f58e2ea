"""Where a study lies: an SQLite file, a journal, or any database that Optuna takes by its URL."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from sqlalchemy.exc import SQLAlchemyError

from hwkd.errors import InputError

LOCK_WAIT_S = 20.0
"""How long an operation waits for another program that holds an SQLite file."""

DATABASES, JOURNALS = (".db", ".sqlite", ".sqlite3"), (".journal", ".log")


def open_storage(text: str, *, must_exist: bool) -> BaseStorage:
    """The storage that `text` names: FILE.db, FILE.journal, or a URL.

    must_exist: refuse a file that is not there, which would be made.
    Raises:
        InputError: another name; a file that is missing, locked or of another kind; no driver for the URL.
    """
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    if "://" in text:
        with storage_errors(text):
            return optuna.storages.get_storage(text)
    path = Path(text)
    if path.suffix not in (*DATABASES, *JOURNALS):
        raise InputError(
            f"--study {text} is no place for a study: give FILE{DATABASES[0]} for SQLite, FILE{JOURNALS[0]} for a journal "
            "that machines share over a network file system, or a URL that Optuna takes"
        )
    if must_exist and not path.is_file():
        raise InputError(
            f"there is no study in {text}: start it with `hwkd fit --target T --max-ms MS --study {text}`, and then its "
            "workers"
        )
    with storage_errors(text):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in JOURNALS:
            return _journal(path)
        arguments = {"connect_args": {"timeout": LOCK_WAIT_S}}
        return RDBStorage(f"sqlite:///{path}", engine_kwargs=arguments)


def _journal(path: Path) -> BaseStorage:
    try:
        return JournalStorage(JournalFileBackend(str(path)))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is not a journal of a study ({error!r}): give another --study, or move it away"
        ) from error


@contextmanager
def storage_errors(text: str) -> Iterator[None]:
    """What goes wrong with the storage `text` inside is told in one line, as an InputError; Optuna's warnings are not."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is experimental, or reported twice
            yield
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        raise _explained(text, error) from error
    except ModuleNotFoundError as error:
        raise InputError(
            f"--study {text} needs a package that is not installed: {error}"
        ) from error
    except OSError as error:
        raise InputError(
            f"cannot use the study {text}: {error.strerror or error}; give another place with --study"
        ) from error


def _explained(text: str, error: Exception) -> InputError:
    causes = " ".join(str(e) for e in (error, error.__cause__, error.__context__) if e is not None)
    if "locked" in causes:
        return InputError(
            f"the study {text} is locked: another program has held it for {LOCK_WAIT_S:g} s; close that program "
            "(`fuser FILE` names it), or give another --study, and run the same command again"
        )
    if "not a database" in causes or "malformed" in causes:
        return InputError(
            f"{text} is not an SQLite database: give another --study, or move it away"
        )
    return InputError(f"cannot use the study {text} ({_first_line(causes)}): give another --study")


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0][:160]
