"""CompressAI in a bench: its own models in eager torch, float32, from 8-bit pixels to its strings and back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch

from hwkd.errors import InputError
from hwkd.images import Pixels
from hwkd.measure.coder import Coder, StepClock, ready
from hwkd.measure.machine import eager_setting
from hwkd.models.base import padded, to_pixels
from hwkd.models.compat import MeanScaleHyperprior, ScaleHyperprior
from hwkd.models.spec import HyperpriorSpec
from hwkd.models.teacher import Teacher, load_teacher

N, M = 128, 192
"""CompressAI's widths of bmshj2018-hyperprior at its qualities 1 to 5."""

CONVERSION, ENTROPY = "conversion", "entropy"
NETWORKS = ("g_a", "h_a", "h_s", "g_s")
HALVINGS = 20
SEED = 0
Model = Any  # compressai's classes are without types


def trained_coder(text: str, image: Pixels, threads: int) -> Coder:
    """The model that `text` names as a coder of `image`, [H, W, 3] uint8.

    Args:
        text: as `hwkd.models.teacher.load_teacher` takes it; the model must be one of CompressAI's classes.
    Raises:
        InputError, HwkdError: as `load_teacher`; a model that CompressAI has no class for.
    """
    teacher = load_teacher(text)
    model = _compressais_own(teacher)
    model.load_state_dict(teacher.model.state_dict())
    weights = f"the weights of {teacher.name} ({teacher.source})"
    return _coder(model, image, threads, is_trained=True, weights=weights)


def untrained_coder(
    image: Pixels, spread: Sequence[float], stream_bytes: int, threads: int
) -> Coder:
    """ScaleHyperprior(N, M) with random weights as a coder of `image`, its entropy coder loaded as by a trained one.

    What the convolutions take does not depend on their weights, but entropy coding takes as long as the rate is high.
    So the last layer of g_a is scaled channel by channel to the spread of a trained codec's y, and h_s made to say
    just that spread, both times the one factor at which the estimated rate is `stream_bytes`.

    Args:
        spread: root mean square of each channel of the trained y, any number of channels, the largest first.
        stream_bytes: size of the trained codec's stream for the image.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = ScaleHyperprior(N, M)
    model.eval()
    wanted = _resampled(spread)
    x = padded(image, model.downsampling_factor)
    with torch.no_grad():
        last = model.g_a[-1]
        last.bias.zero_()
        own = model.g_a(x).square().mean(dim=(0, 2, 3)).sqrt().clamp(min=1e-12)
        last.weight.mul_((wanted / own)[:, None, None, None])
        factor = _factor(model, x, wanted, 8 * stream_bytes)
        last.weight.mul_(factor)
        scales = model.h_s[-2]
        scales.weight.zero_()
        scales.bias.copy_(factor * wanted)
    weights = (
        "random weights, y and its scales set so that its rate comes near to the first bundle's (for trained ones give "
        "--against bmshj2018-hyperprior:5, or a checkpoint's file)"
    )
    return _coder(model, image, threads, is_trained=False, weights=weights)


def _factor(model: Model, x: torch.Tensor, scales: torch.Tensor, bits: float) -> float:
    """The factor for y and its scales with which z and y take `bits` by their likelihoods."""
    y = model.g_a(x)
    spread = scales[None, :, None, None].expand_as(y)

    def estimated(factor: float) -> float:
        _, z_likelihoods = model.entropy_bottleneck(model.h_a((factor * y).abs()))
        _, y_likelihoods = model.gaussian_conditional(factor * y, factor * spread)
        return -float(z_likelihoods.double().log2().sum() + y_likelihoods.double().log2().sum())

    low, high = -10.0, 10.0  # of its binary logarithm
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if estimated(2.0**middle) < bits else (low, middle)
    return float(2.0**low)


def _resampled(spread: Sequence[float]) -> torch.Tensor:
    """`spread` over M channels."""
    given = torch.tensor(spread, dtype=torch.float32)[None, None]
    return torch.nn.functional.interpolate(given, M, mode="linear", align_corners=True)[0, 0]


@dataclass(frozen=True)
class Strings:
    """The output of CompressAI's compress for an image of width x height. Its length is the bytes of its strings."""

    coded: Mapping[str, Any]
    width: int
    height: int

    def __len__(self) -> int:
        return sum(len(string) for strings in self.coded["strings"] for string in strings)


class CompressaiCodec:
    """A model of CompressAI with its own coder, as hwkd.measure.coder.ImageCodec."""

    name = "CompressAI"
    entropy = (ENTROPY,)

    def __init__(self, model: Model, threads: int) -> None:
        model.eval()
        model.update()
        self.setting = eager_setting(threads).runtime
        self.threads = threads
        self.clock = StepClock()
        self._model = model
        _watch(model, self.clock)

    def encode(self, image: Pixels) -> Strings:
        """Padded to multiples of the model's factor."""
        with self.clock.run("encode", first=CONVERSION), torch.no_grad():
            coded = self._model.compress(padded(image, self._model.downsampling_factor))
        return Strings(coded, image.shape[1], image.shape[0])

    def decode(self, stream: Strings) -> Pixels:
        """Cut to the image, 8 bits."""
        with self.clock.run("decode", first=ENTROPY), torch.no_grad():
            x_hat = self._model.decompress(**stream.coded)["x_hat"]
            return to_pixels(x_hat, stream.width, stream.height)


def _coder(model: Model, image: Pixels, threads: int, *, is_trained: bool, weights: str) -> Coder:
    height, width = image.shape[:2]

    def note(stream_bytes: int) -> str:
        return (
            f"CompressAI is {type(model).__name__}({model.N}, {model.M}) of compressai {version('compressai')} in float32 "
            f"with {weights}: {8 * stream_bytes / (width * height):.3f} bpp, the bytes of its strings without a container."
        )

    no_psnr = "" if is_trained else "random weights, whose images say nothing"
    return ready(CompressaiCodec(model, threads), image, no_psnr=no_psnr, note=note)


def _watch(model: Model, clock: StepClock) -> None:
    """Put the clock around each network; whatever else compress and decompress do is entropy coding."""
    for name in NETWORKS:
        network = getattr(model, name)
        then = CONVERSION if name == "g_s" else ENTROPY
        network.register_forward_pre_hook(lambda *_: clock.enter())
        network.register_forward_hook(lambda *_, name=name, then=then: clock.leave(name, then=then))


def _compressais_own(teacher: Teacher) -> Model:
    """CompressAI's model with the teacher's widths; its parameters have the same names."""
    spec = teacher.spec
    if isinstance(spec, HyperpriorSpec) and len({*spec.widths, spec.H, spec.Z}) == 1:
        if spec.family == "gdn":
            return ScaleHyperprior(spec.Z, spec.M)
        if spec.family == "mean":
            return MeanScaleHyperprior(spec.Z, spec.M)
    raise InputError(
        f"CompressAI has no class for {teacher.name} ({spec}); give bmshj2018-hyperprior:5, mbt2018-mean:5, a checkpoint "
        "of these, or compressai for random weights"
    )
