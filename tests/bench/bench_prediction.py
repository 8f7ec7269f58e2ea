"""How well constants from two widths predict the widths between, on this machine, in one run.

    python tests/bench/bench_prediction.py [--threads 1,2] [--seconds 8] [--format md]

N=32 and N=128 of each family are profiled layer by layer, constants are fitted on them, and the networks of N=64 and
N=96 are predicted and measured: encoder and decoder, eager torch, each number of threads.
"""

import argparse
from statistics import median

from hwkd.cli.measuring.profile import parse_threads
from hwkd.cli.tables import TableOptions, emit
from hwkd.measure.eager.models import load_subject
from hwkd.measure.eager.profile import profile_host
from hwkd.measure.predict.constants import constants_from
from hwkd.measure.predict.fit import predict
from hwkd.measure.profile import ProfilePlan
from hwkd.report.table import Table

WIDTH, HEIGHT = 768, 512
FAMILIES = ("gdn", "relu")
FITTED, PREDICTED = (32, 128), (64, 96)
SIDES = {"encode": ("g_a", "h_a", "h_s"), "decode": ("h_s", "g_s")}


def main() -> None:
    """Measure, fit, predict, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", help="numbers of threads (default: 1 and all cores)")
    parser.add_argument("--seconds", type=float, default=8.0, help="for each model and threads")
    TableOptions.add_to(parser)
    args = parser.parse_args()
    cores = parse_threads(None)[0]
    threads = parse_threads(args.threads or ",".join({str(n): "" for n in (1, cores)}))
    wanted = ProfilePlan(threads, (), args.seconds, None, None, memory=False)
    # Widths in turn, so that a machine that drifts drifts for all of them.
    records = {
        (family, n): profile_host(
            load_subject(f"hyperprior:N={n},M=192,family={family}", WIDTH, HEIGHT),
            WIDTH,
            HEIGHT,
            wanted,
            "tests/bench/bench_prediction.py",
        )
        for family in FAMILIES
        for n in sorted(FITTED + PREDICTED)
    }
    constants = constants_from([records[family, n] for family in FAMILIES for n in FITTED])
    rows, errors = [], []
    for family in FAMILIES:
        for n in PREDICTED:
            record = records[family, n]
            for c in constants:
                for side, networks in SIDES.items():
                    (measured,) = (
                        e.quantity.value
                        for e in record.entries
                        if (e.name, e.side, e.part) == ("latency_ms", side, "networks")
                        and e.setting.threads == c.threads
                    )
                    found = predict([x for x in record.layers if x.network in networks], c)
                    errors.append(abs(found.ms / measured - 1))
                    rows.append(
                        (
                            f"{family} N={n}",
                            side,
                            str(c.threads),
                            f"{measured:.1f}",
                            f"{found.ms:.1f} [{found.low:.1f}, {found.high:.1f}]",
                            f"{100 * (found.ms / measured - 1):+.1f}",
                        )
                    )
    notes = [
        f"Largest error {100 * max(errors):.1f} %, median {100 * median(errors):.1f} %. Fitted on N=32 and N=128.",
        f"Host: {records['gdn', 64].provenance.host}.",
        *dict.fromkeys(note for record in records.values() for note in record.notes),
    ]
    columns = ("model", "side", "threads", "measured_ms", "predicted_ms", "error_percent")
    title = f"Networks in eager torch at {WIDTH}x{HEIGHT}: predicted against measured"
    emit(Table(title, columns, tuple(rows), tuple(notes)), TableOptions.of(args))


if __name__ == "__main__":
    main()
