"""The actions of `hwkd targets` that work on published timings: fit and validate."""

import argparse
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from hwkd.cli.output import emit_all
from hwkd.data import data_folder
from hwkd.measure.left_out import LeftOut, leave_networks_out
from hwkd.measure.predict.constants import Fitted, constants_of
from hwkd.measure.predict.fit import fit
from hwkd.measure.predict.published import Population, Timings, population, read_timings
from hwkd.report.accuracy import WORST, device_table, network_table, overall_table
from hwkd.report.table import Table
from hwkd.target import list_targets, load_target
from hwkd.target_file import write_constants

CONSTANTS_NOTE = (
    "error_percent, coverage_percent: each network left out in turn, of that very configuration. Whole networks in "
    "the named runtime; none of them has transposed convolutions or GDN, for which the interval widens."
)


def add_timings_option(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the option for timings other than the shipped ones."""
    parser.add_argument(
        "--timings",
        type=Path,
        metavar="FILE.json",
        help="published timings to fit on (default: ncnn's benchmark, as shipped)",
    )


def run_fit(args: argparse.Namespace) -> int:
    """Fit the constants of all shipped targets and write them into their files; print what they are.

    Raises:
        InputError: the timings cannot be read, or the files not written.
    """
    timings = read_timings(args.timings)
    with _progress() as progress:
        fitted = [
            Fitted(leave_out(p, progress), fit(p.work, p.ln_times))
            for p in populations(timings, progress)
        ]
    # All are derived before the first is written: a target whose device the timings lack must not leave a mixture.
    derived = {
        name: constants_of(load_target(name), timings.source, fitted) for name in list_targets()
    }
    rows = []
    folder = data_folder("targets")
    for name, constants in derived.items():
        path = folder / f"{name}.toml"
        write_constants(path, (args.into or folder) / path.name, constants)
        for c in constants:
            error = "n/a" if c.error_percent is None else f"{c.error_percent:.1f}"
            coverage = "n/a" if c.coverage is None else f"{100 * c.coverage:.0f}"
            rows.append((name, str(c), c.device, str(c.networks), error, coverage))
    columns = ("target", "constants", "timed", "networks", "error_percent", "coverage_percent")
    where = args.into or "the targets that ship"
    table = Table(
        f"Constants fitted and written to {where}", columns, tuple(rows), (CONSTANTS_NOTE,)
    )
    emit_all((table, overall_table(tuple(f.left_out for f in fitted))), args)
    return 0


def run_validate(args: argparse.Namespace) -> int:
    """Print how far predictions of a left-out network are off. Raises InputError as `run_fit`."""
    timings = read_timings(args.timings)
    with _progress() as progress:
        left_out = tuple(leave_out(p, progress) for p in populations(timings, progress))
    worst = None if args.all_devices else WORST
    emit_all(
        (overall_table(left_out), network_table(left_out), device_table(left_out, worst)), args
    )
    return 0


def populations(timings: Timings, progress: Progress) -> tuple[Population, Population]:
    """CPUs and GPUs, the networks counted first."""
    from hwkd.measure.eager.benchmark_networks import NETWORKS, benchmark_layers

    task = progress.add_task("counting networks", total=len(NETWORKS))
    layers = benchmark_layers(lambda _: progress.advance(task))
    return population(timings, layers, of_gpus=False), population(timings, layers, of_gpus=True)


def leave_out(of: Population, progress: Progress) -> LeftOut:
    """The errors over a population, with a bar."""
    networks = {name for name, _ in of.columns}
    task = progress.add_task(f"{of.name}s without each network", total=len(networks))
    return leave_networks_out(of, lambda _: progress.advance(task))


def _progress() -> Progress:
    console = Console(stderr=True)
    # Where nobody watches, rich would leave an empty line.
    return Progress(console=console, transient=True, disable=not console.is_terminal)
