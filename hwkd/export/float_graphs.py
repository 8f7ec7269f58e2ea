"""The float32 networks as ONNX graphs of one image size, to time them in other runtimes. Not the int8 bundle."""

import copy
import math
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from hwkd.errors import HwkdError, InputError
from hwkd.models.base import HyperpriorCodec
from hwkd.models.compat import GDN


@dataclass(frozen=True)
class ExportedNetworks:
    """Three graphs, float32, batch 1, of one size.

    encoder: x [1, 3, H, W] in [0, 1] -> y [1, M, H/16, W/16], z [1, Z, H/64, W/64] (g_a, h_a).
    hyper: z_hat -> scales_hat and, where the prior has a mean, means_hat, both of y's shape (h_s).
    decoder: y_hat -> x_hat [1, 3, H, W] (g_s). H and W are multiples of 64.
    """

    encoder: Path
    hyper: Path
    decoder: Path


def export_networks(
    codec: HyperpriorCodec, folder: Path, width: int, height: int, opset: int = 17
) -> ExportedNetworks:
    """Write encoder.onnx, hyper.onnx and decoder.onnx into `folder`, for images of width x height, padded to 64.

    GDN's parameters are written as the constants that its reparametrization makes of them. `codec` is not changed.

    Args:
        codec: a float model.
        opset: of ONNX, 13 or more.

    Raises:
        InputError: a size under 1x1, a folder that is not there.
        HwkdError: torch cannot export the networks.
    """
    if width < 1 or height < 1:
        raise InputError(f"an image of {width}x{height} cannot be exported for; give 1x1 or more")
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder to export into; make it first")
    frozen = copy.deepcopy(codec).cpu().float().eval().requires_grad_(False)
    _freeze_gdn(frozen)
    side = codec.downsampling_factor
    rows, columns = math.ceil(height / side), math.ceil(width / side)
    has_means = _has_means(frozen)
    x = torch.zeros(1, 3, rows * side, columns * side)
    z_hat = torch.zeros(1, codec.Z, rows, columns)
    y_hat = torch.zeros(1, codec.M, rows * (side // 16), columns * (side // 16))
    exported = ExportedNetworks(
        folder / "encoder.onnx", folder / "hyper.onnx", folder / "decoder.onnx"
    )
    scales = ["scales_hat", "means_hat"] if has_means else ["scales_hat"]
    _export(_Encoder(frozen), x, exported.encoder, ["x"], ["y", "z"], opset)
    _export(_Hyper(frozen), z_hat, exported.hyper, ["z_hat"], scales, opset)
    _export(frozen.g_s, y_hat, exported.decoder, ["y_hat"], ["x_hat"], opset)
    return exported


class _Encoder(nn.Module):
    def __init__(self, codec: HyperpriorCodec) -> None:
        super().__init__()
        self.codec = codec

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.codec.g_a(x)
        return y, self.codec.hyper_analysis(y)


class _Hyper(nn.Module):
    def __init__(self, codec: HyperpriorCodec) -> None:
        super().__init__()
        self.codec = codec

    def forward(self, z_hat: Tensor) -> tuple[Tensor, ...]:
        scales_hat, means_hat = self.codec.entropy_parameters(z_hat)
        return (scales_hat,) if means_hat is None else (scales_hat, means_hat)


class FrozenGDN(nn.Module):
    """GDN with constant beta, [C], and gamma, [C, C, 1, 1]: x / sqrt(beta + gamma x^2), or times it for the inverse.

    Source: Balle et al. 2016, arXiv 1511.06281, equation 4, in compressai's form.
    """

    beta: Tensor
    gamma: Tensor

    def __init__(self, gdn: GDN) -> None:
        super().__init__()
        self.inverse = bool(gdn.inverse)
        self.register_buffer("beta", gdn.beta_reparam(gdn.beta).detach().clone())
        gamma = gdn.gamma_reparam(gdn.gamma).detach().clone()
        self.register_buffer("gamma", gamma[:, :, None, None])

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] to the same."""
        norm = torch.sqrt(nn.functional.conv2d(x * x, self.gamma, self.beta))
        return x * norm if self.inverse else x / norm


def _freeze_gdn(model: nn.Module) -> None:
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, GDN):
                setattr(parent, name, FrozenGDN(child))


def _has_means(codec: HyperpriorCodec) -> bool:
    return codec.entropy_parameters(torch.zeros(1, codec.Z, 1, 1))[1] is not None


def _export(
    module: nn.Module,
    example: Tensor,
    path: Path,
    inputs: list[str],
    outputs: list[str],
    opset: int,
) -> None:
    try:
        with torch.no_grad(), warnings.catch_warnings():
            # The exporter that traces is deprecated in favour of one that needs onnxscript and writes other graphs.
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module.eval(),
                (example,),
                str(path),
                input_names=inputs,
                output_names=outputs,
                opset_version=opset,
                dynamo=False,
            )
    except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
        raise HwkdError(
            f"torch could not export {path.name} at opset {opset}: {str(error).splitlines()[0]}"
        ) from error
