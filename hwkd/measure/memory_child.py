"""One encode or decode of a bundle in a process of its own, for `hwkd.measure.memory`: prints its peak memory as JSON.

    python -m hwkd.measure.memory_child RUNTIME encode|decode BUNDLE WIDTH HEIGHT THREADS STREAM

STREAM: where an encode writes its bytes and a decode finds them. Beside it lies the stream of one block of 64x64, coded
first, so that the graphs are open and the coder is compiled before the image.
"""

import sys
from pathlib import Path

from hwkd.codec.codec import Z_PX, Codec
from hwkd.codec.entropy import use_compiled
from hwkd.measure.coder import BundleCodec, picture
from hwkd.measure.memory import peak_mib, report_peak, whole_run
from hwkd.measure.timing import pinned


def main(arguments: list[str]) -> int:
    """Run one side once. The exit code is the error's, with its sentence on stderr."""
    runtime, side, bundle, width, height, threads, stream = arguments

    def measure() -> tuple[float, str]:
        with pinned(int(threads)):
            use_compiled()
            codec = BundleCodec(Codec.load(bundle, runtime, int(threads)), bundle, runtime)
            _open(codec, side, Path(f"{stream}.block"))
            run = whole_run(codec, side, (int(width), int(height)), Path(stream))
            baseline_mib = peak_mib()
            run()
        return baseline_mib, "end_to_end"

    return report_peak(measure)


def _open(codec: BundleCodec, side: str, block: Path) -> None:
    """Code one block before what is measured. block: where an encode leaves it for the decode."""
    if side == "encode":
        block.write_bytes(codec.encode(picture(Z_PX, Z_PX)))
    else:
        codec.decode(block.read_bytes())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
