"""Images to streams and back with a bundle."""

import io
import shutil
import tracemalloc
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hwkd import centroids
from hwkd.codec import codec as codec_module
from hwkd.codec import entropy
from hwkd.codec.codec import Codec, Span, spans, tiles
from hwkd.codec.entropy import DamagedStream
from hwkd.codec.networks import EXACT, SelfTestFailed, digest, gains_of, open_hyper
from hwkd.codec.stream import Stream, pack, unpack
from hwkd.codec.tables import MAX_SYMBOL
from hwkd.errors import HwkdError, InputError
from hwkd.images import MAX_PIXELS
from hwkd.runtime.bundle import Bundle, arrays, pack_arrays, read_bundle
from hwkd.runtime.exact import exact_path
from hwkd.runtime.gains import read_gains
from hwkd.runtime.session import open_session, present_runtimes
from tests.fakes.exact_codec import assert_nearest, clear_pass, exact

FAMILIES = ("gdn", "patch", "rates", "relu")
CASES = (("gdn", None), ("patch", None), ("relu", None), *(("rates", q) for q in (1, 50, 100)))
"""(family, quality)."""
SIZES = [(1, 1), (1, 70), (65, 3), (64, 64), (63, 129), (128, 65)]
"""(height, width)."""


@pytest.fixture(scope="module")
def loaded(tiny_bundles):
    """loaded(family, runtime): a codec; opened once."""
    kept: dict[tuple[str, str], Codec] = {}

    def load(family: str = "patch", runtime: str = present_runtimes()[0]) -> Codec:
        if (family, runtime) not in kept:
            kept[family, runtime] = Codec.load(tiny_bundles[family], runtime, 1)
        return kept[family, runtime]

    return load


def network(
    bundle: Bundle, name: str, runtime: str
) -> Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]:
    """network(..)(inputs): what one network of the bundle gives, asked for directly."""
    session = open_session(bundle.parts[bundle.manifest.graphs[name][runtime]], runtime, 1)

    def run(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        found = session.run({key: value[None] for key, value in inputs.items()})
        return {key: value[0] for key, value in found.items()}

    return run


def rate_of(bundle: Bundle, quality: int) -> dict[str, np.ndarray]:
    """What a quality feeds the networks of a bundle of all rates, each [M, 1, 1] (hwkd/runtime/gains.py)."""
    rate = read_gains(arrays(bundle, "gains.npz"), bundle.manifest).rate(quality)
    return {name: getattr(rate, name)[0] for name in ("gain", "limit", "shift", "step")}


def padded(image: np.ndarray) -> np.ndarray:
    """To multiples of 64 by repeating the last row and column."""
    height, width = image.shape[:2]
    return np.pad(image, ((0, -height % 64), (0, -width % 64), (0, 0)), mode="edge")


@pytest.mark.parametrize("runtime", present_runtimes())
@pytest.mark.parametrize(("family", "quality"), CASES)
def test_a_stream_holds_what_the_encoder_gives_and_decodes_to_what_the_decoder_gives(
    loaded, photo, family: str, quality: int | None, runtime: str
) -> None:
    codec = loaded(family, runtime)
    given = {} if quality is None else rate_of(codec.bundle, quality)
    of_encoder = {name: given[name] for name in ("gain", "limit") if given}
    of_hyper = {name: given[name] for name in ("shift",) if given}
    of_decoder = {name: given[name] for name in ("step",) if given}
    encoder, hyper, decoder = (
        network(codec.bundle, name, runtime) for name in ("encoder", "hyper", "decoder")
    )
    for height, width in SIZES:
        image = photo(height, width, height)
        data = codec.encode(image, quality=quality)
        stream = unpack(data, MAX_PIXELS)
        assert (stream.width, stream.height, stream.tile_px) == (width, height, 0)
        assert (stream.model_id, stream.quality) == (codec.bundle.id, quality or 0)
        latents = encoder({"image": padded(image), **of_encoder})
        y = latents["y"]
        np.testing.assert_array_equal(codec.symbols(stream), y)
        if given:
            index = hyper({"z": latents["z"], **of_hyper})["index"]
            y = centroids.decoded(y, index.astype(np.uint8))
        whole = decoder({"y": y, **of_decoder})["image"]
        found = codec.decode(data)
        assert found.dtype == np.uint8 and found.shape == (height, width, 3)
        np.testing.assert_array_equal(found, whole[:height, :width])


def test_what_is_decoded_looks_like_what_was_encoded(loaded, photo) -> None:
    image = photo(160, 200, 3)
    codec = loaded("patch")
    decoded = codec.decode(codec.encode(image)).astype(float)
    # Twelve principal components and some random branches: coarse, but of this image.
    likeness = np.corrcoef(decoded.ravel(), image.ravel())[0, 1]
    other = np.corrcoef(decoded.ravel(), photo(160, 200, 4).ravel())[0, 1]
    assert likeness > 0.7 > other
    assert abs(decoded.mean() - image.mean()) < 10


@pytest.mark.parametrize("runtime", present_runtimes())
@pytest.mark.parametrize(("family", "quality"), CASES)
def test_in_tiles_everything_is_the_same(
    loaded, photo, family: str, quality: int | None, runtime: str
) -> None:
    codec = loaded(family, runtime)
    image = photo(200, 330, 5)  # neither side a multiple of any tile
    whole = codec.encode(image, tile_px=0, quality=quality)
    y, pixels = codec.symbols(unpack(whole, MAX_PIXELS)), codec.decode(whole)
    for tile_px, segments in ((64, 4 * 6), (128, 2 * 3), (320, 2), (65472, 1)):
        data = codec.encode(image, tile_px=tile_px, quality=quality)
        stream = unpack(data, MAX_PIXELS)
        assert (stream.tile_px, len(stream.segments)) == (tile_px, segments)
        np.testing.assert_array_equal(codec.symbols(stream), y)
        np.testing.assert_array_equal(codec.decode(data), pixels)


def test_only_large_images_are_cut_unless_it_is_asked_for(loaded, photo, monkeypatch) -> None:
    monkeypatch.setattr(codec_module, "TILE_PX", 128)
    monkeypatch.setattr(codec_module, "WHOLE_PIXELS", 128 * 192)
    codec = loaded("patch")
    for height, width, tile_px in ((128, 192, 0), (100, 180, 0), (129, 130, 128), (65, 260, 128)):
        stream = unpack(codec.encode(photo(height, width, 0)), MAX_PIXELS)
        assert stream.tile_px == tile_px, (height, width)


def test_a_large_image_never_goes_through_a_network_at_once(loaded, photo, monkeypatch) -> None:
    codec = loaded("patch")
    seen = []
    networks = codec._networks
    for name in ("analyse", "indexes", "synthesise"):
        real = getattr(networks, name)

        def spied(array, *others, real=real, name=name):
            seen.append((name, array.shape))
            return real(array, *others)

        monkeypatch.setattr(networks, name, spied)
    codec.decode(codec.encode(photo(320, 384, 1), tile_px=64))
    reach = codec.bundle.manifest.reach
    for name, shape in seen:
        if name == "analyse":
            assert max(shape[:2]) <= 64 + sum(reach.encoder_px)
        elif name == "indexes":
            assert max(shape[1:]) <= 1 + 2 * reach.hyper_z
        else:
            assert max(shape[1:]) <= 4 + 2 * reach.decoder_y
    assert [name for name, _ in seen].count("synthesise") == 5 * 6


def test_encoding_is_deterministic(tiny_bundles, loaded, photo) -> None:
    image = photo(130, 140, 9)
    first = loaded("relu").encode(image)
    assert loaded("relu").encode(image) == first
    assert Codec.load(tiny_bundles["relu"], loaded("relu").runtime, 2).encode(image) == first


@pytest.mark.parametrize("family", ["gdn", "patch", "relu"])
def test_a_stream_of_one_runtime_is_the_same_image_in_every_other(
    loaded, tiny_codec_of, photo, family: str
) -> None:
    one = clear_pass(exact(tiny_codec_of(family)), photo, 60, 120, 6)
    for writer in present_runtimes():
        data = loaded(family, writer).encode(one.image, tile_px=64)
        for reader in present_runtimes():
            y = loaded(family, reader).symbols(unpack(data, MAX_PIXELS))
            np.testing.assert_array_equal(y, one.symbols)
            # The decoder needs no exactness. It has it where steps are powers of two and nothing lies near a half.
            assert_nearest(
                loaded(family, reader).decode(data), one.x_hat[:60, :120], 0, 255, reader
            )


@pytest.mark.parametrize(("family", "quality"), CASES)
def test_a_stream_of_one_runtime_holds_the_same_symbols_in_every_other(
    loaded, photo, family: str, quality: int | None
) -> None:
    image = photo(140, 210, 6)
    for writer in present_runtimes():
        stream = unpack(
            loaded(family, writer).encode(image, tile_px=128, quality=quality), MAX_PIXELS
        )
        symbols = [loaded(family, reader).symbols(stream) for reader in present_runtimes()]
        for y in symbols[1:]:
            np.testing.assert_array_equal(y, symbols[0])


@pytest.mark.parametrize(("family", "quality"), CASES)
def test_the_exact_path_finds_the_same_indexes_as_the_stream_was_written_with(
    loaded, photo, family: str, quality: int | None
) -> None:
    codec = loaded(family)
    stream = unpack(codec.encode(photo(150, 70, 2), quality=quality), MAX_PIXELS)
    channels = np.repeat(np.arange(8), 3 * 2)
    z = entropy.decode(stream.z, channels, codec._z_tables).reshape(8, 3, 2)
    rate = None if quality is None else gains_of(codec.bundle).rate(quality)
    index = open_hyper(codec.bundle, EXACT, 1)(z, rate)
    y = entropy.decode(stream.segments[0], index.ravel(), codec._y_tables, 0)
    np.testing.assert_array_equal(codec.symbols(stream).ravel(), y)


@pytest.mark.parametrize("runtime", present_runtimes())
def test_a_higher_quality_takes_more_bytes(loaded, photo, runtime: str) -> None:
    codec = loaded("rates", runtime)
    image = photo(192, 256, 4)
    streams = [codec.encode(image, quality=quality) for quality in (1, 34, 67, 100)]
    sizes = [len(data) for data in streams]
    assert sizes == sorted(sizes) and sizes[-1] > 2 * sizes[0]


def test_without_a_quality_the_default_or_the_nearest_to_it_is_taken(tiny_bundles, photo) -> None:
    bundle, image = read_bundle(tiny_bundles["rates"]), photo(64, 64, 0)
    for qualities, expected in (((1, 100), 50), ((60, 100), 60), ((1, 40), 40)):
        held = replace(bundle, manifest=replace(bundle.manifest, qualities=qualities))
        held = with_selftest_at(held, min(qualities))
        stream = unpack(Codec.load(held).encode(image), MAX_PIXELS)
        assert stream.quality == expected


def with_selftest_at(bundle: Bundle, quality: int) -> Bundle:
    """`bundle` with a self-test of one quality."""
    held = arrays(bundle, "selftest.npz")
    path, shift = exact_path(arrays(bundle, "hyper.npz")), rate_of(bundle, quality)["shift"]
    digests = [
        digest(path.indexes(held[f"z_{i}"][None], shift.ravel())[0]) for i in range(len(held) - 2)
    ]
    held["qualities"], held["digests"] = np.array([quality], np.uint8), np.array([digests])
    return replace(bundle, parts={**bundle.parts, "selftest.npz": pack_arrays(held)})


@pytest.mark.parametrize("quality", [0, 101, -1, 50.0, "50", True])
def test_a_quality_that_the_bundle_has_not_is_refused(loaded, photo, quality: object) -> None:
    with pytest.raises(InputError) as caught:
        loaded("rates").encode(photo(64, 64, 0), quality=quality)
    assert str(caught.value) == (
        f"a quality of tiny-rates must be a whole number from 1 to 100, got {quality}"
    )


def test_a_bundle_of_one_rate_takes_no_quality(loaded, photo) -> None:
    with pytest.raises(InputError) as caught:
        loaded("patch").encode(photo(64, 64, 0), quality=50)
    assert str(caught.value) == (
        "tiny-patch codes at one rate and takes no quality, got 50; leave it out, or give a model of all rates"
    )


@pytest.mark.parametrize(
    ("family", "quality", "has"),
    [
        ("rates", 0, "has the qualities 1 to 100"),
        ("patch", 1, "codes at one rate, which is 0"),
        ("relu", 100, "codes at one rate, which is 0"),
    ],
)
def test_a_stream_of_a_quality_that_its_bundle_lacks_is_refused(
    loaded, photo, family: str, quality: int, has: str
) -> None:
    codec = loaded(family)
    stream = unpack(codec.encode(photo(64, 64, 0)), MAX_PIXELS)
    with pytest.raises(InputError) as caught:
        codec.decode(pack(replace(stream, quality=quality)))
    assert str(caught.value) == (
        f"the stream says quality {quality}, and tiny-{family} {has}: it is damaged; encode the image again"
    )


def test_damaged_gains_are_told_when_the_bundle_is_loaded(tiny_bundles) -> None:
    bundle = read_bundle(tiny_bundles["rates"])
    held = arrays(bundle, "gains.npz")
    held["anchors"][-1, 3] += 1
    damaged = replace(bundle, parts={**bundle.parts, "gains.npz": pack_arrays(held)})
    with pytest.raises(InputError, match=r"^the bundle's gains are damaged"):
        Codec.load(damaged)


EXTREMES = {
    "black and white": lambda rng: np.repeat(rng.integers(0, 2, (96, 128, 1)) * 255, 3, 2),
    "white": lambda rng: np.full((96, 128, 3), 255),
    "black": lambda rng: np.zeros((96, 128, 3)),
    "noise": lambda rng: rng.integers(0, 256, (96, 128, 3)),
    "blocks": lambda rng: np.kron(rng.integers(0, 2, (6, 8, 3)) * 255, np.ones((16, 16, 1))),
}


@pytest.mark.parametrize("quality", [1, 100])
@pytest.mark.parametrize("runtime", present_runtimes())
@pytest.mark.parametrize("kind", EXTREMES)
def test_of_extreme_images_no_symbol_leaves_the_decoders_digits(
    tiny_bundles, kind: str, quality: int, runtime: str
) -> None:
    """One beyond them would wrap around, into another colour."""
    bundle = read_bundle(tiny_bundles["rates"])
    image = EXTREMES[kind](np.random.default_rng(3)).astype(np.uint8)
    codec = Codec.load(bundle, runtime, 1)
    given = rate_of(bundle, quality)
    limit, step = given["limit"].astype(np.int64), given["step"]
    narrow = int(arrays(bundle, "gains.npz")["narrow_from"])
    data = codec.encode(image, quality=quality)
    y = codec.symbols(unpack(data, MAX_PIXELS)).astype(np.int64)
    assert (np.abs(y) <= limit).all()
    steps = np.rint(y * step)
    assert np.abs(steps[narrow:]).max(initial=0) <= 127 and np.abs(steps).max() <= 32639
    assert codec.decode(data).shape == image.shape


def test_symbols_come_without_knowing_the_sessions_threads(tiny_bundle, photo) -> None:
    image = photo(100, 200, 1)
    one, two = (Codec.load(tiny_bundle, threads=threads) for threads in (1, 2))
    np.testing.assert_array_equal(two.decode(one.encode(image)), two.decode(two.encode(image)))


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
    ],
    ids=["float", "grey", "alpha", "empty", "batch"],
)
def test_what_is_no_image_is_refused(loaded, image: np.ndarray) -> None:
    with pytest.raises(InputError) as caught:
        loaded().encode(image)
    assert str(caught.value) == (
        f"an image must be a uint8 array [H, W, 3] with at least one pixel, got {image.dtype} "
        f"{list(image.shape)}; read it with hwkd.images.read_rgb"
    )


@pytest.mark.parametrize("tile_px", [1, 63, 96, -64, 65536])
def test_a_side_of_tiles_that_cannot_be_is_refused(loaded, photo, tile_px: int) -> None:
    with pytest.raises(InputError, match=rf"^tiles must have a side of 0 .*, got {tile_px}$"):
        loaded().encode(photo(64, 64, 0), tile_px=tile_px)


def test_an_image_of_too_many_pixels_is_neither_written_nor_read(loaded, photo) -> None:
    image = photo(20, 30, 0)
    data = loaded().encode(image, max_pixels=600)
    assert loaded().decode(data, max_pixels=600).shape == (20, 30, 3)
    with pytest.raises(InputError) as caught:
        loaded().encode(image, max_pixels=599)
    assert str(caught.value) == ("an image of 30x20 has 600 pixels, and 599 are accepted; cut it")
    with pytest.raises(InputError, match=r"30x20, 600 pixels, and 599 are accepted"):
        loaded().decode(data, max_pixels=599)


def test_a_strip_whose_padding_is_many_times_its_pixels_is_neither_written_nor_read(loaded) -> None:
    """One pixel high, 64 are computed: 200 000 in a row would be 12.8 million."""
    codec = loaded("patch")
    message = (
        "an image of 200000x1 is padded to 12800000 pixels, with sides of multiples of 64, and 8388608 are accepted; "
        "cut it"
    )
    with pytest.raises(InputError) as caught:
        codec.encode(np.zeros((1, 200_000, 3), np.uint8), max_pixels=200_000)
    assert str(caught.value) == message
    tiny = pack(Stream(200_000, 1, codec.bundle.id, 0, b"", (b"",)))
    tracemalloc.start()
    try:
        with pytest.raises(InputError) as caught:
            codec.decode(tiny, max_pixels=200_000)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert str(caught.value) == message
    assert peak_bytes < 100_000


def test_a_stream_does_not_decide_that_a_large_image_is_decoded_at_once(
    loaded, photo, monkeypatch
) -> None:
    codec = loaded("patch")
    image = photo(300, 200, 8)
    data = codec.encode(image, tile_px=0)
    pixels = codec.decode(data)
    monkeypatch.setattr(codec_module, "TILE_PX", 64)
    monkeypatch.setattr(codec_module, "WHOLE_PIXELS", 256 * 256 - 1)
    seen = []
    real = codec._networks.synthesise
    monkeypatch.setattr(
        codec._networks, "synthesise", lambda y, *others: seen.append(y.shape) or real(y, *others)
    )
    np.testing.assert_array_equal(codec.decode(data), pixels)
    assert len(seen) == 5 * 4
    assert max(max(shape[1:]) for shape in seen) <= 4 + 2 * codec.bundle.manifest.reach.decoder_y


def test_a_stream_of_another_model_is_refused(loaded, photo) -> None:
    data = loaded("relu").encode(photo(64, 64, 0))
    ids = {name: loaded(name).bundle.id_hex for name in ("relu", "patch")}
    with pytest.raises(InputError) as caught:
        loaded("patch").decode(data)
    assert str(caught.value) == (
        f"the stream was written with the model {ids['relu']}, and this is {ids['patch']} (tiny-patch); give its "
        "bundle with --model"
    )


def forged(codec: Codec, z: np.ndarray | None = None, y: np.ndarray | None = None) -> bytes:
    """A stream of a 64x64 image with right hashes and any symbols: z [8, 1, 1], y [12, 4, 4]."""
    z = np.zeros((8, 1, 1), np.int32) if z is None else z
    y = np.zeros((12, 4, 4), np.int32) if y is None else y
    index = codec._networks.indexes(np.clip(z, -128, 127), None)
    return pack(
        Stream(
            64,
            64,
            codec.bundle.id,
            0,
            entropy.encode(z.ravel(), np.arange(8), codec._z_tables),
            (entropy.encode(y.ravel(), index.ravel(), codec._y_tables, 0),),
        )
    )


@pytest.mark.parametrize(
    ("symbol", "is_right"),
    [(127, True), (128, False), (-128, True), (-129, False), (MAX_SYMBOL, False)],
)
def test_symbols_that_no_encoder_writes_are_refused(loaded, symbol: int, is_right: bool) -> None:
    codec = loaded("patch")
    assert (codec.bundle.manifest.largest_y, codec.bundle.manifest.largest_z) == (127, 127)
    z, y = np.zeros((8, 1, 1), np.int32), np.zeros((12, 4, 4), np.int32)
    z[3], y[5, 1, 2] = symbol, symbol
    for letter, data in (("z", forged(codec, z=z)), ("y", forged(codec, y=y))):
        if is_right:
            assert codec.decode(data).shape == (64, 64, 3)
            continue
        with pytest.raises(DamagedStream) as caught:
            codec.decode(data)
        assert str(caught.value) == (
            f"the coded data is damaged (a symbol of {letter} over 127); encode the image again"
        )


def test_symbols_of_two_digits_are_decoded(tiny_bundle) -> None:
    """Beyond 8 bits where the bundle says that there are such: not refused, and kept in 16 bits."""
    bundle = read_bundle(tiny_bundle)
    wide = replace(bundle, manifest=replace(bundle.manifest, largest_y=32639))
    codec = Codec.load(wide)
    y = np.zeros((12, 4, 4), np.int32)
    y[0, 0, :2] = 32639, -32640
    found = codec.symbols(unpack(forged(codec, y=y), MAX_PIXELS))
    np.testing.assert_array_equal(found, y)
    y[0, 0, 0] = 32640
    with pytest.raises(DamagedStream, match="a symbol of y over 32639"):
        codec.symbols(unpack(forged(codec, y=y), MAX_PIXELS))


class Misshapen:
    """Networks that give one array of another shape."""

    def __init__(self, real, wrong: str, change) -> None:
        self.real, self.wrong, self.change = real, wrong, change

    def _given(self, name: str, array: np.ndarray) -> np.ndarray:
        return self.change(array) if name == self.wrong else array

    def analyse(self, image, rate):
        y, z = self.real.analyse(image, rate)
        return self._given("y", y), self._given("z", z)

    def indexes(self, z, rate):
        return self._given("index", self.real.indexes(z, rate))

    def synthesise(self, y, indexes, rate):
        return self._given("image", self.real.synthesise(y, indexes, rate))


@pytest.mark.parametrize("wrong", ["y", "z", "index", "image"])
@pytest.mark.parametrize(
    "change",
    [lambda a: a[:-1], lambda a: a[..., :-1], lambda a: a[None], lambda a: np.repeat(a, 2, 1)],
    ids=["a channel less", "a column less", "an axis more", "twice as many rows"],
)
def test_networks_that_do_not_fit_the_manifest_are_told(
    tiny_bundle, photo, wrong: str, change
) -> None:
    codec = Codec.load(tiny_bundle)
    data = codec.encode(photo(64, 64, 0))
    codec._networks = Misshapen(codec._networks, wrong, change)  # type: ignore[assignment]
    with pytest.raises(HwkdError, match=rf"^the network's {wrong} has shape .* was expected: "):
        codec.encode(photo(64, 64, 0))
        codec.decode(data)


def test_no_stream_is_written_where_the_self_test_fails(tiny_bundle, photo) -> None:
    bundle = read_bundle(tiny_bundle)
    held = arrays(bundle, "selftest.npz")
    data = Codec.load(bundle).encode(photo(64, 64, 0))
    held["digests"] = held["digests"][::-1].copy()
    broken = replace(bundle, parts={**bundle.parts, "selftest.npz": pack_arrays(held)})
    codec = Codec.load(broken)
    with pytest.raises(SelfTestFailed):
        codec.encode(photo(64, 64, 0))
    with pytest.raises(SelfTestFailed):
        codec.decode(data)


@pytest.mark.parametrize(("prefix", "kept"), [("z.", 7), ("y.", 63)])
def test_a_bundle_with_too_few_tables_is_refused(tiny_bundle, prefix: str, kept: int) -> None:
    bundle = read_bundle(tiny_bundle)
    held = arrays(bundle, "tables.npz")
    end = held[f"{prefix}starts"][kept]
    held[f"{prefix}cdf"] = held[f"{prefix}cdf"][:end]
    held[f"{prefix}starts"] = held[f"{prefix}starts"][: kept + 1]
    held[f"{prefix}offsets"] = held[f"{prefix}offsets"][:kept]
    with pytest.raises(InputError) as caught:
        Codec.load(replace(bundle, parts={**bundle.parts, "tables.npz": pack_arrays(held)}))
    assert str(caught.value) == (
        f"the bundle has {kept} tables {prefix}, and {kept + 1} are needed: get the bundle again"
    )


def test_a_bundle_is_loaded_from_a_path_a_text_or_memory(tiny_bundle, photo) -> None:
    image = photo(64, 64, 0)
    forms = (tiny_bundle, str(tiny_bundle), read_bundle(tiny_bundle))
    assert len({Codec.load(form).encode(image) for form in forms}) == 1


def test_a_runtime_that_there_is_not_is_named(tiny_bundle, photo) -> None:
    with pytest.raises(InputError, match="has no encoder for tensorrt"):
        Codec.load(tiny_bundle, "tensorrt").encode(photo(64, 64, 0))


@pytest.mark.parametrize("network", ["encoder_px", "hyper_z", "decoder_y"])
def test_without_the_margins_that_the_bundle_says_seams_would_show(
    tiny_bundles, photo, network: str
) -> None:
    """What makes tiled coding equal is the reach, and none of the three is there for nothing."""
    bundle = read_bundle(tiny_bundles["gdn"])
    nothing = {"encoder_px": (0, 0), "hyper_z": 0, "decoder_y": 0}
    reach = replace(bundle.manifest.reach, **{network: nothing[network]})
    narrow = Codec.load(replace(bundle, manifest=replace(bundle.manifest, reach=reach)))
    right = Codec.load(bundle)
    image = photo(200, 330, 5)
    data = right.encode(image, tile_px=64)
    if network == "encoder_px":
        assert narrow.encode(image, tile_px=64) != data
    elif network == "hyper_z":
        with pytest.raises(DamagedStream):
            narrow.decode(data)
    else:
        assert (narrow.decode(data) != right.decode(data)).any()


LENGTHS = st.integers(1, 60)
TILES = st.integers(1, 70)
MARGINS = st.integers(0, 9)


@given(length=LENGTHS, tile=TILES, before=MARGINS, after=MARGINS)
def test_spans_keep_everything_once(length: int, tile: int, before: int, after: int) -> None:
    found = list(spans(length, tile, before, after))
    kept = [place for span in found for place in range(span.first, span.last)]
    assert kept == list(range(length))
    # All but the last are as long as a tile.
    assert {span.last - span.first for span in found[:-1]} <= {tile}
    assert 0 < found[-1].last - found[-1].first <= tile


@given(length=LENGTHS, tile=TILES, before=MARGINS, after=MARGINS)
def test_a_span_sees_its_whole_margin_or_the_end_of_the_axis(
    length: int, tile: int, before: int, after: int
) -> None:
    for span in spans(length, tile, before, after):
        assert span.start == max(span.first - before, 0)
        assert span.stop == min(span.last + after, length)


@given(length=LENGTHS, tile=TILES, before=MARGINS, after=MARGINS, factor=st.integers(1, 4))
def test_what_is_kept_lies_in_the_window_where_it_says(
    length: int, tile: int, before: int, after: int, factor: int
) -> None:
    axis = np.arange(length * factor)
    for span in spans(length, tile, before, after):
        wide = span.times(factor)
        np.testing.assert_array_equal(axis[wide.window][wide.inside], axis[wide.kept])
        assert wide.kept.stop - wide.kept.start == factor * (span.last - span.first)


@given(height=LENGTHS, width=LENGTHS, tile=st.integers(5, 70), margin=MARGINS)
def test_tiles_keep_every_place_once_row_by_row(
    height: int, width: int, tile: int, margin: int
) -> None:
    seen = np.zeros((height, width), int)
    corners = []
    for rows, columns in tiles(height, width, tile, margin, margin):
        seen[rows.kept, columns.kept] += 1
        corners.append((rows.first, columns.first))
    assert (seen == 1).all()
    assert corners == sorted(corners)


@pytest.mark.parametrize(("tile", "expected"), [(4, 3), (10, 1), (99, 1), (1, 10)])
def test_the_number_of_spans(tile: int, expected: int) -> None:
    assert len(list(spans(10, tile, 2, 2))) == expected


def test_spans_by_hand() -> None:
    assert list(spans(10, 4, 2, 1)) == [Span(0, 5, 0, 4), Span(2, 9, 4, 8), Span(6, 10, 8, 10)]
    assert Span(2, 9, 4, 8).times(3) == Span(6, 27, 12, 24)
    assert Span(2, 9, 4, 8).inside == slice(2, 6)


# What a program hands to the codec: names, arrays, images of Pillow's.


def test_load_takes_a_shipped_name_a_path_or_a_bundle(tiny_bundles, monkeypatch, tmp_path) -> None:
    ship = Codec.load("patch-small")
    assert ship.bundle.manifest.name == "patch-small"
    path = tiny_bundles["patch"]
    ids = {Codec.load(given).bundle.id for given in (path, str(path), read_bundle(path))}
    assert len(ids) == 1
    # A name that ships is no file, a Path is always one.
    monkeypatch.chdir(tmp_path)
    shutil.copy(path, "patch-small")
    assert Codec.load("patch-small").bundle.id == ship.bundle.id
    assert {Codec.load(Path("patch-small")).bundle.id} == ids


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "CMYK", "YCbCr"])
def test_an_image_of_pillows_is_coded_as_its_pixels(loaded, photo, mode: str) -> None:
    image = Image.fromarray(photo(70, 50, 2)).convert(mode)
    before = image.tobytes()
    data = loaded().encode(image)
    assert data == loaded().encode(np.asarray(image.convert("RGB")))
    assert (image.mode, image.tobytes()) == (mode, before)


def test_an_image_of_pillows_is_turned_upright_and_stays_as_it_is(loaded, photo) -> None:
    pixels = photo(70, 50, 2)
    image = Image.fromarray(pixels)
    image.getexif()[0x0112] = 6  # to be turned by a quarter, clockwise
    assert loaded().encode(image) == loaded().encode(np.ascontiguousarray(np.rot90(pixels, -1)))
    assert image.size == (50, 70)
    assert image.getexif()[0x0112] == 6


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (
            np.zeros((8, 8, 3), np.float32),
            "got float32 [8, 8, 3]; read it with hwkd.images.read_rgb",
        ),
        ([[[0, 0, 0]]], "a uint8 array [H, W, 3] or an image of Pillow's, got list"),
        (Image.new("F", (8, 8)), "an image of mode F has no 8-bit RGB (float samples"),
        (
            Image.new("I", (8, 8), -1),
            "an image of mode I has no 8-bit RGB (integer samples outside",
        ),
        (
            Image.new("RGBA", (8, 8), (0, 0, 0, 9)),
            "an image of mode RGBA has alpha, which is not stored",
        ),
        (Image.new("LA", (8, 8), (0, 9)), "an image of mode LA has alpha, which is not stored"),
    ],
    ids=["float", "list", "F", "I", "RGBA", "LA"],
)
def test_an_image_that_is_not_taken_is_an_input_error_of_one_line(loaded, image, said) -> None:
    with pytest.raises(InputError) as caught:
        loaded().encode(image)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_alpha_that_hides_nothing_is_no_loss(loaded, photo) -> None:
    image = Image.fromarray(photo(64, 64, 2))
    assert loaded().encode(image.convert("RGBA")) == loaded().encode(image)


def test_an_image_behind_which_a_file_is_damaged_is_an_input_error(loaded, photo) -> None:
    held = io.BytesIO()
    Image.fromarray(photo(64, 64, 2)).save(held, "PNG")
    image = Image.open(io.BytesIO(held.getvalue()[:2000]))
    with pytest.raises(InputError, match=r"^the image cannot be read: "):
        loaded().encode(image)
