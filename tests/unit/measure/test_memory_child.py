import json

import pytest

from hwkd.codec.codec import Codec
from hwkd.measure.bundles import CHILD
from hwkd.measure.coder import picture
from hwkd.measure.memory import run_child
from hwkd.measure.memory_child import main


def test_a_bundle_goes_from_pixels_to_bytes_and_back(tiny_bundle, tmp_path, capsys):
    stream = tmp_path / "stream"
    for side in ("encode", "decode"):
        assert main(["onnxruntime", side, str(tiny_bundle), "70", "50", "1", str(stream)]) == 0
        result = json.loads(capsys.readouterr().out)
        assert result["part"] == "end_to_end"
        assert result["peak_mib"] >= result["baseline_mib"] > 0
    assert stream.read_bytes() == Codec.load(tiny_bundle).encode(picture(70, 50))


def test_a_process_of_its_own_is_measured(tiny_bundle, tmp_path):
    command = (*CHILD, "onnxruntime")
    peak = run_child("encode", str(tiny_bundle), (70, 50), 1, tmp_path / "s", command)
    assert (peak.part, peak.pixels) == ("end_to_end", 3500)
    assert peak.peak_mib >= peak.baseline_mib > 20  # an interpreter with numpy


@pytest.mark.parametrize(
    ("runtime", "bundle", "message"),
    [
        ("onnxruntime", "none.hwkd", "no such file: none.hwkd; give a .hwkd file"),
        ("tensorrt", None, "the bundle tiny-patch has no encoder for tensorrt"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    tiny_bundle, tmp_path, capsys, runtime, bundle, message
):
    stream = tmp_path / "s"
    assert main([runtime, "encode", bundle or str(tiny_bundle), "8", "8", "1", str(stream)]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert said.err.startswith(message)
