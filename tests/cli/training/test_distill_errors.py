"""What `hwkd distill` refuses of its options: one line, exit code 2, nothing written."""

import pytest

from hwkd.models.shipped import shipped_names

HELP = " (see `hwkd distill --help`)"
FORM = "is not a number of bits; give one number for both as 8, or WEIGHTS/ACTIVATIONS as 4/8"
WEIGHTS = "weights take 2 to 8 bits (--bits WEIGHTS/ACTIVATIONS, as 4/8)"
ACTIVATIONS = "activations take 4 to 8 bits (--bits WEIGHTS/ACTIVATIONS, as 4/8)"
WHOLE_0 = "must be a whole number, 0 or more, got"
ABOVE_0 = "must be a number above 0, got"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--family", "pach"),
            "unknown family 'pach': did you mean patch? Known: gdn, patch, relu",
        ),
        (("--family", "x"), "unknown family 'x': known are gdn, patch, relu"),
        (
            ("--kd", "latnt,output"),
            "unknown --kd term 'latnt': did you mean latent? Known: hyper, latent, none, output",
        ),
        (
            ("--kd", "latent=much"),
            "--kd: the weight of latent is not a number: 'much'; give latent=0.2, say",
        ),
        (("--kd", "latent=nan"), "--kd: the weight of latent must be 0 or more, got nan"),
        (("--kd", "latent=-1"), "--kd: the weight of latent must be 0 or more, got -1"),
        (
            ("--kd", "none", "--rd-weight", "0"),
            "every term of the loss has weight 0: nothing would be learnt",
        ),
        (("--kd-loss", "mae"), "unknown --kd-loss 'mae': did you mean mse? Known: kld, mse"),
        (
            ("--schedule", "cosin"),
            "unknown --schedule 'cosin': did you mean cosine? Known: cosine, plateau, wsd",
        ),
        (
            ("--precision", "fp16"),
            "unknown --precision 'fp16': did you mean bf16 or fp32? Known: auto, bf16, fp32",
        ),
        (("--bits", "9"), f"9 bits for the weights is out of range; {WEIGHTS}"),
        (("--bits", "1"), f"1 bits for the weights is out of range; {WEIGHTS}"),
        (("--bits", "8/3"), f"3 bits for the activations is out of range; {ACTIVATIONS}"),
        (("--bits", "8/9"), f"9 bits for the activations is out of range; {ACTIVATIONS}"),
        (("--bits", "abc"), f"--bits 'abc' {FORM}"),
        (("--bits", "8/8/8"), f"--bits '8/8/8' {FORM}"),
        (("--bits", "-8"), f"--bits '-8' {FORM}"),
        (
            ("--bits", "none", "--layer-bits", "g_a.*=8"),
            "--layer-bits needs bits, got --bits none; give --bits 8, say",
        ),
        (
            ("--bits", "none", "--ptq", "--qat-steps", "0"),
            "--ptq quantizes, --bits none does not: leave one out",
        ),
        (
            ("--bits", "none", "--qat-steps", "0", "--strict"),
            "--strict needs bits to be strict about: got --bits none; give --bits 8",
        ),
        (
            ("--ptq",),
            "--qat-steps 2 does not go with --ptq, which has no quantized phase: leave one out",
        ),
        (
            ("--layer-bits", "g_a.stem"),
            "--layer-bits 'g_a.stem' is not LAYER=BITS; "
            "give a layer's name or pattern and its bits, as g_a.0=8/8",
        ),
        (
            ("--layer-bits", "g_a.*=9"),
            f"9 bits for the weights of g_a.* is out of range; {WEIGHTS}",
        ),
        (("--quality", "9"), f"argument --quality: must be a whole number, 1 to 8, got '9'{HELP}"),
        (("--lmbda", "0"), f"argument --lmbda: {ABOVE_0} '0'{HELP}"),
        (("--lmbda", "nan"), f"argument --lmbda: {ABOVE_0} 'nan'{HELP}"),
        (("--lmbda", "inf"), f"argument --lmbda: {ABOVE_0} 'inf'{HELP}"),
        (
            ("--lmbda", "0.01", "--quality", "3"),
            f"argument --quality: not allowed with argument --lmbda{HELP}",
        ),
        (("--lr", "nan"), f"argument --lr: {ABOVE_0} 'nan'{HELP}"),
        (("--lr", "fast"), f"argument --lr: {ABOVE_0} 'fast'{HELP}"),
        (("--qat-lr=-1",), f"argument --qat-lr: {ABOVE_0} '-1'{HELP}"),
        (
            ("--rd-weight", "nan"),
            f"argument --rd-weight: must be a number, 0 or more, got 'nan'{HELP}",
        ),
        (("--minutes", "5"), f"argument --minutes: not allowed with argument --steps{HELP}"),
        (("--steps=-1",), f"argument --steps: {WHOLE_0} '-1'{HELP}"),
        (("--steps", "1.5"), f"argument --steps: {WHOLE_0} '1.5'{HELP}"),
        (("--qat-steps=-1",), f"argument --qat-steps: {WHOLE_0} '-1'{HELP}"),
        (("--batch", "0"), f"argument --batch: must be a whole number, 1 to 4096, got '0'{HELP}"),
        (
            ("--threads", "0"),
            f"argument --threads: must be a whole number, 1 to 4096, got '0'{HELP}",
        ),
        (
            ("--seed=-1",),
            f"argument --seed: must be a whole number, 0 to 4294967295, got '-1'{HELP}",
        ),
        (
            ("--checkpoint-every", "0"),
            f"argument --checkpoint-every: must be a whole number, 1 or more, got '0'{HELP}",
        ),
        (
            ("--cache-crops", "1"),
            "--cache-crops 1 is less than a batch: give 2 (--batch) or more, or 0",
        ),
        (
            ("--crop", "100"),
            "argument --crop: must be a multiple of 64 (the stride of z), got '100'; "
            f"try 64 or 128{HELP}",
        ),
        (("--crop", "0"), f"argument --crop: must be a whole number, 64 or more, got '0'{HELP}"),
        (
            ("--width", "wide"),
            "--width 'wide' is not a list of channel counts: give 64, or 32,48,64",
        ),
        (("--width", "16,0"), "--width takes 1 to 4096 channels each, got '16,0'"),
        (("--post", "0"), "--post takes 1 to 4096 channels each, got '0'"),
        (
            ("--family", "relu", "--post", "8"),
            "--post is for family patch, family relu has no deblocking pairs: leave it out",
        ),
        (
            ("--family", "gdn", "--width", "8,8"),
            "family gdn takes one width or three (--width 64 or --width 32,48,64), got 2",
        ),
        (
            ("--latent", "0"),
            f"argument --latent: must be a whole number, 1 to 4096, got '0'{HELP}",
        ),
        (
            ("--start", "techer"),
            "--start 'techer' is no run folder: "
            f"give teacher, random, recipe:NAME, a shipped model ({', '.join(shipped_names())}), "
            "or a folder that `hwkd distill` wrote",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_wrong_option_is_told_in_one_line(refused, distill_argv, words, message):
    assert refused([*distill_argv, *words]) == message


@pytest.mark.parametrize("value", ["nan", "inf", "0", "-3", "soon"])
def test_minutes_must_be_a_finite_number_above_0(refused, value):
    error = refused(["distill", "--target", "jetson-nano", f"--minutes={value}"])
    assert error == f"argument --minutes: {ABOVE_0} '{value}'{HELP}"


def test_no_target_is_told_with_where_to_look(refused):
    assert refused(["distill", "--bits", "8"]) == (
        "no target is given: name one with --target (see `hwkd targets`), or a --recipe that has one"
    )


def test_an_unknown_target_suggests_and_points_to_the_list(refused, distill_argv):
    error = refused([*distill_argv, "--target", "jetson-nanno"])
    assert error.startswith("unknown target 'jetson-nanno': did you mean jetson-nano or ")
    assert error.endswith("(see `hwkd targets`)")


def test_strict_refuses_a_board_whose_gpu_has_no_int8(refused, distill_argv):
    error = refused([*distill_argv, "--strict"])
    assert error.startswith(
        "--strict: target jetson-nano cannot compute in int8 on its gpu "
        '(TensorRT prints "Int8 support: 0"; '
    )
    assert "drop --strict to run there in fp16 with weights stored in 8 bits" in error


def test_a_pattern_that_matches_no_layer_is_told_before_training(refused, distill_argv):
    error = refused([*distill_argv, "--layer-bits", "g_b.*=8/8"])
    assert error.startswith("no layer matches 'g_b.*'; this model's layers are g_a.linear, ")
    assert error.endswith("; wildcards as in 'g_s.*' are accepted")


def test_a_second_teacher_without_the_term_it_teaches_is_refused(
    refused, distill_argv, tiny_teacher_file
):
    error = refused([*distill_argv, "--second-teacher", tiny_teacher_file])
    assert error == (
        "--second-teacher teaches z_hat, but --kd latent,output has no hyper term: "
        "give --kd latent,hyper,output"
    )


def test_unknown_teachers_suggest_near_ones(refused, distill_argv):
    error = refused([*distill_argv, "--teacher", "bmshj2018-hyperprio"])
    assert error.startswith(
        "unknown teacher 'bmshj2018-hyperprio': did you mean bmshj2018-hyperprior or hyperprior-64? "
    )
    assert error.endswith("(see `hwkd models`)")
    words = ["--kd", "latent,hyper", "--second-teacher", "mbt2018-mena"]
    assert "unknown teacher 'mbt2018-mena': did you mean mbt2018-mean? " in refused(
        [*distill_argv, *words]
    )


def test_an_unknown_backend_suggests_the_near_one(refused):
    error = refused(["quantize", "runs/none", "--backend", "torchoa"])
    assert error.startswith("unknown backend 'torchoa': did you mean torchao")
    assert error.endswith("Known: brevitas, torchao, torchao-pt2e")
