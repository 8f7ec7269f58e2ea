"""Streams written on this machine and on an emulated ARM core, each read on both: do the symbols agree?

    python tests/cross/cross_check.py small.hwkd [--images 20] [--arm build/arm/arm-python] [--format md]
    QEMU_CPU=cortex-a76 python tests/cross/cross_check.py small.hwkd

On each machine every runtime present, with one thread, and the entropy path in whole numbers write every image and read
every stream. The images are crops of photographs and patterns made in code; both machines get the same pixels. Exit
code 0: all symbols and indexes agree; 1: some do not, or a machine has nothing that runs. A coder that a machine
refuses is told and not counted.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from hwkd.cli.tables import TableOptions, emit_all
from hwkd.codec.verify import crops, mixed
from hwkd.images import embedded_images
from hwkd.report.table import Table
from hwkd.runtime.bundle import pack_arrays, unpack_arrays

ROOT = Path(__file__).resolve().parents[2]
SIDES = ("host", "arm")
SYMBOLS = ("y", "z")

Facts = dict[str, Any]


def main() -> int:
    """Run both sides, compare, print."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--arm", type=Path, default=ROOT / "build/arm/arm-python")
    TableOptions.add_to(parser)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        photographs = crops(tuple(embedded_images("eval").values()))
        images = {f"{i:03}": image for i, image in enumerate(mixed(photographs, args.images))}
        (folder / "images.npz").write_bytes(pack_arrays(images))
        for act in ("write", "read"):
            for side, python in zip(SIDES, (Path(sys.executable), args.arm), strict=True):
                (folder / side).mkdir(exist_ok=True)
                script = Path(__file__).with_name("cross_side.py")
                command = [python, script, act, args.bundle, folder, side]
                subprocess.run(list(map(str, command)), check=True, cwd=ROOT)
        sides = {side: json.loads((folder / side / "side.json").read_text()) for side in SIDES}
        readings = {
            side: json.loads((folder / side / "readings.json").read_text()) for side in SIDES
        }
        pixels = {
            side: unpack_arrays((folder / side / "pixels.npz").read_bytes()) for side in SIDES
        }
    counted = mismatches(sides, readings)
    tables = (
        matrix(counted, sides, args.images),
        writers(sides),
        image_table(pixels, sides),
    )
    emit_all(tables, TableOptions.of(args))
    return 0 if counted and not any(sum(pair) for pair in counted.values()) else 1


def mismatches(
    sides: dict[str, Facts], readings: dict[str, list[Facts]]
) -> dict[tuple[str, str], tuple[int, int]]:
    """(writer, reader) -> streams in which symbols differ, and in which indexes do."""
    written = {one["file"]: one for side in sides.values() for one in side["written"]}
    counted: dict[tuple[str, str], tuple[int, int]] = {}
    for side, found in readings.items():
        for one in found:
            own = written[one["file"]]
            pair = (
                place(sides, one["file"].partition("/")[0], own["coder"]),
                place(sides, side, one["reader"]),
            )
            symbols, indexes = counted.get(pair, (0, 0))
            counted[pair] = (
                symbols + any(own[name] != one[name] for name in SYMBOLS),
                indexes + (own["indexes"] != one["indexes"]),
            )
    return counted


def place(sides: dict[str, Facts], side: str, coder: str) -> str:
    """A coder and its machine, in words."""
    return f"{coder} @ {sides[side]['machine']}"


def matrix(
    counted: dict[tuple[str, str], tuple[int, int]], sides: dict[str, Facts], images: int
) -> Table:
    """Streams whose symbols differ, and after a slash those whose indexes do."""
    places = [
        place(sides, name, coder)
        for name in SIDES
        for coder, refusal in sides[name]["coders"].items()
        if refusal is None
    ]
    rows = tuple(
        (f"{i} {writer}", *("{} / {}".format(*counted[writer, reader]) for reader in places))
        for i, writer in enumerate(places, 1)
    )
    notes = [
        f"Of {images} images each. Columns: readers by the number of their row.",
        *(f"{side['machine']}: {side['versions']}." for side in sides.values()),
    ]
    notes += [
        f"Refused: {place(sides, name, coder)}: {why}."
        for name, side in sides.items()
        for coder, why in side["coders"].items()
        if why is not None
    ]
    columns = ("writer", *(str(i) for i, _ in enumerate(places, 1)))
    return Table("Streams in which symbols differ / indexes differ", columns, rows, tuple(notes))


def writers(sides: dict[str, Facts]) -> Table:
    """How many images each writer's own encoder gave the symbols of the first writer's."""
    first = {one["image"]: one for one in sides["host"]["written"][::-1]}
    rows = []
    for name, side in sides.items():
        for coder in dict.fromkeys(one["coder"] for one in side["written"]):
            own = [one for one in side["written"] if one["coder"] == coder]
            same = [sum(one[s] == first[one["image"]][s] for one in own) for s in SYMBOLS]
            rows.append((place(sides, name, coder), *map(str, same)))
    notes = (
        "Encoders need no exactness: what one wrote is what must be read, and another may write other symbols.",
    )
    return Table(
        "Images whose symbols are those of the first writer",
        ("writer", *SYMBOLS),
        tuple(rows),
        notes,
    )


def image_table(pixels: dict[str, dict[str, Any]], sides: dict[str, Facts]) -> Table:
    """The images decoded from the first writer's streams, against those of the first runtime here."""
    runtimes = {side: sorted({name.partition("/")[0] for name in pixels[side]}) for side in SIDES}
    reference = runtimes["host"][0]
    rows = []
    for side in SIDES:
        for runtime in runtimes[side]:
            steps = [
                np.abs(image.astype(int) - pixels["host"][f"{reference}/{name.partition('/')[2]}"])
                for name, image in pixels[side].items()
                if name.startswith(f"{runtime}/")
            ]
            samples = sum(one.size for one in steps)
            differing = sum(int(np.count_nonzero(one)) for one in steps)
            rows.append(
                (
                    f"{runtime} @ {sides[side]['machine']}",
                    str(len(steps)),
                    str(max(int(one.max()) for one in steps)),
                    f"{100 * differing / samples:.4f}",
                )
            )
    return Table(
        "Images decoded from the first writer's streams, against the first reader's",
        ("reader", "images", "largest_step", "samples_percent"),
        tuple(rows),
    )


if __name__ == "__main__":
    sys.exit(main())
