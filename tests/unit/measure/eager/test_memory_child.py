import json

import pytest

from hwkd.measure.eager.memory_child import main


def test_a_trained_model_goes_from_pixels_to_bytes_and_back(tiny_teacher_file, tmp_path, capsys):
    stream = tmp_path / "stream"
    for side in ("encode", "decode"):
        assert main([side, str(tiny_teacher_file), "70", "50", "1", str(stream)]) == 0
        result = json.loads(capsys.readouterr().out)
        assert result["part"] == "end_to_end"
        assert result["peak_mib"] >= result["baseline_mib"] > 0
        assert stream.read_bytes().startswith(b"HWKE")


@pytest.mark.parametrize("side", ["encode", "decode"])
@pytest.mark.parametrize("family", ["gdn", "relu", "patch"])
def test_a_bare_architecture_runs_its_networks_and_writes_no_stream(tmp_path, capsys, side, family):
    stream = tmp_path / "stream"
    assert main([side, f"hyperprior:N=8,M=12,family={family}", "70", "50", "1", str(stream)]) == 0
    assert json.loads(capsys.readouterr().out)["part"] == "networks"
    assert not stream.exists()


def test_the_users_mistake_is_one_line_and_exit_code_2(tmp_path, capsys):
    assert main(["encode", "no-such-model", "70", "50", "1", str(tmp_path / "s")]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
