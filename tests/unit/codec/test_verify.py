import hashlib
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from hwkd.codec.networks import SELFTEST_DIGESTS, Networks, gains_of
from hwkd.codec.verify import (
    CROP_SIDES,
    EXACT_LABEL,
    MADE_SIZES,
    NO_INDEX,
    NO_SYMBOL,
    Z_SIZES,
    crops,
    made_image,
    made_symbols,
    mixed,
    open_coders,
    qualities_to_try,
    quality_of,
    verify,
)
from hwkd.errors import InputError
from hwkd.runtime.bundle import arrays, pack_arrays, read_bundle
from hwkd.runtime.exact import exact_path
from hwkd.runtime.manifest import HYPER_LAYERS, SELFTEST
from hwkd.runtime.session import present_runtimes, runtime_label

M, Z = 12, 8  # of the tiny codecs


@pytest.fixture(scope="module")
def bundle(tiny_bundle):
    return read_bundle(tiny_bundle)


@pytest.fixture
def coders(bundle):
    """The exact one and one a runtime."""
    return open_coders(bundle, None, [1])


@pytest.fixture
def images(photo):
    """1, 1 and 2x3 positions of z."""
    return [photo(64, 64, 1), photo(1, 70, 2)[:, :50], photo(100, 130, 3)]


POSITIONS = 1 + 1 + 6


class Substitute(Networks):
    """Networks of which `change` has the indexes and the images before they are given on."""

    def __init__(self, networks, indexes=None, image=None):
        super().__init__(networks.bundle, networks.runtime, networks.threads)
        self._networks, self._change_indexes, self._change_image = networks, indexes, image

    def indexes(self, z, rate=None):
        found = self._networks.indexes(z, rate).copy()
        if self._change_indexes:
            self._change_indexes(found)
        return found

    def synthesise(self, y, indexes, rate=None):
        found = self._networks.synthesise(y, indexes, rate).copy()
        if self._change_image:
            self._change_image(found)
        return found


def last_index_is_another(index):
    index[-1, -1, -1] = (index[-1, -1, -1] + 20) % 64


def test_every_runtime_reads_what_every_other_wrote(tiny_bundles, images):
    for path in tiny_bundles.values():
        found = verify(open_coders(read_bundle(path), None, [1, 2]), images[1:], [])
        labels = [reader.label for reader in found.readers]
        assert len(labels) == 1 + 2 * len(present_runtimes())
        assert found.differing == {(w, r): 0 for w in labels for r in labels}
        assert found.holds


def test_made_symbols_are_tried_at_every_quality_and_images_at_one_each(tiny_bundles, images):
    bundle = read_bundle(tiny_bundles["rates"])
    coders = open_coders(bundle, None, [1])
    seen = []
    real = coders[0].write
    coders[0].write = lambda image, quality: seen.append(quality) or real(image, quality)
    made = [*made_symbols(Z, 127)][:2]
    found = verify(coders, images, made, (1, 50, 100))
    assert found.holds
    assert seen == [1, 50, 100]
    positions = 3 * sum(z.shape[1] * z.shape[2] for z in made)
    positions += len(coders) * POSITIONS
    assert {reader.indexes for reader in found.readers} == {16 * M * positions}
    path = exact_path(arrays(bundle, HYPER_LAYERS))
    hashed = hashlib.sha256()
    for z in made:
        for quality in (1, 50, 100):
            shift = gains_of(bundle).rate(quality).shift.ravel()
            hashed.update(path.indexes(z[None], shift).tobytes())
    assert {reader.index_sha256 for reader in found.readers} == {hashed.hexdigest()}


@pytest.mark.parametrize("qualities", [(1, 50, 100), (10, 90)])
def test_every_kind_of_pattern_and_photographs_meet_every_quality(qualities):
    """Of `mixed`, even ones are photographs, and odd ones six kinds of patterns in turn."""
    met = {(n % 2 and 1 + n // 2 % 6, quality_of(n, qualities)) for n in range(72)}
    assert met == {(kind, quality) for kind in range(7) for quality in qualities}
    assert quality_of(5, ()) is None


def test_the_ends_and_the_default_are_tried_unless_others_are_asked_for(tiny_bundles):
    manifest = read_bundle(tiny_bundles["rates"]).manifest
    assert qualities_to_try(manifest, None) == (1, 50, 100)
    assert qualities_to_try(replace(manifest, qualities=(60, 60)), None) == (60,)
    assert qualities_to_try(manifest, [7, 3, 7]) == (7, 3)
    assert qualities_to_try(read_bundle(tiny_bundles["patch"]).manifest, None) == ()
    with pytest.raises(InputError, match="must be a whole number from 60 to 60, got 7"):
        qualities_to_try(replace(manifest, qualities=(60, 60)), [7])


def test_symbols_and_indexes_are_counted(coders, images):
    found = verify(coders, images, [])
    assert found.images == 3
    assert found.symbols == POSITIONS * (Z + 16 * M)
    assert {reader.indexes for reader in found.readers} == {len(coders) * POSITIONS * 16 * M}
    assert {reader.differing_indexes for reader in found.readers} == {0}


def test_the_hash_of_indexes_is_that_of_the_exact_path_whatever_the_images(bundle, coders, images):
    path = exact_path(arrays(bundle, HYPER_LAYERS))
    made = list(made_symbols(Z, 127))
    expected = hashlib.sha256(b"".join(path.indexes(z[None]).tobytes() for z in made)).hexdigest()
    for few in ([], images[:1]):
        found = verify(coders, few, made)
        assert {reader.index_sha256 for reader in found.readers} == {expected}
    # Four of each size, and the one position of the image once for each writer.
    positions = 4 * sum(height * width for height, width in Z_SIZES) + len(coders)
    assert {reader.indexes for reader in found.readers} == {16 * M * positions}
    assert found.holds


def test_a_runtime_that_gives_another_index_on_an_image_is_found(coders, images):
    bad = coders[1]
    assert bad.refusal is None
    bad._networks = Substitute(bad._networks, indexes=last_index_is_another)
    found = verify(coders, images, [])
    assert not found.holds
    # One index of each stream of each writer, its own included: held against those of the exact path.
    assert [reader.differing_indexes for reader in found.readers] == [
        len(coders) * len(images) if coder is bad else 0 for coder in coders
    ]
    for (writer, reader), symbols in found.differing.items():
        assert (symbols > 0) == ((writer == bad.label) != (reader == bad.label))


def test_a_runtime_that_gives_another_index_for_made_symbols_is_found(coders):
    bad = coders[1]
    assert bad.refusal is None
    bad._networks = Substitute(bad._networks, indexes=last_index_is_another)
    found = verify(coders, [], list(made_symbols(Z, 127))[:3])
    assert [r.differing_indexes for r in found.readers] == [3 * (c is bad) for c in coders]
    assert len({reader.index_sha256 for reader in found.readers}) == 2
    assert not any(found.differing.values())
    assert not found.holds


def test_a_stream_that_does_not_decode_counts_with_all_of_y(coders, images):
    def no_index(index):
        index[0, 0, 0] = 64

    bad = coders[1]
    assert bad.refusal is None
    stream, own = coders[0].write(images[0])
    bad._networks = Substitute(bad._networks, indexes=no_index)
    read = bad.read(stream)
    assert (read.y == NO_SYMBOL).all()
    assert read.y.shape == own.y.shape
    assert (read.z == own.z).all()
    assert bad.image(stream) is None


def test_pixels_are_held_against_the_first_runtime(coders, images):
    def two_darker(image):
        image[0, 0, 0] -= 2 if image[0, 0, 0] >= 2 else -2

    first, bad = coders[1], coders[-1]
    bad._networks = Substitute(first._networks, image=two_darker)
    found = {reader.label: reader for reader in verify(coders, images, []).readers}
    assert found[first.label].largest_step == 0
    assert found[bad.label].largest_step == 2
    samples = 3 * (64 * 64 + 1 * 50 + 100 * 130)
    assert found[bad.label].share_of_samples == pytest.approx(3 / samples)
    assert found[EXACT_LABEL].largest_step is None
    assert verify(coders, images, []).holds


def test_a_large_image_is_compared_tile_by_tile(coders, photo, monkeypatch):
    monkeypatch.setattr("hwkd.codec.codec.WHOLE_PIXELS", 64 * 64)
    monkeypatch.setattr("hwkd.codec.codec.TILE_PX", 64)
    image = photo(128, 192, 5)
    own = coders[0].write(image)[1]
    assert own.indexes.shape == own.y.shape == (M, 8, 12)
    assert (own.indexes != NO_INDEX).all()
    found = verify(coders, [image], [])
    assert found.symbols == 6 * (Z + 16 * M)
    assert found.holds


@pytest.fixture
def contradicting(bundle):
    """The bundle with a self-test that nothing passes."""
    held = arrays(bundle, SELFTEST)
    held[SELFTEST_DIGESTS] = np.array(["0" * 64] * len(held[SELFTEST_DIGESTS]))
    return replace(bundle, parts={**bundle.parts, SELFTEST: pack_arrays(held)})


def test_a_self_test_that_all_fail_leaves_nothing_to_compare(contradicting, images):
    found = verify(open_coders(contradicting, None, [1]), images, [])
    assert (found.images, found.symbols, found.differing) == (0, 0, {})
    assert not found.holds
    for reader in found.readers:
        assert f"the self-test of {contradicting.manifest.name}" in reader.refusal
        assert (reader.indexes, reader.largest_step, reader.index_sha256) == (None, None, None)


class Failing:
    """A session whose run fails as OpenVINO's does."""

    def __init__(self, error):
        self._error = error

    def run(self, inputs):
        raise self._error


def test_a_runtime_that_does_not_run_is_refused_and_the_others_compared(coders, images):
    bad = coders[-1]
    bad._networks._encoder = Failing(RuntimeError("Exception from node.cpp:1:\n[CPU] no kernel\n"))
    found = verify(coders, images, [])
    assert not found.holds
    refusals = {reader.label: reader.refusal for reader in found.readers}
    assert "[CPU] no kernel" in refusals.pop(bad.label)
    assert set(refusals.values()) == {None}
    assert found.differing == {(w, r): 0 for w in refusals for r in refusals}


def test_an_interrupt_is_no_refusal(coders):
    coders[1]._networks._encoder = Failing(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        verify(coders, [], [])


def test_coders_are_the_exact_path_and_each_runtime_with_each_number_of_threads(bundle):
    assert [coder.label for coder in open_coders(bundle, ["onnxruntime"], [1, 2])] == [
        "exact integers",
        f"{runtime_label('onnxruntime')}, 1 thread",
        f"{runtime_label('onnxruntime')}, 2 threads",
    ]


def test_runtimes_without_a_graph_in_the_bundle_are_left_out_unless_named(bundle):
    graphs = {
        network: {"onnxruntime": of["onnxruntime"]}
        for network, of in bundle.manifest.graphs.items()
    }
    small = replace(bundle, manifest=replace(bundle.manifest, graphs=graphs))
    assert {coder.runtime for coder in open_coders(small, None, [1])} == {"onnxruntime"}
    coders = open_coders(small, ["openvino"], [1])
    with pytest.raises(InputError, match="has no encoder for openvino; it has one for onnxruntime"):
        verify(coders, [], [])


def test_no_runtime_at_all_is_said(bundle, monkeypatch):
    for module in ("hwkd.codec.verify", "hwkd.runtime.session"):
        monkeypatch.setattr(f"{module}.present_runtimes", lambda: ())
    with pytest.raises(InputError, match=r'is installed: pip install "hwkd\[runtime\]"'):
        open_coders(bundle, None, [1])


def test_photographs_and_made_images_take_turns_until_the_photographs_are_out(photo):
    photographs = [photo(8, 9, 0), photo(10, 11, 0)]
    found = list(mixed(photographs, 6))
    assert [image.shape[:2] for image in found] == [
        (8, 9),
        MADE_SIZES[0],
        (10, 11),
        *MADE_SIZES[1:4],
    ]
    assert [image.shape[:2] for image in mixed((), 2)] == list(MADE_SIZES[:2])


def test_crops_have_every_side_on_every_photograph_and_lie_within(photo):
    photographs = [photo(300, 451, 0), photo(120, 100, 1)]
    found = list(islice(crops(photographs), 2 * len(CROP_SIDES)))
    assert [image.shape[:2] for image in found[::2]] == [(side, side) for side in CROP_SIDES]
    assert [image.shape[:2] for image in found[1::2]] == [
        (min(side, 120), min(side, 100)) for side in CROP_SIDES
    ]
    later = next(islice(crops(photographs), 12, None))
    assert later.shape == found[0].shape
    assert (later != found[0]).any()


def test_made_images_are_uint8_of_all_sizes_in_each_of_six_kinds():
    found = [made_image(number) for number in range(66)]
    assert all(image.dtype == np.uint8 and image.shape[2] == 3 for image in found)
    for kind in range(6):
        assert {image.shape[:2] for image in found[kind::6]} == set(MADE_SIZES)
    assert {(1, 1), (1, 70), (65, 3)} <= set(MADE_SIZES)


def test_made_noise_is_uniform_nearly_gaussian_or_of_extremes():
    uniform, gaussian, extremes = made_image(6), made_image(7), made_image(8)
    # A uniform byte: mean 127.5, standard deviation sqrt((256^2 - 1) / 12) = 73.9; a mean of eight: 26.1, cut down.
    assert uniform.mean() == pytest.approx(127.5, abs=1.5)
    assert uniform.std() == pytest.approx(73.9, abs=1)
    assert gaussian.mean() == pytest.approx(127, abs=1.5)
    assert gaussian.std() == pytest.approx(26.1, abs=1)
    assert set(np.unique(extremes)) == {0, 255}


def test_made_ramps_checkerboards_and_flat_images_are_what_they_are_called():
    ramp = made_image(9).astype(int)
    assert (np.diff(ramp, axis=0) % 256 == [1, 2, 3]).all()
    assert (np.diff(ramp, axis=1) % 256 == [2, 4, 6]).all()
    board = made_image(4)  # squares of one pixel
    assert len(np.unique(board.reshape(-1, 3), axis=0)) == 2
    assert (board[1:, 1:] == board[:-1, :-1]).all()
    assert (board[1:] != board[:-1]).any(axis=2).all()
    assert not made_image(5).any()
    assert (made_image(11) == 255).all()
    assert (made_image(17) == made_image(17)[0, 0]).all()


def test_made_images_are_the_same_every_time():
    # From the definition: PCG64's raw output, 8 bytes a number, the low byte first; three of four are used.
    raw = np.random.PCG64(0).random_raw(1)
    assert made_image(0)[0, 0].tolist() == list(int(raw[0]).to_bytes(8, "little")[:3])


def test_made_symbols_reach_both_ends_in_every_size():
    found = list(made_symbols(Z, 127))
    assert [z.shape[1:] for z in found[::4]] == list(Z_SIZES)
    assert {z.dtype for z in found} == {np.dtype(np.int32)}
    for small, medium, large, ends in zip(*(found[kind::4] for kind in range(4)), strict=True):
        assert small.shape == medium.shape == large.shape == ends.shape
        assert small.min() >= -3 and small.max() <= 2
        assert medium.min() >= -16 and medium.max() <= 15
        assert large.min() >= -128 and large.max() <= 127
        assert set(np.unique(ends)) == {-128, 127}
    assert large.min() < -100 and large.max() > 100
