import os
import signal
import socket
import subprocess
import sys
import time
from importlib.metadata import version

import pytest
from codecarbon.input import DataSource

from hwkd.errors import HwkdError, InputError
from hwkd.measure.energy.codecarbon import NEVER_S, CodecarbonMeter, emissions_g_per_1000
from hwkd.measure.energy.measure import measure_energy
from tests.fakes.meters import FakeClock


def work(seconds):
    """Use this much processor time, in calls that hold Python's lock for some 50 ms each."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        sum(range(2_000_000))


@pytest.fixture
def no_network(monkeypatch):
    """Every way to the network fails; the list tells who tried."""
    tried = []

    def refuse(*args, **kwargs):
        tried.append(args)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    return tried


@pytest.fixture
def hundred_watts(monkeypatch):
    """The processor's power is given, so that no machine's sensor or table comes in."""
    monkeypatch.setenv("CODECARBON_FORCE_CPU_POWER", "100")


def test_measures_without_network_files_or_signal_handlers_whatever_is_configured(
    no_network, hundred_watts, monkeypatch, tmp_path
):
    from codecarbon.lock import LOCKFILE

    for name, value in {
        "ELECTRICITYMAPS_API_TOKEN": "token",
        "CO2_SIGNAL_API_TOKEN": "token",
        "EMISSIONS_ENDPOINT": "http://192.0.2.1",
        "OUTPUT_METHODS": "csv,api",
        "OUTPUT_DIR": "nowhere",
        "ALLOW_MULTIPLE_RUNS": "false",
    }.items():
        monkeypatch.setenv(f"CODECARBON_{name}", value)
    monkeypatch.chdir(tmp_path)
    before = (os.path.exists(LOCKFILE), signal.getsignal(signal.SIGINT))
    meter = CodecarbonMeter()
    result = measure_energy(
        lambda: work(0.1), meter, pixels=1000, warmup=0, window_s=0.2, seconds=0.1
    )
    for _ in range(8):  # codecarbon sends after every 8 readings where it has an output
        meter.begin_window()
        meter.end_window()
    # Memory is at a constant power; what the work took beside it, a busy machine may hide.
    idle = result.idle_power_w
    assert idle.value > 0
    assert (idle.found, idle.runs) == ("estimated", 3)
    assert no_network == []
    assert list(tmp_path.iterdir()) == []
    assert (os.path.exists(LOCKFILE), signal.getsignal(signal.SIGINT)) == before


class Looked(FakeClock):
    """Every look takes a microsecond: codecarbon divides by the time between two of them."""

    def perf_counter(self):
        self.now += 1e-6
        return self.now

    def time(self):
        return self.perf_counter()


LOOKS = 1e-3
"""The share that all looks of a window take of its time, at the most."""


@pytest.fixture
def clock(monkeypatch):
    """The wall clock that codecarbon looks at from now on; processor time stays real."""
    clock = Looked()
    for module in ("emissions_tracker", "external.hardware", "external.task"):
        monkeypatch.setattr(f"codecarbon.{module}.time", clock)
    return clock


TICKS_S = 2 / os.sysconf("SC_CLK_TCK")
"""The kernel counts a process's time in ticks, that of its own and that of the system for it: each is short by up to one."""


def test_joules_are_processor_time_times_power_a_cpu(hundred_watts, clock):
    meter = CodecarbonMeter()
    outside = time.process_time()
    meter.begin_window()
    inside = time.process_time()
    work(0.4)
    clock.sleep(1.0)
    least_s = time.process_time() - inside
    window = meter.end_window()
    most_s = time.process_time() - outside
    cpu_s = window.by_domain["cpu"] / (100 / os.cpu_count())
    assert (1 - LOOKS) * least_s - TICKS_S <= cpu_s <= (1 + LOOKS) * most_s + TICKS_S
    assert window.energy_j == pytest.approx(sum(window.by_domain.values()))
    assert window.seconds == pytest.approx(1.0, rel=LOOKS)


def test_no_reading_is_taken_in_the_background(hundred_watts):
    meter = CodecarbonMeter()
    meter.begin_window()
    # codecarbon's own interval is a second.
    assert meter._tracker._scheduler_monitor_power._timer.interval == NEVER_S
    meter.end_window()


def test_rest_costs_no_processor_time_and_memory_is_constant(hundred_watts, clock):
    meter = CodecarbonMeter()
    powers = []
    for seconds in (0.25, 4.0):
        before = time.process_time()
        meter.begin_window()
        clock.sleep(seconds)
        window = meter.end_window()
        # The window's own beginning and end.
        most_s = time.process_time() - before + TICKS_S
        assert window.by_domain["cpu"] <= (1 + LOOKS) * most_s * 100 / os.cpu_count()
        powers.append(window.by_domain["memory"] / window.seconds)
    assert powers[0] == pytest.approx(powers[1], rel=LOOKS)
    assert powers[0] > 0


def test_what_is_covered_says_what_codecarbon_took(hundred_watts):
    covers = CodecarbonMeter().covers
    assert (
        f"processor at 100 W (set in codecarbon's configuration), times the share of its {os.cpu_count()} CPUs that "
        "this process keeps busy"
    ) in covers
    assert "memory at a constant " in covers
    assert covers.endswith(f"(version {version('codecarbon')})")


def test_the_default_for_an_unknown_processor_is_told(monkeypatch):
    from codecarbon.external.hardware import CPU

    meter = CodecarbonMeter()
    count = os.cpu_count()
    cpu = CPU("", "cpu_load", "Unheard-of 1", 4 * count, tracking_mode="process")
    monkeypatch.setattr(meter._tracker, "_hardware", [cpu])
    assert (
        f"processor at {4 * count} W (4 W a CPU, its default for Unheard-of 1, which it does not know)"
        in meter.covers
    )


def test_says_nothing_by_itself():
    code = (
        "from hwkd.measure.energy.codecarbon import CodecarbonMeter\n"
        "meter = CodecarbonMeter()\n"
        "meter.begin_window()\n"
        "print(meter.end_window().energy_j > 0)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:codecarbon", "-c", code],
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_ending_without_a_beginning_is_an_error():
    with pytest.raises(HwkdError, match="needs begin_window"):
        CodecarbonMeter().end_window()


def test_a_codecarbon_that_does_not_start_is_an_error(monkeypatch):
    import codecarbon

    class Older:
        def __init__(self, **options):
            pass

    monkeypatch.setattr(codecarbon, "OfflineEmissionsTracker", Older)
    with pytest.raises(InputError, match=r"did not start \(its tracker is not ready\): look at"):
        CodecarbonMeter()


def test_without_codecarbon_the_install_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "codecarbon", None)
    with pytest.raises(InputError, match=r"pip install 'hwkd\[energy\]'"):
        CodecarbonMeter()


def test_a_thousand_images_of_3_6_joules_are_a_thousandth_of_a_kilowatt_hour():
    intensity = DataSource().get_global_energy_mix_data()["FRA"]["carbon_intensity"]
    assert emissions_g_per_1000(3.6, "FRA").value == pytest.approx(intensity / 1000)


def test_countries_differ_as_their_electricity_does():
    # Our World in Data has France under 100 and Poland over 500 g/kWh in every year of the 2020s.
    french, polish = (emissions_g_per_1000(3600.0, code).value for code in ("FRA", "POL"))
    assert french < 100 < 500 < polish


def test_it_says_what_it_was_computed_with():
    quantity = emissions_g_per_1000(1.0, "deu")
    entry = DataSource().get_global_energy_mix_data()["DEU"]
    assert quantity.found == "estimated"
    assert quantity.by == (
        f"codecarbon {version('codecarbon')}: Germany (DEU), {entry['carbon_intensity']:.0f} g CO2e/kWh, mean of "
        f"{entry['year']}"
    )


def test_no_energy_has_no_emissions():
    assert emissions_g_per_1000(0.0, "USA").value == 0.0


@pytest.mark.parametrize(
    ("received", "message"),
    [
        (
            "france",
            "unknown country 'france': did you mean FRA? --country takes three letters of ISO 3166: USA, FRA, DEU",
        ),
        (
            "??",
            "unknown country '??'; --country takes three letters of ISO 3166: USA, FRA, DEU",
        ),
    ],
)
def test_an_unknown_country_is_refused(received, message):
    with pytest.raises(InputError) as error:
        emissions_g_per_1000(1.0, received)
    assert str(error.value) == message


def test_a_mistyped_country_gets_the_near_ones():
    with pytest.raises(InputError, match=r"'FRX': did you mean FR[AO] or FR[AO]"):
        emissions_g_per_1000(1.0, "FRX")


@pytest.mark.parametrize("energy_j", [-1.0, float("nan")])
def test_an_energy_that_cannot_be_is_refused(energy_j):
    with pytest.raises(InputError, match="energy must be 0 J or more, got"):
        emissions_g_per_1000(energy_j, "USA")


def test_emissions_without_codecarbon_the_install_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "codecarbon.core.emissions", None)
    with pytest.raises(InputError, match=r"pip install 'hwkd\[energy\]'"):
        emissions_g_per_1000(1.0, "USA")
