import subprocess
import sys
from pathlib import Path

import pytest
import torch

from hwkd.errors import InputError
from hwkd.measure.energy import sensors
from hwkd.measure.machine import (
    HostFacts,
    Package,
    SysfsSensor,
    clock_mhz,
    cpu_flags,
    cpu_name,
    describe_host,
    eager_setting,
    find_gpus,
    find_ina3221,
    find_limits,
    find_packages,
    find_processor,
    find_rapl,
    host_facts,
    look,
    nearest_target,
)
from hwkd.runtime import session
from hwkd.runtime.session import core_quota, usable_cores
from hwkd.target import list_targets
from tests.fakes.sysfs import FakeRapl, hwmon_tree


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
        "import sys, hwkd.measure.machine as h; h.host_facts(); h.eager_setting(1);"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


ZEN_3 = "processor\t: 0\nmodel name\t: AMD Ryzen 9 5950X\nflags\t\t: fpu fma avx2 sse4_2\n"
ZEN_4 = "model name\t: AMD EPYC\nflags\t\t: fpu fma avx2 avx512f avx512_vnni hypervisor\n"
PI_5 = "processor\t: 0\nFeatures\t: fp asimd evtstrm asimddp\n\nModel\t\t: Raspberry Pi 5\n"


@pytest.fixture
def tree(tmp_path):
    """tree({path: text}): a folder with these files."""

    def make(files):
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        return tmp_path

    return make


@pytest.mark.parametrize(
    ("cpuinfo", "sets", "target", "is_virtual"),
    [
        (ZEN_3, ("AVX2", "FMA"), "x86-avx2", False),
        (ZEN_4, ("AVX2", "FMA", "AVX512F", "AVX512-VNNI"), "x86-vnni", True),
        (
            "flags\t: avx2 fma avx_vnni amx_int8\n",
            ("AVX2", "FMA", "AVX-VNNI", "AMX"),
            "x86-vnni",
            False,
        ),
        (
            "Features\t: asimd asimddp i8mm\n",
            ("NEON", "NEON dot product", "i8mm"),
            "arm-server",
            False,
        ),
        ("Features\t: fp asimd crc32\n", ("NEON",), None, False),
        ("flags\t: fpu sse2\n", (), None, False),
    ],
)
def test_cpuinfo_gives_instruction_sets_and_target(tree, cpuinfo, sets, target, is_virtual):
    processor = find_processor(tree({"cpuinfo": cpuinfo}))
    assert (processor.instruction_sets, processor.target) == (sets, target)
    assert processor.is_virtual is is_virtual


def test_a_board_names_itself_in_the_device_tree(tree):
    model = "Raspberry Pi 5 Model B Rev 1.0\0"
    processor = find_processor(tree({"cpuinfo": PI_5, "device-tree/model": model}))
    assert processor.board == "Raspberry Pi 5 Model B Rev 1.0"
    assert processor.target == "raspberry-pi-5"


@pytest.mark.parametrize(
    ("board", "target"),
    [
        ("NVIDIA Jetson Nano Developer Kit", "jetson-nano"),
        ("NVIDIA Jetson Xavier NX Developer Kit", "jetson-xavier-nx"),
        ("NVIDIA Jetson Orin Nano Developer Kit", "jetson-orin-nano"),
        ("Jetson AGX Orin Developer Kit", "jetson-agx-orin"),
        ("Raspberry Pi 4 Model B Rev 1.4", "raspberry-pi-4"),
        ("Some Board", "arm-server"),
    ],
)
def test_boards_come_before_instruction_sets(board, target):
    assert nearest_target(board, ("NEON", "NEON dot product")) == target
    assert target in list_targets()


def test_without_cpuinfo_the_instruction_sets_are_not_known(tmp_path):
    processor = find_processor(tmp_path)
    assert processor.instruction_sets is None
    assert processor.target is None


def test_packages_are_held_against_the_ranges_of_the_metadata():
    requirements = [
        "numpy<2,>=1.26",
        'torch<2.14,>=2.6; extra == "dev"',
        'torch<2.14,>=2.6; extra == "train"',
        "pyjoules<0.6,>=0.5.1; extra == 'energy'",
        'fvcore<0.2,>=0.1.5; python_version < "3" and extra == "train"',
    ]
    versions = {
        "numpy": "2.0.0",
        "torch": "2.13.0+cpu",
        "pyJoules": None,
        "onnx": "1.23.2",
        "fvcore": None,
    }
    found = find_packages(tuple(versions), requirements, versions.get)
    assert found == (
        Package("numpy", "2.0.0", ">=1.26,<2", ""),
        Package("torch", "2.13.0+cpu", ">=2.6,<2.14", "train"),
        Package("pyJoules", None, ">=0.5.1,<0.6", "energy"),
        Package("onnx", "1.23.2", "", ""),
        Package("fvcore", None, ">=0.1.5,<0.2", "train", has_python=False),
    )
    assert [package.is_in_range for package in found] == [False, True, False, True, False]


@pytest.mark.parametrize(
    ("version", "is_in_range"),
    [("0.1.5.post20221221", True), ("0.1.5", False), ("0.2", False), ("0.1.10", True)],
)
def test_post_releases_are_compared_as_versions(version, is_in_range):
    assert Package("fvcore", version, ">=0.1.5.post20221221,<0.2", "").is_in_range is is_in_range


def rapl_tree(tree):
    powercap = "class/powercap/intel-rapl:"
    return tree(
        {
            f"{powercap}0/name": "package-0\n",
            f"{powercap}0/energy_uj": "1234\n",
            f"{powercap}0:0/name": "dram\n",
            f"{powercap}0:0/energy_uj": "99\n",
        }
    )


def test_usable_rapl_names_its_domains(tmp_path, monkeypatch):
    monkeypatch.setitem(sensors.TRIED_S, "rapl", 0.0)  # the counters of this tree do not move
    FakeRapl(tmp_path).add_package(0, 0, dram_uj=0)
    assert find_rapl(tmp_path) == SysfsSensor(("package-0",))


def test_rapl_that_stands_still_is_judged_as_by_the_command_that_measures(tmp_path):
    FakeRapl(tmp_path).add_package(0, 5)
    found = find_rapl(tmp_path)
    assert "the counter stands still" in found.problem and not found.is_denied
    with pytest.raises(InputError) as error:
        sensors.open_meter("rapl", sysfs=tmp_path)
    # But for the seconds, which are measured.
    assert str(error.value).partition(" in ")[0] == found.problem.partition(" in ")[0]


def test_rapl_of_the_platform_alone_is_no_processor(tmp_path):
    FakeRapl(tmp_path).add_package(0, 0, name="psys")
    assert "of which pyJoules sees 0 of 0 packages" in find_rapl(tmp_path).problem


def test_rapl_of_root_only_is_told_as_denied(tree, monkeypatch):
    root = rapl_tree(tree)
    read = Path.read_text

    def denying(self, *args, **kwargs):
        if self.name == "energy_uj":
            raise PermissionError(13, "Permission denied")
        return read(self, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", denying)
    denied = SysfsSensor(("package-0", "dram"), "energy_uj: Permission denied", is_denied=True)
    assert find_rapl(root) == denied


def test_a_rapl_counter_that_fails_is_not_a_matter_of_permissions(tree):
    root = tree({"class/powercap/intel-rapl:0/energy_uj/in/its/place": ""})
    assert find_rapl(root) == SysfsSensor(("intel-rapl:0",), "energy_uj: Is a directory")


def test_a_machine_without_powercap_has_no_rapl(tmp_path):
    assert find_rapl(tmp_path) == SysfsSensor()


@pytest.mark.parametrize(
    "path",
    [
        "bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3/in1_label",
        "bus/i2c/drivers/ina3221x/6-0040/iio:device0/rail_name_0",
    ],
)
def test_ina3221_names_its_rails_in_both_layouts(tree, path):
    found = find_ina3221(tree({path: "VDD_IN\n"}))
    assert found.parts == ("VDD_IN",)
    assert "the INA3221 does not answer" in found.problem  # a label without figures


def test_an_ina3221_that_answers_has_no_problem(tmp_path):
    hwmon_tree(tmp_path, {"VDD_IN": (5000, 800)})
    assert find_ina3221(tmp_path) == SysfsSensor(("VDD_IN", "sum of shunt voltages"))


def test_rails_whose_total_is_not_known_are_judged_as_by_the_command_that_measures(tmp_path):
    hwmon_tree(tmp_path, {"VDD_GPU": (5000, 800), "VDD_CPU_SOC_MSS": (5000, 100)})  # AGX Thor
    assert "which of them make up the board's input is not" in find_ina3221(tmp_path).problem


V2 = {"self/cgroup": "0::/a/b\n"}


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({}, None),
        (V2 | {"fs/cgroup/a/b/cpu.max": "max 100000\n"}, None),
        (V2 | {"fs/cgroup/a/b/cpu.max": "150000 100000\n"}, 1.5),
        (
            V2 | {"fs/cgroup/a/b/cpu.max": "400000 100000", "fs/cgroup/a/cpu.max": "200000 100000"},
            2.0,
        ),
        ({"self/cgroup": "0::/\n", "fs/cgroup/cpu.max": "50000 100000\n"}, 0.5),
        (
            {
                "self/cgroup": "4:memory:/x\n1:cpu,cpuacct:/x\n",
                "fs/cgroup/cpu/x/cpu.cfs_quota_us": "300000\n",
                "fs/cgroup/cpu/x/cpu.cfs_period_us": "100000\n",
                "fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            3.0,
        ),
    ],
)
def test_the_smallest_quota_of_all_control_groups_holds(tree, files, quota):
    root = tree({"none": ""} | files)
    assert find_limits(root, root).core_quota == quota


def test_limits_are_read_from_sys_and_proc(tree):
    cpu = "devices/system/cpu"
    root = tree(
        {
            f"{cpu}/online": "0-3,6\n",
            f"{cpu}/cpu0/cpufreq/scaling_governor": "powersave\n",
            f"{cpu}/cpu1/cpufreq/scaling_governor": "performance\n",
            f"{cpu}/cpu2/cpufreq/scaling_governor": "powersave\n",
            "meminfo": "MemTotal:        8388608 kB\nMemAvailable:    2097152 kB\n",
            "self/cgroup": "0::/\n",
            "fs/cgroup/memory.max": "1073741824\n",
        }
    )
    limits = find_limits(root, root)
    assert limits.cores_online == 5
    assert limits.governors == ("performance", "powersave")
    assert limits.available_mib == 2048  # nothing says how much of the limit is taken
    assert limits.memory_limit_mib == 1024


def test_what_is_available_is_so_within_the_limit(tree):
    root = tree(
        {
            "meminfo": "MemTotal: 8388608 kB\nMemAvailable: 4194304 kB\n",
            "self/cgroup": "0::/a\n",
            "fs/cgroup/a/memory.max": f"{1024 * 2**20}\n",
            "fs/cgroup/a/memory.current": f"{900 * 2**20}\n",
            "fs/cgroup/a/memory.stat": f"anon 1\ninactive_file {100 * 2**20}\n",
        }
    )
    assert find_limits(root, root).available_mib == 1024 - 900 + 100


def test_a_quota_of_processor_time_bounds_the_cores(tree, monkeypatch):
    root = tree({"self/cgroup": "0::/\n", "fs/cgroup/cpu.max": "150000 100000\n"})
    monkeypatch.setattr(session, "core_quota", lambda: core_quota(root, root))
    monkeypatch.setattr(session.os, "sched_getaffinity", lambda _: set(range(8)))
    assert session.usable_cores() == 1
    (root / "fs/cgroup/cpu.max").write_text("350000 100000\n")
    assert session.usable_cores() == 3
    (root / "fs/cgroup/cpu.max").write_text("max 100000\n")
    assert session.usable_cores() == 8


@pytest.mark.parametrize("limit", ["max", "9223372036854771712"])
def test_a_memory_limit_beyond_the_memory_is_none(tree, limit):
    root = tree(
        {
            "meminfo": "MemTotal: 8388608 kB\nMemAvailable: 2097152 kB\n",
            "self/cgroup": "0::/\n",
            "fs/cgroup/memory.max": limit,
        }
    )
    assert find_limits(root, root).memory_limit_mib is None


def test_a_folder_for_temporary_files_that_cannot_be_written_is_told(tmp_path, monkeypatch):
    def full(**_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    assert find_limits(tmp_path, tmp_path).temp_problem == "No space left on device"


@pytest.mark.usefixtures("tried_briefly")
def test_gpus_cannot_be_asked_for_without_nvml(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert find_gpus() == ((), "NVML cannot be asked: nvidia-ml-py is not installed")


class FakeNvml:
    """One GPU of 80 GiB; whether it counts energy is given."""

    class NVMLError(Exception):
        pass

    def __init__(self, *, has_counter, has_driver=True):
        self.has_counter = has_counter
        self.has_driver = has_driver
        self.is_open = False

    def nvmlInit(self):
        if not self.has_driver:
            raise self.NVMLError("Driver Not Loaded")
        self.is_open = True

    def nvmlShutdown(self):
        self.is_open = False

    def nvmlDeviceGetCount(self):
        return 1

    def nvmlDeviceGetHandleByIndex(self, index):
        return index

    def nvmlDeviceGetName(self, _):
        return "NVIDIA H100"

    def nvmlDeviceGetMemoryInfo(self, _):
        return type("Memory", (), {"total": 80 * 2**30})()

    def nvmlDeviceGetTotalEnergyConsumption(self, _):
        if not self.has_counter:
            raise self.NVMLError("Not Supported")
        self.energy_mj += self.step_mj
        return self.energy_mj

    energy_mj, step_mj = 5, 1000


@pytest.fixture
def tried_briefly(monkeypatch):
    monkeypatch.setattr("hwkd.measure.energy.nvml.STILL_S", 0.0)
    monkeypatch.setitem(sensors.TRIED_S, "nvml", 0.001)


@pytest.mark.usefixtures("tried_briefly")
@pytest.mark.parametrize("has_counter", [True, False])
def test_a_gpu_is_told_with_its_memory_and_counter(monkeypatch, has_counter):
    nvml = FakeNvml(has_counter=has_counter)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    (gpu,), reason = find_gpus()
    assert (gpu.name, gpu.memory_mib) == ("NVIDIA H100", 81920)
    assert gpu.no_energy == ("" if has_counter else "it does not count its energy (Not Supported)")
    assert reason == ""
    assert not nvml.is_open


@pytest.mark.usefixtures("tried_briefly")
def test_a_gpu_whose_counter_stands_still_has_none(monkeypatch):
    nvml = FakeNvml(has_counter=True)
    nvml.step_mj = 0  # an instance of a divided A100
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    (gpu,), _ = find_gpus()
    assert "the GPU's energy counter went from 5 to 5 mJ" in gpu.no_energy


@pytest.mark.usefixtures("tried_briefly")
def test_a_gpu_that_shares_the_machines_memory_is_a_gpu(monkeypatch):
    nvml = FakeNvml(has_counter=True)

    def not_supported(_):
        raise nvml.NVMLError("Not Supported")

    monkeypatch.setattr(nvml, "nvmlDeviceGetMemoryInfo", not_supported)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    (gpu,), reason = find_gpus()
    assert (gpu.name, gpu.memory_mib, gpu.no_energy, reason) == ("NVIDIA H100", None, "", "")


@pytest.mark.usefixtures("tried_briefly")
def test_a_lost_gpu_does_not_hide_the_others(monkeypatch):
    nvml = FakeNvml(has_counter=True)

    def handle(index):
        if index == 1:
            raise nvml.NVMLError("GPU is lost")
        return index

    monkeypatch.setattr(nvml, "nvmlDeviceGetCount", lambda: 2)
    monkeypatch.setattr(nvml, "nvmlDeviceGetHandleByIndex", handle)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    (one, other), _ = find_gpus()
    assert (one.name, one.problem) == ("NVIDIA H100", "")
    assert (other.name, other.problem) == ("GPU 1", "GPU is lost")


@pytest.mark.usefixtures("tried_briefly")
def test_a_driver_that_is_not_loaded_gives_no_gpu(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(has_counter=True, has_driver=False))
    assert find_gpus() == ((), "NVML says: Driver Not Loaded")


def test_this_machine_can_be_looked_at_without_importing_torch():
    code = (
        "import sys; from hwkd.measure.machine import look; m = look(); "
        "assert m.limits.cores_online >= 1 and len(m.packages) == 14; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_empty_sys_and_proc_are_no_error(tmp_path):
    machine = look(tmp_path, tmp_path)
    assert (machine.rapl, machine.ina3221) == (SysfsSensor(), SysfsSensor())
    assert machine.limits.available_mib is None
    assert not machine.has_nvidia_driver
