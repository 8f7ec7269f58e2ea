"""In which form networks leave for a unit, and what to type there."""

from dataclasses import dataclass

from hwkd.target import ExecutionUnit

EXPORTED = ("encoder", "decoder")
"""The networks that run on the preferred unit; each is exported as NAME.onnx."""


@dataclass(frozen=True)
class ExportForm:
    """ONNX graphs for one runtime.

    arithmetic: int8 (weights and Q/DQ pairs) or the float type of the graph. commands: to type on the board, one a
    network; empty where the runtime reads the graphs as they are.
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


def export_form(unit: ExecutionUnit, arithmetic: str) -> ExportForm:
    """The form for `unit` when its networks run in `arithmetic` (int8, fp16, bf16 or fp32)."""
    runtime = unit.runtime
    commands = _trtexec(arithmetic) if runtime.name == "tensorrt" else ()
    return ExportForm(runtime.name, runtime.version, runtime.opset, arithmetic, commands)


def _trtexec(arithmetic: str) -> tuple[str, ...]:
    # With --int8 alone TensorRT runs what has no scale (GDN) in fp32; fp16 is the better rest.
    flags = {"int8": " --int8 --fp16", "fp16": " --fp16", "bf16": " --bf16", "fp32": ""}[arithmetic]
    return tuple(
        f"trtexec --onnx={name}.onnx --saveEngine={name}.engine{flags}" for name in EXPORTED
    )
