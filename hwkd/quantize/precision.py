"""The precision plan: per network and unit, what runs in which precision, and why.

    image -> encoder (g_a, h_a) -> z -> hyper (h_s) -> scale index -> entropy coder -> bytes
                    '------------> y ----------------------------------^
    bytes -> entropy decoder (with hyper) -> y -> decoder (g_s) -> image

Encoder and decoder go to the target's preferred unit. hyper always runs on the CPU, on integers held in float32:
every machine must get the same scale index from it, or the stream does not decode.
"""

import shlex
from dataclasses import dataclass

from hwkd.bits import BitPlan
from hwkd.errors import InputError
from hwkd.models.families.family import Family, in_words, student_families, student_family
from hwkd.target import ExecutionUnit, Quantization, Target

# In which form networks leave for a unit, and what to type there.

EXPORTED = ("encoder", "decoder")
"""The networks that run on the preferred unit; each is exported as NAME.onnx."""


@dataclass(frozen=True)
class ExportForm:
    """ONNX graphs for one runtime.

    Attributes:
        arithmetic: int8 (weights and Q/DQ pairs) or the float type of the graph.
        commands: commands to type on the board, one a network; empty where the runtime reads the graphs as they are.
    """

    runtime: str
    runtime_version: str
    opset: int
    arithmetic: str
    commands: tuple[str, ...]

    def sentence(self, target: str) -> str:
        """The form in words."""
        text = (
            f"Export for {target}: {self.arithmetic} ONNX at opset {self.opset} "
            f"for {self.runtime} {self.runtime_version}"
        )
        if self.commands:
            text += "; on the board: " + " and ".join(f"`{command}`" for command in self.commands)
        return text + "."


def board_prefix(bundle: str, target: Target) -> str:
    """The start of the names of the graphs for the compiler of `target`, beside the bundle of this name."""
    return f"{bundle}-{target.name}-"


def export_form(unit: ExecutionUnit, arithmetic: str, prefix: str = "") -> ExportForm:
    """The form for `unit` when its networks run in `arithmetic` (int8, fp16, bf16 or fp32).

    Args:
        prefix: start of the names of the exported files.
    """
    runtime = unit.runtime
    commands = _trtexec(arithmetic, prefix) if runtime.name == "tensorrt" else ()
    return ExportForm(runtime.name, runtime.version, runtime.opset, arithmetic, commands)


def _trtexec(arithmetic: str, prefix: str) -> tuple[str, ...]:
    # With --int8 alone TensorRT runs what has no scale (GDN) in fp32; fp16 is the better rest.
    flags = {"int8": " --int8 --fp16", "fp16": " --fp16", "bf16": " --bf16", "fp32": ""}[arithmetic]
    names = [shlex.quote(f"{prefix}{name}") for name in EXPORTED]
    return tuple(f"trtexec --onnx={name}.onnx --saveEngine={name}.engine{flags}" for name in names)


NETWORKS = ("encoder", "hyper", "decoder")
KERNEL_BITS = 8
"""The bits in which integer kernels compute, however few bits are stored."""

HYPER_ARITHMETIC = "integers in fp32"

_FLOAT_PREFERENCE = ("fp16", "bf16", "fp32")
_GDN_STEPS = "square, 1x1 convolution of the squares, square root, division"


@dataclass(frozen=True)
class PlanEntry:
    """How one network runs on one unit.

    Attributes:
        arithmetic: int8, fp16, bf16, fp32, or HYPER_ARITHMETIC.
        weight_storage_bits: bits of a stored weight, 2 to 8.
        float_operations: the operations that stay in float where the arithmetic is int8.
        reason: why the network runs so, as a clause.
    """

    network: str
    unit: str
    is_preferred: bool
    arithmetic: str
    weight_storage_bits: int
    float_operations: tuple[str, ...]
    reason: str

    def sentence(self) -> str:
        """The entry in words."""
        role = "" if self.is_preferred else ", if asked for"
        apart = f", {' and '.join(self.float_operations)} in float" if self.float_operations else ""
        return (
            f"{self.network} on {self.unit}{role}: {self.arithmetic}{apart}, "
            f"weights stored in {self.weight_storage_bits} bits; {self.reason}."
        )


@dataclass(frozen=True)
class PrecisionPlan:
    """The answer for one target, one family and one number of bits.

    Attributes:
        entries: one for each network and unit, ordered by NETWORKS, the preferred unit first.
        notes: sentences that the report must show.
    """

    target: str
    family: str
    weight_bits: int
    act_bits: int
    entries: tuple[PlanEntry, ...]
    export: ExportForm
    notes: tuple[str, ...]

    def preferred(self, network: str) -> PlanEntry:
        """The entry of `network`, one of NETWORKS, on the unit where it runs by default."""
        return next(e for e in self.entries if e.network == network and e.is_preferred)

    def sentences(self) -> list[str]:
        """The whole plan in words: the entries, then the notes."""
        return [entry.sentence() for entry in self.entries] + list(self.notes)


def plan_precision(
    target: Target,
    weight_bits: int,
    act_bits: int,
    *,
    family: str,
    strict: bool = False,
    prefix: str = "",
) -> PrecisionPlan:
    """The unit and the precision of each network when `family` is quantized for `target`.

    Args:
        weight_bits, act_bits: the user's choice, in the ranges of hwkd.bits.
        family: the student's family, one of hwkd.models.spec.FAMILIES.
        strict: refuse where the preferred unit cannot compute in int8 with weights of `weight_bits`.
        prefix: start of the names of exported files, for the commands to type on the board.

    Raises:
        InputError: bits or family are not accepted, or `strict` refuses; the message has what to try.
    """
    BitPlan(weight_bits, act_bits)  # refuses what no quantizer takes
    kind = student_family(family)
    if strict:
        _refuse_compromise(target, weight_bits, act_bits)
    others = [unit for unit in target.units if unit is not target.preferred]
    entries: list[PlanEntry] = []
    for network in NETWORKS:
        if network == "hyper":
            entries.append(_hyper_entry(target.cpu, weight_bits))
            continue
        for unit in (target.preferred, *others):
            entries.append(_entry(network, unit, unit is target.preferred, weight_bits, kind))
    export = export_form(target.preferred, _arithmetic(target.preferred), prefix)
    return PrecisionPlan(
        target=target.name,
        family=family,
        weight_bits=weight_bits,
        act_bits=act_bits,
        entries=tuple(entries),
        export=export,
        notes=_notes(target, weight_bits, act_bits, kind, export),
    )


def _arithmetic(unit: ExecutionUnit) -> str:
    if unit.arithmetic.int8.is_there:
        return "int8"
    return next(p for p in _FLOAT_PREFERENCE if unit.arithmetic.rate(p).is_there)


def _stored_bits(unit: ExecutionUnit, weight_bits: int) -> int:
    return min(weight_bits, unit.quantization.weight_bits) if unit.quantization else weight_bits


def _entry(
    network: str, unit: ExecutionUnit, is_preferred: bool, weight_bits: int, family: Family
) -> PlanEntry:
    stored_bits = _stored_bits(unit, weight_bits)
    if unit.quantization is None:
        reason = f"no int8 arithmetic: {unit.arithmetic.int8.none}"
    elif stored_bits < weight_bits:
        reason = f"weights held to {stored_bits} bits, or sums saturate in {unit.runtime.name}"
    else:
        reason = f"{unit.runtime.name} with {unit.quantization.activations} activations"
    in_float = ("GDN",) if family.has_gdn and unit.quantization else ()
    return PlanEntry(
        network, unit.name, is_preferred, _arithmetic(unit), stored_bits, in_float, reason
    )


def _hyper_entry(cpu: ExecutionUnit, weight_bits: int) -> PlanEntry:
    reason = (
        "every runtime that sums float32 products directly gives the same scale index while no sum reaches 2^22, "
        "which the export proves"
    )
    return PlanEntry("hyper", cpu.name, True, HYPER_ARITHMETIC, weight_bits, (), reason)


def _refuse_compromise(target: Target, weight_bits: int, act_bits: int) -> None:
    unit = target.preferred
    other = f", or --target {target.int8_alternative}" if target.int8_alternative else ""
    if unit.quantization is None:
        raise InputError(
            f"--strict: target {target.name} cannot compute in int8 on its {unit.name} "
            f"({unit.arithmetic.int8.none}); drop --strict to run there in {_arithmetic(unit)} "
            f"with weights stored in {weight_bits} bits{other}"
        )
    if weight_bits > unit.quantization.weight_bits:
        limit = unit.quantization.weight_bits
        raise InputError(
            f"--strict: target {target.name} takes weights of at most {limit} bits, "
            f"got {weight_bits} ({unit.quantization.reason}); "
            f"try --bits {limit}/{act_bits}, drop --strict to have them held to {limit} bits{other}"
        )


def _notes(
    target: Target, weight_bits: int, act_bits: int, family: Family, export: ExportForm
) -> tuple[str, ...]:
    unit = target.preferred
    notes = []
    if unit.quantization is None:
        notes.append(_no_int8_note(target, weight_bits))
    elif weight_bits > unit.quantization.weight_bits:
        notes.append(_weight_limit_note(target, unit.quantization, act_bits))
    if min(weight_bits, act_bits) < KERNEL_BITS:
        notes.append(
            "Integer kernels compute in int8: fewer bits only save storage "
            f"(asked for: weights {weight_bits}, activations {act_bits})."
        )
    int8_units = [u for u in target.units if u.quantization]
    if family.has_gdn and int8_units:
        others = [other.name for other in student_families() if not other.has_gdn]
        notes.append(
            f"Family {family.name}: GDN ({_GDN_STEPS}) stays in float, the convolutions around it run in int8; "
            f"families {in_words(others, 'and')} have no such part."
        )
    if family.has_transposed and any(u.runtime.name == "onnxruntime" for u in int8_units):
        notes.append(
            "onnxruntime has no transposed convolution in int8: the decoder is exported for it "
            "as 3x3 convolutions and DepthToSpace, the same function at 1.44 times the MACs."
        )
    notes.append(export.sentence(target.name))
    notes += [limit.text for limit in target.limits]
    return tuple(notes)


def _no_int8_note(target: Target, weight_bits: int) -> str:
    unit = target.preferred
    offers = [f"the {u.name} ({u.model})" for u in target.units if u.quantization]
    offered = f", and int8 arithmetic is offered on {' and '.join(offers)}" if offers else ""
    return (
        f"The {unit.name} of {target.name} has no int8 arithmetic ({unit.arithmetic.int8.none}), "
        f"so encoder and decoder run there in {_arithmetic(unit)} with weights stored in "
        f"{weight_bits} bits and dequantized when loaded{offered}."
    )


def _weight_limit_note(target: Target, quantization: Quantization, act_bits: int) -> str:
    limit = quantization.weight_bits
    return (
        f"{target.name} takes weights of at most {limit} bits, they are held to that; "
        f"`hwkd distill --bits {limit}/{act_bits}` trains for it: {quantization.reason}."
    )
