"""What one image costs in the shell, and in a process that has coded before; beside another checkout, in turns.

    python tests/bench/bench_speed.py photo.jpg [--model patch-small] [--against DIR] [--rounds 15]

Shell: processor time, user and system, of `hwkd encode` and `hwkd decode` in processes of their own: bytecode is there, as pip
leaves it, and no other cache. Process: processor time of Codec.encode and Codec.decode on one thread, in one process for each
checkout, at quality 50, the median of five calls a round.

The checkouts take turns, so that what else runs on the machine meets all of them; the ratio is the median of the ratios
of each round.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parents[2]
QUALITY = "50"

IN_PROCESS = """
import json, sys, time
from pathlib import Path
from hwkd.codec.codec import Codec
from hwkd.codec.entropy import use_compiled
from hwkd.images import read_rgb
from hwkd.runtime.session import present_runtimes

use_compiled()
image, quality = read_rgb(Path(sys.argv[2])), int(sys.argv[3])
codecs = {name: Codec.load(sys.argv[1], name, 1) for name in present_runtimes()}
streams = {name: codec.encode(image, quality=quality) for name, codec in codecs.items()}
for _ in sys.stdin:
    found = {}
    for name, codec in codecs.items():
        times = {"encode": [], "decode": []}
        for _ in range(5):
            start = time.process_time()
            codec.encode(image, quality=quality)
            middle = time.process_time()
            codec.decode(streams[name])
            times["encode"].append(middle - start)
            times["decode"].append(time.process_time() - middle)
        for side, values in times.items():
            found[f"{side} in {name}, one thread"] = sorted(values)[2]
    print(json.dumps(found), flush=True)
"""


class Checkout:
    """One checkout's processes. `here` holds its bytecode, and what it writes."""

    def __init__(self, folder: Path, here: Path, image: Path, model: str) -> None:
        self.image, self.model, self.here = image, model, here
        self.environment = os.environ | {
            "PYTHONPATH": str(folder),
            "PYTHONPYCACHEPREFIX": str(here / "bytecode"),
            "HOME": str(here),
        }
        self.environment.pop("PYTHONDONTWRITEBYTECODE", None)
        self.stream, self.back = here / "photo.hwk", here / "photo.png"
        here.mkdir()
        self.process = subprocess.Popen(
            [sys.executable, "-c", IN_PROCESS, model, str(image), QUALITY],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=here,
            env=self.environment,
        )

    def shell(self) -> dict[str, float]:
        """Seconds of each command."""
        encode = ("encode", self.image, self.stream, "--model", self.model, "-q", QUALITY)
        return {
            "hwkd encode": self._command(*encode),
            "hwkd decode": self._command("decode", self.stream, self.back),
        }

    def in_process(self) -> dict[str, float]:
        """Seconds of each call."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def _command(self, *words: object) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, "-m", "hwkd", *map(str, words), "--force", "--quiet"],
            check=True,
            cwd=self.here,
            env=self.environment,
            stdout=subprocess.DEVNULL,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("image", type=Path)
    parser.add_argument("--model", default="patch-medium")
    parser.add_argument("--against", type=Path, help="another checkout")
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    folders = [HERE, *([args.against.resolve()] if args.against else [])]
    with tempfile.TemporaryDirectory() as temporary:
        sides = [
            Checkout(folder, Path(temporary, str(i)), args.image.resolve(), args.model)
            for i, folder in enumerate(folders)
        ]
        for side in sides:  # bytecode, graphs and files come into memory
            side.shell(), side.in_process()
        rounds = [[side.shell() | side.in_process() for side in sides] for _ in range(args.rounds)]
        for side in sides:
            side.process.communicate()
        same = {side.stream.read_bytes() for side in sides}
    for name in rounds[0][0]:
        times = [[found[i][name] for found in rounds] for i in range(len(sides))]
        line = f"{name:32} {1000 * statistics.median(times[0]):8.1f} ms"
        if len(sides) > 1:
            ratio = statistics.median(a / b for a, b in zip(*times, strict=True))
            line += f", there {1000 * statistics.median(times[1]):8.1f} ms, ratio {ratio:.2f}"
        print(line)
    if len(sides) > 1:
        print(f"streams: {'equal' if len(same) == 1 else 'different'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
