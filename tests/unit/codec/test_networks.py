"""What a bundle's networks give, and which runtimes are refused."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from hwkd.codec import networks as networks_module
from hwkd.codec.networks import (
    CHECKED,
    EXACT,
    Networks,
    SelfTestFailed,
    checked_array,
    default_runtime,
    digest,
    entropy_runtime,
    failures,
    gains_of,
    open_hyper,
)
from hwkd.errors import HwkdError, InputError
from hwkd.runtime.bundle import Bundle, arrays, pack_arrays, read_bundle
from hwkd.runtime.exact import CheckedPath, ExactPath, WrongProduct, exact_path
from hwkd.runtime.session import present_runtimes, runtime_label

BOTH = ("onnxruntime", "openvino")
needs_both = pytest.mark.skipif(set(present_runtimes()) != set(BOTH), reason="needs both runtimes")


@pytest.fixture
def bundle(tiny_bundle) -> Bundle:
    return read_bundle(tiny_bundle)


def with_part(bundle: Bundle, part: str, content: bytes) -> Bundle:
    return replace(bundle, parts={**bundle.parts, part: content})


def with_graphs(bundle: Bundle, **graphs: dict[str, str]) -> Bundle:
    manifest = replace(bundle.manifest, graphs={**bundle.manifest.graphs, **graphs})
    return replace(bundle, manifest=manifest)


def with_selftest(bundle: Bundle, **changed: np.ndarray) -> Bundle:
    held = arrays(bundle, "selftest.npz") | changed
    return with_part(bundle, "selftest.npz", pack_arrays(held))


def some_z(bundle: Bundle, height: int = 2, width: int = 3) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(-20, 20, (bundle.manifest.Z, height, width)).astype(np.int32)


def test_the_digest_is_the_sha256_of_shape_and_bytes() -> None:
    index = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    expected = hashlib.sha256(b"2x3x4" + bytes(range(24))).hexdigest()
    assert digest(index) == expected
    # However it lies in memory.
    assert digest(index.transpose(2, 1, 0).copy().transpose(2, 1, 0)) == expected
    assert digest(index.reshape(4, 3, 2)) != expected


@pytest.mark.parametrize("quality", [1, 50, 100])
def test_every_runtime_and_the_exact_path_agree_at_every_quality(
    tiny_bundles, quality: int
) -> None:
    """The index of one rate plus the gain's whole number, held to the table: as hwkd/runtime/gains.py says."""
    bundle = read_bundle(tiny_bundles["rates"])
    path = exact_path(arrays(bundle, "hyper.npz"))
    rate = gains_of(bundle).rate(quality)
    last = replace(path.layers[-1], low=-1000, high=1000)
    # The place at q is q itself, also below 0, where numpy counts from the end.
    places = np.concatenate([np.arange(1001), np.arange(-1000, 0)])
    unbounded = ExactPath((*path.layers[:-1], last), places)
    for z in (some_z(bundle), some_z(bundle, 5, 1) * 6):
        q = unbounded.indexes(z[None])[0]
        expected = (q + rate.shift[0]).clip(0, 63)
        for runtime in (*present_runtimes(), EXACT, CHECKED):
            hyper = open_hyper(bundle, runtime, 1)
            assert failures(bundle, hyper) == []
            np.testing.assert_array_equal(hyper(z, rate), expected, err_msg=runtime)


def test_a_self_test_that_fails_at_one_quality_alone_is_told_with_it(tiny_bundles) -> None:
    bundle = read_bundle(tiny_bundles["rates"])
    digests = arrays(bundle, "selftest.npz")["digests"].copy()
    assert digests.shape[0] == 3
    digests[2, 1] = "0" * 64
    wrong = with_selftest(bundle, digests=digests)
    assert failures(wrong, open_hyper(wrong, EXACT, 1)) == ["z_1 [8, 1, 1] at quality 100"]


@pytest.mark.parametrize("family", ["gdn", "patch", "relu"])
def test_every_runtime_and_the_exact_path_pass_and_agree(tiny_bundles, family: str) -> None:
    bundle = read_bundle(tiny_bundles[family])
    path = exact_path(arrays(bundle, "hyper.npz"))
    z = some_z(bundle)
    for runtime in (*present_runtimes(), EXACT, CHECKED):
        hyper = open_hyper(bundle, runtime, 1)
        assert failures(bundle, hyper) == []
        np.testing.assert_array_equal(hyper(z), path.indexes(z[None])[0])


@pytest.mark.parametrize("runtime", present_runtimes())
def test_networks_give_the_shapes_and_types_that_they_say(bundle, photo, runtime: str) -> None:
    networks = Networks(bundle, runtime, 1)
    y, z = networks.analyse(photo(128, 192, 0))
    assert (y.shape, y.dtype) == ((12, 8, 12), np.int32)
    assert (z.shape, z.dtype) == ((8, 2, 3), np.int32)
    index = networks.indexes(z)
    assert (index.shape, index.dtype) == ((12, 8, 12), np.uint8)
    assert index.max() < 64
    image = networks.synthesise(y, index)
    assert (image.shape, image.dtype) == ((128, 192, 3), np.uint8)


@pytest.mark.parametrize("runtime", present_runtimes())
def test_arrays_that_do_not_lie_in_one_piece_are_taken(bundle, photo, runtime: str) -> None:
    networks = Networks(bundle, runtime, 1)
    image = photo(192, 192, 0)
    part = image[64:128, 64:192]
    assert not part.flags.c_contiguous
    y, z = networks.analyse(part)
    again = networks.analyse(part.copy())
    np.testing.assert_array_equal(y, again[0])
    np.testing.assert_array_equal(z, again[1])
    part = y[:, :, 4:]
    index = np.zeros(y.shape, np.uint8)[:, :, 4:]
    np.testing.assert_array_equal(
        networks.synthesise(part, index), networks.synthesise(part.copy(), index.copy())
    )


def test_nothing_is_opened_before_it_is_used(bundle) -> None:
    part = bundle.manifest.graphs["encoder"]["onnxruntime"]
    broken = with_part(bundle, part, b"no graph")
    networks = Networks(broken, "onnxruntime", 1)
    networks.indexes(some_z(bundle))
    with pytest.raises(HwkdError, match="refuses the graph"):
        networks.analyse(np.zeros((64, 64, 3), np.uint8))


def wrong_digests(bundle: Bundle) -> Bundle:
    digests = arrays(bundle, "selftest.npz")["digests"].copy()
    digests[1] = "0" * 64
    return with_selftest(bundle, digests=digests)


@pytest.mark.parametrize("runtime", present_runtimes())
def test_wrong_digests_are_refused_and_no_other_runtime_passes(bundle, runtime: str) -> None:
    networks = Networks(wrong_digests(bundle), runtime, 1)
    with pytest.raises(SelfTestFailed) as caught:
        networks.indexes(some_z(bundle))
    assert str(caught.value) == (
        f"{runtime_label(runtime)} fails the self-test of tiny-patch (z_1 [8, 1, 1]): its entropy path gives other "
        "indexes here, so that streams would not decode elsewhere; no other runtime here passes; install another "
        "version of one"
    )
    assert isinstance(caught.value, InputError)


def test_a_runtime_that_failed_is_not_used_when_it_is_asked_again(bundle) -> None:
    networks = Networks(wrong_digests(bundle), present_runtimes()[0], 1)
    for _ in range(2):
        with pytest.raises(SelfTestFailed):
            networks.indexes(some_z(bundle))


def test_for_one_image_no_graph_of_the_entropy_path_is_opened(bundle, monkeypatch) -> None:
    expected = Networks(bundle, present_runtimes()[0], 1).indexes(some_z(bundle))
    monkeypatch.setattr(
        networks_module, "open_session", lambda *_: pytest.fail("a graph is opened")
    )
    soon = Networks(bundle, present_runtimes()[0], 1, is_soon=True)
    np.testing.assert_array_equal(soon.indexes(some_z(bundle)), expected)


def test_layers_that_are_not_those_of_the_graphs_are_refused_for_one_image_too(bundle) -> None:
    networks = Networks(wrong_digests(bundle), present_runtimes()[0], 1, is_soon=True)
    for _ in range(2):
        with pytest.raises(
            SelfTestFailed, match=r"tiny-patch cannot be trusted here \(z_1 \[8, 1, 1\]\)"
        ):
            networks.indexes(some_z(bundle))


def test_a_wrong_product_for_one_image_names_the_way_out(bundle, monkeypatch) -> None:
    def wrong(*_):
        raise WrongProduct("numpy's products of matrices are not exact on this machine")

    networks = Networks(bundle, present_runtimes()[0], 1, is_soon=True)
    networks.indexes(some_z(bundle))
    monkeypatch.setattr(CheckedPath, "indexes", wrong)
    with pytest.raises(SelfTestFailed, match=r"not exact on this machine.*name a --runtime"):
        networks.indexes(some_z(bundle))


@needs_both
@pytest.mark.parametrize(("failing", "passing"), [BOTH, BOTH[::-1]])
def test_a_refusal_names_the_runtime_that_passes(
    bundle, monkeypatch, failing: str, passing: str
) -> None:
    real = networks_module.open_session

    class OffByOne:
        """A runtime that gets one index of many wrong."""

        def __init__(self, session) -> None:
            self.session = session

        def run(self, inputs):
            index = self.session.run(inputs)["index"].copy()
            index[..., -1:] = 63 - index[..., -1:]
            return {"index": index}

    def open_session(graph, runtime, threads):
        session = real(graph, runtime, threads)
        return OffByOne(session) if runtime == failing else session

    monkeypatch.setattr(networks_module, "open_session", open_session)
    assert Networks(bundle, passing, 1).indexes(some_z(bundle)).size
    with pytest.raises(SelfTestFailed) as caught:
        Networks(bundle, failing, 1).indexes(some_z(bundle))
    assert str(caught.value).endswith(f"; use --runtime {passing}, which passes")


@needs_both
def test_a_runtime_that_does_not_load_the_graph_is_no_advice(bundle, monkeypatch) -> None:
    real = networks_module.open_session

    def open_session(graph, runtime, threads):
        if runtime == "openvino":
            raise HwkdError("it does not load")
        return real(graph, runtime, threads)

    monkeypatch.setattr(networks_module, "open_session", open_session)
    with pytest.raises(SelfTestFailed, match="no other runtime here passes"):
        Networks(wrong_digests(bundle), "onnxruntime", 1).indexes(some_z(bundle))


@needs_both
def test_a_runtime_without_a_graph_of_h_s_is_no_advice(bundle) -> None:
    only = with_graphs(wrong_digests(bundle), hyper={"onnxruntime": "hyper.onnx"})
    with pytest.raises(SelfTestFailed, match="no other runtime here passes"):
        Networks(only, "onnxruntime", 1).indexes(some_z(bundle))


def test_a_runtime_that_the_bundle_has_no_graph_for_is_named(bundle) -> None:
    only = with_graphs(bundle, encoder={"openvino": "encoder.onnx"})
    with pytest.raises(InputError) as caught:
        Networks(only, "onnxruntime", 1).analyse(np.zeros((64, 64, 3), np.uint8))
    assert str(caught.value) == (
        "the bundle tiny-patch has no encoder for onnxruntime; it has one for openvino"
    )
    with pytest.raises(InputError, match="has no decoder for exact; it has one for "):
        Networks(bundle, EXACT, 1).synthesise(
            np.zeros((12, 4, 4), np.int32), np.zeros((12, 4, 4), np.uint8)
        )


def test_the_first_runtime_that_has_all_graphs_is_the_default(bundle, monkeypatch) -> None:
    for preferred in (BOTH, BOTH[::-1], BOTH[:1]):
        monkeypatch.setattr(
            networks_module, "preferred_runtimes", lambda preferred=preferred: preferred
        )
        assert default_runtime(bundle) == preferred[0]
    monkeypatch.setattr(networks_module, "preferred_runtimes", lambda: ("openvino", "onnxruntime"))
    only = with_graphs(bundle, decoder={"onnxruntime": "decoder.onnx"})
    assert default_runtime(only) == "onnxruntime"


def test_without_a_runtime_the_error_says_what_to_install(bundle, monkeypatch) -> None:
    monkeypatch.setattr(networks_module, "preferred_runtimes", lambda: ())
    with pytest.raises(InputError) as caught:
        default_runtime(bundle)
    assert str(caught.value) == (
        'no runtime for tiny-patch is installed: pip install "hwkd[runtime]"'
    )


def test_where_sums_are_not_exact_the_entropy_path_runs_in_the_other_runtime(
    bundle, monkeypatch
) -> None:
    monkeypatch.setattr(networks_module, "sums_exactly", lambda runtime: runtime != "openvino")
    monkeypatch.setattr(networks_module, "present_runtimes", lambda: BOTH)
    assert entropy_runtime(bundle, "openvino") == "onnxruntime"
    assert entropy_runtime(bundle, "onnxruntime") == "onnxruntime"
    monkeypatch.setattr(networks_module, "present_runtimes", lambda: ("openvino",))
    with pytest.raises(InputError, match="does not sum whole numbers exactly on this processor"):
        entropy_runtime(bundle, "openvino")


DAMAGES = {
    "no digests": lambda held: held.pop("digests"),
    "no cases": lambda held: [held.pop(name) for name in list(held) if name.startswith("z_")],
    "a case is missing": lambda held: held.pop("z_0"),
    "a case too many": lambda held: held.update(z_99=held["z_0"]),
    "two dimensions of digests": lambda held: held.update(digests=held["digests"][None]),
    "z of another type": lambda held: held.update(z_0=held["z_0"].astype(np.int64)),
    "z of other channels": lambda held: held.update(z_0=held["z_0"][:-1]),
    "z of two dimensions": lambda held: held.update(z_0=held["z_0"][0]),
}


DAMAGES_OF_QUALITIES = {
    "no qualities": lambda held: held.pop("qualities"),
    "another type": lambda held: held.update(qualities=held["qualities"].astype(np.int32)),
    "two dimensions": lambda held: held.update(qualities=held["qualities"][None]),
    "one too few": lambda held: held.update(qualities=held["qualities"][:-1]),
    "none at all": lambda held: held.update(
        qualities=held["qualities"][:0], digests=held["digests"][:0]
    ),
    "0": lambda held: held.update(qualities=np.array([0, 50, 100], np.uint8)),
    "101": lambda held: held.update(qualities=np.array([1, 50, 101], np.uint8)),
    "digests of one rate": lambda held: held.update(digests=held["digests"][0]),
}


@pytest.mark.parametrize("damage", DAMAGES_OF_QUALITIES)
def test_a_self_test_of_damaged_qualities_is_refused(tiny_bundles, damage: str) -> None:
    bundle = read_bundle(tiny_bundles["rates"])
    held = arrays(bundle, "selftest.npz")
    DAMAGES_OF_QUALITIES[damage](held)
    damaged = with_part(bundle, "selftest.npz", pack_arrays(held))
    with pytest.raises(InputError, match=r"^the bundle's self-test is damaged: get the bundle"):
        failures(damaged, open_hyper(damaged, EXACT, 1))


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_self_test_is_refused(bundle, damage: str) -> None:
    held = arrays(bundle, "selftest.npz")
    DAMAGES[damage](held)
    damaged = with_part(bundle, "selftest.npz", pack_arrays(held))
    with pytest.raises(InputError, match=r"^the bundle's self-test is damaged: get the bundle"):
        failures(damaged, open_hyper(damaged, EXACT, 1))


def test_a_self_test_of_more_than_ten_cases_pairs_each_with_its_digest(bundle) -> None:
    path = exact_path(arrays(bundle, "hyper.npz"))
    cases = [some_z(bundle, 1 + i % 3, 1 + i % 2) + i for i in range(12)]
    held = {f"z_{i}": z for i, z in enumerate(cases)}
    digests = np.array([digest(path.indexes(z[None])[0]) for z in cases])
    made = with_part(bundle, "selftest.npz", pack_arrays({**held, "digests": digests}))
    assert failures(made, open_hyper(made, EXACT, 1)) == []


def test_the_exact_path_of_another_number_of_channels_is_refused(tiny_bundle, bundle) -> None:
    held = arrays(bundle, "hyper.npz")
    held["0.weight"] = held["0.weight"][:, :-1]
    damaged = with_part(bundle, "hyper.npz", pack_arrays(held))
    with pytest.raises(InputError, match="entropy path"):
        open_hyper(damaged, EXACT, 1)(some_z(bundle))


@pytest.mark.parametrize("runtime", present_runtimes())
def test_a_graph_that_does_another_networks_work_is_told(bundle, runtime: str) -> None:
    """The runtimes raise errors of their own for inputs and outputs that a graph does not have."""
    graphs = bundle.manifest.graphs
    swapped = with_graphs(
        bundle,
        encoder=graphs["decoder"],
        decoder=graphs["hyper"],
        hyper=graphs["encoder"],
    )
    networks = Networks(swapped, runtime, 1)
    for ask, ends in (
        (lambda: networks.analyse(np.zeros((64, 64, 3), np.uint8)), "from image to y and z"),
        (
            lambda: networks.synthesise(
                np.zeros((12, 4, 4), np.int32), np.zeros((12, 4, 4), np.uint8)
            ),
            "from y to image",
        ),
        (lambda: networks.indexes(np.zeros((8, 1, 1), np.int32)), "from z to index"),
    ):
        with pytest.raises(HwkdError) as caught:
            ask()
        assert str(caught.value).startswith(f"the network {ends} cannot be run (")
        assert str(caught.value).endswith("try another --runtime, or export it again")
        assert str(caught.value).isprintable()


def test_an_array_of_the_wrong_shape_is_told_apart_from_a_right_one() -> None:
    array = np.zeros((2, 3))
    assert checked_array("y", array, (2, 3)) is array
    with pytest.raises(HwkdError) as caught:
        checked_array("y", array, (3, 2))
    assert str(caught.value) == (
        "the network's y has shape [2, 3] where [3, 2] was expected: the runtime lacks a kernel for it here, or the "
        "bundle's graphs do not fit its manifest: try another --runtime, or export it again"
    )
