"""One of the processes of test_processes.py: the gradients of one batch of 8, left by the first process in a file."""

import sys

import numpy as np
import torch

from hwkd.bits import BitPlan
from hwkd.distill.batches import LiveBatches, Teaching
from hwkd.distill.data import Crops
from hwkd.distill.distributed import joined, started_processes
from hwkd.distill.losses import LossWeights, Projections
from hwkd.distill.train import Stepper
from hwkd.models.build import build
from hwkd.models.spec import HyperpriorSpec, PatchSpec
from hwkd.quantize.qat import calibrate, quantize

STUDENTS = {
    "gdn": HyperpriorSpec("gdn", (8, 8, 8), 12, 8, 8),
    "patch": PatchSpec(M=12, H=8, Z=8, C=8, widths=(8,), post=(4,)),
}


def images() -> tuple[tuple[str, np.ndarray], ...]:
    """Smooth noise, the same in every process."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (3, 12, 16, 3), np.uint8)
    return tuple(
        (f"{i}", np.kron(one, np.ones((8, 8, 1), np.uint8))) for i, one in enumerate(small)
    )


def gradients(family: str, accumulate: int, *, bits: bool) -> dict[str, np.ndarray]:
    """The gradient of every parameter, by name, on the second step's batch of 8."""
    processes = started_processes()
    torch.manual_seed(0)
    teacher = build(HyperpriorSpec("gdn", (8, 8, 8), 16, 8, 10)).eval().requires_grad_(False)
    student = build(STUDENTS[family])
    for parameter in student.parameters():
        if not parameter.any():  # a branch that starts at zero would pass no gradient on
            torch.nn.init.normal_(parameter, std=0.05)
    if bits:
        quantize(student, BitPlan())
        calibrate(student, [Crops(images(), 64, 1).batch(4)])
    student.train()
    projections = Projections((student.M, student.Z), (16, 10))
    stepper = Stepper(
        student,
        projections,
        lmbda=0.025,
        loss=LossWeights(0.5, 0.2, 0.2, 0.1),
        lr=1e-3,
        key=(7, 0),
        processes=processes,
    )
    batches = LiveBatches(
        Crops(images(), 64, 5),
        Teaching(teacher, None),
        8,
        "cpu",
        bf16=False,
        processes=processes,
        accumulate=accumulate,
    )
    # The first pass lets DistributedDataParallel arrange its buckets; only the second may differ from it.
    for number in range(2):
        stepper.gradients(number, batches.next(), bf16=False)
    named = [*student.named_parameters(), *projections.named_parameters(prefix="projections")]
    return {name: p.grad.numpy() for name, p in named if p.grad is not None}


if __name__ == "__main__":
    torch.set_num_threads(1)
    _, path, family, accumulate, bits = sys.argv
    with joined(started_processes()):
        found = gradients(family, int(accumulate), bits=bits == "bits")
        if started_processes().is_first:
            np.savez(path, **found)
