"""What the documents tell people to type works: every `hwkd` line parses, every make target exists."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import hwkd
from hwkd.cli.main import COMMANDS, build_parser

ROOT = Path(hwkd.__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {
    name: (ROOT / name).read_text(encoding="utf-8")
    for name in (
        *(
            "README.md",
            "CONTRIBUTING.md",
            "hwkd/README.md",
            "hwkd/COMMANDS.md",
            "targets/README.md",
        ),
        *("profiles/README.md", "profiles/results/README.md", "profiles/published/README.md"),
    )
}
"""By name, README.md first: the documents whose lines people type."""
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def block_lines(text):
    """The lines of all fenced blocks, continued ones joined, prompts and comments taken off."""
    blocks = "".join(body for _, body in FENCE.findall(text))
    for line in blocks.replace("\\\n", " ").splitlines():
        stripped = line.strip().removeprefix("$ ")
        if stripped:
            # On a board hwkd lies in an environment of its own.
            yield stripped.removeprefix("~/hwkd/bin/")


def hwkd_commands(text):
    """The `hwkd` lines of the blocks, and the `hwkd ...` in backquotes that name an option or an argument."""
    lines = [line for line in block_lines(text) if line.startswith("hwkd ")]
    without_blocks = FENCE.sub("", text)
    quoted = [" ".join(q.split()) for q in re.findall(r"`(hwkd [^`]+)`", without_blocks)]
    # `hwkd distill` in a sentence names the command, it is not one to type.
    return lines, [q for q in quoted if len(q.split()) > 2 and not re.search(r"\.\.\.|COMMAND", q)]


def make_targets(text):
    in_blocks = [line.split("#")[0].split() for line in block_lines(text)]
    return {word for words in in_blocks if words[:1] == ["make"] for word in words[1:]}


FOUND = {name: hwkd_commands(text) for name, text in PAGES.items()}
LINES, QUOTED = FOUND["hwkd/COMMANDS.md"]
TYPED = sorted({line for lines, quoted in FOUND.values() for line in (*lines, *quoted)})
MOST_README_BYTES = 9 * 1024
"""A page of about 8 KB is read in three minutes."""


def test_the_readme_is_one_page():
    assert len(README.encode()) <= MOST_README_BYTES


def test_the_documents_have_commands_to_check():
    lines, quoted = FOUND["README.md"]
    assert lines and len(quoted) >= 8
    assert len(LINES) >= 45
    assert {"distill", "evaluate", "quantize", "targets", "models"} <= {
        shlex.split(line)[1] for line in LINES
    }


@pytest.mark.parametrize("line", TYPED)
def test_every_command_parses(line, monkeypatch):
    for command in (
        "measuring.bench",
        "coding.verify",
    ):  # --threads takes as many as there are cores
        monkeypatch.setattr(f"hwkd.cli.{command}.usable_cores", lambda: 8)
    _, *argv = shlex.split(line, comments=True)
    assert build_parser().parse_args(argv).command in COMMANDS


def test_demo_and_test_are_told_and_are_in_the_makefile():
    told = make_targets(README)
    assert {"demo", "test"} <= told
    rules = set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE))
    assert told <= rules


def test_the_makefiles_own_command_parses():
    lines = re.findall(r"^\t\$\(BIN\)/(hwkd .+)$", MAKEFILE, re.MULTILINE)
    assert lines
    for line in lines:
        build_parser().parse_args(shlex.split(line)[1:])


@pytest.mark.parametrize("page", PAGES)
def test_links_to_files_of_the_repository_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", PAGES[page]):
        assert ((ROOT / page).parent / target).exists(), target


def test_links_to_headings_lead_to_one():
    for page, heading in re.findall(r"\]\(([\w/]+\.md)#([\w-]+)\)", README):
        headings = re.findall(r"^#+ (.+)$", PAGES[page], re.MULTILINE)
        assert heading in {text.lower().replace(" ", "-") for text in headings}


def test_commands_are_found_in_text_like_a_readmes():
    text = (
        "Use `hwkd models` or `hwkd targets show x`.\n\n```sh\n$ hwkd distill \\\n  --target a # why\n"
        "make demo    # all\nmake test\n```\nhwkd in a sentence\n"
    )
    assert hwkd_commands(text) == (
        ["hwkd distill    --target a # why"],
        ["hwkd targets show x"],
    )
    assert make_targets(text) == {"demo", "test"}


def test_a_command_that_does_not_parse_is_noticed():
    with pytest.raises(SystemExit):
        build_parser().parse_args(["distill", "--no-such-option"])


PYTHON = """
import hwkd
from PIL import Image

image = Image.open("photo.jpg")                       # or a uint8 array [H, W, 3]
codec = hwkd.Codec.load("patch-medium")
data = codec.encode(image, quality=60)                # or max_bytes=20_000, bpp=0.5, min_psnr_db=34
x_hat = codec.decode(data)                            # uint8 [H, W, 3]
time = hwkd.predict("patch-small", "raspberry-pi-4").decode_latency_ms
print(f"{time.value:.0f} ms, {time.low:.0f} to {time.high:.0f} at {time.level:.0%}")
"""
"""Ten lines as a README may show them."""


def python_blocks(text):
    """The fenced blocks of Python."""
    return [body for language, body in FENCE.findall(text) if language == "python"]


@pytest.mark.parametrize("lines", [PYTHON, *python_blocks(README)])
def test_the_lines_of_python_run(tmp_path, photo, lines):
    Image.fromarray(photo(120, 200, 3)).save(tmp_path / "photo.jpg")
    done = subprocess.run(
        [sys.executable, "-W", "error:::hwkd", "-c", lines],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    if lines == PYTHON:
        assert re.fullmatch(r"\d+ ms, \d+ to \d+ at 90%\n", done.stdout)


def test_python_is_found_in_text_like_a_readmes():
    assert python_blocks("```python\nimport hwkd\n```\n```sh\nls\n```\n") == ["import hwkd\n"]
