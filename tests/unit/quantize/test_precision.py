from dataclasses import replace

import pytest

from hwkd.errors import InputError
from hwkd.quantize.precision import plan_precision
from hwkd.target import load_target


def plan(name, weight_bits=8, act_bits=8, family="gdn", strict=False):
    return plan_precision(load_target(name), weight_bits, act_bits, family=family, strict=strict)


def by_place(plan_):
    return {
        (e.network, e.unit): (e.arithmetic, e.weight_storage_bits, e.is_preferred)
        for e in plan_.entries
    }


def test_jetson_nano_runs_fp16_on_the_gpu_and_offers_int8_on_the_cores():
    assert by_place(plan("jetson-nano")) == {
        ("encoder", "gpu"): ("fp16", 8, True),
        ("encoder", "cpu"): ("int8", 8, False),
        ("hyper", "cpu"): ("integers in fp32", 8, True),
        ("decoder", "gpu"): ("fp16", 8, True),
        ("decoder", "cpu"): ("int8", 8, False),
    }


def test_jetson_nano_says_so_in_one_sentence():
    assert plan("jetson-nano").notes[0] == (
        'The gpu of jetson-nano has no int8 arithmetic (TensorRT prints "Int8 support: 0"; forced '
        "int8 ran at half the fp16 speed), so encoder and decoder run there in fp16 with weights "
        "stored in 8 bits and dequantized when loaded, and int8 arithmetic is offered on the cpu "
        "(4x Cortex-A57)."
    )


def test_jetson_nano_exports_fp16_onnx_at_opset_13_with_its_trtexec_lines():
    export = plan("jetson-nano").export
    assert (export.runtime, export.opset, export.arithmetic) == ("tensorrt", 13, "fp16")
    assert export.commands == (
        "trtexec --onnx=encoder.onnx --saveEngine=encoder.engine --fp16",
        "trtexec --onnx=decoder.onnx --saveEngine=decoder.engine --fp16",
    )
    assert any(export.commands[0] in note for note in plan("jetson-nano").notes)


def test_jetson_nano_warns_of_python_3_6():
    assert any("stops at Python 3.6" in note for note in plan("jetson-nano").notes)


def test_strict_refuses_jetson_nano_and_names_a_board_with_int8():
    with pytest.raises(InputError) as caught:
        plan("jetson-nano", strict=True)
    assert str(caught.value) == (
        "--strict: target jetson-nano cannot compute in int8 on its gpu (TensorRT prints "
        '"Int8 support: 0"; forced int8 ran at half the fp16 speed); drop --strict to run there '
        "in fp16 with weights stored in 8 bits, or --target jetson-orin-nano"
    )


@pytest.mark.parametrize(
    "name",
    [
        "jetson-orin-nano",
        "jetson-agx-orin",
        "jetson-xavier-nx",
        "raspberry-pi-4",
        "raspberry-pi-5",
        "arm-server",
        "x86-vnni",
    ],
)
def test_strict_accepts_targets_with_int8_on_the_preferred_unit(name):
    strict = plan(name, strict=True)
    assert strict == plan(name)
    for network in ("encoder", "decoder"):
        assert strict.preferred(network).arithmetic == "int8"
        assert strict.preferred(network).weight_storage_bits == 8


def test_int8_on_a_gpu_is_built_with_fp16_for_the_rest():
    assert plan("jetson-orin-nano").export.commands[0].endswith("--int8 --fp16")


def test_runtimes_that_read_onnx_need_no_command():
    assert plan("x86-vnni").export.commands == ()
    assert plan("raspberry-pi-4").export.runtime == "onnxruntime"


def test_without_vnni_weights_are_held_to_7_bits():
    avx2 = plan("x86-avx2")
    assert avx2.preferred("encoder").weight_storage_bits == 7
    assert avx2.preferred("decoder").arithmetic == "int8"
    assert avx2.preferred("hyper").weight_storage_bits == 8
    assert "`hwkd distill --bits 7/8`" in avx2.notes[0]


def test_two_products_of_8_bit_weights_leave_int16_and_of_7_bit_ones_do_not():
    # vpmaddubsw adds two products of unsigned and signed bytes in saturating int16.
    assert 2 * 255 * 127 > 2**15 - 1 >= 2 * 255 * 64
    assert load_target("x86-avx2").cpu.quantization.weight_bits == 7


def test_strict_refuses_8_bit_weights_without_vnni():
    with pytest.raises(InputError, match=r"at most 7 bits, got 8 .*try --bits 7/8, drop --strict"):
        plan("x86-avx2", strict=True)


def test_strict_accepts_7_bit_weights_without_vnni():
    avx2 = plan("x86-avx2", weight_bits=7, strict=True)
    assert avx2.preferred("encoder").weight_storage_bits == 7
    assert not any("at most 7 bits" in note for note in avx2.notes)


def test_fewer_than_8_bits_only_save_storage():
    four = plan("raspberry-pi-5", weight_bits=4)
    assert four.preferred("encoder").arithmetic == "int8"
    assert four.preferred("encoder").weight_storage_bits == 4
    assert any("compute in int8: fewer bits only save storage" in note for note in four.notes)
    assert not any("only save storage" in note for note in plan("raspberry-pi-5").notes)


def test_gdn_stays_in_float_in_its_family_only():
    assert plan("x86-vnni").preferred("encoder").float_operations == ("GDN",)
    assert any("GDN (square" in note and "in float" in note for note in plan("x86-vnni").notes)
    for family in ("relu", "patch"):
        other = plan("x86-vnni", family=family)
        assert other.preferred("encoder").float_operations == ()
        assert not any("GDN" in note for note in other.notes)


def test_where_all_is_float_no_operation_is_told_apart():
    assert plan("jetson-nano").preferred("encoder").float_operations == ()


@pytest.mark.parametrize(("family", "is_told"), [("gdn", True), ("relu", True), ("patch", False)])
def test_onnxruntime_gets_no_transposed_convolution(family, is_told):
    notes = plan("raspberry-pi-4", family=family).notes
    assert any("DepthToSpace" in note for note in notes) == is_told
    assert not any("DepthToSpace" in note for note in plan("x86-vnni", family=family).notes)


@pytest.mark.parametrize("name", ["jetson-nano", "jetson-agx-orin", "x86-avx2"])
def test_the_entropy_path_is_always_exact_integers_on_the_cpu(name):
    (hyper,) = (entry for entry in plan(name, weight_bits=4).entries if entry.network == "hyper")
    assert (hyper.unit, hyper.arithmetic, hyper.weight_storage_bits) == (
        "cpu",
        "integers in fp32",
        4,
    )


def test_a_cpu_without_int8_falls_back_to_its_best_float():
    pi = load_target("raspberry-pi-4")
    none = replace(pi.cpu.arithmetic.int8, unknown="", none="no such thing")
    unit = replace(pi.cpu, arithmetic=replace(pi.cpu.arithmetic, int8=none), quantization=None)
    bare = plan_precision(replace(pi, units=(unit,)), 8, 8, family="relu")
    assert bare.preferred("decoder").arithmetic == "fp32"
    assert bare.notes[0].endswith("dequantized when loaded.")


@pytest.mark.parametrize(("weight_bits", "act_bits"), [(1, 8), (9, 8), (8, 32)])
def test_bits_that_no_quantizer_takes_are_refused(weight_bits, act_bits):
    with pytest.raises(InputError, match="bits"):
        plan("x86-vnni", weight_bits, act_bits)


def test_an_unknown_family_is_refused():
    with pytest.raises(InputError, match="unknown family 'gdm': did you mean gdn"):
        plan("x86-vnni", family="gdm")


def test_sentences_hold_every_entry_and_every_note():
    nano = plan("jetson-nano")
    assert len(nano.sentences()) == len(nano.entries) + len(nano.notes)
    assert nano.sentences()[0].startswith("encoder on gpu: fp16, weights stored in 8 bits; no int8")
    assert "encoder on cpu, if asked for: int8, GDN in float" in nano.sentences()[1]
