"""What `hwkd sensitivity` refuses before it measures, and the sizes that it proposes bits for."""

from collections.abc import Sequence
from pathlib import Path

from hwkd.bits import WEIGHT_BITS
from hwkd.codec.shipped import shipped_or_as_given
from hwkd.errors import InputError
from hwkd.images import ImageSource
from hwkd.measure.allocations import Allocation, allocated, base_allocation, uniform
from hwkd.measure.record import Entry
from hwkd.measure.sensitivity import Sensitivity
from hwkd.models.shipped import shipped_names
from hwkd.quantize.allocate import KIB
from hwkd.report.numbers import interval_text, three_digits
from hwkd.runtime.bundle import is_bundle

FEWER = range(WEIGHT_BITS[0], WEIGHT_BITS[-1])


def parse_tried(text: str) -> tuple[int, ...]:
    """The numbers of bits in "6,4,3", the most first. Raises InputError for anything else."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and int(part) in FEWER for part in parts):
        raise InputError(
            f"--bits {text!r} is not a list of bits to try: give numbers from {FEWER[0]} to {FEWER[-1]} with commas "
            "between, as 6,4,3"
        )
    return tuple(sorted({int(part) for part in parts}, reverse=True))


def refuse_bundle(text: str) -> None:
    """Refuse a bundle: it holds integers, whose finer bits are gone.

    Raises:
        InputError: `text` names one.
    """
    if is_bundle(shipped_or_as_given(text)):
        raise InputError(
            f"{text} is a bundle, which holds no weights to quantize anew: give a run folder, RUN:float, a checkpoint, or "
            f"a float model that ships ({', '.join(shipped_names())})"
        )


def check_apart(data: Path | None, evaluation: ImageSource) -> None:
    """Refuse to check an allocation on images that it is made from.

    Raises:
        InputError: an image of `evaluation` lies in `data`.
    """
    if data is None:
        return
    folder = data.resolve()
    known = [path for path in evaluation.paths if path.resolve().is_relative_to(folder)]
    if known:
        raise InputError(
            f"{len(known)} of the {len(evaluation.paths)} images of --evaluate lie in --data {data}, {known[0].name} say: "
            "allocations are checked on images that they are not made from, give other ones"
        )


def latency_note(latency: Entry, model: str, target: str, max_ms: float | None) -> str:
    """The predicted latency in a sentence, held against --max-ms.

    Raises:
        InputError: it is longer.
    """
    time = latency.quantity
    assert time.value is not None
    figure = f"{three_digits(time.value)} ms ({interval_text(time.low, time.high)} at 90 %)"
    always = (
        f"fewer bits buy size there, not time: {latency.setting.precision} kernels compute the same in as long, however "
        "few bits are stored"
    )
    if max_ms is not None and time.value > max_ms:
        raise InputError(
            f"--max-ms {max_ms:g} cannot be met: {model} is predicted to take {figure} to {latency.side} an image of "
            f"768x512 on {target}, and {always}; give a smaller model, or another --max-ms"
        )
    held = ""
    if max_ms is not None:
        surely = time.high is not None and time.high <= max_ms
        held = f" Within --max-ms {max_ms:g}{', its interval too' if surely else ', its interval not'}."
    return (
        f"Predicted latency of every row on {target}, {latency.setting}: {figure} to {latency.side}, the slower side, an "
        f"image of 768x512.{held} That is one figure because {always}."
    )


def proposals(
    found: Sensitivity, tried: Sequence[int], max_kib: float | None
) -> tuple[list[Allocation], dict[str, Allocation]]:
    """All allocations to check, the model as it is first, each with the uniform bits that it is held against before it;
    and those proposed, by the name of their recipe.

    max_kib: None for the sizes of uniform bits, of all that were tried but the fewest.

    Raises:
        InputError: nothing to choose, or a size that cannot be reached or is none to save for.
    """
    base = base_allocation(found)
    uniforms = [uniform(found, bits) for bits in tried]
    smaller = [each for each in uniforms if each.weight_bytes < base.weight_bytes]
    if max_kib is not None:
        if base.weight_bytes <= max_kib * KIB:
            raise InputError(
                f"--max-kib {max_kib:g} leaves nothing to save: the weights take {base.weight_bytes / KIB:.1f} KiB as they "
                "are; give less"
            )
        proposed = allocated(found, f"allocated, at most {max_kib:g} KiB", max_kib * KIB)
        fitting = [each for each in smaller if each.weight_bytes <= max_kib * KIB]
        return [base, *fitting[:1], proposed], {"allocated": proposed}
    checked, recipes = [base], {}
    for bits, each in zip(tried[:-1], uniforms[:-1], strict=True):
        if each in smaller:
            proposed = allocated(found, f"allocated, size of {bits}", each.weight_bytes)
            checked += [each, proposed]
            recipes[f"allocated-{bits}"] = proposed
    if not recipes:
        raise InputError(
            f"--bits {','.join(map(str, tried))} leaves nothing to choose: give two numbers or more that are fewer than the "
            "model has, or --max-kib"
        )
    return checked, recipes
