import math
import statistics
from dataclasses import replace

import pytest

from hwkd.measure.layers import LayerCost
from hwkd.measure.predict.movement import (
    CODING_NS,
    CODING_SD,
    KINDS,
    RATES,
    REFERENCE_NS,
    SCALING,
    SCALING_SD,
    coded,
    moved,
    movement,
)
from hwkd.target import ANY_OF_CLASS, Carried, list_targets, load_target


def layer(name, c_in, c_out, in_values, out_values, operator="conv", kernel=1):
    return LayerCost(
        name=name,
        network=name.partition(".")[0],
        operator=operator,
        c_in=c_in,
        c_out=c_out,
        kernel=kernel,
        stride=1,
        groups=1,
        in_values=in_values,
        out_values=out_values,
        weights=c_in * c_out,
        macs=1,
    )


def test_patches_are_unshuffled_and_branches_are_added():
    # 16x16 pixels of 3 colours as one patch of 768 values; a linear path beside a trunk.
    layers = (
        layer("g_a.linear", 768, 320, 768, 320),
        layer("g_a.stem", 768, 32, 768, 32),
        layer("g_a.head", 32, 320, 32, 320),
    )
    found = movement(layers)
    # The image comes as bytes, and is unshuffled; what the linear path wrote waits for the trunk.
    assert found["g_a.linear"] == {
        "pointwise": 320,
        "convert": 768,
        "blocks": 768,
        "elementwise": 320,
    }
    assert found["g_a.stem"] == {"pointwise": 32}
    # The latents are scaled, rounded and limited.
    assert found["g_a.head"] == {"pointwise": 320, "elementwise": 320}


def test_values_that_stay_while_channels_change_are_shuffled():
    layers = (
        layer("g_s.head", 32, 768, 32, 768),
        layer("g_s.post", 48, 48, 768, 768),
    )
    found = movement(layers)
    # Latents are scaled; before the last layer by 4, behind it by 4 again, and then to bytes.
    assert found["g_s.head"] == {"pointwise": 768, "elementwise": 32}
    assert found["g_s.post"] == {"pointwise": 768, "blocks": 2 * 768, "convert": 768}


def test_a_transposed_convolution_is_exported_with_a_shuffle_behind_it():
    found = movement((layer("g_s.0", 32, 3, 320, 120, "transposed", kernel=5),))
    assert found["g_s.0"] == {
        "requantize": 120,
        "shuffle": 120,
        "convert": 120,
        "elementwise": 320,
    }


def with_one_thread(ns, threads=1, carried=()):
    """The Raspberry Pi 4 with a float MAC of `ns` in one thread, or as if so many had been timed."""
    of = load_target("raspberry-pi-4")
    constants = tuple(
        replace(
            c, threads=threads, carried=carried, ln_ns=dict(c.ln_ns) | {"pointwise": math.log(ns)}
        )
        for c in of.constants
        if c.threads == 1
    )
    return of.cpu, constants


def test_as_fast_a_machine_takes_the_measured_rates():
    cpu, constants = with_one_thread(REFERENCE_NS)
    for kind in KINDS:
        found = moved({kind: 1e6}, cpu, constants, 1)
        assert found.ms == pytest.approx(RATES["onnxruntime"].ns[kind], rel=1e-3)
        assert found.ln_sd == pytest.approx(RATES["onnxruntime"].ln_sd, rel=1e-3)


def test_copies_are_slower_by_the_root_and_uncertain_by_the_other_half():
    cpu, constants = with_one_thread(9 * REFERENCE_NS)
    found = moved({"shuffle": 1e6}, cpu, constants, 4)
    assert found.ms == pytest.approx(RATES["onnxruntime"].ns["shuffle"] * 3 / 2, rel=1e-3)
    variance = RATES["onnxruntime"].ln_sd ** 2 + (math.log(9) ** 2 + math.log(4) ** 2) / 12
    assert found.ln_sd == pytest.approx(math.sqrt(variance), rel=1e-3)


def test_on_a_gpu_movement_takes_its_bandwidth():
    of = load_target("jetson-orin-nano")
    # A million values of fp16 read and written at half of 68 GB/s; requantization runs inside of the layers.
    found = moved({"shuffle": 1e6, "requantize": 5e6}, of.preferred, of.constants, 1)
    assert found.ms == pytest.approx(4e6 / 34e9 * 1e3, rel=1e-9)


def test_of_nothing_and_of_a_machine_nobody_timed_nothing_is_said():
    cpu, constants = with_one_thread(1.0)
    assert moved({}, cpu, constants, 1) is None
    assert moved({"shuffle": 1.0}, cpu, (), 1) is None
    assert coded("encode", 1e5, cpu, ()) is None


def test_the_coder_takes_as_long_as_there_are_latents():
    cpu, constants = with_one_thread(REFERENCE_NS)
    found = coded("decode", 294_912, cpu, constants)
    assert found.ms == pytest.approx(CODING_NS["decode"] * 0.294912, rel=1e-3)


def test_a_class_of_machines_has_the_spread_of_movement_and_coding():
    """Machines of the class are 4 times as slow as the one that was timed, give or take 0.6: movement by the half of it."""
    any_machine = Carried(ANY_OF_CLASS, math.log(4), 0.6, 4, "a table")
    cpu, constants = with_one_thread(REFERENCE_NS, carried=(any_machine,))
    shuffled = moved({"shuffle": 1e6}, cpu, constants, 1)
    code = coded("decode", 1e6, cpu, constants)
    assert shuffled.ms == pytest.approx(RATES["onnxruntime"].ns["shuffle"] * 2, rel=1e-3)
    assert code.ms == pytest.approx(CODING_NS["decode"] * 2, rel=1e-3)
    # A share anywhere between none and all of Normal(ln 4, 0.6^2).
    half2 = math.log(4) ** 2 / 12 + 0.6**2 / 3
    assert shuffled.ln_sd == pytest.approx(
        math.hypot(RATES["onnxruntime"].ln_sd, half2**0.5), rel=1e-3
    )
    assert code.ln_sd == pytest.approx(math.hypot(CODING_SD, half2**0.5), rel=1e-3)


def test_a_step_to_another_runtime_is_none_of_movement():
    runtime = Carried("onnxruntime", math.log(4), 0.6, 4, "a table")
    cpu, constants = with_one_thread(REFERENCE_NS, carried=(runtime,))
    assert coded("decode", 1e6, cpu, constants).ms == pytest.approx(CODING_NS["decode"], rel=1e-3)


def test_threads_do_not_scale_perfectly_where_one_was_not_timed():
    cpu, constants = with_one_thread(REFERENCE_NS, threads=16)
    found = coded("decode", 1e6, cpu, constants)
    ln = SCALING * math.log(16)
    assert found.ms == pytest.approx(CODING_NS["decode"] * math.exp(ln / 2), rel=1e-3)
    half2 = ln**2 / 12 + (SCALING_SD * math.log(16)) ** 2 / 3
    assert found.ln_sd == pytest.approx(math.hypot(CODING_SD, half2**0.5), rel=1e-3)


def test_scaling_with_threads_is_that_of_the_targets_that_ship():
    powers = []
    for name in list_targets():
        of = load_target(name)
        floats = [c for c in of.constants if c.unit == of.cpu.name and c.precision != "int8"]
        if len(floats) == 2:
            most, one = floats
            assert one.threads == 1
            faster = one.ln_ns["pointwise"] - most.ln_ns["pointwise"]
            powers.append(faster / math.log(most.threads))
    assert statistics.mean(powers) == pytest.approx(SCALING, abs=0.01)
    assert statistics.stdev(powers) == pytest.approx(SCALING_SD, abs=0.01)
