import torch

from hwkd.measure.host import cpu_name, describe_host


def test_x86_names_its_processor(tmp_path):
    file = tmp_path / "cpuinfo"
    file.write_text(
        "processor\t: 0\nmodel name\t: AMD  EPYC 9R14\nprocessor\t: 1\nmodel name\t: x\n"
    )
    assert cpu_name(file) == "AMD EPYC 9R14"


def test_a_board_names_itself(tmp_path):
    file = tmp_path / "cpuinfo"
    file.write_text("processor\t: 0\nmodel\t\t: 3\n\nModel\t\t: Raspberry Pi 5 Model B Rev 1.0\n")
    assert cpu_name(file) == "Raspberry Pi 5 Model B Rev 1.0"


def test_without_cpuinfo_the_instruction_set_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    assert cpu_name(tmp_path / "none") == "riscv64"


def test_host_states_torchs_settings():
    host = describe_host()
    assert host.threads == torch.get_num_threads()
    assert host.torch_version == torch.__version__
    assert host.cores >= 1
    assert str(host) == (
        f"{host.cpu}, {host.threads} threads, {host.cores} cores usable, torch {torch.__version__}"
    )
