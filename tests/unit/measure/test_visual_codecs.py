import io
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from hwkd.codec.codec import Codec
from hwkd.errors import InputError
from hwkd.images import write_png
from hwkd.measure.visual_codecs import QUALITIES, check_classic, classic_made, load_coders, matched

SETTINGS = {"jpeg": {"subsampling": "4:2:0"}, "webp": {"method": 6}}


def by_pillow(codec, image, quality):
    sink = io.BytesIO()
    Image.fromarray(image).save(sink, format=codec.upper(), quality=quality, **SETTINGS[codec])
    return sink.getvalue()


@pytest.mark.parametrize("codec", ["jpeg", "webp"])
@pytest.mark.parametrize("share", [0.1, 0.3, 0.8])
def test_no_quality_is_nearer_to_the_rate_than_the_one_that_was_found(codec, share, photo):
    image = photo(64, 96, 1)
    low, high = QUALITIES[codec]
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
    assert (found.quality, found.side) == (QUALITIES[codec][end], side)


def test_the_end_itself_is_within_reach(photo):
    image = photo(32, 32, 3)
    assert matched("jpeg", image, len(by_pillow("jpeg", image, 1))).side == "near"


def test_a_bundle_is_coded_into_its_own_streams(tiny_bundle, photo):
    (coder,) = load_coders([str(tiny_bundle)])
    image = photo(70, 90, 4)
    codec = Codec.load(tiny_bundle)
    stream = codec.encode(image)
    stream_bytes, decoded = coder.code(image)
    assert stream_bytes == len(stream)
    assert np.array_equal(decoded, codec.decode(stream))
    assert coder.name == "tiny-patch.hwkd"
    assert coder.made.startswith("int8 bundle (weights 7, activations 8 bits), run by ")


def test_a_teacher_is_coded_as_it_is_evaluated(tiny_teacher_file, photo):
    from hwkd.distill.run_folder import load_model
    from hwkd.measure.quality import evaluate
    from hwkd.metrics import psnr_db

    (coder,) = load_coders([str(tiny_teacher_file)])
    image = photo(70, 90, 5)
    stream_bytes, decoded = coder.code(image)
    expected = evaluate(load_model(str(tiny_teacher_file)).codec, [("photo", image)])
    assert 8 * stream_bytes / (70 * 90) == expected.bpp
    assert psnr_db(image, decoded) == expected.psnr_db
    assert coder.name == "tiny-teacher"
    assert coder.made.startswith("float32, run by torch ")


def test_two_models_of_one_name_are_told_apart(tiny_bundle, tmp_path):
    mine = tmp_path / "mine.hwkd"
    shutil.copy(tiny_bundle, mine)
    names = [coder.name for coder in load_coders([str(tiny_bundle), str(mine)])]
    assert names == [f"tiny-patch.hwkd ({tiny_bundle})", f"tiny-patch.hwkd ({mine})"]


def test_a_model_that_is_given_twice_is_refused(tiny_bundle):
    with pytest.raises(InputError, match=r"tiny-patch\.hwkd is given twice: leave one out"):
        load_coders([str(tiny_bundle), str(tiny_bundle)])


def test_an_image_that_webp_cannot_hold_is_refused():
    check_classic("wide.png", 16383, 1)
    with pytest.raises(InputError, match=r"wide\.png is 16384x1, .* may have 16383 pixels"):
        check_classic("wide.png", 16384, 1)


def test_what_codes_is_named_with_its_version_and_settings():
    assert "method 6" in classic_made("webp")
    assert "4:2:0" in classic_made("jpeg")
    assert all(any(c.isdigit() for c in classic_made(codec).split(",")[0]) for codec in QUALITIES)


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
    (coder,) = load_coders([str(rates_bundle)])
    image = photo(70, 90, 4)
    assert coder.code(image)[0] == len(Codec.load(rates_bundle).encode(image, quality=50))
    assert coder.made.endswith(", at quality 50")
