"""The figures of one run: teacher beside student, each with the way it was found. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from hwkd.errors import InputError
from hwkd.measure.timing import MIN_RUNS_INTERVAL, Latency

MIB = 2**20


@dataclass(frozen=True)
class CodecFigures:
    """One codec's figures; None where not known, with the reason in `missing` under the field's name.

    source: where the weights came from. weight_bits: the bits stored per weight, in words ("8", "4 to 8").
    weight_bytes: all weights at those bits. *_macs: for one image of the report's size.
    not_counted: operator -> calls that the MACs leave out (hwkd.measure.eager.macs.MacCount).
    psnr_db, ms_ssim, bpp, bpp_estimated: means over the evaluation images.

    Raises:
        InputError: a figure is None without a reason.
    """

    name: str
    source: str
    architecture: str
    parameters: int
    weight_bits: str
    weight_bytes: int
    encode_macs: int
    decode_macs: int
    total_macs: int
    not_counted: Mapping[str, int]
    psnr_db: float | None
    ms_ssim: float | None
    bpp: float | None
    bpp_estimated: float | None
    encode_latency: Latency | None
    decode_latency: Latency | None
    missing: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is None and not self.missing.get(name):
                raise InputError(
                    f"{name} of {self.name!r} is unknown: say why in missing[{name!r}]"
                )


@dataclass(frozen=True)
class RunReport:
    """All that a run's report says.

    mac_size, latency_size: (width, height) in pixels that those figures hold for.
    host: what the latencies were measured on. latency_method: with what, "torch eager, float32" say.
    evaluation_data, training_data: in words, with names and counts.
    precision_plan: sentences. float_layers: names of layers that stay in float.
    lmbda: of the loss, or None where several or none apply. versions: of hwkd and the libraries.
    command: the line that makes the same run again. history: of a run that did not go straight through, in sentences.
    """

    teacher: CodecFigures
    student: CodecFigures
    mac_size: tuple[int, int]
    latency_size: tuple[int, int]
    latency_method: str
    host: str
    evaluation_data: str
    precision_plan: tuple[str, ...]
    float_layers: tuple[str, ...]
    training_data: str
    steps: int
    lmbda: float | None
    seed: int
    versions: Mapping[str, str]
    command: str
    history: tuple[str, ...] = ()


@dataclass(frozen=True)
class Figure:
    """One figure of both codecs.

    field: of CodecFigures, where `missing` has the reason for a None. digits: after the point.
    found: measured, counted, computed or estimated. how: in a sentence; figures found together share it.
    is_difference: compared by difference (dB, MS-SSIM), not in percent.
    """

    name: str
    field: str
    teacher: float | Latency | None
    student: float | Latency | None
    digits: int
    found: str
    how: str
    is_difference: bool = False


def figures(report: RunReport) -> Iterator[Figure]:
    """The figures of `report` in the order of its table."""
    t, s = report.teacher, report.student
    width, height = report.mac_size
    pixels = width * height
    stored = f"Weights of g_a, h_a, h_s, g_s at their stored bits, entropy models not counted (teacher {t.weight_bits}, student {s.weight_bits})."
    macs = _macs(report)
    quality = (
        f"On {report.evaluation_data}, means over the images. psnr_db and ms_ssim: of the 8-bit output decoded from "
        "the real bytes; bpp: the length of those bytes, header included."
    )
    likelihoods = "From the likelihoods, on the same images."
    timed = _timed(report)
    params = "Parameters of the float models, entropy models included."
    yield Figure("parameters", "parameters", t.parameters, s.parameters, 0, "counted", params)
    mib = t.weight_bytes / MIB, s.weight_bytes / MIB
    yield Figure("weight_mib", "weight_bytes", *mib, 3, "computed", stored)
    gmacs = t.encode_macs / 1e9, s.encode_macs / 1e9
    yield Figure("encode_gmacs", "encode_macs", *gmacs, 3, "counted", macs)
    gmacs = t.decode_macs / 1e9, s.decode_macs / 1e9
    yield Figure("decode_gmacs", "decode_macs", *gmacs, 3, "counted", macs)
    per_pixel = t.total_macs / pixels / 1e3, s.total_macs / pixels / 1e3
    yield Figure("kmac_per_pixel", "total_macs", *per_pixel, 2, "counted", macs)
    yield Figure("psnr_db", "psnr_db", t.psnr_db, s.psnr_db, 3, "measured", quality, True)
    yield Figure("ms_ssim", "ms_ssim", t.ms_ssim, s.ms_ssim, 5, "measured", quality, True)
    yield Figure("bpp", "bpp", t.bpp, s.bpp, 4, "measured", quality)
    bpp = t.bpp_estimated, s.bpp_estimated
    yield Figure("bpp_estimated", "bpp_estimated", *bpp, 4, "estimated", likelihoods)
    encode = t.encode_latency, s.encode_latency
    yield Figure("encode_latency_ms", "encode_latency", *encode, 2, "measured", timed)
    decode = t.decode_latency, s.decode_latency
    yield Figure("decode_latency_ms", "decode_latency", *decode, 2, "measured", timed)


def _macs(report: RunReport) -> str:
    width, height = report.mac_size
    left_out = [
        f"{role}: {', '.join(f'{name} x{n}' for name, n in codec.not_counted.items())}"
        for role, codec in (("teacher", report.teacher), ("student", report.student))
        if codec.not_counted
    ]
    return (
        f"Multiply-accumulates of the float models at {width}x{height}, by fvcore. encode: g_a, h_a, h_s; decode: h_s, "
        "g_s; kmac_per_pixel: each of the four once. Not counted: "
        + "".join(f"{text}; " for text in left_out)
        + "ReLU, clamping and moving of data, entropy coding."
    )


def _timed(report: RunReport) -> str:
    width, height = report.latency_size
    runs = [
        f"{role} {name} {latency.p95_ms:.2f} ms, n={latency.runs}"
        for role, codec in (("teacher", report.teacher), ("student", report.student))
        for name, latency in (("encode", codec.encode_latency), ("decode", codec.decode_latency))
        if latency is not None
    ]
    return (
        f"With {report.latency_method} at {width}x{height}, entropy coding not included. encode: g_a, h_a, h_s; decode: "
        f"h_s, g_s. Median [95 % interval of the median, order statistics; n/a below {MIN_RUNS_INTERVAL} runs]; =: the "
        "intervals overlap or are n/a, so the change is not beyond the spread. "
        f"95th percentiles and runs: {'; '.join(runs) or 'none'}."
    )
