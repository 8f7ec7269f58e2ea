"""Thousands of mutated streams and bundles, from one seed:

python tests/fuzz/fuzz_codec.py BUNDLE.hwkd [--streams 20000] [--bundles 2000] [--seed 0] [--runtime onnxruntime]

Ends with exit code 1 at the first case that ends in anything but an image, a working codec or an error of one line; the
case's bytes are then written to a file.
"""

import argparse
import resource
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random

import numpy as np
from mutations import Bundles, Endings, Streams

from hwkd.codec.codec import Codec
from hwkd.runtime.session import RUNTIMES, present_runtimes

PROGRESS_EVERY = 100


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--streams", type=int, default=20000)
    parser.add_argument("--bundles", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runtime", choices=RUNTIMES, default=present_runtimes()[0])
    args = parser.parse_args()

    codec = Codec.load(args.bundle, args.runtime, 1)
    sizes = (((64, 64), 0), ((100, 150), 64), ((1, 1), 0), ((330, 260), 0))
    right = tuple(codec.encode(_picture(*size, 1), tile) for size, tile in sizes)
    streams = Streams(codec, right)
    with tempfile.TemporaryDirectory() as folder:
        image = _picture(65, 30, 2)
        bundles = Bundles(args.bundle.read_bytes(), Path(folder) / "a.hwkd", image, args.runtime)
        return max(
            _fuzz("streams", args.streams, streams.kinds(), streams.end, args.seed),
            _fuzz("bundles", args.bundles, bundles.kinds(), bundles.end, args.seed),
        )


def _fuzz(
    what: str,
    count: int,
    kinds: Mapping[str, Callable[[Random], bytes]],
    end: Callable[[bytes], str],
    seed: int,
) -> int:
    """`count` cases, the kinds in turn; 0 where all ended as they should."""
    chance, endings = Random(seed), Endings()
    names = list(kinds)
    before = _peak_mib()
    for i in range(count):
        kind = names[i % len(names)]
        # Casts of numbers that no type holds are part of mutating.
        with np.errstate(all="ignore"):
            data = kinds[kind](chance)
        try:
            endings.add(kind, lambda data=data: end(data))
        except Exception:
            traceback.print_exc()
            path = Path(tempfile.gettempdir()) / f"fuzz-{what}-{seed}-{i}"
            path.write_bytes(data)
            print(f"\ncase {i} of {what} ({kind}) failed: {path}", file=sys.stderr)
            return 1
        if (i + 1) % PROGRESS_EVERY == 0:
            print(f"\r{what}: {i + 1} of {count}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    print(f"{what}: {count} cases, seed {seed}")
    print("\n".join(endings.lines()))
    print(f"most CPU time of one: {endings.most_cpu_s:.2f} s")
    print(f"peak of the process: {before:.0f} MiB before, {_peak_mib():.0f} MiB after")
    return 0


def _picture(height: int, width: int, seed: int) -> np.ndarray:
    """A ramp with noise, [height, width, 3] uint8."""
    ramp = np.linspace(0, 200, height * width * 3).reshape(height, width, 3)
    return (ramp + np.random.default_rng(seed).uniform(0, 55, ramp.shape)).astype(np.uint8)


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    sys.exit(main())
