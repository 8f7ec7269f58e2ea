"""Whether a processor's int8 kernels overflow with a bundle's weights.

Without VNNI the kernels of x86 add pairs of products of uint8 and int8 in 16 bits: 2 x 255 x 64 is the most that fits,
so weights beyond 7 bits saturate. On AVX2 more than half the symbols of y were wrong so (relu N=64, 8-bit weights).
"""

from pathlib import Path

from hwkd.runtime.session import is_x86

SAFE_BITS = 7

_WITHOUT_OVERFLOW = {"avx512_vnni", "avx_vnni"}


def saturation_warning(
    weight_bits: int, machine: str | None = None, cpuinfo: Path = Path("/proc/cpuinfo")
) -> str | None:
    """What a user must know before running integer weights of `weight_bits` bits here; None where nothing.

    Args:
        machine: as platform.machine() gives it; this one's unless given.
        cpuinfo: where the kernel lists the processor's flags; nothing is said where it does not.
    """
    if weight_bits <= SAFE_BITS or not is_x86(machine):
        return None
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    flags = next((line for line in text.splitlines() if line.startswith("flags")), "").split()
    if not flags or _WITHOUT_OVERFLOW.intersection(flags):
        return None
    return (
        f"this processor has no VNNI, so sums over weights of {weight_bits} bits saturate and pictures are worse than they "
        "should be: export the model with --target x86-avx2 to use it here"
    )
