"""Checks of an exported bundle: nodes that ran, differences from the trained codec, the reach of a tile."""

import re
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
import onnx
import torch

from hwkd.codec.codec import Y_PX, Z_PX, Codec
from hwkd.codec.stream import unpack
from hwkd.export.graphs import ReceptiveStep, graphs_of
from hwkd.images import MAX_PIXELS, Pixels
from hwkd.metrics import psnr_db
from hwkd.models.base import HyperpriorCodec, padded, to_pixels
from hwkd.qualities import lmbda_at
from hwkd.runtime.bundle import Bundle
from hwkd.runtime.manifest import Executed, ReceptiveField
from hwkd.runtime.session import present_runtimes, runtime_label

# Which nodes of a graph a runtime really runs in which precision, read from the runtime itself.

_FLOAT_PRODUCTS = {
    "Conv",
    "ConvTranspose",
    "FusedConv",
    "NhwcFusedConv",
    "MatMul",
    "FusedMatMul",
    "Gemm",
}
_INTEGER_PRODUCTS = {
    "QLinearConv",
    "MatMulIntegerToFloat",
    "QLinearMatMul",
    "ConvInteger",
    "MatMulInteger",
}
_OPENVINO_PRODUCTS = {"Convolution", "Deconvolution", "MatMul", "FullyConnected"}
_MOVES = {
    *("Const", "Input", "Output", "Reorder", "Reshape", "Transpose", "Slice", "StridedSlice"),
    *("SpaceToDepth", "DepthToSpace", "ReorderInput", "ReorderOutput", "Concat", "Identity"),
}
"""Nodes that move values and compute none."""

_PRECISIONS = {"I8": "int8", "i8": "int8", "f32": "fp32", "f16": "fp16", "bf16": "bf16"}


def executed(graph: bytes, network: str, runtime: str) -> Executed:
    """The nodes that compute, counted by precision after `runtime` has optimized `graph` for this host.

    counts: "int8", "fp32" and so on for convolutions and matrix products, "elementwise" for all that is left. in_float:
    the layers that do not run in integers, by name.
    """
    nodes = _openvino_nodes(graph) if runtime == "openvino" else _onnxruntime_nodes(graph)
    counts: Counter[str] = Counter()
    in_float = []
    for name, precision in nodes:
        counts[precision] += 1
        if precision not in ("int8", "elementwise"):
            in_float.append(name)
    return Executed(network, runtime_label(runtime), dict(sorted(counts.items())), tuple(in_float))


def _openvino_nodes(graph: bytes) -> list[tuple[str, str]]:
    from hwkd.runtime.openvino_runtime import compiled, openvino

    found = []
    model = compiled(openvino.Core().read_model(graph), threads=1).get_runtime_model()
    for node in model.get_ordered_ops():
        about = node.get_rt_info()
        kind = about["layerType"].astype(str)
        if kind in _OPENVINO_PRODUCTS:
            names = about["originalLayersNames"].astype(str).split(",")
            precision = about["primitiveType"].astype(str).rpartition("_")[2]
            found.append((names[0].removesuffix("/WithoutBiases"), _PRECISIONS[precision]))
        elif kind not in _MOVES:
            found.append((node.get_friendly_name(), "elementwise"))
    return found


def _onnxruntime_nodes(graph: bytes) -> list[tuple[str, str]]:
    from hwkd.runtime.onnx_runtime import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(Path(folder) / "optimized.onnx")
        options.log_severity_level = 3
        onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        optimized = onnx.load(options.optimized_model_filepath)
    found = []
    for node in optimized.graph.node:
        # The optimizer adds to the names of the nodes that it replaces.
        name = re.sub(r"(_token_\d+|_nchwc)+$", "", node.name)
        if node.op_type in _INTEGER_PRODUCTS:
            found.append((name, "int8"))
        elif node.op_type in _FLOAT_PRODUCTS:
            found.append((name, "fp32"))
        elif node.op_type not in _MOVES:
            found.append((node.name, "elementwise"))
    return found


# How far a bundle is from the trained codec that it was made of, on real images.

AT_MOST_PX = 1024
"""The side of the centre that is compared of a larger image."""

QUALITIES = (10, 50, 90)
"""The qualities at which a bundle of all rates is compared."""


@dataclass(frozen=True)
class _Trained:
    """The trained codec's own pass over one image."""

    image: Pixels
    y: "np.ndarray[tuple[int, ...], np.dtype[np.int32]]"
    x_hat: Pixels
    bpp_estimated: float


def differences(
    bundle: Bundle, codec: HyperpriorCodec, images: Mapping[str, Pixels]
) -> tuple[str, ...]:
    """A sentence for each runtime present: symbols of y that differ, PSNR and rate beside the trained codec's.

    The trained codec's rate is estimated from its likelihoods, the bundle's is of its real bytes.
    """
    qualities = (None,) if bundle.manifest.qualities is None else QUALITIES
    exported = [Codec.load(bundle, runtime) for runtime in sorted(present_runtimes())]
    found = []
    for quality in qualities:
        if quality is not None:
            codec.set_lmbda(lmbda_at(quality))
        passes = [_trained(codec, centre(image)) for image in images.values()]
        found += [_compared(one, passes, quality) for one in exported]
    return tuple(found)


def _compared(exported: Codec, passes: list[_Trained], quality: int | None) -> str:
    differ, largest, bpp, psnr = [], 0, [], []
    for trained in passes:
        data = exported.encode(trained.image, quality=quality)
        y = exported.symbols(unpack(data, MAX_PIXELS))
        apart = np.abs(y.astype(np.int64) - trained.y)
        differ.append(float((apart != 0).mean()))
        largest = max(largest, int(apart.max()))
        bpp.append(8 * len(data) / (trained.image.size / 3))
        psnr.append(psnr_db(trained.image, exported.decode(data)))
    psnr_trained = fmean(psnr_db(trained.image, trained.x_hat) for trained in passes)
    bpp_trained = fmean(trained.bpp_estimated for trained in passes)
    return (
        f"{runtime_label(exported.runtime)} against the trained codec, {len(passes)} images"
        f"{'' if quality is None else f' at quality {quality}'}: "
        f"{100 * fmean(differ):.4f} % of y's symbols differ, by {largest} at most; "
        f"psnr_db {fmean(psnr):.3f} against {psnr_trained:.3f}; "
        f"bpp {fmean(bpp):.4f} (real bytes) against {bpp_trained:.4f} (estimated)"
    )


@torch.no_grad()
def _trained(codec: HyperpriorCodec, image: Pixels) -> _Trained:
    height, width = image.shape[:2]
    output = codec(padded(image, codec.downsampling_factor))
    bits = output.y_likelihoods.double().log2().sum() + output.z_likelihoods.double().log2().sum()
    return _Trained(
        image,
        torch.round(codec.residual(output.y))[0].int().numpy(),
        to_pixels(output.x_hat, width, height),
        -float(bits) / (height * width),
    )


def centre(image: Pixels) -> Pixels:
    """The compared part of `image`, [H, W, 3]: all of it, or the middle of AT_MOST_PX."""
    top, left = (max(0, side - AT_MOST_PX) // 2 for side in image.shape[:2])
    return image[top : top + AT_MOST_PX, left : left + AT_MOST_PX]


# How far a tile depends on what lies beyond it: the halo that makes tiled coding equal to coding the whole.


def reach(codec: HyperpriorCodec) -> ReceptiveField:
    """The reach of `codec`'s networks, from the kernels, strides and paddings of its layers."""
    of = graphs_of(codec).operations(codec)
    before_y, after_y = _through((*of.g_a, *of.means), 0, 0)
    before_z, after_z = _through((*of.g_a, *of.h_a), 0, 0)
    before = max(-before_y, -before_z)
    after = max(after_y - (Y_PX - 1), after_z - (Z_PX - 1))
    first_z, last_z = _through(of.h_s, 0, Z_PX // Y_PX - 1)
    first_y, last_y = _through(of.g_s, 0, Y_PX - 1)
    return ReceptiveField(
        encoder_px=(_up_to(before, Z_PX), _up_to(after, Z_PX)),
        hyper_z=max(-first_z, last_z),
        # Even, so that a tile begins on an even place: the means' context treats even and odd places differently.
        decoder_y=_up_to(max(-first_y, last_y), 2 if of.means else 1),
    )


def _through(steps: Sequence[ReceptiveStep], first: int, last: int) -> tuple[int, int]:
    for step in reversed(steps):
        first, last = step.inputs(first, last)
    return first, last


def _up_to(length: int, unit: int) -> int:
    return -(-max(length, 0) // unit) * unit
