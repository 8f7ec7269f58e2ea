"""The errors a user sees: one line that says what happened, what was received, what is accepted, what to try."""

from collections.abc import Iterable

FEWEST_LETTERS = 3
"""Of a text that is looked for inside of longer names."""


class HwkdError(Exception):
    """The work failed although the input was right (a full disk, a diverged loss). Exit code 1."""

    exit_code = 1


class InputError(HwkdError):
    """The user's input was wrong. Exit code 2."""

    exit_code = 2


class Interrupted(HwkdError):
    """The user stopped the work (Ctrl-C); what is written stands. Exit code 130."""

    exit_code = 130


def unknown(kind: str, received: str, known: Iterable[str], see: str = "") -> InputError:
    """The error for a name that is not among `known`, with the near matches.

    Args:
        kind: what the name should be, "target" say.
        received: the name as the user gave it.
        known: the accepted names.
        see: a command that lists them, "hwkd targets" say.
    """
    from difflib import get_close_matches

    names = sorted(known)
    near = get_close_matches(received.lower(), names, n=3, cutoff=0.5)
    if not near and len(received) >= FEWEST_LETTERS:
        near = [name for name in names if received.lower() in name.lower()][:3]
    text = f"unknown {kind} {received!r}"
    if near:
        text += f": did you mean {' or '.join(near)}?"
    text += f" Known: {', '.join(names)}" if near else f": known are {', '.join(names)}"
    return InputError(text + (f" (see `{see}`)" if see else ""))
