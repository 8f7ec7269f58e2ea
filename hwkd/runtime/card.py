"""The model card in a bundle's manifest: what the model was trained on, how, by whom, its limits and its figures."""

from collections.abc import Iterable
from dataclasses import dataclass

from hwkd.errors import InputError
from hwkd.qualities import DEFAULT_QUALITY, check_quality
from hwkd.runtime.checks import check_not_empty, check_range

NOT_RECORDED = "not recorded"
"""What a text of the card reads where nobody said it."""

KODAK = "kodak"
"""The name, in any case, of the set that models are compared on: 24 images of 768x512."""

_MOST = 10**12


@dataclass(frozen=True)
class SetFigures:
    """What the bundle did to one set of images, at one quality; every figure is the mean over them, each counting once.

    on: the set's name. images: how many. runtime: that ran the networks, with its version.
    psnr_db: of the 8-bit output; None where an image came back without any error.
    ms_ssim: None where an image is too small for it, or its package was not there.
    bpp: of the stream's bytes, header included, per pixel of the image. rd_loss: bpp + lmbda * 255^2 * MSE, with x in
    [0, 1]; None where lmbda is not known. quality: of a bundle of all rates; None of one rate.

    Raises:
        InputError: a field outside its range.
    """

    on: str
    images: int
    runtime: str
    psnr_db: float | None
    ms_ssim: float | None
    bpp: float
    rd_loss: float | None
    quality: int | None = None

    def __post_init__(self) -> None:
        check_not_empty(self, "on", "runtime")
        check_range("images", self.images, 1, _MOST)
        check_range("bpp", self.bpp, 0, _MOST)
        if self.quality is not None:
            check_quality(self.quality)
        for name, high in (("psnr_db", 200), ("ms_ssim", 1), ("rd_loss", _MOST)):
            value = getattr(self, name)
            if value is not None:
                check_range(name, value, 0, high)


@dataclass(frozen=True)
class Card:
    """Where a model comes from and what it can do; every text is one line, NOT_RECORDED where nobody said it.

    data: what it was trained on. licence: of that data.
    teacher: with the sha256 of its file; "none" where only rate and distortion were trained for. start: where the
    first weights came from; another run's steps are not counted here.
    seed: of all chance. float_steps, quantized_steps: of the two phases; 0 in the second for a model that was
    quantized after training. hours: of both phases, all resumed parts together, without preparation and evaluation.
    Of these, None is not known.
    hardware: that trained it. recipe: its name, None for none. limits: known ones, in sentences.
    figures: measured with this very bundle, a set of images each, at several qualities in a bundle of all rates.

    Raises:
        InputError: a field outside its range, or figures of one set and quality twice.
    """

    data: str
    licence: str
    teacher: str | None
    start: str | None
    seed: int | None
    float_steps: int | None
    quantized_steps: int | None
    hours: float | None
    hardware: str
    recipe: str | None
    limits: tuple[str, ...]
    figures: tuple[SetFigures, ...] = ()

    def __post_init__(self) -> None:
        check_not_empty(self, "data", "licence", "hardware")
        for name in ("teacher", "start", "recipe"):
            if getattr(self, name) is not None:
                check_not_empty(self, name)
        for name in ("seed", "float_steps", "quantized_steps", "hours"):
            value = getattr(self, name)
            if value is not None:
                check_range(name, value, 0, _MOST)
        if not all(self.limits):
            raise InputError("limits holds an empty text; sentences are accepted")
        names = [_named(one) for one in self.figures]
        if len(set(names)) < len(names):
            raise InputError(
                f"figures must be of different sets or qualities, got {', '.join(names)}"
            )

    @property
    def on_kodak(self) -> SetFigures | None:
        """The figures on Kodak, as `on_first`; None where they were not measured."""
        return _usual(one for one in self.figures if one.on.casefold() == KODAK)

    @property
    def on_first(self) -> SetFigures | None:
        """The figures on the first set, of several qualities those of the nearest to the default; None where there are none."""
        return _usual(one for one in self.figures if one.on == self.figures[0].on)


def _usual(figures: Iterable[SetFigures]) -> SetFigures | None:
    return min(
        figures,
        key=lambda one: 0 if one.quality is None else abs(one.quality - DEFAULT_QUALITY),
        default=None,
    )


def _named(one: SetFigures) -> str:
    return one.on if one.quality is None else f"{one.on} quality {one.quality}"
