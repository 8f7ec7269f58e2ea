"""Published timings of networks on devices: read, checked, and set beside the networks' work."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hwkd.errors import InputError
from hwkd.files import data_folder
from hwkd.measure.layers import TERMS, LayerCost, work
from hwkd.measure.predict.fit import Z90, Array, fit
from hwkd.schema import read_json

SHIPPED = "published/ncnn-benchmark.json"
TENSORRT = "published/tensorrt-jetson.json"
"""Below profiles/."""
NCNN = "ncnn"
"""The runtime of a table that names none."""
INT8 = "_int8"
"""What a column's name ends in where the network ran in int8."""
FEWEST = 10
"""A configuration of ncnn with fewer float networks is left out: the first devices were timed with other versions."""
FEWEST_OTHER = 5
"""The same for other runtimes, of which less was published."""
FEWEST_ERRORS = 50
"""Errors of left-out networks that say how far off a runtime's predictions are; with fewer, all of the population count."""
ALIASES = {
    "mobilenet_v1_1.0": "mobilenet",
    "mobilenet_v2_1.0": "mobilenet_v2",
    "mobilenet_v3_large": "mobilenet_v3",
}
"""Networks of other tables that ncnn's benchmark has under another name."""


@dataclass(frozen=True)
class Configuration:
    """A device as it was timed. gpu: its number, -1 for the CPU. source: of its times."""

    device: str
    threads: int
    gpu: int
    runtime: str = NCNN
    source: str = ""

    def __str__(self) -> str:
        where = "CPU" if self.gpu < 0 else f"GPU {self.gpu}"
        if self.runtime != NCNN:
            where += f" by {self.runtime}"
        return f"{self.device}, {where}, {self.threads} thread{'s' * (self.threads > 1)}"


@dataclass(frozen=True)
class TimingTable:
    """A published table. networks: its columns. ms: a row for each configuration, None where nothing was published."""

    source: str
    networks: tuple[str, ...]
    configurations: tuple[Configuration, ...]
    ms: tuple[tuple[float | None, ...], ...]


@dataclass(frozen=True)
class Population:
    """All configurations of one kind (CPU or GPU), as `hwkd.measure.predict.fit.fit` takes them.

    columns: (network, is_int8). terms: (term, is_int8), is_int8 False only where the population has no int8.
    work: [N, K]. ln_times: [D, N], ln of milliseconds, nan where there is none.
    """

    name: str
    configurations: tuple[Configuration, ...]
    columns: tuple[tuple[str, bool], ...]
    terms: tuple[tuple[str, bool], ...]
    work: Array
    ln_times: Array

    def rows_of(self, runtime: str) -> npt.NDArray[np.bool_]:
        """[D], which configurations were timed with `runtime`."""
        return np.array([c.runtime == runtime for c in self.configurations])

    @property
    def runtimes(self) -> tuple[str, ...]:
        """Of the configurations, each once."""
        return tuple(dict.fromkeys(c.runtime for c in self.configurations))

    @property
    def is_int8(self) -> npt.NDArray[np.bool_]:
        """[N], which columns are of int8."""
        return np.array([is_int8 for _, is_int8 in self.columns])


NEEDED = "source, networks and rows of device, threads, gpu, ms"


def read_timings(path: Path | None = None) -> TimingTable:
    """The table at `path`; the one that ships with hwkd for None.

    Form: {"source": .., "networks": [..], "rows": [{"device": .., "threads": .., "gpu": .., "ms": [..]}]}, ms in the
    order of networks, null where nothing was published. "runtime": what ran them, where that is not ncnn.

    Raises:
        InputError: no such file, not of that form, or a time that cannot be.
    """
    path = data_folder("profiles") / SHIPPED if path is None else path
    raw = read_json(path, f"give a JSON file with {NEEDED}", "the timings")
    try:
        networks = tuple(str(name) for name in raw["networks"])
        rows = raw["rows"]
        source, runtime = str(raw["source"]), str(raw.get("runtime", NCNN))
        configurations = tuple(
            Configuration(str(row["device"]), int(row["threads"]), int(row["gpu"]), runtime, source)
            for row in rows
        )
        ms = tuple(tuple(None if t is None else float(t) for t in row["ms"]) for row in rows)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is no table of timings ({error!r}): it needs {NEEDED}") from error
    for configuration, row in zip(configurations, ms, strict=True):
        if len(row) != len(networks):
            raise InputError(
                f"{path}: {configuration} has {len(row)} times for {len(networks)} networks"
            )
        wrong = [t for t in row if t is not None and not (math.isfinite(t) and t > 0)]
        if wrong:
            raise InputError(
                f"{path}: {configuration} has a time of {wrong[0]} ms; above 0 is accepted"
            )
    return TimingTable(source, networks, configurations, ms)


def merged(tables: Sequence[TimingTable]) -> TimingTable:
    """One table with the configurations and the networks of all; a time that a table lacks is None."""
    networks = tuple(dict.fromkeys(name for table in tables for name in table.networks))
    ms = []
    for table in tables:
        for row in table.ms:
            of_row = dict(zip(table.networks, row, strict=True))
            ms.append(tuple(of_row.get(name) for name in networks))
    return TimingTable(
        tables[0].source,
        networks,
        tuple(c for table in tables for c in table.configurations),
        tuple(ms),
    )


def size_of(column: str) -> tuple[str, int, int] | None:
    """(name, width, height) of a column NAME@WIDTHxHEIGHT; None for one of ncnn's benchmark."""
    name, at, size = column.removesuffix(INT8).partition("@")
    if not at:
        return None
    width, _, height = size.partition("x")
    return name, int(width), int(height)


def network_of(column: str) -> str:
    """The network of a column by one name for all tables: to leave it out is to leave out all of these columns."""
    name = column.removesuffix(INT8).partition("@")[0]
    return ALIASES.get(name, name)


def population(
    timings: TimingTable, layers: Mapping[str, Sequence[LayerCost]], *, of_gpus: bool
) -> Population:
    """The CPUs, or the GPUs, of `timings`, with the work of the networks in `layers`.

    GPU rows of int8 are left out: that framework computes int8 on the CPU there. Networks without layers are left out.

    Raises:
        InputError: no configuration is left.
    """
    columns = [
        (name.removesuffix(INT8), name.endswith(INT8))
        for name in timings.networks
        if name.removesuffix(INT8) in layers and not (of_gpus and name.endswith(INT8))
    ]
    places = [timings.networks.index(name + INT8 * is_int8) for name, is_int8 in columns]
    chosen, rows = [], []
    for configuration, ms in zip(timings.configurations, timings.ms, strict=True):
        times = [math.nan if (t := ms[place]) is None else math.log(t) for place in places]
        floats = [t for t, (_, is_int8) in zip(times, columns, strict=True) if not is_int8]
        fewest = FEWEST if configuration.runtime == NCNN else FEWEST_OTHER
        if (configuration.gpu >= 0) == of_gpus and sum(map(math.isfinite, floats)) >= fewest:
            chosen.append(configuration)
            rows.append(times)
    if not rows:
        kind = "GPU" if of_gpus else "CPU"
        raise InputError(
            f"no {kind} has timings of {FEWEST} known networks; got {len(timings.ms)} rows"
        )
    # A merged table has columns of the other kind of unit.
    times_of = np.array(rows)
    is_timed = np.isfinite(times_of).any(0) | np.array(
        [size_of(name) is None for name, _ in columns]
    )
    columns = [column for column, timed in zip(columns, is_timed, strict=True) if timed]
    precisions = sorted({is_int8 for _, is_int8 in columns})
    terms = [(term, is_int8) for is_int8 in precisions for term in TERMS]
    amounts = np.zeros((len(columns), len(terms)))
    for n, (name, is_int8) in enumerate(columns):
        for layer in layers[name]:
            for term, amount in work(layer).items():
                amounts[n, terms.index((term, is_int8))] += amount
    return Population(
        "GPU" if of_gpus else "CPU",
        tuple(chosen),
        tuple(columns),
        tuple(terms),
        amounts,
        times_of[:, is_timed],
    )


# How far predictions can be trusted: each network is left out of all devices in turn, and then predicted.
#
# A codec's networks were timed by nobody on these devices, so the network that is left out is left out everywhere: what
# other devices took for it may not help.

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class CrossValidation:
    """The errors over a population.

    ln_error: [D, N], ln(predicted / published), nan where nothing was published, and for a network that alone has work
    in some term: once it is left out, nothing speaks for that term. ln_sd: [D, N], the standard deviation that the
    prediction gave itself. widening: [D], the factor on the standard deviations of the fit that a network outside of it
    needs; in ln_sd is the one found without the network.
    """

    population: Population
    ln_error: Array
    ln_sd: Array
    widening: Array

    def accuracy(self, rows: Mask | None = None, columns: Mask | None = None) -> "Accuracy":
        """Over the chosen rows and columns (masks; None: all)."""
        chosen = np.isfinite(self.ln_error)
        if rows is not None:
            chosen &= rows[:, None]
        if columns is not None:
            chosen &= columns[None]
        return Accuracy.of(self.ln_error[chosen], self.ln_sd[chosen])


@dataclass(frozen=True)
class Accuracy:
    """count: of predictions. *_error_percent: of |predicted / published - 1|. coverage: share of the published times
    inside the 90 % interval. bias_percent: of the median prediction. None where count is 0."""

    count: int
    median_error_percent: float | None
    p90_error_percent: float | None
    coverage: float | None
    bias_percent: float | None

    @classmethod
    def of(cls, ln_error: Array, ln_sd: Array) -> "Accuracy":
        """Of errors and the standard deviations that their predictions gave themselves, both [n]."""
        if not len(ln_error):
            return cls(0, None, None, None, None)
        percent = 100 * np.abs(np.expm1(ln_error))
        return cls(
            len(ln_error),
            float(np.median(percent)),
            float(np.quantile(percent, 0.9)),
            float(np.mean(np.abs(ln_error) <= Z90 * ln_sd)),
            float(100 * np.expm1(np.median(ln_error))),
        )


def leave_networks_out(
    population: Population, progress: Callable[[str], None] | None = None
) -> CrossValidation:
    """Fit without each network (in either precision) and predict it.

    progress: called with each network's name before the fit without it.
    """
    error = np.full(population.ln_times.shape, np.nan)
    sd = np.full(population.ln_times.shape, np.nan)
    names = [network_of(name) for name, _ in population.columns]
    for network in dict.fromkeys(names):
        if progress is not None:
            progress(network)
        out = np.array([name == network for name in names])
        # A device with no other timing in any column cannot be fitted; FEWEST and FEWEST_OTHER see to it that there is none.
        fitted = fit(population.work[~out], population.ln_times[:, ~out])
        is_known = population.work[~out].sum(0) > 0
        for n in np.flatnonzero(out):
            if (population.work[n, ~is_known] > 0).any():
                continue
            ln_ms, ln_sd = fitted.predict(population.work[n])
            error[:, n] = ln_ms - population.ln_times[:, n]
            sd[:, n] = ln_sd
    squares = (error / sd) ** 2
    for network in dict.fromkeys(names):
        others = np.array([name != network for name in names])
        sd[:, ~others] *= _widening(population, squares[:, others])[:, None]
    return CrossValidation(population, error, sd, _widening(population, squares))


def _widening(population: Population, squares: Array) -> Array:
    """[D], the root mean square of errors in standard deviations, over all devices of the same runtime.

    The devices' own sigma is that of networks in the fit. What a kind of network has in common on all devices is fitted with
    them there, and not known of one that was left out.

    Args:
        squares: [D, N], of errors over their standard deviations, nan where there is none.
    """
    found = np.full(len(squares), math.sqrt(np.nanmean(squares)))
    for runtime in population.runtimes:
        of_runtime = population.rows_of(runtime)
        known = squares[of_runtime]
        if np.isfinite(known).sum() >= FEWEST_ERRORS:
            found[of_runtime] = math.sqrt(np.nanmean(known))
    return found
