"""CodeCarbon: its estimate as a meter, and its intensities for emissions."""

import logging
from collections.abc import Mapping
from configparser import ConfigParser
from configparser import Error as ConfigParserError
from difflib import get_close_matches
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hwkd.errors import HwkdError, InputError
from hwkd.files import in_home
from hwkd.measure.energy.meter import Window
from hwkd.quantity import Quantity

# Energy as codecarbon estimates it, offline: the last resort where no sensor is.
#
# Without a sensor codecarbon (3.3) multiplies a processor power, from its table of processors or 4 W a CPU, by the load,
# and adds a constant for memory. Two choices follow:
#
# - tracking_mode="process". The load is then the processor time of this process and its children over the window, and
#   idle costs nothing, so what remains above an idle window is processor time x power a CPU: an estimate of the work
#   alone. With "machine" the power is power x (0.1 + 0.9 load^3) with the load of everything that runs, which on a busy
#   machine is mostly the others' work, and one busy core of two is given, above idle, an eighth of what both are.
#   Memory is constant in either mode and drops out when idle is subtracted.
# - One reading a window. codecarbon's background reading, once a second, takes the time first and the processor time
#   afterwards; where the work holds Python's lock in between, that came out up to twice too high. At the end of the
#   window nothing holds it.

J_PER_KWH = 3.6e6

COUNTRY = "USA"
"""codecarbon asks for one to stay offline; the energy does not depend on it."""

NEVER_S = 1e7
"""Longer than any window: the background reading is not wanted."""


class _Said(logging.Handler):
    """Keeps the last thing that codecarbon logged, which is what went wrong."""

    last = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record's text."""
        self.last = record.getMessage()


def _broken_file() -> str:
    """What is wrong with a configuration file of codecarbon; "" for nothing. codecarbon itself does not report it."""
    for path in (in_home("~/.codecarbon.config"), Path(".codecarbon.config")):
        try:
            ConfigParser().read(path, encoding="utf-8")
        except (ConfigParserError, OSError, UnicodeDecodeError) as error:
            return str(error)
    return ""


class CodecarbonMeter:
    """codecarbon's OfflineEmissionsTracker, which never looks up the network, silent and without files.

    The two watts that its user may know better, force_cpu_power and force_ram_power, are taken from codecarbon's own
    configuration (~/.codecarbon.config, CODECARBON_*); what else there would change the figure, write or send is
    overridden.
    """

    name = "codecarbon"
    found = "estimated"

    def __init__(self, *, without_rapl: bool = False) -> None:
        """Start codecarbon once, so that looking at the hardware falls into no window.

        Args:
            without_rapl: estimate although there are counters, which do not work.
        Raises:
            InputError: codecarbon is not installed, or did not start.
        """
        try:
            from codecarbon import OfflineEmissionsTracker
        # Its import reads its configuration, and writes what it finds there to the log.
        except Exception as error:
            raise InputError(
                f"codecarbon cannot be imported ({error}): `pip install 'hwkd[energy]'`"
            ) from error
        # The import sets the level to INFO, and the tracker speaks before it sets its own.
        logging.getLogger("codecarbon").setLevel(logging.ERROR)
        self._version = version("codecarbon")
        said = _Said()
        log = logging.getLogger("codecarbon")
        log.addHandler(said)
        try:
            self._tracker: Any = self._started(OfflineEmissionsTracker, without_rapl)
            # It logs what goes wrong in its constructor and returns a tracker that is not ready.
            background = getattr(self._tracker, "_scheduler_monitor_power", None)
            if background is None or not hasattr(self._tracker, "run_id"):
                raise RuntimeError(said.last or _broken_file() or "its tracker is not ready")
            background.interval = NEVER_S
            self.begin_window()
            self.end_window()
        # Of a broken configuration each line raises something else.
        except Exception as error:
            cause = " ".join(str(error).split()) or type(error).__name__
            raise InputError(
                f"codecarbon {self._version} did not start ({cause}): look at ~/.codecarbon.config, .codecarbon.config "
                "here and the variables CODECARBON_*; hwkd needs 3.3 or a later 3.x"
            ) from error
        finally:
            log.removeHandler(said)

    def _started(self, tracker: Any, without_rapl: bool) -> Any:
        return tracker(
            country_iso_code=COUNTRY,
            region=None,
            cloud_provider=None,
            cloud_region=None,
            # Emissions are another module's; without a forced intensity a token in the configuration would lead to
            # a request over the network.
            force_carbon_intensity_g_co2e_kwh=0.0,
            electricitymaps_api_token=None,
            emissions_endpoint=None,
            # No outputs: the newer spelling of save_to_file=False and its like.
            output_methods=[],
            output_handlers=[],
            output_dir=".",
            allow_multiple_runs=True,  # or it keeps a lock file and takes over SIGINT
            measure_power_secs=NEVER_S,
            tracking_mode="process",
            force_mode_cpu_load=without_rapl,
            rapl_include_dram=False,  # its constant for memory is added in any case
            rapl_prefer_psys=False,
            pue=1.0,
            wue=0.0,
            log_level="error",
        )

    @property
    def covers(self) -> str:
        """What codecarbon adds up here, by its tracker."""
        parts = [self._describe(part) for part in self._tracker._hardware]
        return f"{'; '.join(parts)} (version {self._version})"

    def begin_window(self) -> None:
        """Start a task of codecarbon's."""
        self._tracker.start_task()

    def end_window(self) -> Window:
        """End the task. Raises HwkdError without a `begin_window` before it."""
        try:
            data = self._tracker.stop_task()
        except Exception as error:
            raise HwkdError(f"codecarbon failed ({error!r}); measure again") from error
        if data is None:
            raise HwkdError("end_window needs begin_window before it")
        by_domain = {
            "cpu": data.cpu_energy * J_PER_KWH,
            "memory": data.ram_energy * J_PER_KWH,
            "gpu": data.gpu_energy * J_PER_KWH,
        }
        # Every window is a task of its own, and codecarbon would keep them all.
        self._tracker._tasks.clear()
        return Window(data.energy_consumed * J_PER_KWH, data.duration, by_domain)

    def _describe(self, part: Any) -> str:
        """One piece of codecarbon's hardware in words."""
        kind, mode = type(part).__name__, getattr(part, "_mode", "")
        if kind == "RAM":
            return f"memory at a constant {part.total_power().W:g} W"
        if kind == "CPU" and mode == "cpu_load":
            return (
                f"processor at {part._tdp:g} W ({self._source(part)}), times the share of its {part._cpu_count} CPUs "
                "that this process keeps busy"
            )
        if kind == "CPU" and mode == "intel_rapl":
            return "processor packages by RAPL, of all processes"
        if kind == "Raspberry":
            return f"{part.chip_part} rails of the board's power chip, read once at the end of each window"
        return str(part.description())

    def _source(self, cpu: Any) -> str:
        """Codecarbon's source of the processor's power."""
        from codecarbon.core.cpu import DEFAULT_POWER_PER_CORE

        if self._tracker._force_cpu_power is not None:
            return "set in codecarbon's configuration"
        if cpu._tdp == DEFAULT_POWER_PER_CORE * cpu._cpu_count:
            return f"{DEFAULT_POWER_PER_CORE} W a CPU, its default for {cpu._model}, which it does not know"
        return f"its table for {cpu._model}"


# Emissions from energy: codecarbon's carbon intensity of a country's electricity, offline.

IMAGES = 1000


def emissions_g_per_1000(energy_j_per_image: float, country_iso_code: str) -> Quantity:
    """Grams of CO2 equivalent for 1,000 images: energy of 1,000 images x the country's carbon intensity.

    Counts: what the energy given counts, at the yearly mean of the country's electricity. Does not count: making the
    device, the hour of the day, losses of the power supply.

    Args:
        energy_j_per_image: joules, 0 or more.
        country_iso_code: three letters, ISO 3166-1 alpha-3, in capitals or not.

    Raises:
        InputError: a negative energy, a country without data, or no codecarbon.
    """
    if not energy_j_per_image >= 0:
        raise InputError(f"energy must be 0 J or more, got {energy_j_per_image}")
    try:
        from codecarbon.core.emissions import Emissions
        from codecarbon.core.units import Energy
        from codecarbon.external.geography import GeoMetadata
        from codecarbon.input import DataSource
    except ImportError as error:
        raise InputError(
            f"codecarbon cannot be imported ({error}): `pip install 'hwkd[energy]'`"
        ) from error
    # The import sets the level to INFO.
    logging.getLogger("codecarbon").setLevel(logging.ERROR)
    data: Any = DataSource()  # type: ignore[no-untyped-call]
    countries = data.get_global_energy_mix_data()
    code = country_iso_code.upper()
    if code not in countries:
        # codecarbon itself would take the world's average here.
        raise _unknown_country(country_iso_code, countries)
    kg_per_kwh = Emissions(data).get_country_emissions(
        Energy.from_energy(kWh=1.0), GeoMetadata(country_iso_code=code)
    )
    grams = 1e3 * kg_per_kwh * IMAGES * energy_j_per_image / J_PER_KWH
    entry = countries[code]
    return Quantity(
        grams,
        "estimated",
        f"codecarbon {version('codecarbon')}: {entry['country_name']} ({code}), {1e3 * kg_per_kwh:.0f} g CO2e/kWh, mean of "
        f"{entry['year']}",
    )


def _unknown_country(received: str, countries: Mapping[str, Mapping[str, Any]]) -> InputError:
    by_name = {entry["country_name"].lower(): code for code, entry in countries.items()}
    example = "--country takes three letters of ISO 3166: USA, FRA, DEU"
    if received.lower() in by_name:
        return InputError(
            f"unknown country {received!r}: did you mean {by_name[received.lower()]}? {example}"
        )
    near = get_close_matches(received.upper(), countries, n=3, cutoff=0.6)
    hint = f": did you mean {' or '.join(near)}?" if near else ";"
    return InputError(f"unknown country {received!r}{hint} {example}")
