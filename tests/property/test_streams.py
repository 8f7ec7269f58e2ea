"""Mutated streams and bundles: a short part of what tests/fuzz/fuzz_codec.py does at length."""

import resource
from pathlib import Path
from random import Random

import pytest

from hwkd.codec import entropy
from hwkd.codec.codec import Codec
from hwkd.runtime.session import present_runtimes
from tests.fuzz.mutations import Bundles, Endings, Streams

RUNTIME = present_runtimes()[0]
STREAMS_OF_A_KIND = 100
BUNDLES_OF_A_KIND = 30
MOST_PADDED_PIXELS = 2**23
"""Of an image that is decoded, however few of its pixels are its own (hwkd/codec/codec.py)."""
MOST_MIB = 512
"""Beyond what the process had before: for images of up to 2^18 pixels, and bundles of 0.3 MiB."""


@pytest.fixture(scope="module", params=["patch", "rates"])
def family(request: pytest.FixtureRequest) -> str:
    """Of the bundle: one of one rate, and one of all."""
    return str(request.param)


@pytest.fixture(scope="module")
def bundle(family: str, tiny_bundle_of) -> Path:
    return Path(tiny_bundle_of(family))


@pytest.fixture(scope="module")
def streams(bundle, photo) -> Streams:
    codec = Codec.load(bundle, RUNTIME, 1)
    # One with so few symbols that there is one lane, tiles, a single pixel, and many symbols.
    sizes = (((64, 64), 0), ((100, 150), 64), ((1, 1), 0), ((330, 260), 0))
    return Streams(codec, tuple(codec.encode(photo(*size, 1), tile) for size, tile in sizes))


@pytest.fixture
def bounded():
    """No case of the test takes memory without bound."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_MIB * 1024


@pytest.fixture
def asked(monkeypatch):
    """How many symbols the entropy coder was asked for by the case so far: the work, on whatever processor."""
    symbols = []
    decode = entropy.decode

    def counted(data, indexes, *rest):
        symbols.append(indexes.size)
        return decode(data, indexes, *rest)

    monkeypatch.setattr(entropy, "decode", counted)
    return symbols


@pytest.mark.parametrize(
    "kind",
    [
        "any bytes",
        "cut short",
        "any bytes, CRC right",
        "payload, all else right",
        "header, all else right",
        "symbols from nowhere",
    ],
)
def test_a_mutated_stream_ends_in_an_image_or_an_input_error(
    streams, bounded, asked, kind: str
) -> None:
    chance, endings = Random(0), Endings()
    mutate = streams.kinds()[kind]
    for _ in range(STREAMS_OF_A_KIND):
        data = mutate(chance)
        asked.clear()
        endings.add(kind, lambda data=data: streams.end(data))
        # Each symbol once: y has 12 for 16x16 pixels, z 8 for 64x64.
        assert sum(asked) <= MOST_PADDED_PIXELS * (12 / 16**2 + 8 / 64**2)
    ended = {ending for _, ending in endings.count}
    assert endings.count[kind, "HwkdError"] == 0
    assert "InputError" in ended
    if kind in ("any bytes", "cut short"):
        # The CRC finds every change.
        assert "image" not in ended


@pytest.mark.parametrize(
    "kind",
    [
        "any bytes",
        "a part, hashes wrong",
        "bytes of the xz stream",
        "xz by other settings",
        "bytes across the parts, packed again",
        "bytes of the index",
        "sizes in the index",
        "large parts of few bytes, hashes right",
        "bytes of the manifest, hashes right",
        "fields of the manifest, hashes right",
        "graphs taken for others, hashes right",
        "bytes of arrays, hashes right",
        "arrays, hashes right",
        "gains, hashes right",
    ],
)
def test_a_mutated_bundle_is_refused_or_works(
    bundle, photo, tmp_path, bounded, asked, kind: str
) -> None:
    bundles = Bundles(bundle.read_bytes(), tmp_path / "a.hwkd", photo(65, 30, 2), RUNTIME)
    chance, endings = Random(0), Endings()
    mutate = bundles.kinds()[kind]
    for _ in range(BUNDLES_OF_A_KIND):
        content = mutate(chance)
        asked.clear()
        endings.add(kind, lambda content=content: bundles.end(content))
        # A manifest may say up to 4096 channels of y and of z; 65x30 pixels are padded to 128x64.
        assert sum(asked) <= 128 * 64 * (4096 / 16**2 + 4096 / 64**2)
    assert endings.count[kind, "InputError"] > 0
    if kind == "a part, hashes wrong":
        assert endings.count[kind, "InputError"] == BUNDLES_OF_A_KIND


def test_the_unchanged_ones_work(streams, bundle, photo, tmp_path) -> None:
    assert {streams.end(data) for data in streams.right} == {"the same"}
    content = bundle.read_bytes()
    bundles = Bundles(content, tmp_path / "a.hwkd", photo(65, 30, 2), RUNTIME)
    assert bundles.end(content) == "works"
