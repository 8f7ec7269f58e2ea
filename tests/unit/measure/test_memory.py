import json
import subprocess
import sys
from pathlib import Path

import pytest

from hwkd.codec.codec import Codec
from hwkd.errors import HwkdError, InputError
from hwkd.measure import memory
from hwkd.measure.bundles import CHILD
from hwkd.measure.coder import picture
from hwkd.measure.machine import eager_setting
from hwkd.measure.memory import (
    Peak,
    growth_quantity,
    main,
    measure_memory,
    peak_mib,
    peak_quantity,
    run_child,
)


def peaks(*points):
    return [Peak(int(mpx * 1e6), mib, 100.0, "networks") for mpx, mib in points]


def child(program):
    """A command that stands for the child: `program` sees the child's arguments in sys.argv."""
    return (sys.executable, "-c", f"import sys\n{program}")


def test_growth_is_the_slope_with_its_t_interval():
    # Peaks 100 + 50 x with residuals -1, 2, -1: slope 50, s^2 = 6 / 1, Sxx = 2, t(1) = 12.706.
    figure = growth_quantity(peaks((1, 149), (2, 202), (3, 249)))
    assert figure.value == pytest.approx(50)
    half = 12.706 * (6 / 2) ** 0.5
    assert (figure.low, figure.high) == pytest.approx((50 - half, 50 + half))
    assert (figure.found, figure.level, figure.runs) == ("measured", 0.95, 3)


def test_an_interval_ends_at_zero():
    # Slope 1, residuals -10, 20, -10.
    assert growth_quantity(peaks((1, 91), (2, 122), (3, 93))).low == 0


def test_two_peaks_have_a_slope_and_no_interval():
    figure = growth_quantity(peaks((1, 150), (3, 250)))
    assert (figure.value, figure.low, figure.runs) == (50, None, 2)


def test_a_peak_that_does_not_grow_is_not_a_growth():
    figure = growth_quantity(peaks((1, 150), (2, 149), (3, 148)))
    assert figure.value is None
    assert figure.reason.startswith("the peak does not grow from 1.00 to 3.00 megapixels")


def test_peak_is_the_median_and_tells_baseline_and_spread():
    figure = peak_quantity(peaks((1, 300), (1, 320), (1, 304)))
    assert (figure.value, figure.runs, figure.found) == (304, 3, "measured")
    assert "100 MiB of it there before the image" in figure.by
    assert "300 to 320 MiB" in figure.by


def test_asked_size_and_growth_are_told_for_each_side(monkeypatch):
    ran = []

    def run(side, model, size, threads, stream, command):
        ran.append((side, size, stream.name))
        pixels = size[0] * size[1]
        slope = {"encode": 30, "decode": 60}[side]
        return Peak(pixels, 400 + slope * pixels / 1e6, 390, "end_to_end")

    monkeypatch.setattr(memory, "run_child", run)
    sizes = ((1000, 500), (1000, 1000))
    entries = measure_memory("m", 2000, 1000, threads=2, sizes=sizes, repeats=1)
    assert [(e.name, e.side, e.part, e.quantity.value) for e in entries] == [
        ("peak_mib", "encode", "end_to_end", 460),
        ("growth_mib_per_mpx", "encode", "end_to_end", pytest.approx(30)),
        ("peak_mib", "decode", "end_to_end", 520),
        ("growth_mib_per_mpx", "decode", "end_to_end", pytest.approx(60)),
    ]
    assert all(entry.setting == eager_setting(2) for entry in entries)
    # A decode finds the stream of the encode of the same size.
    for first, second in zip(ran[::2], ran[1::2], strict=True):
        assert (first[0], second[0], first[1:]) == ("encode", "decode", second[1:])
    assert [size for side, size, _ in ran if side == "encode"] == [(2000, 1000), *sizes]


def test_an_asked_size_among_those_of_the_growth_runs_once(monkeypatch):
    ran = []

    def run(side, model, size, threads, stream, command):
        ran.append((side, size))
        return Peak(size[0] * size[1], 400, 390, "networks")

    monkeypatch.setattr(memory, "run_child", run)
    measure_memory("m", 2, 2, threads=1, sizes=((1, 1), (2, 2)), repeats=3)
    assert sorted(ran) == sorted(
        [(side, size) for side in ("encode", "decode") for size in ((1, 1), (2, 2))] * 3
    )


def test_a_bare_architecture_is_measured_in_a_process_of_its_own(tmp_path):
    model = "hyperprior:N=8,M=12,family=relu"
    peak = run_child("decode", model, (64, 64), 1, tmp_path / "stream")
    assert (peak.part, peak.pixels) == ("networks", 4096)
    assert peak.peak_mib >= peak.baseline_mib > 20  # an interpreter with torch


def test_the_users_mistake_stays_the_users_mistake(tmp_path):
    program = "print('a warning\\nunknown teacher', file=sys.stderr); sys.exit(2)"
    with pytest.raises(InputError, match=r"^unknown teacher$"):
        run_child("encode", "m", (64, 64), 1, tmp_path / "stream", child(program))


def test_the_peak_is_read_in_mib(tmp_path):
    status = tmp_path / "status"
    status.write_text("VmPeak:\t  999999 kB\nVmHWM:\t    2048 kB\nVmRSS:\t 1 kB\n")
    assert peak_mib(status) == 2.0


def test_without_proc_the_peak_comes_from_the_system(tmp_path):
    assert peak_mib(tmp_path / "none") > 5


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_the_memory_of_the_process_that_started_it_does_not_count():
    held_mib = 600
    parent = (
        "import subprocess, sys; held = bytearray(b'x') * (int(sys.argv[1]) * 2**20);"
        "subprocess.run([sys.executable, '-c', sys.argv[2]], check=True)"
    )
    own = "from hwkd.measure.memory import peak_mib; print(peak_mib())"
    said = subprocess.check_output([sys.executable, "-c", parent, str(held_mib), own], text=True)
    assert 0 < float(said) < held_mib


def test_the_child_is_told_what_to_run_and_its_figures_are_read(tmp_path):
    program = (
        "assert sys.argv[1:6] == ['decode', 'm', '30', '20', '2'], sys.argv\n"
        "print('a library greets')\n"
        """print('{"peak_mib": 9.5, "baseline_mib": 4.0, "part": "end_to_end"}')"""
    )
    peak = run_child("decode", "m", (30, 20), 2, tmp_path / "s", child(program))
    assert peak == Peak(600, 9.5, 4.0, "end_to_end")


def test_a_killed_child_is_told(tmp_path):
    program = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    with pytest.raises(
        HwkdError,
        match=r"encode 30x20 was killed by SIGKILL, most likely because memory ran out; try a smaller",
    ) as caught:
        run_child("encode", "m", (30, 20), 1, tmp_path / "s", child(program))
    assert caught.value.exit_code == 1


def test_a_failed_child_is_told_with_its_last_line(tmp_path):
    with pytest.raises(HwkdError, match="failed with exit code 1: it broke") as caught:
        run_child("encode", "m", (30, 20), 1, tmp_path / "s", child("sys.exit('x\\nit broke')"))
    assert caught.value.exit_code == 1


@pytest.mark.parametrize(
    ("width", "sizes", "repeats"),
    [(0, ((1, 1), (2, 2)), 1), (1, ((1, 1), (0, 2)), 1), (1, ((1, 1), (2, 2)), 0)],
)
def test_sizes_and_repeats_that_cannot_be_are_refused(width, sizes, repeats):
    with pytest.raises(InputError, match="1x1 or more"):
        measure_memory("m", width, 1, threads=1, sizes=sizes, repeats=repeats)


def test_a_growth_needs_two_areas():
    with pytest.raises(InputError, match="two different areas"):
        measure_memory("m", 1, 1, threads=1, sizes=((4, 2), (2, 4)))


def test_asking_for_memory_needs_no_torch():
    code = "import sys, hwkd.measure.memory; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_bundle_goes_from_pixels_to_bytes_and_back(tiny_bundle, tmp_path, capsys):
    stream = tmp_path / "stream"
    for side in ("encode", "decode"):
        assert main(["onnxruntime", side, str(tiny_bundle), "70", "50", "1", str(stream)]) == 0
        result = json.loads(capsys.readouterr().out)
        assert result["part"] == "end_to_end"
        assert result["peak_mib"] >= result["baseline_mib"] > 0
    assert stream.read_bytes() == Codec.load(tiny_bundle).encode(picture(70, 50))


def test_a_process_of_its_own_is_measured(tiny_bundle, tmp_path):
    command = (*CHILD, "onnxruntime")
    peak = run_child("encode", str(tiny_bundle), (70, 50), 1, tmp_path / "s", command)
    assert (peak.part, peak.pixels) == ("end_to_end", 3500)
    assert peak.peak_mib >= peak.baseline_mib > 20  # an interpreter with numpy


@pytest.mark.parametrize(
    ("runtime", "bundle", "message"),
    [
        ("onnxruntime", "none.hwkd", "no such file: none.hwkd; give a .hwkd file"),
        ("tensorrt", None, "the bundle tiny-patch has no encoder for tensorrt"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    tiny_bundle, tmp_path, capsys, runtime, bundle, message
):
    stream = tmp_path / "s"
    assert main([runtime, "encode", bundle or str(tiny_bundle), "8", "8", "1", str(stream)]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert said.err.startswith(message)
