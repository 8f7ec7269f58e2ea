import subprocess
import sys

import torch

from hwkd.measure.host import (
    HostFacts,
    clock_mhz,
    cpu_flags,
    cpu_name,
    describe_host,
    eager_setting,
    host_facts,
)
from hwkd.runtime.cores import usable_cores


def write(root, path, text):
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


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


def test_x86_flags_are_whole_words_in_a_fixed_order(tmp_path):
    file = write(tmp_path, "cpuinfo", "flags\t\t: fpu avx512_vnni avx2 avx512fx amx_int8 sse2\n")
    assert cpu_flags(file) == ("avx2", "avx512_vnni", "amx_int8")


def test_a_flag_counts_only_where_every_core_has_it(tmp_path):
    file = write(
        tmp_path,
        "cpuinfo",
        "processor\t: 0\nFeatures\t: fp asimd asimddp sve\n\nprocessor\t: 1\nFeatures\t: fp asimd asimddp\n",
    )
    assert cpu_flags(file) == ("asimd", "asimddp")


def test_without_cpuinfo_no_flag_is_claimed(tmp_path):
    assert cpu_flags(tmp_path / "none") == ()


def test_facts_of_a_board(tmp_path):
    write(tmp_path, "proc/cpuinfo", "Features\t: fp asimd\nModel\t\t: Board\n")
    write(tmp_path, "proc/meminfo", "MemTotal:        4194304 kB\nMemFree: 1 kB\n")
    frequencies = tmp_path / "sys/devices/system/cpu"
    write(frequencies, "cpu0/cpufreq/scaling_cur_freq", "600000\n")
    write(frequencies, "cpu1/cpufreq/scaling_cur_freq", "1500000\n")
    write(frequencies, "cpu0/cpufreq/scaling_governor", "ondemand\n")
    facts = host_facts(tmp_path)
    assert facts == HostFacts("Board", ("asimd",), usable_cores(), 4096.0, 1500.0, "ondemand")
    assert str(facts) == (
        f"Board (asimd), {facts.cores} cores usable, memory 4.0 GiB, clock 1500 MHz, governor ondemand"
    )


def test_the_clock_comes_from_cpuinfo_where_there_is_no_cpufreq(tmp_path):
    write(tmp_path, "proc/cpuinfo", "cpu MHz\t\t: 2445.4\ncpu MHz\t\t: 3000.5\n")
    assert clock_mhz(tmp_path) == 3000.5


def test_what_a_system_does_not_tell_is_not_made_up(tmp_path):
    facts = host_facts(tmp_path)
    assert (facts.memory_mib, facts.clock_mhz, facts.governor) == (None, None, None)
    assert "memory n/a, clock n/a, governor n/a" in str(facts)


def test_host_states_torchs_settings():
    host = describe_host()
    assert host.threads == torch.get_num_threads()
    assert host.torch_version == torch.__version__
    assert host.facts.cores >= 1
    assert str(host) == f"{host.facts}, {host.threads} threads, torch {torch.__version__}"


def test_eager_setting_names_torch_with_its_version():
    assert str(eager_setting(2)) == f"cpu, torch {torch.__version__} eager fp32, 2 threads"


def test_facts_need_no_torch():
    code = (
        "import sys, hwkd.measure.host as h; h.host_facts(); h.eager_setting(1);"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
