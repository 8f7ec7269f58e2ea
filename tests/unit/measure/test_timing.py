import ctypes
import os
import platform
import random
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest
import torch

from hwkd.errors import InputError
from hwkd.measure.timing import (
    Latency,
    Pinning,
    Snapshot,
    codec_latency,
    keep_memory,
    measure_in_turn,
    measure_latency,
    notes_between,
    pinned,
    rounds_until_stopped,
    snapshot,
    summarize,
    watch_machine,
)
from hwkd.models.build import build
from hwkd.models.spec import HyperpriorSpec
from hwkd.quantity import Quantity
from tests.fakes.meters import FakeClock


def test_summary_does_not_depend_on_the_order_and_takes_ranks():
    times = [float(i) for i in range(1, 21)]
    random.Random(0).shuffle(times)
    # For 20 values the tabulated 95 % ranks of the median are 6 and 15 (David and Nagaraja; coverage 95.9 %).
    assert summarize(times) == Latency(10.5, 19.0, (6.0, 15.0), 20)


@pytest.mark.parametrize(("n", "ranks"), [(6, (1, 6)), (9, (2, 8)), (25, (8, 18)), (50, (18, 33))])
def test_interval_takes_the_tabulated_ranks(n, ranks):
    assert summarize([float(i) for i in range(1, n + 1)]).interval95_ms == ranks


def test_interval_of_many_runs_holds_the_median():
    low, high = summarize([float(i) for i in range(1, 10_002)]).interval95_ms
    assert (low, high) == (4902.0, 5100.0)  # 5001 -+ 0.98 sqrt(n), one rank wider


def test_below_six_runs_there_is_no_interval():
    assert summarize([3.0, 1.0, 2.0, 5.0, 4.0]) == Latency(3.0, 5.0, None, 5)


def test_warmup_runs_are_made_but_not_timed():
    calls = []
    latency = measure_latency(lambda: calls.append(1), warmup=4, repeats=7)
    assert len(calls) == 11
    assert latency.runs == 7


@pytest.fixture
def clock(monkeypatch):
    """A clock on which nothing takes time but clock.sleep."""
    clock = FakeClock()
    monkeypatch.setattr("hwkd.measure.timing.time", clock)
    return clock


def test_times_are_in_milliseconds(clock):
    latency = measure_latency(lambda: clock.sleep(0.01), warmup=0, repeats=6)
    assert (latency.median_ms, latency.p95_ms) == (10.0, 10.0)


def test_seconds_are_spent_on_at_least_six_runs(clock):
    assert measure_latency(lambda: clock.sleep(0.002), warmup=0, seconds=0.001).runs == 6
    assert measure_latency(lambda: clock.sleep(0.001), warmup=3, seconds=0.05).runs == 50


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"repeats": 2, "seconds": 1.0},
        {"repeats": 0},
        {"seconds": 0.0},
        {"warmup": -1, "repeats": 1},
    ],
)
def test_refuses_what_allows_no_run(arguments):
    with pytest.raises(InputError, match="got"):
        measure_latency(lambda: None, **arguments)


def test_codec_latency_runs_the_networks_of_each_side():
    torch.manual_seed(0)
    codec = build(HyperpriorSpec("gdn", (8, 8, 8), 12, 8, 8))
    shapes = {name: [] for name in ("g_a", "h_a", "h_s", "g_s")}
    for name, seen in shapes.items():
        getattr(codec, name).register_forward_hook(
            lambda _, inputs, __, seen=seen: seen.append(tuple(inputs[0].shape))
        )
    state = torch.random.get_rng_state()
    result = codec_latency(codec, 100, 60, warmup=1, repeats=6)
    assert set(result) == {"encode", "decode"}
    assert all(latency.median_ms > 0 and latency.runs == 6 for latency in result.values())
    # Once to make the latents, and 7 runs a side; h_s belongs to both sides.
    assert {name: len(seen) for name, seen in shapes.items()} == {
        "g_a": 8,
        "h_a": 8,
        "h_s": 14,
        "g_s": 7,
    }
    assert set(shapes["g_a"]) == {(1, 3, 64, 128)}
    assert codec.training
    assert torch.equal(torch.random.get_rng_state(), state)


def test_codec_latency_refuses_a_size_without_pixels():
    with pytest.raises(InputError, match="0x1 cannot be timed"):
        codec_latency(build(HyperpriorSpec("gdn", (8, 8, 8), 12, 8, 8)), 0, 1, repeats=1)


def test_timing_does_not_import_torch():
    code = "import sys, hwkd.measure.timing as l; l.measure_latency(int, repeats=6); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_several_things_take_turns_warm_up_included():
    calls = []
    result = measure_in_turn(
        {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, warmup=1, repeats=3
    )
    assert calls == ["a", "b"] * 4
    assert {name: latency.runs for name, latency in result.items()} == {"a": 3, "b": 3}


def test_each_of_several_has_its_own_times(clock):
    result = measure_in_turn(
        {"slow": lambda: clock.sleep(0.02), "fast": lambda: None}, warmup=0, repeats=6
    )
    assert (result["slow"].median_ms, result["fast"].median_ms) == (20.0, 0.0)


def test_seconds_are_spent_on_all_together(clock):
    runs = {name: lambda: clock.sleep(0.002) for name in "abc"}
    assert {x.runs for x in measure_in_turn(runs, warmup=0, seconds=0.001).values()} == {6}
    # Rounds of 6 ms.
    assert {x.runs for x in measure_in_turn(runs, warmup=0, seconds=0.06).values()} == {10}


@pytest.mark.parametrize("whole", [6, 9])
def test_ctrl_c_keeps_the_whole_rounds_before_it(clock, whole):
    def second():
        clock.sleep(0.002)
        calls.append("b")
        if len(calls) > whole:
            raise KeyboardInterrupt

    calls = []
    runs = {"a": lambda: clock.sleep(0.001), "b": second}
    latencies, is_stopped = rounds_until_stopped(runs, warmup=0, seconds=60.0)
    assert is_stopped
    assert {name: (x.median_ms, x.runs) for name, x in latencies.items()} == {
        "a": (pytest.approx(1.0), whole),
        "b": (pytest.approx(2.0), whole),
    }


def test_ctrl_c_before_there_are_figures_goes_on_to_the_caller(clock):
    def stop():
        clock.sleep(0.002)
        calls.append("b")
        if len(calls) > 5:
            raise KeyboardInterrupt

    calls = []
    with pytest.raises(KeyboardInterrupt):
        rounds_until_stopped({"b": stop}, warmup=0, seconds=60.0)


def test_nothing_to_run_is_refused():
    with pytest.raises(InputError, match="for 0 runs in turn"):
        measure_in_turn({}, repeats=1)


def test_a_latency_becomes_a_measured_figure_with_its_interval():
    figure = Latency(10.5, 19.0, (6.0, 15.0), 20).quantity("a clock")
    assert figure == Quantity(10.5, "measured", "a clock", 6.0, 15.0, 0.95, 20)


def test_a_latency_of_few_runs_becomes_a_figure_without_interval():
    figure = Latency(3.0, 5.0, None, 5).quantity("a clock")
    assert figure == Quantity(3.0, "measured", "a clock", runs=5)


needs_affinity = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity"), reason="this system cannot pin a process to cores"
)


@needs_affinity
def test_threads_and_cores_are_set_and_restored():
    cores, threads = os.sched_getaffinity(0), torch.get_num_threads()
    with pinned(1) as pinning:
        assert torch.get_num_threads() == 1
        assert os.sched_getaffinity(0) == {min(cores)}
        assert pinning == Pinning(1, (min(cores),))
    assert (os.sched_getaffinity(0), torch.get_num_threads()) == (cores, threads)


@needs_affinity
def test_where_nothing_loaded_torch_it_stays_so(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch")
    cores = os.sched_getaffinity(0)
    with pinned(1) as pinning:
        assert pinning == Pinning(1, (min(cores),))
        assert "torch" not in sys.modules
    assert os.sched_getaffinity(0) == cores


@needs_affinity
def test_threads_that_exist_move_and_threads_started_inside_are_let_go():
    cores = os.sched_getaffinity(0)
    done = threading.Event()

    def start():
        ready, thread = threading.Event(), None
        thread = threading.Thread(target=lambda: (ready.set(), done.wait()))
        thread.start()
        ready.wait()
        return thread

    older = start()
    with pinned(1):
        younger = start()
        assert os.sched_getaffinity(older.native_id) == {min(cores)}
        assert os.sched_getaffinity(younger.native_id) == {min(cores)}
    assert os.sched_getaffinity(older.native_id) == cores
    assert os.sched_getaffinity(younger.native_id) == cores
    done.set()
    older.join()
    younger.join()


@needs_affinity
def test_an_error_inside_restores_too():
    cores = os.sched_getaffinity(0)
    with pytest.raises(KeyError), pinned(1):
        raise KeyError
    assert os.sched_getaffinity(0) == cores


def test_without_affinity_it_says_so(monkeypatch):
    monkeypatch.delattr(os, "sched_setaffinity", raising=False)
    with pinned(1) as pinning:
        assert torch.get_num_threads() == 1
    assert str(pinning) == "1 thread, not pinned to cores (this system has no call for it)"


def test_the_cores_are_named():
    assert str(Pinning(2, (0, 3))) == "2 threads pinned to cores 0, 3"
    assert str(Pinning(1, (2,))) == "1 thread pinned to core 2"


@pytest.mark.parametrize("threads", [0, 100_000])
def test_refuses_threads_that_there_are_no_cores_for(threads):
    with pytest.raises(InputError, match=f"cores usable here, got {threads}"), pinned(threads):
        pass


TICK = os.sysconf("SC_CLK_TCK")
QUIET = Snapshot(at_s=100.0, own_s=10.0, busy_s=50.0, cores=2, clock_mhz=3000.0)


def later(**changes):
    """Ten seconds after QUIET, of which this process used 8 on one core; nothing else ran."""
    values = {"at_s": 110.0, "own_s": 18.0, "busy_s": 58.0, "cores": 2, "clock_mhz": 3000.0}
    return Snapshot(**(values | changes))


def test_a_quiet_machine_has_no_notes():
    assert notes_between(QUIET, later()) == ()


def test_other_processes_are_what_this_one_did_not_use():
    # 16.3 s of all processes, 8 of them our own: 8.3 s in 10.
    assert notes_between(QUIET, later(busy_s=66.3)) == (
        "the machine was busy: other processes used 0.83 of 2 cores",
    )


@pytest.mark.parametrize(("busy_s", "is_noted"), [(58.9, False), (59.1, True)])
def test_a_twentieth_of_the_cores_is_let_pass(busy_s, is_noted):
    assert bool(notes_between(QUIET, later(busy_s=busy_s))) is is_noted


@pytest.mark.parametrize(
    ("mhz", "notes"),
    [
        (2900.0, ()),
        (2400.0, ("the clock moved from 3000 to 2400 MHz (-20%)",)),
        (3300.0, ("the clock moved from 3000 to 3300 MHz (+10%)",)),
    ],
)
def test_a_moving_clock_is_noted_over_five_percent(mhz, notes):
    assert notes_between(QUIET, later(clock_mhz=mhz)) == notes


def test_a_short_window_cannot_tell_the_load():
    (note,) = notes_between(QUIET, later(at_s=100.1, busy_s=51.0, own_s=10.0))
    assert "cannot be told: 0.10 s are too short a window" in note


def test_a_snapshot_reads_the_ticks_that_are_not_idle(tmp_path):
    (tmp_path / "proc").mkdir()
    # user 1, nice 2, system 3, (idle 4, iowait 5), irq 6, softirq 7, steal 8 seconds; guest is in user.
    ticks = " ".join(str(seconds * TICK) for seconds in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10))
    (tmp_path / "proc/stat").write_text(f"cpu  {ticks}\ncpu0 1\ncpu1 1\ncpu2 1\nintr 5\n")
    (tmp_path / "proc/cpuinfo").write_text("cpu MHz\t\t: 1800.0\n")
    seen = snapshot(tmp_path)
    assert (seen.busy_s, seen.cores, seen.clock_mhz) == (1 + 2 + 3 + 6 + 7 + 8, 3, 1800.0)


def test_without_proc_the_notes_say_that_they_cannot_tell(tmp_path):
    with watch_machine(tmp_path) as watch:
        assert watch.notes == ()
    load, clock = watch.notes
    assert load.startswith("whether other processes used the machine cannot be told")
    assert clock.startswith("whether the clock moved cannot be told")


def test_the_notes_are_there_after_an_error(tmp_path):
    with pytest.raises(KeyError), watch_machine(tmp_path) as watch:
        raise KeyError
    assert len(watch.notes) == 2


KEPT, USUAL = "freed memory kept by malloc", "memory as malloc handles it"


@pytest.fixture
def libc(monkeypatch):
    """A C library that notes what mallopt is asked for. answers: what mallopt returns, for each call."""
    fake = SimpleNamespace(calls=[], answers=[1, 1])

    def mallopt(parameter, value):
        fake.calls.append((parameter, value))
        return fake.answers[len(fake.calls) - 1]

    fake.mallopt = mallopt
    monkeypatch.setattr("hwkd.measure.timing.sys", SimpleNamespace(platform="linux"))
    monkeypatch.setattr("hwkd.measure.timing.ctypes.CDLL", lambda name: fake)
    return fake


def test_no_block_is_mapped_and_the_heap_is_never_trimmed(libc):
    assert keep_memory() == KEPT
    # malloc.h of glibc: M_TRIM_THRESHOLD is -1, M_MMAP_MAX is -4.
    assert libc.calls == [(-4, 0), (-1, 2**31 - 1)]


@pytest.mark.parametrize("answers", [[0, 1], [1, 0]])
def test_a_malloc_that_refuses_is_told(libc, answers):
    libc.answers = answers
    assert keep_memory() == USUAL


def test_another_c_library_is_left_alone(libc, monkeypatch):
    del libc.mallopt
    assert keep_memory() == USUAL

    def missing(name):
        raise OSError(name)

    monkeypatch.setattr("hwkd.measure.timing.ctypes.CDLL", missing)
    assert keep_memory() == USUAL


def test_another_system_is_left_alone(libc, monkeypatch):
    monkeypatch.setattr("hwkd.measure.timing.sys", SimpleNamespace(platform="darwin"))
    assert keep_memory() == USUAL
    assert libc.calls == []


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc only")
@pytest.mark.parametrize(("call", "kept"), [("keep_memory()", True), ("None", False)])
def test_a_freed_block_stays_with_the_process(call, kept):
    program = (
        "import ctypes, re\n"
        "from hwkd.measure.timing import keep_memory\n"
        f"{call}\n"
        "libc = ctypes.CDLL(None)\n"
        "libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]\n"
        "block = libc.malloc(2**27)\n"
        "ctypes.memset(block, 1, 2**27)\n"
        "libc.free(block)\n"
        "print(re.search(r'VmRSS:\\s*(\\d+) kB', open('/proc/self/status').read()).group(1))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (int(done.stdout) > 2**27 / 1024) == kept, done.stderr


def test_the_real_library_is_asked_by_its_own_name(monkeypatch):
    names = []
    monkeypatch.setattr("hwkd.measure.timing.sys", SimpleNamespace(platform="linux"))
    monkeypatch.setattr(ctypes, "CDLL", lambda name: names.append(name) or SimpleNamespace())
    keep_memory()
    assert names == ["libc.so.6"]
