"""What a user should know beside the result: by Python's logging, so that a program decides where it goes.

The command line writes notes to standard error (hwkd/cli/talk.py).
"""

import logging

_LOG = logging.getLogger("hwkd")


def note(text: str) -> None:
    """Say something that the user may have to act on: "passed over 3 files" say."""
    _LOG.warning("%s", text)


def lack(text: str) -> None:
    """Say what the work goes on without: an error, which --quiet does not hide."""
    _LOG.error("%s", text)


def is_detailed() -> bool:
    """Whether anybody hears what `detail` says."""
    return _LOG.isEnabledFor(logging.INFO)


def detail(text: str) -> None:
    """Say what is done and how, for a user who asked for more (-v)."""
    _LOG.info("%s", text)
