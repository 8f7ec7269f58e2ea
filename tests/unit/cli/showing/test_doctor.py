from dataclasses import replace

import pytest

from hwkd.cli.showing.doctor import USES, Check, doctor_table, list_checks
from hwkd.errors import InputError
from hwkd.measure.machine import PACKAGES, Gpu, Limits, Machine, Package, Processor, SysfsSensor

GOOD = Machine(
    python="3.11.7",
    requires_python=">=3.11,<3.13",
    packages=tuple(Package(name, "2.0", ">=1,<3", "train") for name in PACKAGES),
    processor=Processor(
        "AMD EPYC", "x86_64", ("AVX2", "FMA", "AVX512-VNNI"), False, "", "x86-vnni"
    ),
    gpus=(Gpu("NVIDIA H100", 81920),),
    no_gpu="",
    has_nvidia_driver=True,
    rapl=SysfsSensor(("package-0", "dram")),
    ina3221=SysfsSensor(("VDD_IN",)),
    limits=Limits(4, 4, None, ("performance",), 8000, None, "/scratch", 500, ""),
)


def check(name, **changes):
    """The check `name` of a machine that is GOOD but for `changes`."""
    machine = replace(GOOD, **changes)
    return next(found for found in list_checks(machine) if found.name == name)


def with_package(name, version, required=">=1,<3", extra="train"):
    return tuple(
        Package(name, version, required, extra) if package.name == name else package
        for package in GOOD.packages
    )


def with_processor(**changes):
    return replace(GOOD.processor, **changes)


def with_limits(**changes):
    return replace(GOOD.limits, **changes)


def test_a_machine_that_lacks_nothing_is_ok_throughout():
    table = doctor_table(GOOD)
    assert table.columns == ("check", "found", "state", "mend")
    assert table.title == f"This machine: AMD EPYC; {len(table.rows)} ok"
    assert {(state, mend) for _, _, state, mend in table.rows} == {("ok", "none")}
    assert len(table.rows) == 1 + len(PACKAGES) + 10


def test_every_package_says_what_it_is_for():
    assert set(USES) == set(PACKAGES)


def test_a_missing_package_is_mended_by_its_group():
    found = check("fvcore", packages=with_package("fvcore", None))
    assert (found.found, found.state, found.mend, found.follows) == (
        "not installed",
        "missing",
        'pip install "hwkd[train]"',
        "needed for counting MACs",
    )


def test_what_this_python_cannot_have_is_not_to_be_installed_here():
    found = check(
        "fvcore",
        packages=tuple(
            replace(package, version=None, has_python=False)
            if package.name == "fvcore"
            else package
            for package in GOOD.packages
        ),
    )
    assert found.mend == "make an environment with CPython 3.11 or 3.12 to train and to export"


def test_a_missing_package_of_no_group_is_installed_by_itself():
    found = check("onnx", packages=with_package("onnx", None, "", ""))
    assert found.mend == 'pip install "onnx"'


def test_a_package_out_of_range_is_limited_and_replaced():
    found = check("numpy", packages=with_package("numpy", "3.1", ">=1.26,<2", ""))
    assert (found.found, found.state) == ("3.1 (needs >=1.26,<2)", "limited")
    assert found.mend == 'pip install "numpy>=1.26,<2"'


def test_compressai_has_no_wheel_for_arm():
    arm = with_processor(architecture="aarch64")
    found = check("compressai", packages=with_package("compressai", None), processor=arm)
    assert found.mend == "train on an x86-64 machine and bring the exported model here"


def test_a_python_out_of_range_is_told():
    found = check("python", python="3.13.1")
    assert (found.found, found.state) == ("3.13.1 (needs >=3.11,<3.13)", "limited")


def test_hwkd_that_is_not_installed_knows_no_range():
    assert check("python", requires_python="").mend == "pip install -e ."


@pytest.mark.parametrize(
    ("sets", "state", "follows"),
    [
        (
            ("AVX2", "FMA"),
            "limited",
            "int8 weights are held to 7 bits in OpenVINO and ONNX Runtime",
        ),
        (("AVX2", "FMA", "AVX-VNNI"), "ok", "8-bit weights do not saturate"),
        (("NEON", "NEON dot product"), "ok", "8-bit weights do not saturate"),
        (("NEON",), "limited", "8-bit weights do not saturate, but without dot product"),
        ((), "limited", "no fast int8 arithmetic"),
        (None, "limited", "whether int8 is fast and exact here is not known"),
    ],
)
def test_instruction_sets_say_what_follows_for_int8(sets, state, follows):
    found = check("instruction sets", processor=with_processor(instruction_sets=sets))
    assert found.state == state
    assert found.follows.startswith(follows)


def test_a_board_stands_beside_its_target():
    processor = with_processor(board="NVIDIA Jetson Nano Developer Kit", target="jetson-nano")
    assert check("target", processor=processor).found == (
        "jetson-nano (board: NVIDIA Jetson Nano Developer Kit)"
    )
    gpu = check("gpu", processor=processor, gpus=(), no_gpu="NVML counts no GPU")
    assert (gpu.state, gpu.found) == ("ok", "the board's own, which NVML does not list")


def test_a_machine_of_no_target_is_told_how_to_describe_itself():
    found = check("target", processor=with_processor(target=None))
    assert (found.state, found.mend) == (
        "missing",
        "write a .toml of it: hwkd targets show my-board.toml",
    )


def test_a_cpu_build_of_torch_beside_a_gpu_is_limited():
    found = check("gpu", packages=with_package("torch", "2.0+cpu"))
    assert (found.found, found.state) == ("NVIDIA H100, 81,920 MiB", "limited")
    assert found.mend == 'pip install --force-reinstall "torch>=1,<3"'


@pytest.mark.parametrize(
    ("has_driver", "state", "mend"),
    [(False, "missing", "none: hwkd works without"), (True, "limited", "pip install nvidia-ml-py")],
)
def test_no_gpu_is_told_with_the_reason(has_driver, state, mend):
    found = check("gpu", gpus=(), no_gpu="NVML says: no", has_nvidia_driver=has_driver)
    assert (found.state, found.mend) == (state, mend)
    assert "NVML says: no" in found.follows


def test_rapl_of_root_only_is_mended_by_one_line():
    denied = SysfsSensor(("package-0",), "energy_uj: Permission denied", is_denied=True)
    found = check("sensor RAPL", rapl=denied)
    assert found.found == "package-0: not readable (energy_uj: Permission denied)"
    assert found.state == "limited"
    assert found.mend == "sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj"


def test_a_failing_rapl_counter_is_not_mended_by_rights():
    found = check("sensor RAPL", rapl=SysfsSensor(("package-0",), "energy_uj: Input/output error"))
    assert found.mend == "none known: see below"
    assert found.follows.startswith("energy_uj: Input/output error; ")


@pytest.mark.parametrize(
    ("changes", "mend"),
    [
        ({}, "sudo modprobe intel_rapl_msr"),
        ({"is_virtual": True}, "none: a virtual machine sees no RAPL, measure on its host"),
        ({"architecture": "aarch64"}, "none: only x86 processors have it"),
    ],
)
def test_absent_rapl_has_a_cause(changes, mend):
    found = check("sensor RAPL", rapl=SysfsSensor(), processor=with_processor(**changes))
    assert (found.found, found.state, found.mend) == ("absent", "missing", mend)


WITHOUT_SENSORS = {
    "rapl": SysfsSensor(),
    "ina3221": SysfsSensor(),
    "gpus": (),
    "no_gpu": "NVML says: no",
}


def test_without_a_sensor_energy_is_an_estimate():
    found = check("energy", **WITHOUT_SENSORS)
    assert (found.found, found.state) == ("estimated by codecarbon", "limited")


def test_without_sensor_and_codecarbon_energy_is_not_available():
    found = check("energy", **WITHOUT_SENSORS, packages=with_package("codecarbon", None))
    assert (found.found, found.state) == ("n/a", "missing")
    assert found.mend == 'pip install "hwkd[energy]"'


def test_a_sensor_that_cannot_be_read_does_not_count_for_energy():
    denied = SysfsSensor(("package-0",), "energy_uj: Permission denied", is_denied=True)
    assert check("energy", **WITHOUT_SENSORS | {"rapl": denied}).state == "limited"
    names = [c.name for c in list_checks(replace(GOOD, **WITHOUT_SENSORS | {"rapl": GOOD.rapl}))]
    assert "energy" not in names


def test_gpus_are_told_each_by_itself():
    shared = Gpu("NVIDIA GB10", None)
    assert check("gpu", gpus=(shared,)).found == "NVIDIA GB10, memory not told"
    lost = Gpu("GPU 1", None, "GPU is lost", "GPU is lost")
    found = check("gpu", gpus=(Gpu("NVIDIA H100", 81920), lost))
    assert (found.found, found.state) == (
        "NVIDIA H100, 81,920 MiB; GPU 1: GPU is lost",
        "limited",
    )


def test_a_gpus_counter_does_not_measure_what_runs_on_the_processor():
    found = check("energy", rapl=SysfsSensor(), ina3221=SysfsSensor())
    assert found.found == "estimated by codecarbon"


def test_a_gpu_without_a_counter_is_limited():
    found = check("sensor NVML", gpus=(Gpu("NVIDIA K80", 11441, "Not Supported"),))
    assert (found.found, found.state) == ("no energy counter", "limited")


@pytest.mark.parametrize(
    ("changes", "found", "state", "mend"),
    [
        ({}, "4 of 4 usable", "ok", "none"),
        ({"core_quota": 8.0}, "4 of 4 usable", "ok", "none"),
        (
            {"core_quota": 1.5},
            "1.5 of 4 usable",
            "limited",
            "raise the container's limit: docker run --cpus 4",
        ),
        ({"cores_allowed": 2}, "2 of 4 usable", "limited", "taskset -c 0-3 hwkd ..."),
    ],
)
def test_cores_that_may_not_be_used_are_told(changes, found, state, mend):
    cores = check("cores", limits=with_limits(**changes))
    assert (cores.found, cores.state, cores.mend) == (found, state, mend)


def test_a_clock_that_follows_the_load_is_limited():
    found = check("clock governor", limits=with_limits(governors=("performance", "powersave")))
    assert (found.found, found.state) == ("performance, powersave", "limited")
    assert found.mend == "sudo cpupower frequency-set -g performance"
    assert check("clock governor", limits=with_limits(governors=())).found == "n/a"


@pytest.mark.parametrize(
    ("available", "limit", "found", "state"),
    [
        (1024, None, "1,024 MiB available", "ok"),
        (1023, None, "1,023 MiB available", "limited"),
        (512, 600, "512 MiB available (the control group's limit is 600 MiB)", "limited"),
        (8000, 9000, "8,000 MiB available (the control group's limit is 9,000 MiB)", "ok"),
        (None, None, "n/a", "limited"),
    ],
)
def test_little_memory_is_told(available, limit, found, state):
    memory = check("memory", limits=with_limits(available_mib=available, memory_limit_mib=limit))
    assert (memory.found, memory.state) == (found, state)


def test_temporary_files_that_cannot_be_made_are_missing():
    found = check("temporary files", limits=with_limits(temp_problem="Read-only file system"))
    assert found.found == "/scratch: not writable (Read-only file system)"
    assert (found.state, found.mend) == ("missing", "export TMPDIR=DIR")


def test_what_follows_stands_below_the_table():
    table = doctor_table(replace(GOOD, packages=with_package("fvcore", None)))
    assert "fvcore: needed for counting MACs." in table.notes
    assert table.title.endswith("24 ok, 1 missing")


def test_a_lack_must_say_what_follows():
    with pytest.raises(InputError, match="say what follows"):
        Check("gpu", "none", "missing")
    with pytest.raises(InputError, match="state must be one of"):
        Check("gpu", "none", "broken", follows="x")


def test_rails_that_may_not_be_read_are_opened_by_a_line_to_type():
    denied = SysfsSensor(("VDD_IN",), "in1_label: Permission denied", is_denied=True)
    found = check("sensor INA3221", ina3221=denied)
    assert found.state == "limited"
    # The files of both drivers: hwmon since JetPack 5, iio in JetPack 4 (hwkd/measure/machine.py INA3221_RAILS).
    assert found.mend == (
        "sudo chmod a+r /sys/bus/i2c/drivers/ina3221*/*/{hwmon/hwmon*,iio:device*}/*"
    )
    broken = check("sensor INA3221", ina3221=replace(denied, is_denied=False))
    assert "chmod" not in broken.mend
