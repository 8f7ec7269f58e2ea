"""Running a codec to measure it: in evaluation mode, without gradients, its own modes restored afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Within the block `model` is in evaluation mode and no gradients are kept.

    Each submodule returns to the mode it had, so that parts frozen in evaluation mode stay frozen.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        # Not inference_mode: the codec's tables are made here, and inference tensors could not be loaded over.
        with torch.no_grad():
            yield
    finally:
        for module, was_training in modes:
            module.training = was_training
