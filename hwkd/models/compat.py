"""The one place that imports compressai, mended where a CPU torch meets the published torchvision.

compressai imports torchvision. Its compiled operators are absent when its build does not match torch's (a CPU
torch beside the PyPI torchvision). Its Python side then fails at import because two operators have no schema; we
define the schemas, which nothing here calls. Everything that needs compressai imports it from this module.
"""

import torch

# The library object must outlive the import: its definitions vanish with it.
_torchvision_schemas: torch.library.Library | None = None


def _mend_torchvision() -> None:
    global _torchvision_schemas
    try:
        import torchvision  # noqa: F401
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        _torchvision_schemas = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            _torchvision_schemas.define(
                f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            )


_mend_torchvision()

from compressai.entropy_models import EntropyBottleneck, GaussianConditional  # noqa: E402
from compressai.layers import GDN  # noqa: E402
from compressai.models import (  # noqa: E402
    CompressionModel,
    MeanScaleHyperprior,
    ScaleHyperprior,
)
from compressai.models.utils import conv, deconv, remap_old_keys  # noqa: E402
from compressai.ops import LowerBound  # noqa: E402
from compressai.zoo.image import model_urls  # noqa: E402
from compressai.zoo.pretrained import load_pretrained  # noqa: E402

__all__ = [
    "GDN",
    "CompressionModel",
    "EntropyBottleneck",
    "GaussianConditional",
    "LowerBound",
    "MeanScaleHyperprior",
    "ScaleHyperprior",
    "conv",
    "deconv",
    "load_pretrained",
    "model_urls",
    "remap_old_keys",
]
