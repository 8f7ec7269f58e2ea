"""What the ways to predict y take of a whole decode, in one run: none, means in int8 inside g_s, means and scales exactly.

    python tests/bench/bench_entropy_models.py [--threads 1] [--seconds 60] [--sizes 768x512 4000x3000] [--format md]

Medium patch codecs from their principal components, quantized, with and without a context for the means; the time does not
depend on what the weights are, and the bytes are about those of a trained one. The exact way is that of a four-step context
in whole numbers (channels 0 to 15 on the even, then the odd places, then the others likewise): its four graphs, float32 with a
Round after each convolution as h_s has them, are timed on tensors of the image's size and added to the decode without
context. That leaves out that symbols then come in four parts.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx
import torch

from hwkd.bits import BitPlan
from hwkd.cli.tables import TableOptions, emit
from hwkd.codec.codec import Codec
from hwkd.codec.entropy import use_compiled
from hwkd.distill.data import calibration_crops
from hwkd.export.export import Source, export, prepare
from hwkd.export.graph_writer import FLOAT, OPENVINO, GraphWriter, tensor
from hwkd.images import embedded_images
from hwkd.measure.coder import picture
from hwkd.measure.machine import host_facts
from hwkd.measure.timing import measure_in_turn, pinned
from hwkd.models.build import build
from hwkd.models.patch import PatchCodec
from hwkd.models.spec import PatchSpec, student_spec
from hwkd.qualities import LMBDA_OF_UNIT_GAIN
from hwkd.quantize.ptq import post_training_quantize
from hwkd.report.table import Table
from hwkd.runtime.bundle import Bundle
from hwkd.runtime.session import open_session, present_runtimes, runtime_label
from hwkd.target import load_target

QUALITY = 20
"""At which an untrained codec writes about what a trained one does at 50."""

WIDTH = 96
FIRST = 16


def bundle_of(spec: PatchSpec) -> Bundle:
    """An exported codec of `spec`, untrained."""
    torch.manual_seed(0)
    codec = build(spec).eval().requires_grad_(False)
    assert isinstance(codec, PatchCodec)
    crops = calibration_crops(None, 256)
    codec.start_from_pca(torch.cat(crops), LMBDA_OF_UNIT_GAIN)
    bits = BitPlan(7, 8)
    quantized = post_training_quantize(codec, bits, crops)
    source = Source("untrained", quantized, spec, None, bits, {"made": "by a benchmark"}, None)
    images = {name: image[:256, :256] for name, image in embedded_images("eval").items()}
    return export(prepare(source, load_target("x86-vnni"), images), images, lambda _: None)


def step_graph(M: int, out: int, *, is_first: bool) -> onnx.ModelProto:
    """One step: features of h_s [1, WIDTH, h, w] and what is known [1, 2 M + 1, h, w] to `out` means and as many scales."""
    rng = np.random.default_rng(0)
    graph = GraphWriter(OPENVINO)

    def conv(x: str, into: int, outof: int, kernel: int = 1, group: int = 1) -> str:
        name = f"w{len(graph._nodes)}"
        weight = rng.integers(-8, 9, (outof, into // group, kernel, kernel)).astype(np.float32)
        found = graph.node(
            "Conv",
            [x, graph.constant(name, weight)],
            kernel_shape=[kernel] * 2,
            pads=[kernel // 2] * 4,
            group=group,
        )
        scaled = graph.node("Mul", [graph.node("Round", [found]), graph.scalar(1 / 64)])
        bounds = (graph.scalar(0.0), graph.scalar(255.0))
        return graph.node("Clip", [graph.node("Round", [scaled]), *bounds])

    x = "features"
    inputs = [tensor("features", FLOAT, [1, WIDTH, "h", "w"])]
    if not is_first:
        inputs.append(tensor("known", FLOAT, [1, 2 * M + 1, "h", "w"]))
        x = graph.node("Add", [x, conv("known", 2 * M + 1, WIDTH)])
    mixed = conv(conv(conv(x, WIDTH, WIDTH), WIDTH, WIDTH, 3, WIDTH), WIDTH, WIDTH)
    x = graph.node("Add", [x, mixed])
    x = graph.node("Add", [x, conv(conv(x, WIDTH, 2 * WIDTH), 2 * WIDTH, WIDTH)])
    found = conv(x, WIDTH, 2 * out)
    return graph.model("step", inputs, {found: tensor("out", FLOAT, [1, 2 * out, "h", "w"])})


def exact_steps(M: int, height: int, width: int, runtime: str, threads: int) -> Callable[[], None]:
    """The four steps of one image, one after the other."""
    features = np.ones((1, WIDTH, height, width), np.float32)
    known = np.ones((1, 2 * M + 1, height, width), np.float32)
    sessions = [
        open_session(step_graph(M, out, is_first=first).SerializeToString(), runtime, threads)
        for out, first in ((FIRST, True), (FIRST, False), (M - FIRST, False), (M - FIRST, False))
    ]

    def run() -> None:
        for i, session in enumerate(sessions):
            session.run({"features": features} | ({"known": known} if i else {}))

    return run


def main() -> None:
    """Measure in turn and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=60.0, help="for each size")
    parser.add_argument("--sizes", nargs="+", default=["768x512", "4000x3000"])
    TableOptions.add_to(parser)
    args = parser.parse_args()
    with_means = student_spec("patch", (96,) * 3, 320, 48, 48, all_rates=True)
    assert isinstance(with_means, PatchSpec)
    specs = {"none": replace(with_means, context=()), "means in int8": with_means}
    bundles = {name: bundle_of(spec) for name, spec in specs.items()}
    use_compiled()
    rows = []
    for size in args.sizes:
        width, height = map(int, size.split("x"))
        image = picture(width, height)
        runs, kib = {}, {}
        for runtime in sorted(present_runtimes()):
            for name, bundle in bundles.items():
                codec = Codec.load(bundle, runtime, args.threads)
                data = codec.encode(image, quality=QUALITY)
                runs[runtime, name] = lambda codec=codec, data=data: codec.decode(data)
                kib[name] = len(data) / 1024
            places = -(-height // 64) * 4, -(-width // 64) * 4
            runs[runtime, "exact"] = exact_steps(with_means.M, *places, runtime, args.threads)
        print(size, file=sys.stderr, flush=True)
        with pinned(args.threads):
            timed = measure_in_turn(runs, warmup=1, seconds=args.seconds)
        for runtime in sorted(present_runtimes()):
            none = timed[runtime, "none"].median_ms
            means = timed[runtime, "means in int8"].median_ms
            exact = none + timed[runtime, "exact"].median_ms
            for name, ms in (
                ("none", none),
                ("means in int8, inside g_s", means),
                ("means and scales in four exact steps", exact),
            ):
                rows.append((runtime_label(runtime), size, name, f"{ms:.1f}", f"{ms / none:.2f}"))
    columns = ("runtime", "size", "prediction of y", "decode_ms", "against none")
    notes = (
        f"Medians in turn, {args.threads} threads; whole decodes, entropy coding in them, but for the exact way, whose steps "
        "are added. Untrained weights.",
        f"Host: {host_facts()}.",
    )
    emit(Table("Ways to predict y", columns, tuple(rows), notes), TableOptions.of(args))


if __name__ == "__main__":
    main()
