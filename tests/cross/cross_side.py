"""One machine's part of cross_check.py, which starts it: writes streams, then reads everybody's.

    python tests/cross/cross_side.py write|read BUNDLE FOLDER NAME

FOLDER/images.npz           the images, by name
FOLDER/NAME/side.json       the machine, its coders (label, or why one is refused) and what each wrote
FOLDER/NAME/*.hwk           the streams
FOLDER/NAME/readings.json   what each coder found in each stream of each machine
FOLDER/NAME/pixels.npz      the images that each runtime decoded from the first writer's streams

Symbols and indexes are told by their sha256. It starts no other process: an emulator could not run it.
"""

import json
import os
import platform
import sys
from pathlib import Path

import numpy as np

from hwkd.codec.networks import digest
from hwkd.codec.verify import Passed, WatchedCodec, open_coders, qualities_to_try, quality_of
from hwkd.runtime.bundle import Bundle, pack_arrays, read_bundle, unpack_arrays

FIRST = "host/0-*.hwk"
"""The streams that images are decoded from: one machine's, by its first coder."""


def machine() -> str:
    """The architecture, with the emulated core where there is one."""
    core = os.environ.get("QEMU_CPU")
    name = platform.machine()
    return f"{name} ({core}, emulated)" if core and name == "aarch64" else name


def write(bundle: Bundle, folder: Path, name: str) -> None:
    """Every coder's stream of every image; of a bundle of all rates at the lowest, a middle and the highest quality in turn."""
    images = unpack_arrays((folder / "images.npz").read_bytes())
    written = []
    coders = open_coders(bundle, None, [1])
    qualities = qualities_to_try(bundle.manifest, None)
    for number, coder in enumerate(coders):
        if coder.refusal is not None:
            continue
        for at, (image, pixels) in enumerate(images.items()):
            stream, passed = coder.write(pixels, quality_of(at, qualities))
            file = f"{name}/{number}-{image}.hwk"
            (folder / file).write_bytes(stream)
            written.append({"coder": coder.label, "image": image, "file": file, **digests(passed)})
    side = {
        "machine": machine(),
        "versions": f"Python {platform.python_version()}, numpy {np.__version__}",
        "coders": {coder.label: coder.refusal for coder in coders},
        "written": written,
    }
    (folder / name / "side.json").write_text(json.dumps(side, indent=1))


def read(bundle: Bundle, folder: Path, name: str) -> None:
    """What every coder finds in every stream of every machine."""
    sides = {
        path.parent.name: json.loads(path.read_text())
        for path in sorted(folder.glob("*/side.json"))
    }
    coders = [coder for coder in open_coders(bundle, None, [1]) if coder.refusal is None]
    readings = [
        {"reader": coder.label, "file": one["file"], **found(coder, folder / one["file"])}
        for coder in coders
        for side in sides.values()
        for one in side["written"]
    ]
    (folder / name / "readings.json").write_text(json.dumps(readings, indent=1))
    pixels = {
        f"{coder.runtime}/{path.stem}": image
        for coder in coders
        if not coder.is_exact
        for path in sorted(folder.glob(FIRST))
        if (image := coder.image(path.read_bytes())) is not None
    }
    (folder / name / "pixels.npz").write_bytes(pack_arrays(pixels))


def found(coder: WatchedCodec, stream: Path) -> dict[str, str]:
    """`digests` of what `coder` reads."""
    return digests(coder.read(stream.read_bytes()))


def digests(passed: Passed) -> dict[str, str]:
    """The sha256 of y, z and the indexes."""
    y, z, indexes = passed
    return {
        "y": digest(y.astype("<i4")),
        "z": digest(z.astype("<i4")),
        "indexes": digest(indexes),
    }


if __name__ == "__main__":
    act, bundle_path, folder_path, side_name = sys.argv[1:]
    {"write": write, "read": read}[act](
        read_bundle(Path(bundle_path)), Path(folder_path), side_name
    )
