"""Training noise as a function of where it is used, not of how many numbers were drawn before."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hwkd.models.compat import EntropyBottleneck, GaussianConditional

LATENTS = ("y", "z")


@dataclass(frozen=True)
class RowNoise:
    """The uniform noise on the latents of some rows of one step's batch.

    A row's noise depends on `key` (the run's seed, the phase), the step and the row's place in the whole batch. It is
    the same whichever process trains the row, alone or among others, and in a run that was resumed.

    rows: places in the whole batch, one for each image of the pass.
    """

    key: tuple[int, ...]
    step: int
    rows: range

    def like(self, latent: Tensor, name: str) -> Tensor:
        """Uniform in [-1/2, 1/2), the shape of `latent` [B, C, h, w]. name: of LATENTS."""
        noise = torch.empty(latent.shape, dtype=latent.dtype, device=latent.device)
        generator = torch.Generator(latent.device)
        for of_row, row in zip(noise, self.rows, strict=True):
            words = (*self.key, self.step, row, LATENTS.index(name))
            seed = int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0])
            generator.manual_seed(seed >> 1)  # torch takes 63 bits
            of_row.uniform_(-0.5, 0.5, generator=generator)
        return noise


class NoisyBottleneck(EntropyBottleneck):  # type: ignore[misc]
    """CompressAI's entropy bottleneck, which trains on `noise` [B, C, h, w] where some is set, else on its own."""

    noise: Tensor | None = None

    def quantize(self, inputs: Tensor, mode: str, means: Tensor | None = None) -> Tensor:
        """As CompressAI's; `inputs` is [C, 1, B h w]."""
        if mode != "noise" or self.noise is None:
            result: Tensor = super().quantize(inputs, mode, means)
            return result
        return inputs + self.noise.transpose(0, 1).reshape(inputs.shape)


class NoisyConditional(GaussianConditional):  # type: ignore[misc]
    """CompressAI's Gaussian conditional, which trains on `noise`, the shape of its input, where some is set."""

    noise: Tensor | None = None

    def quantize(self, inputs: Tensor, mode: str, means: Tensor | None = None) -> Tensor:
        """As CompressAI's."""
        if mode != "noise" or self.noise is None:
            result: Tensor = super().quantize(inputs, mode, means)
            return result
        return inputs + self.noise
