"""`hwkd report --images`: what codecs do to images, to see with one's own eyes."""

import argparse
import shlex
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from hwkd.cli.coding_run import tell
from hwkd.cli.model_names import refuse_unknown
from hwkd.cli.profile_models import check_torch
from hwkd.codec.shipped import default_bundle, shipped_or_as_given
from hwkd.errors import HwkdError, InputError
from hwkd.files import write_text
from hwkd.images import SUFFIXES, open_images
from hwkd.measure.machine_packages import installed_version
from hwkd.models.shipped import shipped_names
from hwkd.report.page.templating import NOT_INSTALLED

PAGE = Path("visual.html")

_SUFFIXES = (".html", ".htm")


def add_images_options(parser: argparse.ArgumentParser) -> None:
    """Give `parser` --images."""
    parser.add_argument(
        "--images",
        type=Path,
        metavar="FOLDER",
        help=f"instead of a report: a page that shows the images in FOLDER ({' '.join(SUFFIXES)}) and below it as each MODEL "
        "decodes them, and as JPEG and WebP do at the last model's rate, side by side (default models: the default teacher "
        f"and a student in float, where torch is installed, and that student's bundle; default page: {PAGE})",
    )


def show_images(args: argparse.Namespace) -> None:
    """Write the page of `args.images`, coded by the models `args.sources`, to `args.output`.

    Raises:
        InputError: no such folder, no image in it, or one that cannot be read or coded; no such model; a place that no page
            can be written to.
        HwkdError: Jinja2 is not installed; the page cannot be written.
    """
    page = PAGE if args.output is None else args.output
    check_page(page)
    images = open_images(args.images)
    models = args.sources or _default_models()
    meant = [shipped_or_as_given(text) for text in models]
    refuse_unknown(meant)
    check_torch(meant)
    if installed_version("jinja2") is None:
        raise HwkdError(NOT_INSTALLED)
    from hwkd.measure.visual_codecs import load_coders
    from hwkd.report.page.visual import visual
    from hwkd.report.visual_page import visual_html

    console = Console(stderr=True)
    with console.status("loading models"):
        coders = load_coders(models)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("")

        def show(doing: str, done: int, count: int) -> None:
            bar.update(task, description=doing, completed=done, total=count)

        made = visual(images, coders, show)
        text = visual_html(made, shlex.join(["hwkd", *args.argv]))
    write_text(page, text)
    if made.left_out:
        tell(console, f"note: {made.left_out} of {made.found} images are left out: more do not fit")
    print(f"wrote {page} ({len(made.images)} images, {page.stat().st_size / 1e6:.1f} MB)")


def check_page(page: Path) -> None:
    """Refuse a place that no page should be written to.

    Raises:
        InputError: a folder, or a name that a browser would not open as a page.
    """
    if page.is_dir():
        raise InputError(f"-o {page} is a folder: give the name of a file, {page / PAGE} say")
    if page.suffix.lower() not in _SUFFIXES:
        raise InputError(f"-o {page} is no name of a page: give one that ends in {_SUFFIXES[0]}")


def _default_models() -> list[str]:
    """The default teacher and the float student, where torch is there to run them, and the default bundle.

    Raises as `default_bundle`.
    """
    bundle = default_bundle().stem
    if installed_version("torch") is None:
        return [bundle]
    from hwkd.models.teacher import DEFAULT

    in_float = f"{bundle}-float"
    return [DEFAULT, *([in_float] if in_float in shipped_names() else []), bundle]
