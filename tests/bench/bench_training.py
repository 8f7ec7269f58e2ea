"""Megapixels a second that a student trains on: Adam with batches of four beside Muon with larger ones, in one run.

    python tests/bench/bench_training.py [--threads 2] [--seconds 60] [--format md]

Each row is a step of training on crops of 256x256, by the rate-distortion loss alone, without crops being cut: gradients,
clipping, optimizers, quantiles, average. Of the patch students that ship, and of a single-rate student as it was trained
before. On a GPU, where there is one, in bf16.
"""

import argparse
import sys
from collections.abc import Callable

import torch

from hwkd.cli.tables import TableOptions, emit
from hwkd.cli.training.distill import _precision
from hwkd.distill.batches import Part
from hwkd.distill.losses import LossWeights, drawn
from hwkd.distill.optimizers import Average
from hwkd.distill.train import Stepper
from hwkd.measure.machine import host_facts
from hwkd.measure.timing import measure_in_turn
from hwkd.models.build import build
from hwkd.models.spec import Spec, student_spec
from hwkd.report.table import Table

SIDE = 256
SHAPES = {
    "patch-small": ((32,) * 3, 24),
    "patch-medium": ((96,) * 3, 48),
    "patch-large": ((160,) * 4, 64),
}
LMBDA = 0.025


def specs(name: str) -> tuple[Spec, Spec]:
    """The student of one rate, and that of all rates."""
    widths, hyper = SHAPES[name]
    before = student_spec("patch", widths, 192, hyper, hyper)
    return before, student_spec("patch", widths, 320, hyper, hyper, all_rates=True)


def step_of(
    spec: Spec, optimizer: str, batch: int, device: str, *, bf16: bool
) -> Callable[[], object]:
    """One step of training after another, the device waited for."""
    torch.manual_seed(0)
    student = build(spec).to(device, memory_format=torch.channels_last).train()
    lmbda = None if spec.serves_all_rates else LMBDA
    stepper = Stepper(
        student,
        None,
        lmbda=lmbda,
        loss=LossWeights(1, 0, 0, 0),
        lr=1e-5,
        key=(0, 0),
        optimizer=optimizer,
        bf16=bf16,
    )
    average = Average(student)
    x = torch.rand(batch, 3, SIDE, SIDE, device=device).contiguous(
        memory_format=torch.channels_last
    )
    lambdas = None if lmbda is not None else drawn((0,), 0, range(batch)).to(device)
    parts = [Part(x, None, range(batch), 1, lambdas)]

    def step() -> object:
        found = stepper.step(1, parts, bf16=bf16)
        average.update()
        if device == "cuda":
            torch.cuda.synchronize()
        return found

    return step


def main() -> None:
    """Measure in turn and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seconds", type=float, default=60.0, help="for each size")
    parser.add_argument("--batch", type=int, nargs="+", default=[4, 8, 16])
    TableOptions.add_to(parser)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    bf16 = _precision("auto", device) == "bf16"
    rows = []
    for name in SHAPES:
        before, now = specs(name)
        kinds = [("one rate", before, "adam", 4)]
        kinds += [("all rates", now, kind, n) for n in args.batch for kind in ("adam", "muon")]
        print(name, file=sys.stderr, flush=True)
        runs = {kind: step_of(kind[1], kind[2], kind[3], device, bf16=bf16) for kind in kinds}
        timed = measure_in_turn(runs, warmup=1, seconds=args.seconds)
        first = timed[kinds[0]].median_ms / kinds[0][3]
        for kind in kinds:
            what, _, optimizer, batch = kind
            ms = timed[kind].median_ms
            rows.append(
                (
                    name,
                    what,
                    optimizer,
                    str(batch),
                    f"{ms:.0f}",
                    f"{batch * SIDE**2 / 1e3 / ms:.2f}",
                    f"{first * batch / ms:.2f}",
                )
            )
    columns = (
        "student",
        "rates",
        "optimizer",
        "batch",
        "step_ms",
        "megapixels_per_s",
        "against the first",
    )
    note = f"Medians, in turn; {args.threads} threads, {device}, {'bf16' if bf16 else 'fp32'}. Host: {host_facts()}."
    emit(Table("Training throughput", columns, tuple(rows), (note,)), TableOptions.of(args))


if __name__ == "__main__":
    main()
