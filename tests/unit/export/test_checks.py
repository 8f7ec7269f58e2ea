import re

import numpy as np
import pytest
import torch

from hwkd.codec.codec import Codec
from hwkd.codec.stream import unpack
from hwkd.export import differences as differences_module
from hwkd.export.differences import differences
from hwkd.models.image_tensors import padded
from hwkd.runtime.bundle import read_bundle
from hwkd.runtime.session import present_runtimes, runtime_label
from tests.fakes.exact_codec import exact

SENTENCE = re.compile(
    r"(?P<runtime>\S+ \S+) against the trained codec, (?P<images>\d+) images: "
    r"(?P<share>[0-9.]+) % of y's symbols differ, by (?P<most>\d+) at most; "
    r"psnr_db (?P<psnr>[0-9.]+) against (?P<psnr_trained>[0-9.]+); "
    r"bpp (?P<bpp>[0-9.]+) \(real bytes\) against (?P<bpp_trained>[0-9.]+) \(estimated\)"
)

pytestmark = pytest.mark.usefixtures("in_one_thread")


def figures(sentence: str) -> dict[str, float]:
    found = SENTENCE.fullmatch(sentence)
    assert found, sentence
    return {name: float(text) for name, text in found.groupdict().items() if name != "runtime"}


def psnr_db(image: np.ndarray, other: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((image.astype(float) - other) ** 2)))


@torch.no_grad()
def trained_figures(codec, image: np.ndarray) -> tuple[np.ndarray, float, float]:
    """y, PSNR and estimated bits of the codec's own pass."""
    height, width = image.shape[:2]
    out = codec(padded(image, 64))
    x_hat = out.x_hat[0, :, :height, :width].permute(1, 2, 0).numpy()
    bits = -sum(float(p.double().log2().sum()) for p in (out.y_likelihoods, out.z_likelihoods))
    return (
        out.y_hat[0].round().numpy(),
        psnr_db(image, np.rint(np.clip(x_hat, 0, 1) * 255)),
        bits / (height * width),
    )


@pytest.fixture
def images(photo):
    return {"a": photo(70, 90, 1), "b": photo(64, 128, 2)}


@pytest.mark.parametrize(
    ("exported_family", "family", "order"),
    [("patch", "patch", 1), ("relu", "gdn", 1), ("relu", "gdn", -1)],
)
def test_every_figure_is_what_it_says(
    tiny_bundles, tiny_codec_of, images, exported_family: str, family: str, order: int
) -> None:
    """Of a codec and its own bundle, and of one and another's, whose symbols are far away."""
    bundle, codec = read_bundle(tiny_bundles[exported_family]), tiny_codec_of(family)
    images = dict(list(images.items())[::order])
    found = differences(bundle, codec, images)
    assert len(found) == len(present_runtimes())
    passes = {name: trained_figures(codec, image) for name, image in images.items()}
    for sentence, runtime in zip(found, sorted(present_runtimes()), strict=True):
        assert sentence.startswith(f"{runtime_label(runtime)} against ")
        exported = Codec.load(bundle, runtime)
        share, most, psnr, bpp = [], 0.0, [], []
        for name, image in images.items():
            data = exported.encode(image)
            apart = np.abs(exported.symbols(unpack(data, image.size)) - passes[name][0])
            share.append((apart > 0).mean())
            most = max(most, apart.max())
            psnr.append(psnr_db(image, exported.decode(data)))
            bpp.append(len(data) * 8 / (image.shape[0] * image.shape[1]))
        assert figures(sentence) == {
            "images": 2,
            "share": pytest.approx(100 * np.mean(share), abs=1e-4),
            "most": most,
            "psnr": pytest.approx(np.mean(psnr), abs=1e-3),
            "psnr_trained": pytest.approx(np.mean([p[1] for p in passes.values()]), abs=1e-3),
            "bpp": pytest.approx(np.mean(bpp), abs=1e-4),
            "bpp_trained": pytest.approx(np.mean([p[2] for p in passes.values()]), abs=1e-3),
        }


def test_a_bundle_of_this_codec_is_near_it_and_that_of_another_is_not(
    tiny_bundles, tiny_codec_of, images
) -> None:
    bundle = read_bundle(tiny_bundles["relu"])
    # On powers of two the codec's integers and every runtime give the same, so that near is equal.
    near = [figures(s) for s in differences(bundle, exact(tiny_codec_of("relu")), images)]
    far = [figures(s) for s in differences(bundle, exact(tiny_codec_of("gdn")), images)]
    for one, other in zip(near, far, strict=True):
        assert (one["share"], one["most"]) == (0, 0)
        # A sample on a half may be rounded to either side. Images a level apart have root mean squares a level apart.
        level = 20 * np.log10(1 + 10 ** (one["psnr_trained"] / 20) / 255)
        assert one["psnr"] == pytest.approx(one["psnr_trained"], abs=level)
        assert other["share"] > 10 and other["most"] > 1


def test_of_a_large_image_the_centre_is_compared(
    tiny_bundle, tiny_codec_of, photo, monkeypatch
) -> None:
    monkeypatch.setattr(differences_module, "AT_MOST_PX", 64)
    bundle, codec, large = read_bundle(tiny_bundle), tiny_codec_of("patch"), photo(100, 129, 5)
    found = differences(bundle, codec, {"large": large})
    assert found == differences(bundle, codec, {"centre": large[18:82, 32:96]})


def test_a_bundle_of_all_rates_is_compared_at_three_qualities(
    tiny_bundles, tiny_codec_of, images
) -> None:
    codec = tiny_codec_of("rates")
    found = differences(read_bundle(tiny_bundles["rates"]), codec, images)
    assert len(found) == 3 * len(present_runtimes())
    bpp = []
    for quality in (10, 50, 90):
        said = [s for s in found if f"2 images at quality {quality}: " in s]
        assert len(said) == len(present_runtimes())
        one = figures(said[0].replace(f" at quality {quality}", ""))
        codec.set_lmbda(0.0018 * 100 ** ((quality - 1) / 99))
        passes = [trained_figures(codec, image) for image in images.values()]
        assert one["psnr_trained"] == pytest.approx(np.mean([p[1] for p in passes]), abs=1e-3)
        assert one["share"] < 2 and one["most"] <= 1
        assert abs(one["psnr"] - one["psnr_trained"]) < 0.1
        bpp.append(one["bpp"])
    assert bpp == sorted(bpp)
