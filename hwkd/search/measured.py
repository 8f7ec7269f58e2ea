"""A candidate's cost on this machine: exported as int8 graphs and timed, its energy by a sensor where there is one."""

from collections.abc import Callable

import torch

from hwkd.bits import BitPlan
from hwkd.distill.data import load_images
from hwkd.distill.start import Origin, new_student
from hwkd.errors import InputError
from hwkd.export.export import Source, export, prepare
from hwkd.measure.bench_coder import Coder
from hwkd.measure.coder import int8_setting, open_coders, stage_latencies
from hwkd.measure.energy.meter import Meter
from hwkd.measure.energy.sensors import open_meter
from hwkd.measure.energy_entries import energy_entries
from hwkd.measure.pinning import pinned
from hwkd.measure.profile import photograph
from hwkd.measure.record import Entry
from hwkd.models.spec import Spec
from hwkd.models.teacher import Teacher
from hwkd.quantity import Quantity, not_known
from hwkd.quantize.ptq import post_training_quantize
from hwkd.runtime.bundle import Bundle
from hwkd.runtime.session import preferred_runtimes, runtime_label
from hwkd.search.cost import Cost
from hwkd.search.layers import macs_per_pixel, student_layers
from hwkd.search.predicted import HEIGHT, LEAST_BITS, WIDTH, greater, kernel_bits, stored_mib
from hwkd.target import Target

SENSORS = ("ina3221", "rapl")
"""What measures; an estimate would stand in one column with it."""
SECONDS = 1.0
"""For the timed runs of one candidate, and for the energy of each side."""
SIDE = 256
"""Of the crops that a candidate is calibrated and checked on, in pixels."""


class Measured:
    """Costs on this machine, each student measured once.

    A student is measured before its training, with its teacher's filters: how long a network takes does not depend on its
    weights. Nothing else should run meanwhile, another worker neither.

    like: the target that describes the machine best. teacher_of: by family. threads: of the networks.
    """

    def __init__(self, like: Target, teacher_of: Callable[[str], Teacher], threads: int) -> None:
        runtimes = preferred_runtimes()
        if not runtimes:
            raise InputError(
                'nothing can be measured here, no runtime is installed: pip install "hwkd[runtime]", or predict with '
                "--target NAME"
            )
        self._like, self._teacher_of, self._threads = like, teacher_of, threads
        self._runtime = runtimes[0]
        self._meter, self._no_meter = _meter()
        self._images = load_images(None, SIDE, 0, lambda _name: None)
        self._known: dict[Spec, Cost] = {}
        self.weight_bits = kernel_bits(like)
        self.setting = str(int8_setting(runtime_label(self._runtime), threads))
        self.notes: tuple[str, ...] = (
            "Measured with each teacher's filters before training: how long a network takes does not depend on its weights.",
        )
        if self._meter is not None:
            self.notes += ("energy_mj: above idle, of the whole way with entropy coding.",)

    def __call__(self, spec: Spec) -> Cost:
        """What the student of `spec` costs.

        Raises:
            InputError, HwkdError: as the export and the measurements.
        """
        if spec not in self._known:
            self._known[spec] = self._measure(spec)
        return self._known[spec]

    def _measure(self, spec: Spec) -> Cost:
        bundle = self._bundle(spec)
        # OpenVINO counts cores once for the whole process: opened before the cores are fixed.
        coders = open_coders(bundle, [self._runtime], photograph(WIDTH, HEIGHT), self._threads)
        entries = stage_latencies(coders, threads=self._threads, seconds=SECONDS)
        networks = [e for e in entries if e.part == "networks"]
        (coder,) = coders.values()
        assert isinstance(coder, Coder)  # `open_coders` raises where no runtime runs the bundle
        layers = student_layers(spec, WIDTH, HEIGHT)
        return Cost(
            macs_per_pixel(layers, WIDTH, HEIGHT) / 1000,
            greater(networks, "latency_ms"),
            self._energy(coder, networks),
            stored_mib(spec, LEAST_BITS),
            stored_mib(spec, self.weight_bits),
        )

    def _energy(self, coder: Coder, networks: list[Entry]) -> Quantity:
        if self._meter is None:
            return not_known(self._no_meter)
        with pinned(self._threads):
            entries = energy_entries(
                {"encode": coder.encode, "decode": coder.decode},
                self._meter,
                "end_to_end",
                networks[0].setting,
                pixels=WIDTH * HEIGHT,
                seconds=SECONDS,
                country=None,
            )
        return greater(entries, "energy_mj")

    def _bundle(self, spec: Spec) -> Bundle:
        teacher = self._teacher_of(spec.family)
        lmbda = teacher.lmbda or 0.025
        bits = BitPlan(self.weight_bits)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            origin = Origin(teacher.model, teacher.name, lmbda)
            crops = self._images.crops(SIDE, 0)
            student, _ = new_student(spec, lmbda, origin, crops, SIDE, 2)
        codec = post_training_quantize(student, bits, [crops.batch(2)], keeps_weights=True)
        checked_on = {"photograph": photograph(SIDE, SIDE)}
        source = Source("candidate", codec, spec, lmbda, bits, {})
        return export(prepare(source, self._like, checked_on), checked_on, lambda _: None)


def _meter() -> tuple[Meter | None, str]:
    """(the first sensor that works here, why there is none)."""
    reasons = []
    for kind in SENSORS:
        try:
            return open_meter(kind).meter, ""
        except InputError as error:
            reasons.append(str(error))
    return None, f"no sensor measures energy here: {' | '.join(reasons)}"
