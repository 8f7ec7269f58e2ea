"""Coding one image with a model, or with JPEG and WebP at a given rate, for eyes to compare. torch only where a model takes it.

A model is coded as `hwkd evaluate` does it: into real bytes, and back from them.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING

from PIL import features

from hwkd.codec.codec import Codec
from hwkd.codec.shipped import shipped_or_as_given
from hwkd.errors import InputError
from hwkd.images import Pixels
from hwkd.measure import classic
from hwkd.measure.classic_quality import WEBP_METHOD, encode
from hwkd.qualities import DEFAULT_QUALITY, lmbda_at
from hwkd.runtime.bundle import BUNDLE_SUFFIX, is_bundle
from hwkd.runtime.session import runtime_label

if TYPE_CHECKING:
    from hwkd.models.base import HyperpriorCodec

QUALITIES = {"jpeg": (1, 95), "webp": (0, 100)}
"""The lowest and the highest setting at which an equal rate is looked for."""

Result = tuple[int, Pixels]
"""Bytes of the file or stream, header included, and the image that was decoded from them."""


@dataclass(frozen=True)
class Coder:
    """A model ready to code images. made: what runs it, in which precision. code: an image to bytes and back."""

    name: str
    made: str
    code: Callable[[Pixels], Result]


@dataclass(frozen=True, eq=False)
class Matched:
    """An image by a classic codec at a rate that was asked for.

    quality: the setting. side: "near" the rate; "above" where even the lowest quality takes more bytes, "below" where even
    the highest takes fewer.
    """

    stream_bytes: int
    pixels: Pixels
    quality: int
    side: str


def load_coders(texts: Iterable[str]) -> tuple[Coder, ...]:
    """The models that `texts` name, as `hwkd evaluate` takes them; those of one name are told apart by their text.

    Raises:
        InputError: one is given twice; as hwkd.codec.codec.Codec.load and hwkd.distill.run_folder.load_model.
        HwkdError: as they.
    """
    given = list(texts)
    for text in given:
        if given.count(text) > 1:
            raise InputError(f"{text} is given twice: leave one out")
    coders = [_load(shipped_or_as_given(text)) for text in given]
    names = [coder.name for coder in coders]
    return tuple(
        coder
        if names.count(coder.name) == 1
        else Coder(f"{coder.name} ({text})", coder.made, coder.code)
        for coder, text in zip(coders, given, strict=True)
    )


def check_classic(name: str, width: int, height: int) -> None:
    """Refuse an image that JPEG or WebP cannot hold, by its `name`, before anything slow.

    Raises:
        InputError: a side over their limits, or Pillow lies without WebP.
    """
    if not features.check("webp"):
        raise InputError("this Pillow was built without WebP; install Pillow from its wheel")
    most = min(classic.MAX_SIDE.values())
    if max(width, height) > most:
        raise InputError(
            f"{name} is {width}x{height}, and beside WebP a side may have {most} pixels: cut it, or leave it out"
        )


def matched(codec: str, image: Pixels, stream_bytes: int) -> Matched:
    """`image` by "jpeg" or "webp", at the quality whose file is nearest to `stream_bytes`; at a tie the smaller one.

    Files are taken to grow with the quality, so that halving finds the two settings around the rate. The image is one
    that `check_classic` has passed.
    """
    low, high = QUALITIES[codec]
    files = {quality: encode(codec, image, quality) for quality in (low, high)}
    while high - low > 1 and len(files[low]) < stream_bytes < len(files[high]):
        middle = (low + high) // 2
        files[middle] = encode(codec, image, middle)
        low, high = (middle, high) if len(files[middle]) <= stream_bytes else (low, middle)
    quality = min((low, high), key=lambda at: abs(len(files[at]) - stream_bytes))
    data = files[quality]
    side = "near"
    if len(data) > stream_bytes and quality == QUALITIES[codec][0]:
        side = "above"
    if len(data) < stream_bytes and quality == QUALITIES[codec][1]:
        side = "below"
    # A copy: Pillow's own memory may only be read, which torch, for MS-SSIM, warns of.
    return Matched(len(data), classic.decode(data).copy(), quality, side)


def classic_made(codec: str) -> str:
    """What codes "jpeg" or "webp" here, with its settings."""
    if codec == "webp":
        return f"libwebp {features.version('webp')}, method {WEBP_METHOD}"
    turbo = features.version("libjpeg_turbo")
    library = f"libjpeg-turbo {turbo}" if turbo else f"libjpeg {features.version('jpg')}"
    return f"{library}, {classic.SETTINGS['jpeg']['subsampling']}, standard Huffman tables"


def _load(text: str) -> Coder:
    if is_bundle(text):
        codec = Codec.load(text)
        manifest = codec.bundle.manifest
        made = (
            f"int8 bundle (weights {manifest.weight_bits}, activations {manifest.act_bits} bits), run by "
            f"{runtime_label(codec.runtime)}{_at_default(is_all_rates=manifest.qualities is not None)}"
        )
        return Coder(f"{manifest.name}{BUNDLE_SUFFIX}", made, partial(_code_bundle, codec))
    from hwkd.distill.run_folder import load_model
    from hwkd.measure.eager.coding import make_tables

    loaded = load_model(text)
    loaded.codec.set_lmbda(lmbda_at(DEFAULT_QUALITY))
    # As for an evaluation: the tables fit the weights, whatever the file holds.
    make_tables(loaded.codec, anew=True)
    torch = f"torch {version('torch')}"
    made = f"float32, run by {torch}"
    if loaded.bits is not None:
        bits = f"{loaded.bits.weights_in_words()}/{loaded.bits.act_bits}"
        made = f"{bits} bits simulated in float32, run by {torch}"
    made += _at_default(is_all_rates=loaded.codec.serves_all_rates)
    return Coder(loaded.name, made, partial(_code_in_torch, loaded.codec))


def _at_default(*, is_all_rates: bool) -> str:
    """Words for what a model of all rates is shown at."""
    return f", at quality {DEFAULT_QUALITY}" if is_all_rates else ""


def _code_bundle(codec: Codec, image: Pixels) -> Result:
    stream = codec.encode(image)
    return len(stream), codec.decode(stream)


def _code_in_torch(codec: "HyperpriorCodec", image: Pixels) -> Result:
    from hwkd.measure.eager.coding import decode, encode

    stream = encode(codec, image)
    return len(stream), decode(codec, stream)
