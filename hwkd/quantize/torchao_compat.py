"""The one place that imports torchao, quietly.

At import torchao logs a warning for each GPU library that a CPU build of torch cannot load, and torch one for each of
torchao's enums: nothing that a user of the CPU paths can act on.
"""

import logging

_LOGGERS = [logging.getLogger(name) for name in ("torchao", "torch.utils._pytree")]
_LEVELS = [logger.level for logger in _LOGGERS]
for _logger in _LOGGERS:
    _logger.setLevel(logging.ERROR)

from torchao.quantization import IntxWeightOnlyConfig, quantize_  # noqa: E402
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e  # noqa: E402
from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import (  # noqa: E402
    X86InductorQuantizer,
    get_default_x86_inductor_quantization_config,
)

for _logger, _level in zip(_LOGGERS, _LEVELS, strict=True):
    _logger.setLevel(_level)

__all__ = [
    "IntxWeightOnlyConfig",
    "X86InductorQuantizer",
    "convert_pt2e",
    "get_default_x86_inductor_quantization_config",
    "prepare_pt2e",
    "quantize_",
]
