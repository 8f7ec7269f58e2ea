import base64
import io
import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
from PIL import Image

from hwkd.codec.codec import Codec
from hwkd.errors import InputError
from hwkd.images import open_images, write_png
from hwkd.report.page.visual import (
    QUALITY_RANGES,
    Crop,
    Figures,
    ShownImage,
    View,
    Visual,
    check_classic,
    crop_at,
    embedded,
    load_codecs,
    matched,
    most_detailed,
    sides,
    spread,
    visual,
    visual_html,
)

NOTHING_ELSE = 200_000
"""What is kept free for the page around the images."""


def decoded(address):
    with Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))) as image:
        return np.asarray(image.convert("RGB"))


def noise(height, width, seed):
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3)).astype(np.uint8)


@pytest.fixture
def folder_of(tmp_path):
    """folder_of(images): an ImageSource of a folder that holds them as 0.png, 1.png, ..."""

    def make(images):
        for n, image in enumerate(images):
            write_png(tmp_path / "images" / f"{n}.png", image)
        return open_images(tmp_path / "images")

    return make


def one_up(image):
    return image + np.uint8(1)


@dataclass
class Fake:
    """A codec whose streams have `stream_bytes` bytes, and whose images are what `change` makes of the original."""

    name: str
    stream_bytes: int
    change: Callable = lambda image: image
    setting: str = "made here"
    threads: int = 1
    clock: None = None
    entropy: tuple = ()

    def encode(self, image):
        self._image = image
        return bytes(self.stream_bytes)

    def decode(self, stream):
        assert len(stream) == self.stream_bytes
        return self.change(self._image)


BRIGHTER = Fake("brighter", 600, one_up)
EXACT = Fake("exact", 1200)


def silent(doing, done, count):
    assert 0 <= done <= count


def addresses_bytes(made):
    return sum(len(view.address) for image in made.images for view in image.views)


def test_every_view_is_there_in_order_with_the_figures_of_its_bytes(folder_of):
    made = visual(folder_of([noise(40, 60, 1)]), [EXACT, BRIGHTER], silent)
    (image,) = made.images
    assert [view.name for view in image.views] == ["original", "exact", "brighter", "JPEG", "WebP"]
    original, exact, brighter, *_ = image.views
    assert original.figures is None
    assert math.isinf(exact.figures.psnr_db)
    # Every sample is off by one: the MSE is 1.
    assert brighter.figures.psnr_db == pytest.approx(20 * math.log10(255))
    assert brighter.figures.stream_bytes == 600
    assert brighter.figures.bpp == pytest.approx(8 * 600 / (40 * 60))
    assert (made.found, made.left_out, made.matched_to) == (1, 0, "brighter")


def test_a_view_holds_exactly_the_pixels_of_its_codec(folder_of):
    pixels = noise(40, 60, 2)
    (image,) = visual(folder_of([pixels]), [BRIGHTER], silent).images
    assert np.array_equal(decoded(image.views[0].address), pixels)
    assert np.array_equal(decoded(image.views[1].address), one_up(pixels))


def test_jpeg_and_webp_stand_at_the_rate_of_the_last_model(folder_of, photo):
    (image,) = visual(folder_of([photo(96, 128, 3)]), [BRIGHTER, EXACT], silent).images
    for view in image.views[-2:]:
        assert view.figures.stream_bytes == pytest.approx(1200, rel=0.1)
        assert view.note.endswith(f", the nearest to the {8 * 1200 / (96 * 128):.4f} bpp of exact")


@pytest.mark.parametrize(
    ("stream_bytes", "words"), [(1, "its lowest, is still larger"), (10**6, "its highest here, is")]
)
def test_a_rate_that_jpeg_does_not_reach_is_told(folder_of, stream_bytes, words):
    coder = Fake("model", stream_bytes)
    (image,) = visual(folder_of([noise(40, 60, 4)]), [coder], silent).images
    assert words in image.views[2].note
    assert f"{8 * stream_bytes / 2400:.4f} bpp of model" in image.views[2].note


def test_ms_ssim_of_a_small_image_is_not_known_and_the_reason_is(folder_of):
    (image,) = visual(folder_of([noise(160, 200, 5)]), [BRIGHTER], silent).images
    assert image.views[1].figures.ms_ssim is None
    assert image.views[1].figures.ms_ssim_reason == "a side is under 161 pixels"


def test_ms_ssim_is_that_of_the_whole_image(folder_of, photo):
    from hwkd.measure.quality import ms_ssim

    pixels = photo(200, 300, 6)
    (image,) = visual(folder_of([pixels]), [BRIGHTER], silent).images
    assert image.views[1].figures.ms_ssim == ms_ssim(pixels, one_up(pixels))


def test_where_all_fits_all_is_shown(folder_of):
    (image,) = visual(folder_of([noise(300, 400, 7)]), [BRIGHTER], silent).images
    crop = image.crop
    assert (crop.x, crop.y, crop.width, crop.height) == (0, 0, 400, 300)


def test_where_not_all_fits_a_part_is_shown_whose_figures_are_of_the_whole(folder_of):
    pixels = noise(300, 420, 8)
    # Noise is not compressed: in base64 a view of it takes 4 bytes a pixel, and two whole ones over 1 MB.
    limit = 800_000
    made = visual(folder_of([pixels]), [BRIGHTER], silent, NOTHING_ELSE + limit)
    (image,) = made.images
    crop = image.crop
    assert 192 <= crop.width < 420 and 192 <= crop.height <= 300
    assert addresses_bytes(made) <= limit
    # The next larger side would not have fitted.
    larger = (crop.width + 16) * min(crop.height + 16, 300) / (crop.width * crop.height)
    assert addresses_bytes(made) * larger > 0.99 * limit
    assert np.array_equal(decoded(image.views[0].address), crop.of(pixels))
    assert np.array_equal(decoded(image.views[1].address), crop.of(one_up(pixels)))
    assert image.views[1].figures.bpp == pytest.approx(8 * 600 / (300 * 420))
    assert (image.width, image.height) == (420, 300)


def test_where_not_even_parts_fit_fewer_images_are_shown_spread_over_all(folder_of):
    # Two views of noise take 295 kB at 192x192, and those of JPEG and WebP less.
    limit = 850_000
    made = visual(
        folder_of([noise(256, 256, n) for n in range(6)]), [BRIGHTER], silent, NOTHING_ELSE + limit
    )
    assert addresses_bytes(made) <= limit
    assert 1 <= len(made.images) < 6
    assert (made.found, made.left_out) == (6, 6 - len(made.images))
    names = [int(image.name.removesuffix(".png")) for image in made.images]
    assert names == sorted(names)
    assert names[0] < 3 <= names[-1] or len(names) == 1


def test_where_not_one_image_fits_the_user_is_told(folder_of):
    with pytest.raises(InputError, match=r"4 views of 192x192 .* name fewer models"):
        visual(folder_of([noise(256, 256, 9)]), [BRIGHTER], silent, NOTHING_ELSE + 100_000)


def test_an_error_of_a_coder_names_the_image_and_the_model(folder_of):
    def refuse(image):
        raise InputError("too large; cut it")

    with pytest.raises(InputError, match=r"^0\.png with picky: too large; cut it$"):
        visual(folder_of([noise(20, 20, 10)]), [Fake("picky", 1, refuse)], silent)


def test_the_window_holds_the_only_detail_there_is(photo):
    image = np.full((700, 900, 3), 90, np.uint8)
    image[400:464, 600:664] = photo(64, 64, 1)
    crop = crop_at(900, 700, most_detailed(image), 256)
    assert crop.x <= 600 and crop.x + crop.width >= 664
    assert crop.y <= 400 and crop.y + crop.height >= 464


def test_of_two_places_the_one_with_the_steeper_gradient_is_taken():
    image = np.zeros((300, 1000, 3), np.uint8)
    image[:, 100:200:2] = 50
    image[:, 800:900:2] = 200
    crop = crop_at(1000, 300, most_detailed(image), 256)
    assert crop.x <= 800 and crop.x + 256 >= 900


def test_where_there_is_no_detail_the_first_window_is_taken():
    assert most_detailed(np.zeros((512, 512, 3), np.uint8)) == (96, 96)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 900), (17, 300), (255, 257)])
def test_an_image_smaller_than_a_window_has_a_place_too(height, width, photo):
    image = photo(height, width, 2)
    crop = crop_at(width, height, most_detailed(image), 256)
    assert (crop.width, crop.height) == (min(width, 256), min(height, 256))
    assert crop.of(image).shape == (crop.height, crop.width, 3)


@pytest.mark.parametrize("middle", [(0, 0), (350, 250), (700, 499), (128.0, 420.0)])
def test_crops_lie_in_the_image_and_each_in_the_next_larger(middle):
    inner = None
    for side in reversed(sides(701)):
        crop = crop_at(701, 500, middle, side)
        assert crop.x >= 0 and crop.y >= 0
        assert crop.x + crop.width <= 701 and crop.y + crop.height <= 500
        if inner is not None:
            assert crop.x <= inner.x and crop.x + crop.width >= inner.x + inner.width
            assert crop.y <= inner.y and crop.y + crop.height >= inner.y + inner.height
        inner = crop
    assert inner == Crop(0, 0, 701, 500)


def test_sides_go_down_from_all_to_the_least():
    assert sides(300) == [300, 288, 272, 256, 240, 224, 208, 192]
    assert sides(208) == [208, 192]
    assert sides(192) == [192]
    assert sides(100) == [100]


def test_what_is_left_is_spread_evenly():
    assert spread(10, 2) == [2, 7]
    assert spread(9, 3) == [1, 4, 7]
    assert spread(4, 4) == spread(4, 9) == [0, 1, 2, 3]
    assert spread(5, 1) == [2]


@pytest.mark.parametrize("shape", [(1, 1), (33, 47), (64, 64)])
def test_an_embedded_image_decodes_to_exactly_its_pixels(shape):
    pixels = np.random.default_rng(3).integers(0, 256, (*shape, 3)).astype(np.uint8)
    head, _, data = embedded(pixels[:, ::-1]).partition(",")
    assert head == "data:image/webp;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        assert np.array_equal(np.asarray(image.convert("RGB")), pixels[:, ::-1])


ADDRESS = "data:image/webp;base64,UklGRg=="


def view(name, figures=None, note=""):
    return View(name, f"{name}'s library", note, figures, ADDRESS)


FIGURES = Figures(34.216, 0.98765, None, 5898, 0.12)
VIEWS = (
    view("original"),
    view("student", FIGURES),
    view("JPEG", replace(FIGURES, psnr_db=math.inf), "quality 3, the nearest"),
    view("WebP", replace(FIGURES, ms_ssim=None, ms_ssim_reason="a side is under 161 pixels")),
)
IMAGE = ShownImage("a.png", 768, 512, Crop(10, 20, 384, 256), VIEWS)
VISUAL = Visual("1 image of photos", 1, (IMAGE,), "student")


def test_figures_stand_below_the_view_and_in_its_text_alternative():
    page = visual_html(VISUAL, "hwkd report --images photos")
    assert 'alt="part of a.png by student: 34.22 dB at 0.1200 bpp"' in page
    assert "<dd>34.22</dd>" in page and "<dd>0.98765</dd>" in page and "<dd>0.1200</dd>" in page
    assert "5,898 bytes" in page
    assert "library; quality 3, the nearest." in page


def test_what_part_is_shown_is_said():
    page = visual_html(VISUAL, "")
    assert "Shown: 384x256 of 768x512 at (10, 20). The figures are of the whole image." in page
    whole = replace(VISUAL, images=(replace(IMAGE, crop=Crop(0, 0, 768, 512)),))
    assert "Shown: all of 768x512." in visual_html(whole, "")


def test_a_view_without_error_has_no_number_and_a_missing_ms_ssim_its_reason():
    page = visual_html(VISUAL, "")
    assert "a.png by JPEG: no error at" in page
    assert "ms_ssim is n/a: a side is under 161 pixels." in page
    assert (
        "inf" not in page.partition("<main")[2].replace("information", "").partition("<script")[0]
    )


def test_how_many_images_are_left_out_is_said():
    assert "left out" not in visual_html(VISUAL, "")
    page = visual_html(replace(VISUAL, found=9), "")
    assert "<strong>8 of 9 images are left out</strong>" in page


def test_names_cannot_end_what_they_stand_in():
    name = "</script><b>&\"'.png"
    page = visual_html(replace(VISUAL, images=(replace(IMAGE, name=name),)), name)
    assert "<b>" not in page
    assert "&lt;/script&gt;&lt;b&gt;&amp;" in page


def test_nothing_can_be_loaded_from_elsewhere():
    page = visual_html(VISUAL, "")
    assert "default-src 'none'" in page
    assert "http:" not in page and "https:" not in page


def test_the_same_input_gives_the_same_page():
    assert visual_html(VISUAL, "x") == visual_html(VISUAL, "x")


@pytest.mark.parametrize(("models", "columns"), [(1, 4), (2, 5), (3, 3), (4, 4)])
def test_views_stand_in_one_row_or_in_two_of_equal_length(models, columns):
    views = (VIEWS[0], *(view(f"m{n}", FIGURES) for n in range(models)), *VIEWS[2:])
    made = replace(VISUAL, images=(replace(IMAGE, views=views),), matched_to="m0")
    assert f'style="--columns: {columns}"' in visual_html(made, "")


# What is shown: models by their own streams, JPEG and WebP at a given rate.

JPEG = {"subsampling": "4:2:0", "optimize": True, "progressive": True}
SETTINGS = {"jpeg": JPEG, "webp": {"method": 6}}


def by_pillow(codec, image, quality):
    sink = io.BytesIO()
    Image.fromarray(image).save(sink, format=codec.upper(), quality=quality, **SETTINGS[codec])
    return sink.getvalue()


@pytest.mark.parametrize("codec", ["jpeg", "webp"])
@pytest.mark.parametrize("share", [0.1, 0.3, 0.8])
def test_no_quality_is_nearer_to_the_rate_than_the_one_that_was_found(codec, share, photo):
    image = photo(64, 96, 1)
    low, high = QUALITY_RANGES[codec]
    sizes = {q: len(by_pillow(codec, image, q)) for q in range(low, high + 1)}
    wanted = round(sizes[low] + share * (sizes[high] - sizes[low]))
    found = matched(codec, image, wanted)
    assert found.stream_bytes == sizes[found.quality]
    assert abs(found.stream_bytes - wanted) == min(abs(size - wanted) for size in sizes.values())
    assert found.side == "near"


@pytest.mark.parametrize("codec", ["jpeg", "webp"])
def test_the_image_is_what_pillow_decodes_from_the_file_at_that_quality(codec, photo):
    image = photo(64, 96, 2)
    found = matched(codec, image, 1500)
    with Image.open(io.BytesIO(by_pillow(codec, image, found.quality))) as decoded:
        assert np.array_equal(found.pixels, np.asarray(decoded.convert("RGB")))


@pytest.mark.parametrize("codec", ["jpeg", "webp"])
@pytest.mark.parametrize(("wanted", "end", "side"), [(1, 0, "above"), (10**9, 1, "below")])
def test_a_rate_out_of_reach_gives_the_nearest_end_and_says_so(codec, wanted, end, side, photo):
    found = matched(codec, photo(32, 32, 3), wanted)
    assert (found.quality, found.side) == (QUALITY_RANGES[codec][end], side)


def test_the_end_itself_is_within_reach(photo):
    image = photo(32, 32, 3)
    assert matched("jpeg", image, len(by_pillow("jpeg", image, 1))).side == "near"


def test_a_bundle_is_coded_into_its_own_streams(tiny_bundle, photo):
    (coder,) = load_codecs([str(tiny_bundle)])
    image = photo(70, 90, 4)
    codec = Codec.load(tiny_bundle)
    stream = codec.encode(image)
    assert coder.encode(image) == stream
    assert np.array_equal(coder.decode(stream), codec.decode(stream))
    assert coder.name == "tiny-patch.hwkd"
    assert coder.setting.startswith("int8 bundle (weights 7, activations 8 bits), run by ")


def test_a_teacher_is_coded_as_it_is_evaluated(tiny_teacher_file, photo):
    from hwkd.distill.run_folder import load_model
    from hwkd.measure.quality import evaluate
    from hwkd.metrics import psnr_db

    (coder,) = load_codecs([str(tiny_teacher_file)])
    image = photo(70, 90, 5)
    stream = coder.encode(image)
    expected = evaluate(load_model(str(tiny_teacher_file)).codec, [("photo", image)])
    assert 8 * len(stream) / (70 * 90) == expected.bpp
    assert psnr_db(image, coder.decode(stream)) == expected.psnr_db
    assert coder.name == "tiny-teacher"
    assert coder.setting.startswith("float32, run by torch ")


def test_two_models_of_one_name_are_told_apart(tiny_bundle, tmp_path):
    mine = tmp_path / "mine.hwkd"
    shutil.copy(tiny_bundle, mine)
    names = [coder.name for coder in load_codecs([str(tiny_bundle), str(mine)])]
    assert names == [f"tiny-patch.hwkd ({tiny_bundle})", f"tiny-patch.hwkd ({mine})"]


def test_a_model_that_is_given_twice_is_refused(tiny_bundle):
    with pytest.raises(InputError, match=r"tiny-patch\.hwkd is given twice: leave one out"):
        load_codecs([str(tiny_bundle), str(tiny_bundle)])


def test_an_image_that_webp_cannot_hold_is_refused():
    check_classic("wide.png", 16383, 1)
    with pytest.raises(InputError, match=r"wide\.png is 16384x1, .* may have 16383 pixels"):
        check_classic("wide.png", 16384, 1)


def test_bundles_are_coded_and_shown_without_torch(tiny_bundle, tmp_path, photo):
    write_png(tmp_path / "images" / "photo.png", photo(64, 64, 6))
    program = (
        "import sys; sys.modules['pytorch_msssim'] = None\n"
        "from hwkd.cli.main import main\n"
        f"code = main(['report', '--images', {str(tmp_path / 'images')!r}, {str(tiny_bundle)!r}, "
        f"'-o', {str(tmp_path / 'visual.html')!r}])\n"
        "print(code, [name for name in ('torch', 'compressai', 'onnx') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "0 []"


def test_a_bundle_of_all_rates_is_shown_at_the_default_quality_and_says_so(rates_bundle, photo):
    (coder,) = load_codecs([str(rates_bundle)])
    image = photo(70, 90, 4)
    assert len(coder.encode(image)) == len(Codec.load(rates_bundle).encode(image, quality=50))
    assert coder.setting.endswith(", at quality 50")
