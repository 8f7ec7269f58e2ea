"""Whether the decoded images of a folder fit in the free memory: asked of their headers, before any is decoded."""

from collections.abc import Iterable
from pathlib import Path

from hwkd.distill.stream_entries import header_size
from hwkd.errors import InputError

SHARE = 0.8
"""Of the free memory that images may take: networks, activations and the page cache need the rest."""
GB = 1e9

_MEMINFO = Path("/proc/meminfo")


def check_fits(folder: Path, paths: Iterable[Path], crop: int, meminfo: Path = _MEMINFO) -> None:
    """Refuse images that would fill the memory.

    Args:
        paths: of the images; those that are too small for `crop`, or have no header, are not kept and not counted.
        meminfo: as Linux writes it; where there is none, nothing is refused.
    Raises:
        InputError: decoded they take more than SHARE of the available memory.
    """
    free = _available(meminfo)
    if free is None:
        return
    needed = 0
    for path in paths:
        try:
            with path.open("rb") as data:
                width, height = header_size(data) or (0, 0)
        except OSError:
            continue  # said where the image is read
        if min(width, height) >= crop:
            needed += 3 * width * height
    if needed > SHARE * free:
        raise InputError(
            f"the images of {folder} take {needed / GB:.1f} GB decoded, and {free / GB:.1f} GB of memory are free, of "
            f"which images may take {SHARE:.0%}: read them while training, with --stream, or give fewer"
        )


def _available(meminfo: Path) -> int | None:
    """Bytes that can be had without swapping."""
    try:
        for line in meminfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None
