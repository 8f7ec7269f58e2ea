"""Runs made from recipes: the same as their options typed out, repeatable, resumable, and one built on another."""

import json
import shlex

import pytest

from hwkd.distill.run_folder import read_config

# The embedded photographs train.
RECIPE = """
description = "a student of two steps"
target = "jetson-nano"
bits = "4/8"
family = "relu"
width = [8, 8, 8]
teacher = "TEACHER"
kd = "latent,output"
start = "random"
steps = 2
qat_steps = 1
lr = 3e-4
crop = 64
batch = 2
seed = 5
threads = 1
checkpoint_every = 1
"""
TYPED = (
    "--target jetson-nano --bits 4/8 --family relu --width 8,8,8 --kd latent,output --start random --steps 2 "
    "--qat-steps 1 --lr 3e-4 --crop 64 --batch 2 --seed 5 --threads 1 --checkpoint-every 1"
)


@pytest.fixture(scope="module")
def recipe(place):
    path = place.folder / "tiny.toml"
    path.write_text(RECIPE.replace("TEACHER", str(place.teacher)))
    return path


@pytest.fixture(scope="module")
def words(place, recipe):
    return ["distill", "--recipe", recipe, "--evaluate", f"{place.folder}/others"]


@pytest.fixture(scope="module")
def run(place, hwkd, words):
    """The run folder of the recipe."""
    folder = place.folder / "tiny"
    assert hwkd([*words, "-o", folder]) == 0
    return folder


def test_the_options_typed_out_make_the_same_run(run, place, hwkd, same_weights):
    folder = place.folder / "typed"
    typed = ["--teacher", place.teacher, "--evaluate", f"{place.folder}/others", "-o", folder]
    assert hwkd(["distill", *shlex.split(TYPED), *typed]) == 0
    assert (folder / "config.json").read_bytes() == (run / "config.json").read_bytes()
    assert same_weights(run, folder)


@pytest.mark.slow
def test_the_command_of_the_report_makes_the_same_run_from_the_recipe(
    run, recipe, hwkd, same_weights
):
    line = json.loads((run / "report.json").read_text())["command"]
    assert line.startswith(f"hwkd distill --recipe {recipe} ")
    assert hwkd(shlex.split(line)[1:]) == 0
    again = run.with_name("tiny-again")
    assert (again / "config.json").read_bytes() == (run / "config.json").read_bytes()
    assert same_weights(run, again)


def test_a_finished_run_is_resumed_with_its_recipe(run, hwkd, words):
    before = (run / "student.safetensors").read_bytes()
    assert hwkd([*words, "-o", run, "--resume"]) == 0
    assert (run / "student.safetensors").read_bytes() == before


def test_a_recipe_that_changed_is_told_on_resume(run, hwkd, words, capsys):
    assert hwkd([*words, "-o", run, "--resume", "--seed", "6"]) == 2
    assert "seed was 5, is now 6" in capsys.readouterr().err


def test_one_recipe_starts_from_the_run_of_another(run, place, hwkd):
    path = place.folder / "next.toml"
    path.write_text(
        'target = "jetson-nano"\nbits = "none"\nstart = "recipe:tiny"\nteacher = "recipe:tiny"\n'
        'kd = "none"\nsteps = 1\nlmbda = 0.01\ncrop = 64\nbatch = 2\nthreads = 1\n'
    )
    folder = place.folder / "next"
    words = ("--recipe", path, "--evaluate", f"{place.folder}/others", "-o", folder)
    assert hwkd(["distill", *words]) == 0
    config = read_config(folder)
    assert config.spec == read_config(run).spec
    assert (config.start, config.teacher) == ("run tiny (float)", "tiny (float)")
    assert config.lmbda == 0.01
