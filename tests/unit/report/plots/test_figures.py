import base64
import io
import re
import sys
import zlib

import pytest
from fontTools.ttLib import TTFont
from PIL import Image

from hwkd.errors import HwkdError, InputError
from hwkd.report.plots.figures import draw_figures, draw_plot
from hwkd.report.plots.plot import Bar, Bars, Panel, Point, Scatter, Series
from hwkd.report.table import Table

TABLE = Table("", ("a",), (("1",),))
FAST, SLOW = (
    Point(20.0, 30.0, "fast & <small>", 15.0, 40.0),
    Point(200.0, 34.0, "slow", 90.0, 300.0),
)
SCATTER = Scatter(
    key="psnr-latency",
    title="PSNR over latency",
    x_label="latency (ms)",
    y_label="PSNR (dB)",
    series=(
        Series("patch, int8", (FAST, SLOW)),
        Series("paper", (Point(100.0, 32.0, "theirs"),), is_published=True),
    ),
    caption="Two models.",
    table=TABLE,
    notes=("One note.",),
    choices={"target": "a board"},
    is_x_log=True,
    front=(FAST, SLOW),
)
CURVES = Scatter(
    key="training",
    title="Training",
    x_label="step",
    y_label="loss",
    series=(Series("run", (Point(1.0, 3.0, "run"), Point(2.0, 2.0, "run")), is_line=True),),
    caption="One run.",
    table=TABLE,
)
BARS = Bars(
    key="layer-macs",
    title="MACs",
    x_label="MMAC",
    panels=(
        Panel("encoder", (Bar("g_a.0", 5.0, "g_a", 4.0, 7.0), Bar("h_s.0", 1.0, "h_s"))),
        Panel("decoder", (Bar("h_s.0", 1.0, "h_s"), Bar("g_s.0", 0.0, "g_s"))),
    ),
    caption="Three layers.",
    table=TABLE,
)
PLOTS = (SCATTER, CURVES, BARS)


def drawn(plot, path):
    draw_plot(plot, [path])
    return path.read_bytes()


def texts(svg):
    return re.findall(r"<text[^>]*>([^<]+)</text>", svg.decode())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("figures") / "new"
    said = []
    written = draw_figures(PLOTS, folder, said.append)
    assert said == ["psnr-latency-a-board", "training", "layer-macs"]
    assert sorted(written) == sorted(folder.iterdir())
    return folder


def test_each_plot_is_there_in_each_format_beside_the_captions(folder):
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [
            "captions.md",
            *(
                f"{name}.{kind}"
                for name in ("psnr-latency-a-board", "training", "layer-macs")
                for kind in ("pdf", "svg", "png")
            ),
        ]
    )


def test_captions_name_what_each_figure_shows_and_how_it_was_found(folder):
    captions = (folder / "captions.md").read_text()
    assert (
        "## psnr-latency-a-board\n\n**PSNR over latency.** Two models.\n\n- One note.\n" in captions
    )
    assert "**MACs.** Three layers." in captions


@pytest.mark.parametrize("name", ["psnr-latency-a-board", "training", "layer-macs"])
def test_fonts_are_embedded_in_the_pdf_as_truetype(folder, name):
    raw = (folder / f"{name}.pdf").read_bytes()
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", raw, re.DOTALL)
    plain = [raw, *(zlib.decompress(s) for s in streams if s[:1] == b"\x78")]
    fonts = sum(part.count(b"/FontFile2") for part in plain)
    assert fonts == sum(part.count(b"/Type /FontDescriptor") for part in plain) > 0
    assert not any(b"/Type3" in part for part in plain)


@pytest.mark.parametrize("name", ["psnr-latency-a-board", "training", "layer-macs"])
def test_the_svg_holds_its_text_as_text_and_a_font_with_every_character_of_it(folder, name):
    svg = (folder / f"{name}.svg").read_bytes()
    data = re.search(
        rb"@font-face\{font-family:'DejaVu Sans';src:url\(data:font/woff;base64,([^)]+)\)", svg
    )
    held = TTFont(io.BytesIO(base64.b64decode(data[1]))).getBestCmap()
    characters = set(
        "".join(texts(svg)).replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">")
    )
    assert characters <= {chr(code) for code in held}
    assert set(re.findall(rb"font-family: ([^;\"]+)", svg)) == {
        b"'DejaVu Sans', Verdana, sans-serif"
    }


def test_axes_series_and_points_are_named(folder):
    named = texts((folder / "psnr-latency-a-board.svg").read_bytes())
    assert {"latency (ms)", "PSNR (dB)", "patch, int8", "paper, published", "Pareto front"} <= set(
        named
    )
    assert {"fast &amp; &lt;small&gt;", "slow", "theirs"} <= set(named)
    # A decade and more of a logarithmic axis is told in round numbers.
    assert {"20", "50", "100", "200"} <= set(named)


def test_lines_are_named_by_the_legend_alone(folder):
    assert texts((folder / "training.svg").read_bytes()).count("run") == 1


def test_bars_have_their_name_and_number_in_both_panels(folder):
    named = texts((folder / "layer-macs.svg").read_bytes())
    assert {"encoder", "decoder", "g_a.0", "g_s.0", "5.00", "MMAC"} <= set(named)
    assert named.count("h_s.0") == 2


def test_png_has_the_width_of_a_column_at_300_dots_an_inch(folder):
    for path in folder.glob("*.png"):
        with Image.open(path) as image:
            assert image.width == 3.5 * 300


def test_the_title_is_told_and_not_drawn(folder):
    svg = (folder / "psnr-latency-a-board.svg").read_bytes()
    assert b"<title>PSNR over latency</title>" in svg
    assert "PSNR over latency" not in texts(svg)


@pytest.mark.parametrize("plot", [SCATTER, BARS], ids=["scatter", "bars"])
@pytest.mark.parametrize("kind", ["pdf", "svg"])
def test_the_same_plot_makes_the_same_file(tmp_path, plot, kind):
    assert drawn(plot, tmp_path / f"a.{kind}") == drawn(plot, tmp_path / f"b.{kind}")


def test_figures_grow_with_their_bars(tmp_path):
    many = tuple(Bar(f"layer {i}", 1.0 + i, "g_a") for i in range(40))
    heights = []
    for bars in (many[:2], many):
        path = tmp_path / "bars.png"
        draw_plot(Bars("b", "", "x", (Panel("encoder", bars),), "", TABLE), [path])
        with Image.open(path) as image:
            heights.append(image.height)
    # At least a line of 5 points for each.
    assert heights[1] - heights[0] >= 38 * 5 / 72 * 300


def test_plots_of_one_name_get_files_of_their_own(tmp_path):
    written = draw_figures([CURVES, CURVES], tmp_path)
    assert {path.name for path in written} >= {"training.pdf", "training-2.pdf"}


def test_a_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file; figures need a folder"):
        draw_figures(PLOTS, tmp_path / "file")


def test_without_matplotlib_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(HwkdError, match=r'pip install "hwkd\[report\]"'):
        draw_figures(PLOTS, tmp_path / "figures")
    assert not list(tmp_path.iterdir())
