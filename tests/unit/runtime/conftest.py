"""What tests of bundles share."""

from dataclasses import replace

import pytest

from hwkd.runtime.manifest import Card, Executed, Manifest, ReceptiveField, SetFigures


@pytest.fixture
def card() -> Card:
    """A card with every field filled."""
    return Card(
        data="788 photographs",
        licence="CC0",
        teacher="patch-q5 (sha256 0123456789abcdef)",
        start="run demo (float)",
        seed=7,
        float_steps=4000,
        quantized_steps=150,
        hours=2.5,
        hardware="2 cores",
        recipe="patch-medium-q5",
        limits=("Photographs only.",),
        figures=(
            SetFigures("kodak", 24, "openvino 2026.4.1", 34.25, 0.98, 0.75, 1.36),
            SetFigures("tiny", 1, "openvino 2026.4.1", None, None, 0.5, None),
        ),
    )


@pytest.fixture
def manifest(card) -> Manifest:
    """A manifest with every field filled and no hashes yet."""
    return Manifest(
        name="patch-q5 ü",
        family="patch",
        architecture="patch M=12",
        spec='{"M": 12}',
        M=12,
        Z=8,
        lmbda=0.025,
        qualities=None,
        weight_bits="7 (h_s.* 6)",
        act_bits=8,
        target="raspberry-pi-4",
        plan=("All runs in int8.", "Nothing is in float."),
        graphs={
            "encoder": {"onnxruntime": "encoder.onnx", "openvino": "encoder.openvino.onnx"},
            "hyper": {"onnxruntime": "hyper.onnx", "openvino": "hyper.onnx"},
            "decoder": {"openvino": "decoder.onnx"},
        },
        reach=ReceptiveField(encoder_px=(64, 128), hyper_z=2, decoder_y=5),
        largest_y=255,
        largest_z=31,
        silent_index=0,
        executed=(Executed("encoder", "openvino 2026.4.1", {"int8": 9, "float": 1}, ("cut",)),),
        differences=("0 of 100 symbols differ.",),
        provenance={"quantized": "in training"},
        card=card,
    )


@pytest.fixture
def all_rates(manifest) -> Manifest:
    """`manifest` of a bundle of all rates."""
    return replace(manifest, lmbda=None, qualities=(1, 100))


@pytest.fixture
def parts() -> dict[str, bytes]:
    """Content for each part that `manifest` names."""
    names = ("encoder.onnx", "encoder.openvino.onnx", "hyper.onnx", "decoder.onnx")
    npz = ("tables.npz", "selftest.npz", "hyper.npz")
    return {name: f"content of {name}".encode() for name in (*names, *npz)}
