"""Peak memory of an encode and of a decode, each in a process of its own, and how it grows with the image.

This file is also the process that runs a bundle; `hwkd.measure.eager.memory_child` is the one that runs torch.

    python -m hwkd.measure.memory RUNTIME encode|decode BUNDLE WIDTH HEIGHT THREADS STREAM
"""

import json
import math
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from tempfile import TemporaryDirectory

from hwkd.codec.codec import Z_PX, Codec
from hwkd.codec.entropy import use_compiled
from hwkd.errors import HwkdError, InputError
from hwkd.measure.coder import BundleCodec, ImageCodec, picture
from hwkd.measure.energy.measure import T_975
from hwkd.measure.machine import eager_setting
from hwkd.measure.record import Entry, Setting
from hwkd.measure.timing import pinned
from hwkd.quantity import Quantity, not_known

CHILD = (sys.executable, "-m", "hwkd.measure.eager.memory_child")
SIZES = ((384, 256), (768, 512), (1536, 1024))
"""Image sizes on which the growth is fitted: 0.1 to 1.6 megapixels."""
REPEATS = 2

_STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Peak:
    """One process's figures in MiB.

    Attributes:
        baseline_mib: its peak when the model was loaded.
        part: which part of PARTS it ran.
    """

    pixels: int
    peak_mib: float
    baseline_mib: float
    part: str


def measure_memory(
    model: str,
    width: int,
    height: int,
    *,
    threads: int,
    sizes: Sequence[tuple[int, int]] = SIZES,
    repeats: int = REPEATS,
    setting: Setting | None = None,
    command: Sequence[str] = CHILD,
) -> list[Entry]:
    """peak_mib at width x height and growth_mib_per_mpx over `sizes`, for encode and for decode.

    Counts: the largest resident set of a process that does nothing else: the interpreter, the libraries and the
    weights included. Does not count: what was swapped out. A bare architecture runs its networks
    only (part "networks"), a trained model the whole way from pixels to bytes or back (part "end_to_end").

    Args:
        model: a shipped model, a run folder (of a quantized run its float twin, RUN:float) or a bare architecture; what
            the child takes.
        threads: as `hwkd.measure.timing.pinned`.
        sizes: (width, height) in pixels, at least two different areas.
        repeats: processes for each size and side; each takes some seconds, most of them imports.
        setting: what runs in the processes; eager torch in float32 unless given.
        command: the child's command, as `run_child`.

    Raises:
        InputError: a size or a number that cannot be, a model that there is not.
        HwkdError: a process failed, or was killed (out of memory, as a rule).
    """
    areas = {w * h for w, h in sizes}
    if min(width, height, *(side for size in sizes for side in size)) < 1 or repeats < 1:
        raise InputError(
            f"needs images of 1x1 or more and 1 repeat or more, got {width}x{height}, {list(sizes)} and {repeats}"
        )
    if len(areas) < 2:
        raise InputError(f"a growth needs images of two different areas, got {list(sizes)}")
    every = dict.fromkeys([(width, height), *sizes])
    setting = setting or eager_setting(threads)
    peaks: dict[str, dict[tuple[int, int], list[Peak]]] = {"encode": {}, "decode": {}}
    with TemporaryDirectory(prefix="hwkd-") as folder:
        for size in every:
            for side, found in peaks.items():  # a decode reads what the encode before it wrote
                stream = Path(folder) / f"{size[0]}x{size[1]}"
                found[size] = [
                    run_child(side, model, size, threads, stream, command) for _ in range(repeats)
                ]
    entries = []
    for side, found in peaks.items():
        asked = found[(width, height)]
        fitted = [peak for size in dict.fromkeys(sizes) for peak in found[size]]
        part = asked[0].part
        entries.append(Entry("peak_mib", side, part, setting, peak_quantity(asked)))
        entries.append(Entry("growth_mib_per_mpx", side, part, setting, growth_quantity(fitted)))
    return entries


def peak_quantity(peaks: Sequence[Peak]) -> Quantity:
    """The median of the processes' peaks; `by` has the baseline and the spread."""
    values = [peak.peak_mib for peak in peaks]
    baseline = median(peak.baseline_mib for peak in peaks)
    by = (
        f"peak resident set of a process of its own, {baseline:.0f} MiB of it there before the image (imports and "
        f"weights), {min(values):.0f} to {max(values):.0f} MiB"
    )
    return Quantity(median(values), "measured", by, runs=len(values))


def growth_quantity(peaks: Sequence[Peak]) -> Quantity:
    """The least-squares slope of peak over megapixels, with its 95 % interval from the residuals.

    slope +- t * s / sqrt(Sxx), s^2 = residual sum of squares / (n - 2); no interval for n = 2. Not known where the
    peak does not grow: the image then needs less than loading the model did.
    """
    x = [peak.pixels / 1e6 for peak in peaks]
    y = [peak.peak_mib for peak in peaks]
    n, mean_x, mean_y = len(peaks), fmean(x), fmean(y)
    sxx = sum((a - mean_x) ** 2 for a in x)
    slope = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / sxx
    if slope < 0:
        return not_known(
            f"the peak does not grow from {min(x):.2f} to {max(x):.2f} megapixels: loading the model needs more than "
            "these images"
        )
    by = f"least squares over {n} processes, {min(x):.2f} to {max(x):.2f} megapixels"
    if n < 3:
        return Quantity(slope, "measured", by, runs=n)
    squares = sum((b - mean_y - slope * (a - mean_x)) ** 2 for a, b in zip(x, y, strict=True))
    t = T_975[min(n - 2, len(T_975)) - 1]
    half = t * math.sqrt(squares / (n - 2) / sxx)
    return Quantity(slope, "measured", by, max(0.0, slope - half), slope + half, 0.95, n)


def peak_mib(status: Path = _STATUS) -> float:
    """The largest resident set of this process so far, in MiB.

    From VmHWM on Linux: there getrusage's ru_maxrss starts at the peak of the process that started this one (800 MiB
    before the first import, for a parent of that size). Elsewhere from ru_maxrss.
    """
    try:
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    # macOS counts in bytes, others in KiB.
    units_per_mib = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / units_per_mib


def run_child(
    side: str,
    model: str,
    size: tuple[int, int],
    threads: int,
    stream: Path,
    command: Sequence[str] = CHILD,
) -> Peak:
    """One run of `hwkd.measure.eager.memory_child`, or of what `command` starts with the same arguments behind its own.

    Raises as `measure_memory`.
    """
    width, height = size
    done = subprocess.run(
        [*command, side, model, str(width), str(height), str(threads), str(stream)],
        capture_output=True,
        text=True,
        check=False,
    )
    what = f"the process that measures the memory to {side} {width}x{height}"
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        raise HwkdError(
            f"{what} was killed by {name}"
            + (", most likely because memory ran out" if name == "SIGKILL" else "")
            + "; try a smaller --size"
        )
    said = done.stderr.strip().splitlines()
    if done.returncode == InputError.exit_code and said:
        raise InputError(said[-1])
    if done.returncode:
        raise HwkdError(
            f"{what} failed with exit code {done.returncode}: {said[-1] if said else 'it said nothing'}"
        )
    result = json.loads(done.stdout.splitlines()[-1])
    return Peak(width * height, result["peak_mib"], result["baseline_mib"], result["part"])


def whole_run(
    codec: ImageCodec[bytes], side: str, size: tuple[int, int], stream: Path
) -> Callable[[], object]:
    """One encode or decode of an image of `size` in a child, its input ready.

    Args:
        stream: where an encode writes its bytes, and a decode finds them.
    """
    if side == "encode":
        image = picture(*size)
        return lambda: stream.write_bytes(codec.encode(image))
    data = stream.read_bytes()
    return lambda: codec.decode(data)


def report_peak(run: Callable[[], tuple[float, str]]) -> int:
    """The child's end of `run_child`: runs, prints, and returns the exit code.

    Args:
        run: runs the measured work; returns the peak before it in MiB, and which part of PARTS it was.
    """
    try:
        baseline_mib, part = run()
    except HwkdError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    # Linux sums a process's pages from counters of each core, so that a later look may tell a little less.
    after_mib = max(peak_mib(), baseline_mib)
    print(json.dumps({"peak_mib": after_mib, "baseline_mib": baseline_mib, "part": part}))
    return 0


def main(arguments: list[str]) -> int:
    """Run one side of a bundle once, as the child. The exit code is the error's, with its sentence on stderr.

    STREAM: where an encode writes its bytes and a decode finds them. Beside it lies the stream of one block of 64x64, coded
    first, so that the graphs are open and the coder is compiled before the image.
    """
    runtime, side, bundle, width, height, threads, stream = arguments

    def measure() -> tuple[float, str]:
        with pinned(int(threads)):
            use_compiled()
            codec = BundleCodec(Codec.load(bundle, runtime, int(threads)), bundle, runtime)
            block = Path(f"{stream}.block")
            if side == "encode":
                block.write_bytes(codec.encode(picture(Z_PX, Z_PX)))
            else:
                codec.decode(block.read_bytes())
            run = whole_run(codec, side, (int(width), int(height)), Path(stream))
            baseline_mib = peak_mib()
            run()
        return baseline_mib, "end_to_end"

    return report_peak(measure)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
