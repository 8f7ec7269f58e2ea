"""From a teacher to a student, to a bundle, to streams, and back to images."""

import numpy as np
import pytest
import torch
from safetensors import safe_open

from hwkd.bits import BitPlan
from hwkd.codec.codec import Codec
from hwkd.codec.stream import header_bytes, unpack
from hwkd.distill.data import calibration_crops
from hwkd.distill.run_folder import load_model, load_run
from hwkd.export.export import Source, export, prepare
from hwkd.images import MAX_PIXELS, embedded_images
from hwkd.models.base import padded
from hwkd.models.checkpoint import save_weights
from hwkd.models.teacher import STUDENT
from hwkd.quantize.ptq import post_training_quantize
from hwkd.runtime.bundle import read_bundle
from hwkd.runtime.session import present_runtimes
from hwkd.target import load_target
from tests.fakes.exact_codec import (
    assert_nearest,
    clear_pass,
    exact,
    exact_image,
    put_on_powers_of_two,
)

STUDENTS = {
    "patch": ("--width", "16", "--hyper", "8", "--hyper-latent", "8"),
    "relu": ("--family", "relu", "--width", "8"),
}

pytestmark = pytest.mark.usefixtures("in_one_thread")


@pytest.fixture(scope="module", params=STUDENTS)
def run(request, place, hwkd, small_photographs):
    """The folder of a run of a few steps, and the bundle that the command line made of it.

    What a few steps make of the weights depends on the processor. In between they are moved to powers of two, so that,
    whatever they are, torch and the runtimes compute the same with them.
    """
    folder = place.folder / request.param
    steps = ("--bits", "7/8", "--steps", "6", "--qat-steps", "3")
    assert hwkd([*place.argv, *STUDENTS[request.param], *steps, "-o", folder]) == 0
    student = load_run(folder).codec
    put_on_powers_of_two(student)
    with safe_open(folder / STUDENT, "pt") as held:
        metadata = held.metadata()
    save_weights(folder / STUDENT, student, half=False, metadata=metadata)
    bundle = place.folder / f"{request.param}.hwkd"
    words = ("export", folder, "--target", "x86-avx2", "--data", f"{place.folder}/others")
    assert hwkd([*words, "-o", bundle]) == 0
    return folder, bundle


def test_a_distilled_student_codes_images_without_torch_as_it_does_with_it(run, photo) -> None:
    """As its integers in float64 do, which is what training simulates (tests/unit/quantize/test_integer.py)."""
    folder, path = run
    student = exact(load_run(folder).codec)
    one = clear_pass(student, photo, 90, 170, 9)
    largest = read_bundle(path).manifest.largest_y
    for runtime in present_runtimes():
        codec = Codec.load(path, runtime)
        data = codec.encode(one.image)
        y = codec.symbols(unpack(data, MAX_PIXELS))
        # The nearest whole numbers, and the nearest levels: off by half of one at the most.
        assert_nearest(y, one.y, -largest - 1, largest, "y")
        image = exact_image(student, y)[:90, :170]
        assert_nearest(codec.decode(data), image, 0, 255, runtime)


def test_streams_are_read_by_whichever_runtime(run, photo) -> None:
    _, path = run
    image = photo(140, 200, 11)
    codecs = [Codec.load(path, runtime) for runtime in present_runtimes()]
    for writer in codecs:
        stream = unpack(writer.encode(image, tile_px=64), MAX_PIXELS)
        symbols = [reader.symbols(stream) for reader in codecs]
        for y in symbols[1:]:
            np.testing.assert_array_equal(y, symbols[0])


def test_the_bundle_says_where_it_comes_from(run) -> None:
    folder, path = run
    manifest = read_bundle(path).manifest
    assert manifest.name == folder.name
    assert manifest.provenance["quantized"] == "in training"
    assert manifest.card.teacher.startswith("tiny-teacher (sha256 ")
    assert (manifest.card.seed, manifest.card.licence) == (0, "not recorded")
    assert manifest.card.float_steps > 0 and manifest.card.quantized_steps > 0
    assert manifest.card.hours > 0
    assert [one.on for one in manifest.card.figures] == ["embedded photographs"]
    assert str(folder.parent) not in str(manifest)


@pytest.fixture(scope="module")
def shipped():
    """The shipped teacher quantized after training, and its bundle."""
    loaded = load_model("patch-q5")
    bits = BitPlan(7, 8)
    codec = post_training_quantize(loaded.codec, bits, calibration_crops(None, 256)[:2])
    source = Source("patch-q5", codec, loaded.spec, loaded.lmbda, bits, {})
    images = {"corner": embedded_images("eval")["chelsea.png"][:64, :64]}
    return codec, export(prepare(source, load_target("x86-avx2"), images), images, lambda _: None)


@pytest.mark.parametrize("name", ["chelsea.png", "rocket.jpg"])
def test_real_bytes_are_what_the_likelihoods_promise(shipped, name: str) -> None:
    """The entropy coder, its 16-bit tables, whole scale indexes and silent symbols together cost little."""
    codec, bundle = shipped
    image = embedded_images("eval")[name][:320, :448]
    with torch.no_grad():
        out = codec(padded(image, 64))
    likelihoods = (out.y_likelihoods, out.z_likelihoods)
    estimated_bytes = -sum(float(p.double().log2().sum()) for p in likelihoods) / 8
    data = Codec.load(bundle).encode(image)
    assert 0.985 * estimated_bytes < len(data) < 1.015 * estimated_bytes + header_bytes(1)
