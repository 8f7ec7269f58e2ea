"""`hwkd distill --recipe`: what a recipe's keys become, what is refused, and that the shipped ones are sound."""

import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hwkd.cli.main import build_parser
from hwkd.distill.options import DistillOptions
from hwkd.distill.recipe import recipe_names, with_recipe
from hwkd.models.spec import HyperpriorSpec, PatchSpec


def options(*words):
    """What `hwkd distill WORDS` amounts to, its recipe applied."""
    args = build_parser().parse_args(["distill", *(str(word) for word in words)])
    return with_recipe(DistillOptions.given_in(args))


@pytest.fixture
def write(tmp_path):
    """write(text): a recipe file of this content."""

    def recipe(text):
        path = tmp_path / "mine.toml"
        path.write_text(text)
        return path

    return recipe


EVERY_KIND = """
description = "a recipe with a key of every kind"
target = "x86-avx2"
bits = "4/8"
layer_bits = ["g_a.0=8/8", "g_s.*=6"]
family = "relu"
width = [8, 16, 24]
hyper = 12
quality = 3
strict = true
kd = "none"
rd_weight = 1
lr = 3e-4
ptq = false
data = "photos"
"""


def test_every_kind_of_key_becomes_what_the_option_gives(write):
    args = options("--recipe", write(EVERY_KIND))
    typed = options(
        *("--target", "x86-avx2", "--bits", "4/8", "--family", "relu", "--width", "8,16,24"),
        *("--layer-bits", "g_a.0=8/8", "--layer-bits", "g_s.*=6", "--hyper", 12, "--quality", 3),
        *("--strict", "--kd", "none", "--rd-weight", 1, "--lr", "0.0003", "--data", "photos"),
        *("-o", "runs/mine"),
    )
    assert replace(args, recipe=None) == typed


def test_a_number_is_taken_where_a_text_may_stand(write):
    args = options("--recipe", write("bits = 6\nwidth = 48\npost = 12\n"))
    assert (args.bits, args.width, args.post) == ("6", "48", "12")


def test_an_empty_recipe_changes_nothing_but_the_output(write):
    args = options("--recipe", write(""), "--target", "x86-vnni")
    plain = options("--target", "x86-vnni", "-o", "runs/mine")
    assert replace(args, recipe=None) == plain


@pytest.mark.parametrize(
    ("text", "words", "expected"),
    [
        ("batch = 8", ("--batch", 2), {"batch": 2}),
        # A default that is typed out is given all the same.
        ("batch = 8", ("--batch", 4), {"batch": 4}),
        ("seed = 3", ("--seed", 0), {"seed": 0}),
        ('layer_bits = ["g_a.0=8/8"]', ("--layer-bits", "g_s.*=6"), {"layer_bits": ("g_s.*=6",)}),
        ("quality = 5", ("--lmbda", 0.01), {"quality": None, "lmbda": 0.01}),
        ("lmbda = 0.01", ("--quality", 2), {"quality": 2, "lmbda": None}),
        ("steps = 10", ("--minutes", 1), {"steps": None, "minutes": 1}),
        ("minutes = 2", ("--steps", 0), {"steps": 0, "minutes": None}),
        ("qat_steps = 10", ("--ptq",), {"ptq": True, "qat_steps": None}),
        # The command in a report gives the steps that were made, of which --ptq makes none.
        ("ptq = true", ("--qat-steps", 0), {"ptq": True, "qat_steps": 0}),
        ('target = "x86-avx2"', ("--target", "x86-vnni"), {"target": "x86-vnni"}),
        ("", ("-o", "here/run"), {"output": Path("here/run")}),
        ("", (), {"output": Path("runs/mine")}),
    ],
)
@pytest.mark.parametrize("is_first", [True, False])
def test_the_command_line_wins(write, text, words, expected, is_first):
    recipe = ("--recipe", write(text))
    args = options(*recipe, *words) if is_first else options(*words, *recipe)
    assert {name: getattr(args, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("qat-steps = 1", "unknown key 'qat-steps': did you mean qat_steps"),
        ("widht = 1", "unknown key 'widht': did you mean width"),
        ('output = "x"', "unknown key 'output'"),
        ("resume = true", "unknown key 'resume'"),
        ("force = true", "unknown key 'force'"),
        ('recipe = "x"', "unknown key 'recipe'"),
        ("recipes = true", "unknown key 'recipes'"),
        ("help = true", "unknown key 'help'"),
        ("[more]\nsteps = 1", "unknown key 'more'"),
        ("batch = 0", "argument --batch: must be a whole number, 1 to 4096, got '0'"),
        ("batch = 2.5", "argument --batch: must be a whole number, 1 to 4096, got '2.5'"),
        ("steps = -1", "argument --steps: must be a whole number, 0 or more, got '-1'"),
        ("lr = nan", "argument --lr: must be a number above 0, got 'nan'"),
        ("lr = inf", "argument --lr: must be a number above 0, got 'inf'"),
        ("quality = 9", "argument --quality: must be a whole number, 1 to 8, got '9'"),
        (
            "quality = 3\nlmbda = 0.01",
            "argument --lmbda: not allowed with argument --quality",
        ),
        ('steps = "800"', "steps is a number, got the text '800': write steps = 800"),
        ('lr = "1e-4"', "lr is a number, got the text '1e-4': write lr = 0.0001"),
        ("ptq = 1", "ptq takes true or false, got 1"),
        ('ptq = "true"', "ptq takes true or false, got 'true'"),
        ("steps = true", "steps takes a text, a number, or an array of these, got True"),
        ("width = [true]", "width takes a text, a number, or an array of these, got [True]"),
        ("steps = {a = 1}", "steps takes a text, a number, or an array of these, got {'a': 1}"),
        ("steps = [1, 2]", "argument --steps: must be a whole number, 0 or more, got '1,2'"),
        ("seed = 1979-05-27", "seed takes a text, a number, or an array of these, got "),
    ],
)
def test_a_wrong_recipe_is_told_in_one_line(refused, write, text, message):
    path = write(text)
    assert refused(["distill", "--recipe", path]).startswith(f"{path}: {message}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('target = "x86"', "unknown target 'x86': did you mean x86-"),
        ('target = "x86-avx2"\nfamily = "pach"', "unknown family 'pach': did you mean patch?"),
        ('target = "x86-avx2"\nwidth = 0', "--width takes 1 to 4096 channels each, got '0'"),
        ('target = "x86-avx2"\npost = "a"', "--post 'a' is not a list of channel counts: "),
        ('target = "x86-avx2"\nbits = 9', "9 bits for the weights is out of range; "),
        ("steps = 1", "no target is given: name one with --target (see `hwkd targets`), or a "),
    ],
)
def test_names_and_bits_are_refused_as_those_of_options(refused, write, text, message):
    assert refused(["distill", "--recipe", write(text)]).startswith(message)


def test_an_unknown_recipe_points_to_the_list(refused):
    error = refused(["distill", "--recipe", "gdn-17"])
    assert error.startswith("unknown recipe (NAME, or FILE.toml) 'gdn-17': did you mean gdn-1")
    assert error.endswith("(see `hwkd distill --recipes`)")


class TestRunsOfRecipes:
    def test_they_lie_beside_the_output(self, write, tmp_path):
        (tmp_path / "base").mkdir()
        (tmp_path / "base/config.json").touch()
        recipe = write('start = "recipe:base"\nteacher = "recipe:base"\n')
        args = options("--recipe", recipe, "-o", tmp_path / "run")
        assert args.start == args.teacher == f"{tmp_path}/base"

    def test_they_lie_in_runs_by_default(self, monkeypatch, tmp_path):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "runs/patch-large").mkdir(parents=True)
        (tmp_path / "runs/patch-large/config.json").touch()
        args = options("--recipe", "patch-small")
        assert args.teacher == "runs/patch-large"
        assert options("--start", "recipe:patch-large").start == "runs/patch-large"

    def test_a_run_in_this_folder_is_not_taken_for_a_shipped_teacher(self, monkeypatch, tmp_path):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "patch-q5").mkdir()
        (tmp_path / "patch-q5/config.json").touch()
        assert options("--teacher", "recipe:patch-q5", "-o", "run").teacher == "./patch-q5"

    def test_a_missing_one_comes_with_the_command_that_makes_it(self, refused, tmp_path):
        folder = f"{tmp_path}/patch-large"
        words = ("--data", "my photos", "-o", f"{tmp_path}/run")
        error = refused(["distill", "--recipe", "patch-small", *words])
        assert error == (
            f"recipe:patch-large stands for the run in {folder}, which is not there: make it first, "
            f"`hwkd distill --recipe patch-large --data 'my photos' -o {folder}`, or give another --teacher"
        )
        command = error.split("`")[1]
        made = options(*shlex.split(command)[2:])
        assert (made.output, made.data) == (Path(folder), Path("my photos"))

    def test_a_missing_one_of_a_recipe_that_does_not_ship(self, refused, tmp_path):
        words = ("--target", "x86-avx2", "--start", "recipe:patch-smal", "-o", tmp_path / "run")
        error = refused(["distill", *words])
        assert error.startswith(
            f"recipe:patch-smal stands for the run in {tmp_path}/patch-smal, which is not there: make it "
            f"first, `hwkd distill --recipe patch-smal.toml --data DIR -o {tmp_path}/patch-smal` "
            "(unknown shipped recipe 'patch-smal': did you mean patch-small"
        )


SIZES = {
    # channels of the trunk, its blocks, inside h_a and h_s, and of z
    "large": (160, 4, 64),
    "medium": (96, 3, 48),
    "small": (32, 3, 24),
}
TEACHERS = ("patch-q5", "hyperprior-64", "hyperprior-128")


def _described():
    """Each shipped recipe with its student and lambda, as the models are known to be."""
    for size, (C, blocks, H) in SIZES.items():
        spec = PatchSpec(320, H, H, C, (C,) * blocks, (C // 4,), 5, (48, 96), 1)
        yield f"patch-{size}", spec, None
    for family, N in (("gdn", 64), ("gdn", 32), ("gdn", 16), ("relu", 64), ("relu", 32)):
        yield f"{family}-{N}", HyperpriorSpec(family, (N, N, N), 192, N, N), 0.025
    yield "hyperprior-64", HyperpriorSpec("gdn", (64, 64, 64), 192, 64, 64), 0.025
    yield "hyperprior-128", HyperpriorSpec("gdn", (128, 128, 128), 192, 128, 128), 0.025
    yield "patch-q5", PatchSpec(192, 96, 64, 192, (192,) * 5, (48, 48)), 0.025


DESCRIBED = tuple(_described())


@pytest.fixture(scope="module")
def teacher():
    from hwkd.models.teacher import load_teacher

    return load_teacher("patch-q5")


@pytest.mark.parametrize(("name", "spec", "lmbda"), DESCRIBED, ids=lambda v: str(v)[:20])
def test_a_shipped_recipe_describes_a_student(name, spec, lmbda, teacher, photo, tmp_path):
    from hwkd.cli.training.distill import Start, loss_weights, planned, run_config
    from hwkd.distill.data import ImageSet
    from hwkd.distill.distributed import ALONE
    from hwkd.models.build import build

    start = Start(None, "random", "")
    taught = {"patch-medium": "patch-large", "patch-small": "patch-large"}.get(name)
    base = {"gdn-64": "hyperprior-64"}.get(name)
    for run in {taught, base} - {None}:
        (tmp_path / run).mkdir()
        (tmp_path / run / "config.json").touch()
    if base is not None:
        start = Start(None, f"run {base} (float)", "0" * 64, spec)
    args = options("--recipe", name, "-o", tmp_path / name)
    assert args.start == (f"{tmp_path}/{base}" if base else args.start)
    assert args.teacher == (f"{tmp_path}/{taught}" if taught else args.teacher)
    args.check()
    images = ImageSet("made in code", (("a", photo(64, 64, 0)),), (), ())
    bits, loss = planned(args).bits, loss_weights(args)
    config = run_config(args, bits, loss, teacher, None, images, start, ALONE)
    assert (config.spec, config.lmbda) == (spec, lmbda)
    assert (config.bits is None) == (name in TEACHERS)
    assert config.loss.needs_teacher == (args.teacher is not None)
    parameters = sum(p.numel() for p in build(config.spec).parameters())
    assert parameters > 50_000


def test_the_recipe_of_the_shipped_teacher_is_that_of_its_card():
    from hwkd.models.shipped import read_card

    card = read_card("patch-q5")
    assert options("--recipe", "patch-q5").steps == card.steps == 13891
    assert next(spec for name, spec, _ in DESCRIBED if name == "patch-q5") == card.spec


def test_every_shipped_recipe_is_described_above():
    assert {name for name, _, _ in DESCRIBED} == set(recipe_names())


def test_recipes_lists_them_without_torch():
    program = (
        "import sys\nfrom hwkd.cli.main import main\n"
        "main(['distill', '--recipes'])\nprint('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    *table, has_torch = done.stdout.splitlines()
    assert has_torch == "False"
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in table if "│" in line]
    by_name = {row[0]: row[1:] for row in cells}
    assert by_name.keys() == set(recipe_names())
    assert all(makes for makes, _, _ in by_name.values())
    assert by_name["patch-medium"][1:] == ["50,000 + 4,000", "patch-large"]
    assert by_name["hyperprior-128"][1:] == ["4,000,000", "nothing"]
