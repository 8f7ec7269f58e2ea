"""Messages to a user beside the result. They use Python's logging, so that a program decides where they go.

The command line writes notes to standard error (hwkd/cli/talk.py).
"""

import logging

_LOG = logging.getLogger("hwkd")


def note(text: str) -> None:
    """Log something that the user may have to act on, for example "passed over 3 files"."""
    _LOG.warning("%s", text)


def lack(text: str) -> None:
    """Log a lack with which the work goes on: an error, which --quiet does not hide."""
    _LOG.error("%s", text)


def is_detailed() -> bool:
    """Whether the messages of `detail` are shown."""
    return _LOG.isEnabledFor(logging.INFO)


def detail(text: str) -> None:
    """Log what is done and how, for a user who requested details (-v)."""
    _LOG.info("%s", text)
