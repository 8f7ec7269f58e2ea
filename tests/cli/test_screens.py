"""What commands print by default: what matters first, on one screen of 80 columns."""

import io
from contextlib import redirect_stdout

import pytest

from hwkd.cli.main import main
from hwkd.cli.showing import models
from hwkd.metrics import Curve

QUICK = ("--size", "128x64", "--seconds", "0.01", "--no-memory", "--threads", "1")
LINES = 42
"""Of the screens here: about 40."""


class Terminal(io.StringIO):
    def isatty(self):
        return True


def printed(monkeypatch, *argv, is_terminal=True):
    """The lines of `hwkd ARGV` on a terminal of 80 columns, or in a pipe."""
    monkeypatch.setenv("COLUMNS", "80")
    out = Terminal() if is_terminal else io.StringIO()
    with redirect_stdout(out):
        assert main([str(word) for word in argv]) == 0
    return out.getvalue().splitlines()


@pytest.mark.parametrize("is_terminal", [True, False])
@pytest.mark.parametrize(
    "argv",
    [
        ("models",),
        ("models", "--all"),
        ("doctor",),
        ("info", "patch-large"),
        ("targets",),
        ("targets", "show", "jetson-xavier-nx"),
        ("compare", "jetson-nano"),
        ("compare", "raspberry-pi-4", "raspberry-pi-5"),
        ("compare", "jetson-nano", "--paper", "--pareto"),
        ("compare", "--results"),
        ("profile", "gdn-16", "patch-small", "--target", "all"),
        ("distill", "--recipes"),
    ],
    ids=" ".join,
)
def test_the_first_screen_is_short_and_what_is_left_out_is_there_in_full(
    argv, is_terminal, monkeypatch
):
    lines = printed(monkeypatch, *argv, is_terminal=is_terminal)
    full = printed(monkeypatch, *argv, "--full", is_terminal=is_terminal)
    assert len(lines) <= LINES
    if is_terminal:
        assert max(map(len, lines)) <= 80
    if len(lines) != len(full):
        assert "Left out: " in "\n".join(lines) and "--full" in " ".join(lines[-2:])
    assert not any(line.startswith("Left out: ") for line in full)


def test_verify_says_first_what_it_found(tiny_bundle, monkeypatch):
    words = ("verify", tiny_bundle, "--images", "2", "--threads", "1", "--runtime", "onnxruntime")
    first, *_ = printed(monkeypatch, *words)
    assert first.startswith("PASS: 0 of ") and first.endswith(" indexes differ")


def test_info_and_doctor_say_first_what_they_found(tiny_bundle, monkeypatch):
    assert printed(monkeypatch, "info", tiny_bundle)[0].startswith("OK: whole, each of its ")
    assert printed(monkeypatch, "doctor")[0].startswith("READY: hwkd can encode and decode")


def test_models_that_jpeg_beats_are_named_and_stand_behind_all(monkeypatch):
    listed = " ".join(" ".join(printed(monkeypatch, "models")).split())
    assert "│ gdn-64 " not in listed and "│ patch-large " in listed
    assert "5 models are not listed, as they take more bits than JPEG" in listed
    assert "gdn-64 by 70 %" in listed
    # JPEG's curve does not reach down to it: no more is known.
    assert "gdn-16 by more than 148 %" in listed
    assert "More than: JPEG's published curve begins at 23.8 dB, and these reach less." in listed
    assert "│ gdn-64 " in " ".join(printed(monkeypatch, "models", "--all"))


def test_more_bits_are_a_mean_over_the_points_at_their_own_psnr():
    # Twice the rate for each 6 dB: at 33 dB sqrt(2) bpp.
    anchor = Curve("a", (1.0, 2.0, 4.0), (30.0, 36.0, 42.0))
    for points, percent in (([(2 * 2**0.5, 33.0)], 100), ([(0.5, 30.0), (4.0, 36.0)], 0)):
        more = models.more_bits(anchor, points)
        assert more.percent == pytest.approx(percent) and more.begins_db is None


def test_more_bits_beyond_the_curve_are_more_than_a_number_or_not_known():
    anchor = Curve("a", (1.0, 2.0, 4.0), (30.0, 36.0, 42.0))
    below = models.more_bits(anchor, [(1.589, 20.0)])
    assert below.percent == pytest.approx(58.9) and below.begins_db == 30
    assert str(below) == "by more than 58 %"
    assert models.more_bits(anchor, [(8.0, 50.0)]) is None
    assert models.more_bits(anchor, [(1.5, 20.0), (8.0, 50.0)]) is None
    # Where some points can be compared, the others say nothing more.
    some = models.more_bits(anchor, [(4.0, 36.0), (1.5, 20.0), (99.0, 50.0)])
    assert str(some) == "by 100 %"


def test_compare_has_trained_models_first_for_people_only(monkeypatch):
    rows = [
        line.split()[1] for line in printed(monkeypatch, "compare", "jetson-nano") if "│" in line
    ]
    assert rows[0].startswith("patch-") and rows[-1].startswith("hyperprior:")
    as_csv = printed(monkeypatch, "compare", "jetson-nano", "--format", "csv")
    assert as_csv[1].startswith('"hyperprior:N=128,M=192"')


def test_profile_says_how_long_it_takes_and_each_step(tiny_bundle, capsys):
    argv = ["profile", str(tiny_bundle), *QUICK, "--target", "host", "--energy", "none"]
    assert main(argv) == 0
    first, *steps = capsys.readouterr().err.splitlines()
    assert first.startswith("profile: measuring tiny-patch.hwkd on this machine takes about ")
    assert steps[0] == "1 of 2: tiny-patch.hwkd: opening"
    assert main([*argv, "--quiet"]) == 0
    assert capsys.readouterr().err == ""


def test_prediction_alone_says_nothing_on_the_way(tiny_bundle, capsys):
    assert main(["profile", str(tiny_bundle), "--target", "raspberry-pi-4"]) == 0
    assert capsys.readouterr().err == ""
