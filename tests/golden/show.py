"""A command line's outcome as text: what it printed and what it wrote."""

import hashlib
import json
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.golden.normalise import normalised

TEXTS = {".json", ".jsonl", ".md", ".csv", ".tex", ".toml", ".txt"}
LOSSLESS = {".png", ".ppm", ".bmp", ".tif", ".tiff"}
SHAPED = {".json", ".toml", ".csv"}
ASKED = {"config.json", "events.jsonl"}
"""Files of a run that hold what was asked for, and no number that was measured."""
LONGEST = 20_000
"""Characters of a file that is shown; of a longer one its digest is."""
DRAWN_TEXTS = {"name", "text", "title"}
"""Keys of a plot's JSON in a page whose texts are shown."""

Snapshot = dict[Path, bytes]


def snapshot(folder: Path) -> Snapshot:
    """Every file below `folder` with its content."""
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def shown_bytes(content: bytes, masks: Collection[str]) -> str:
    """What went to standard output or standard error, which may be an image or a stream."""
    try:
        return normalised(content.decode(), masks)
    except UnicodeDecodeError:
        return f"({_digest(content)})\n"


def shown_files(folder: Path, before: Mapping[Path, bytes], masks: Collection[str]) -> str:
    """The files below `folder` that are new or other than `before`."""
    parts = []
    for path, content in snapshot(folder).items():
        if before.get(path) != content:
            name = normalised(path.relative_to(folder).as_posix(), masks)
            parts.append(f"--- {name}{' (changed)' if path in before else ''}{_file(path, masks)}")
    gone = [path for path in before if not path.exists()]
    parts += [f"--- {path.relative_to(folder).as_posix()} (removed)\n" for path in gone]
    return "".join(parts)


def _file(path: Path, masks: Collection[str]) -> str:
    """What stands behind a file's name, the end of the line included."""
    if "files" in masks:
        return "\n"
    if path.suffix == ".hwk":
        return "\n" if "decimals" in masks else f": {_digest(path.read_bytes())}\n"
    if path.suffix in LOSSLESS and "decimals" not in masks:
        return f": {_pixels(path)}\n"
    if path.suffix == ".html":
        return "\n" + normalised(_page(path.read_text(encoding="utf-8")), masks)
    if path.suffix == ".svg":
        return "\n" + normalised(_drawing(path.read_text(encoding="utf-8"), masks), masks)
    if path.suffix not in TEXTS:
        return "\n"  # how it is packed is a library's affair
    if "shapes" in masks and path.name not in ASKED and path.suffix in SHAPED:
        return f"\n{_shape_of(path)}\n"
    kept = set(masks) - {"decimals", "integers"} if path.name in ASKED else masks
    text = normalised(path.read_text(encoding="utf-8"), kept)
    if path.name in ASKED and "decimals" in masks:
        text = re.sub(r"\b[0-9a-f]{64}\b", "<digest>", text)
    if len(text) > LONGEST:
        return f": {len(text.splitlines())} lines, {_digest(text.encode())}\n"
    return "\n" + text.removesuffix("\n") + "\n"


def _shape_of(path: Path) -> str:
    """The keys of a file; a CSV file's first line."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".csv":
        return text.splitlines()[0]
    value = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    return json.dumps(_shape(value), indent=1)


def _shape(value: Any) -> Any:
    """`value` with its keys and without what they hold; of a list one of each shape."""
    if isinstance(value, dict):
        return {key: _shape(inner) for key, inner in value.items()}
    if isinstance(value, list):
        shapes = {json.dumps(_shape(inner)): _shape(inner) for inner in value}
        return list(shapes.values())
    return "..." if isinstance(value, str) else "n"


def _digest(content: bytes) -> str:
    return f"{len(content)} bytes, sha256 {hashlib.sha256(content).hexdigest()[:16]}"


def _pixels(path: Path) -> str:
    with Image.open(path) as image:
        pixels = np.asarray(image)
        words = f"{image.format} {image.mode} {image.width}x{image.height}"
    return f"{words}, pixels sha256 {hashlib.sha256(pixels.tobytes()).hexdigest()[:16]}"


class _Visible(HTMLParser):
    """Collects the words of a page, a line for each element, and the texts of its plots."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._hidden = ""
        self._is_plots = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "style"):
            self._hidden = tag
            self._is_plots = dict(attrs).get("type") == "application/json"
        for name, value in attrs:
            if name in ("aria-label", "title", "alt") and value:
                self.lines.append(f"({name}: {value})")

    def handle_endtag(self, tag: str) -> None:
        if tag == self._hidden:
            self._hidden = ""

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.lines += [" ".join(line.split()) for line in data.splitlines() if line.strip()]
        elif self._is_plots and data.strip():
            found = dict.fromkeys(_drawn(json.loads(data)))
            self.lines += [f"(in a plot: {text})" for text in found]


def _drawn(value: Any) -> Iterator[str]:
    """The texts in a plot's JSON, in their order."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in DRAWN_TEXTS and isinstance(inner, str):
                yield inner
            yield from _drawn(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _drawn(inner)


def _page(text: str) -> str:
    page = _Visible()
    page.feed(text)
    return "".join(f"{line}\n" for line in page.lines)


def _drawing(text: str, masks: Collection[str]) -> str:
    """The title and the description of an SVG file, and the words in it; without the ticks of what is measured."""
    found = re.findall(r"<(?:title|dc:description|text)\b[^>]*>([^<]*)<", text)
    words = [" ".join(one.split()) for one in found]
    if "decimals" in masks:
        words = [word for word in words if not re.fullmatch(r"[≤\u2212-]?[\d,.]+", word)]
    return "".join(f"{word}\n" for word in words if word and not word.startswith("Matplotlib"))
