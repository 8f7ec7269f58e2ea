"""Gathers the figures of a finished run into its report: evaluates, counts, times, and writes the files."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hwkd import __version__
from hwkd.files import write_text
from hwkd.images import ImageSource
from hwkd.measure.host import describe_host
from hwkd.measure.machine_packages import installed_version
from hwkd.measure.quality import Evaluation, evaluate
from hwkd.measure.timing import codec_latency
from hwkd.qualities import DEFAULT_QUALITY, lmbda_at
from hwkd.report.run import report_json, report_markdown, report_terminal
from hwkd.report.run_figures import CodecFigures, RunReport

if TYPE_CHECKING:
    from hwkd.distill.config import RunConfig
    from hwkd.distill.run import Outcome
    from hwkd.models.base import HyperpriorCodec
    from hwkd.models.teacher import Teacher

MAC_SIZE = (768, 512)
LATENCY_SIZE = (768, 512)
LATENCY_SECONDS = 4.0
LIBRARIES = ("torch", "compressai", "brevitas", "fvcore")


@dataclass(frozen=True)
class Assembled:
    """A run's report, ready to print and to write."""

    report: RunReport

    def write(self, folder: Path) -> None:
        """Write report.md and report.json into `folder`. Raises as `hwkd.files.replacing`."""
        write_text(folder / "report.md", report_markdown(self.report))
        write_text(folder / "report.json", json.dumps(report_json(self.report), indent=2) + "\n")

    def terminal(self, width: int | None) -> str:
        """The report for a terminal of `width` columns; None: nothing is wrapped."""
        return report_terminal(self.report, width)


def assemble(
    config: "RunConfig",
    outcome: "Outcome",
    teacher: "Teacher",
    plan: list[str],
    images: ImageSource,
    name: str,
    command: str,
    history: tuple[str, ...] = (),
) -> Assembled:
    """Measure both codecs on `images` and on this host; one of all rates at the default quality.

    Args:
        config: of the run, with its steps. plan: the precision plan's sentences. name: of the student.
        command: the line that makes the same run again. history: of the run, in sentences, where it was interrupted.
    """
    from hwkd.quantize.layers import left_in_float

    teacher_model = teacher.model.cpu()
    # Eager torch with fake quantization says nothing about a device: its float twin is what is timed.
    float_student = outcome.float_student.cpu()
    student = outcome.student.cpu()
    bits = config.bits
    for model in (teacher_model, float_student, student):
        model.set_lmbda(lmbda_at(DEFAULT_QUALITY))
    steps = ", ".join(f"{n} {phase}" for phase, n in outcome.steps.items() if n)
    return Assembled(
        RunReport(
            teacher=_figures(
                teacher.name,
                f"{teacher.source}{_at_default(teacher_model)}",
                str(teacher.spec),
                teacher_model,
                teacher_model,
                "32",
                evaluate(teacher_model, images),
            ),
            student=_figures(
                name,
                "; ".join((f"this run, {steps or 'no'} steps", *outcome.notes))
                + _at_default(student),
                str(config.spec),
                student,
                float_student,
                "32" if bits is None else bits.weights_in_words(),
                evaluate(student, images),
            ),
            mac_size=MAC_SIZE,
            latency_size=LATENCY_SIZE,
            latency_method="eager torch in float32 (both in float: int8 kernels come with an exported bundle)",
            host=str(describe_host()),
            evaluation_data=str(images),
            precision_plan=tuple(plan),
            float_layers=left_in_float(student),
            training_data=config.data,
            steps=sum(outcome.steps.values()),
            lmbda=config.lmbda,
            seed=config.seed,
            versions={
                "hwkd": __version__,
                **{n: installed_version(n) or "unknown" for n in LIBRARIES},
            },
            command=command,
            history=history,
        )
    )


def _at_default(model: "HyperpriorCodec") -> str:
    """Words for what the figures of a model of all rates are at."""
    return f"; at quality {DEFAULT_QUALITY}" if model.serves_all_rates else ""


def _figures(
    name: str,
    source: str,
    architecture: str,
    model: "HyperpriorCodec",
    float_model: "HyperpriorCodec",
    weight_bits: str,
    evaluation: Evaluation,
) -> CodecFigures:
    """The figures of one codec; `float_model` is its float twin, or itself."""
    from hwkd.measure.eager.macs import count_macs
    from hwkd.quantize.layers import weight_bytes

    counts = count_macs(float_model, *MAC_SIZE)
    latency = codec_latency(float_model, *LATENCY_SIZE, seconds=LATENCY_SECONDS)
    missing = {} if evaluation.ms_ssim_reason is None else {"ms_ssim": evaluation.ms_ssim_reason}
    return CodecFigures(
        name=name,
        source=source,
        architecture=architecture,
        parameters=sum(p.numel() for p in float_model.parameters()),
        weight_bits=weight_bits,
        weight_bytes=weight_bytes(model),
        encode_macs=counts.encode_macs,
        decode_macs=counts.decode_macs,
        total_macs=counts.total_macs,
        not_counted=counts.not_counted,
        psnr_db=evaluation.psnr_db,
        ms_ssim=evaluation.ms_ssim,
        bpp=evaluation.bpp,
        bpp_estimated=evaluation.bpp_estimated,
        encode_latency=latency["encode"],
        decode_latency=latency["decode"],
        missing=missing,
    )
