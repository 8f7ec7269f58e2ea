"""A machine's own profile becomes a target that others can be predicted for."""

from collections.abc import Sequence
from dataclasses import replace

from hwkd.errors import InputError
from hwkd.facts import Fact
from hwkd.measure.board_constants import constants_from
from hwkd.measure.host import HostFacts
from hwkd.measure.record import Record
from hwkd.target import NAME, Target

SOURCE = "/proc of the machine, read by hwkd profile"


def target_from(name: str, records: Sequence[Record], like: Target, facts: HostFacts) -> Target:
    """A target called `name` with the constants of this machine.

    What no profile can find (arithmetic, runtime, quantization) is taken from `like`; its power and limits are not, they
    belong to another board.

    Raises:
        InputError: as `check_name`, or records without measured layers.
    """
    check_name(name)
    cpu = replace(
        like.cpu,
        model=facts.cpu,
        cores=Fact(value=float(facts.cores), confidence="S", source=SOURCE),
        clock_ghz=_clock(facts),
        timings=None,
    )
    unknown = Fact(unknown="not measured: a meter at the plug would tell")
    return Target(
        name=name,
        description=f"{facts.cpu}, {facts.cores} cores, as profiled; arithmetic and runtime as {like.name}",
        preferred_unit=cpu.name,
        idle_w=unknown,
        load_w=unknown,
        units=(cpu,),
        int8_alternative=like.int8_alternative,
        constants=constants_from(records, cpu.name),
    )


def check_name(name: str) -> None:
    """Refuse what cannot be a target's name and the name of its file.

    Raises:
        InputError: a name that no target may have, or one with a dot, which would pass for a file's.
    """
    if not NAME.fullmatch(name) or "." in name:
        raise InputError(
            f"--save-target {name!r} is no name for a target; give letters, digits and dashes, as my-board"
        )


def _clock(facts: HostFacts) -> Fact:
    if facts.clock_mhz is None:
        return Fact(unknown="the system does not tell")
    return Fact(value=round(facts.clock_mhz / 1e3, 3), confidence="S", source=SOURCE)
