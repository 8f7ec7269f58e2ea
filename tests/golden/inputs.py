"""The files that the command lines of cases.toml name, made in the case's folder: photographs in code, tiny models.

The bundles and streams lie here in inputs/ and are never made anew: what was written before must be read after, and the
digests of what they encode and decode are exact. They are `tiny_bundle_of("patch")` and `("rates")` of tests/conftest.py,
whose networks compute the same on every processor, and a stream of each.
"""

import json
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

HERE = Path(__file__).parent / "inputs"
ROOT = Path(__file__).parent.parent.parent
TIMED = (
    *("squeezenet", "mobilenet", "mobilenet_v2", "shufflenet_v2", "mnasnet", "googlenet"),
    *("resnet18", "alexnet", "resnet50", "mobilenet_ssd"),
)
"""As many networks as a fit takes, with every kind of layer among them."""
Make = Callable[[Path, pytest.FixtureRequest], Any]


def _photo(path: Path, request: pytest.FixtureRequest, height: int, width: int, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(request.getfixturevalue("photo")(height, width, seed)).save(path)


def _photos(*sizes: tuple[str, int, int]) -> Make:
    """Makes a folder of photographs: name, height, width of each."""

    def make(path: Path, request: pytest.FixtureRequest) -> None:
        for seed, (name, height, width) in enumerate(sizes):
            _photo(path / name, request, height, width, seed)

    return make


def _alpha(path: Path, request: pytest.FixtureRequest) -> None:
    image = Image.fromarray(request.getfixturevalue("photo")(64, 64, 1)).convert("RGBA")
    image.putalpha(100)
    image.save(path)


def _kept(path: Path, _: pytest.FixtureRequest) -> None:
    shutil.copy(HERE / path.name, path)


def _damaged(name: str) -> Make:
    """Makes a copy of inputs/NAME with one byte changed in the middle."""

    def make(path: Path, _: pytest.FixtureRequest) -> None:
        content = bytearray((HERE / name).read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)

    return make


def _cut(path: Path, _: pytest.FixtureRequest) -> None:
    path.write_bytes((HERE / "patch.hwk").read_bytes()[:100])


def _text(text: str) -> Make:
    return lambda path, _: path.write_text(text, encoding="utf-8")


def _curve(name: str, shift: float) -> Make:
    results = {"psnr-rgb": [28 + shift, 31 + shift, 34 + shift], "bpp": [0.25, 0.5, 1.0]}
    return _text(json.dumps({"name": name, "results": results}))


def _teacher(path: Path, request: pytest.FixtureRequest) -> None:
    shutil.copy(request.getfixturevalue("made_teacher"), path)


def _made(fixture: str) -> Make:
    """Makes a copy of the folder that a fixture gives."""
    return lambda path, request: shutil.copytree(request.getfixturevalue(fixture), path)


def _board(path: Path, _: pytest.FixtureRequest) -> None:
    text = (ROOT / "targets/raspberry-pi-5.toml").read_text(encoding="utf-8")
    made = text.replace('name = "raspberry-pi-5"', 'name = "my-board"')
    path.write_text(made.replace("Raspberry Pi 5: 4x", "A board of my own: 4x"), encoding="utf-8")


def _timings(path: Path, _: pytest.FixtureRequest) -> None:
    """The shipped timings of few networks on the shipped targets' devices alone: all of them take 20 s to fit."""
    every = json.loads((ROOT / "profiles/published/ncnn-benchmark.json").read_text())
    targets = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "targets").glob("*.toml"))
    kept = [n for n, name in enumerate(every["networks"]) if name.removesuffix("_int8") in TIMED]
    rows = [
        {**row, "ms": [row["ms"][n] for n in kept]}
        for row in every["rows"]
        if json.dumps(row["device"]) in targets and row["threads"] in (1, 4, 16)
    ]
    networks = [every["networks"][n] for n in kept]
    path.write_text(json.dumps({**every, "networks": networks, "rows": rows}))


def _all_timed(path: Path, request: pytest.FixtureRequest) -> None:
    """The same, and for a GPU that these timings do not hold those of another: so that every target can be fitted."""
    _timings(path, request)
    content = json.loads(path.read_text())
    (one, *_) = (row for row in content["rows"] if row["gpu"] >= 0)
    held = {row["device"] for row in content["rows"] if row["gpu"] >= 0}
    for target in sorted((ROOT / "targets").glob("*.toml")):
        for unit in tomllib.loads(target.read_text(encoding="utf-8"))["units"]:
            device = unit.get("timings", {}).get("device")
            if unit["kind"] == "gpu" and device and device not in held:
                content["rows"].append({**one, "device": device})
                held.add(device)
    path.write_text(json.dumps(content))


MADE: dict[str, Make] = {
    "photo.png": lambda path, request: _photo(path, request, 96, 128, 0),
    "large.png": lambda path, request: _photo(path, request, 200, 256, 3),
    "alpha.png": _alpha,
    "images": _photos(("a.png", 96, 128), ("b.png", 128, 96), ("more/c.png", 64, 80)),
    "others": _photos(("d.png", 64, 64)),
    "photos": _photos(("a.png", 256, 256), ("b.png", 256, 256)),
    "empty": lambda path, _: path.mkdir(),
    "broken": lambda path, _: (path.mkdir(), (path / "a.png").write_bytes(b"nothing")),
    "notes.txt": _text("This is no image.\n"),
    "nothing.png": _text("This is no image.\n"),
    "nothing.json": _text("{"),
    "few.json": _text('{"schema": 1}'),
    "one.json": _curve("one", 0.0),
    "two.json": _curve("two", 1.5),
    "card.toml": _text('data = "2 photographs"\nlicence = "CC0"\nlimits = ["Only a test."]\n'),
    "typo.toml": _text('licence = "CC0"\nlicense = "CC0"\n'),
    "recipe.toml": _text(
        'description = "mine"\ntarget = "x86-avx2"\nbits = "8"\nstepz = 3\nfamily = "relu"\n'
    ),
    "text.toml": _text('target = "x86-avx2"\nsteps = "3"\n'),
    "board.toml": _board,
    "timings.json": _timings,
    "all-timed.json": _all_timed,
    "patch.hwkd": _kept,
    "rates.hwkd": _kept,
    "patch.hwk": _kept,
    "rates.hwk": _kept,
    "damaged.hwkd": _damaged("patch.hwkd"),
    "damaged.hwk": _damaged("patch.hwk"),
    "cut.hwk": _cut,
    "teacher.safetensors": _teacher,
    "run": _made("made_run"),
    "small-run": _made("made_small_run"),
}
"""By name: what makes it at a path."""


def make_inputs(words: set[str], folder: Path, request: pytest.FixtureRequest) -> None:
    """Make those of MADE in `folder` that `words` name, as a file, a folder, a path below it, or RUN:float."""
    named = {word.removeprefix("./").replace(":", "/").partition("/")[0] for word in words}
    for name, make in MADE.items():
        if name in named:
            make(folder / name, request)
