"""Everything that decides what a run computes, in one record that is stored, compared on resume and printed."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from hwkd.bits import BitPlan
from hwkd.distill.losses import LossWeights
from hwkd.distill.options import DistillOptions
from hwkd.errors import InputError
from hwkd.models.spec import Spec, spec_from_json, spec_to_json

FORMAT = 2

HELD_AS_OPTIONS = (
    *("crop", "batch", "accumulate", "lr", "qat_lr", "schedule", "optimizer", "precision"),
    *("threads", "seed", "checkpoint_every"),
)
"""The fields of a run that are options of `hwkd distill` by the same name, and take the same values."""


@dataclass(frozen=True)
class RunConfig:
    """A distillation run.

    Attributes:
        spec: spec of the student.
        lmbda: lambda of R + lmbda * 255^2 * MSE; None for a student of all rates, and for no other.
        target: name of the profile that the run's precision plan is for.
        bits: None for a student that stays in float.
        teacher, second_teacher: name; "" for none.
        teacher_sha256, second_teacher_sha256: sha256 of the file; "" for none.
        start: "teacher", "random", a run's name, or SHIPPED_START and the name of a model that ships.
        start_sha256: sha256 of the start's weights.
        data: the source of the images, with their number and total size.
        float_steps, qat_steps: steps of each phase. With None, as many as `minutes` allows, set once from the measured speed
            and then kept.
        ptq: calibrate only, do not train the quantized student.
        batch: crops a step, of all processes together.
        lr, qat_lr: peak rates of Adam.
        precision: precision of the convolutions in the float phase; the quantized phase runs in float32.
        cached_crops: 0, or the size of a fixed pool of crops. The teacher's outputs for them are computed once.
        processes: number of processes that began the run. It changes only the order of sums.
        accumulate: number of parts in which each process passes its share of a batch. It changes only the order of sums.
    """

    spec: Spec
    lmbda: float | None
    target: str
    bits: BitPlan | None
    teacher: str
    teacher_sha256: str
    second_teacher: str
    second_teacher_sha256: str
    start: str
    start_sha256: str
    data: str
    float_steps: int | None
    qat_steps: int | None
    minutes: float | None
    ptq: bool = False
    loss: LossWeights = field(default_factory=LossWeights)
    crop: int = 256
    batch: int = 4
    lr: float = 5e-4
    qat_lr: float = 5e-5
    optimizer: str = "adam"
    schedule: str = "wsd"
    precision: str = "bf16"
    device: str = "cpu"
    threads: int = 1
    seed: int = 0
    cached_crops: int = 0
    checkpoint_every: int = 200
    processes: int = 1
    accumulate: int = 1

    def __post_init__(self) -> None:
        held = {name: getattr(self, name) for name in HELD_AS_OPTIONS}
        held["cache_crops"] = self.cached_crops
        if self.lmbda is not None:
            held["lmbda"] = self.lmbda
        DistillOptions.read(held, "config.json")
        if "auto" in (self.optimizer, self.precision):
            raise InputError("a run has a precision and an optimizer of its own, got auto")
        if (self.lmbda is None) != self.spec.serves_all_rates:
            raise InputError(
                f"a student of one rate needs its lmbda, one of all rates has none: got {self.lmbda} for {self.spec}"
            )
        if self.minutes is None and (self.float_steps is None or self.qat_steps is None):
            raise InputError("give --steps or --minutes: the length of the run is not known")

    def to_json(self) -> str:
        """Pretty JSON that `config_from_json` reads back; other readers can use `spec` by itself."""
        raw = asdict(self)
        raw["spec"] = json.loads(spec_to_json(self.spec))
        return json.dumps({"format": FORMAT, **raw}, indent=2) + "\n"


def config_from_json(text: str) -> RunConfig:
    """The config that `RunConfig.to_json` wrote. Raises InputError for anything else."""
    try:
        raw: dict[str, Any] = json.loads(text)
        if raw.pop("format") != FORMAT:
            raise InputError(f"the run folder is of another format than {FORMAT}")
        bits = raw["bits"]
        return RunConfig(
            **{
                **raw,
                "spec": spec_from_json(json.dumps(raw["spec"])),
                "bits": bits and BitPlan(**{**bits, "layers": tuple(map(tuple, bits["layers"]))}),
                "loss": LossWeights(**raw["loss"]),
            }
        )
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise InputError(f"config.json does not describe a run ({error})") from error


def differences(stored: RunConfig, given: RunConfig) -> tuple[str, ...]:
    """The differences, one phrase a field; empty if a resumed run would compute the same until its rate falls.

    Another number of processes changes the order of sums, and another number of threads no more than that. Other steps
    change nothing before the rate falls, with the schedule wsd.
    """
    mine, theirs = asdict(stored), asdict(given)
    free = {"checkpoint_every", "processes", "accumulate"}
    if stored.schedule == "wsd":
        free |= {"float_steps", "qat_steps"}
    if stored.processes != given.processes:
        free.add("threads")
    return tuple(
        f"{name} was {mine[name]!r}, is now {theirs[name]!r}"
        for name in mine
        if name not in free and mine[name] != theirs[name]
    )
