"""The options of `hwkd distill`, and a recipe's keys as options."""

import argparse
import shlex
from pathlib import Path
from typing import Any, NoReturn

from hwkd.cli.options import (
    LAST_SEED,
    MOST,
    MOST_CHANNELS,
    above_0,
    add_full_option,
    crop,
    from_0,
    whole,
)
from hwkd.distill.recipe import Recipe, read_recipe, recipe_names
from hwkd.errors import InputError, unknown
from hwkd.report.table import Table

# The options of `hwkd distill`.

DEFAULT_MINUTES = 3.0
"""A demonstration's length; real training says --minutes or --steps."""

TAKES_PLACE_OF = {
    "quality": ("lmbda", "all_rates"),
    "lmbda": ("quality", "all_rates"),
    "all_rates": ("quality", "lmbda"),
    "steps": ("minutes",),
    "minutes": ("steps",),
    "ptq": ("qat_steps",),
}
"""What a recipe says of the others is left out where the command line has the first: they contradict each other."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the options, in groups."""
    what = parser.add_argument_group("what to make")
    what.add_argument(
        "--recipe",
        metavar="NAME",
        help="a shipped recipe, or a .toml file whose keys are options of this command (qat_steps = 150); options "
        "given here win over its own",
    )
    what.add_argument("--recipes", action="store_true", help="list the shipped recipes, and stop")
    add_full_option(parser)
    what.add_argument(
        "--target", metavar="NAME", help="see `hwkd targets`; needed unless a recipe has it"
    )
    what.add_argument(
        "--bits",
        default="8",
        metavar="W[/A]",
        help="bits of weights (2 to 8) and activations (4 to 8): 8, 4/8; none stays in float (default: 8)",
    )
    what.add_argument(
        "--layer-bits",
        action="append",
        default=[],
        metavar="LAYER=W/A",
        help="other bits for some layers, wildcards allowed: 'g_a.0=8/8'; may be given again",
    )
    what.add_argument(
        "--family", metavar="F", help="gdn, relu or patch (default: patch, or that of --start)"
    )
    what.add_argument(
        "--width",
        metavar="N[,N..]",
        help="channels: gdn, relu: N or one for each of three layers; patch: trunk, or one for each block",
    )
    channels = whole(1, MOST_CHANNELS)
    what.add_argument(
        "--latent", type=channels, metavar="M", help="channels of y (default: teacher's)"
    )
    what.add_argument("--hyper", type=channels, metavar="H", help="channels inside h_a and h_s")
    what.add_argument("--hyper-latent", type=channels, metavar="Z", help="channels of z")
    what.add_argument(
        "--post",
        metavar="W[,W..]",
        help="patch: channels inside each deblocking pair, at 1/4 of the resolution (default: one, a quarter of the "
        "trunk's)",
    )
    rate = what.add_mutually_exclusive_group()
    rate.add_argument(
        "--quality",
        type=whole(1, 8),
        metavar="Q",
        help="1 to 8, for CompressAI's lambda of that quality",
    )
    rate.add_argument(
        "--lmbda",
        type=above_0,
        metavar="L",
        help="of bpp + L 255^2 MSE (default: teacher's)",
    )
    rate.add_argument(
        "--all-rates",
        action="store_true",
        help="patch: one student for every quality from 1 to 100 (default where the teacher is one)",
    )
    what.add_argument(
        "--strict", action="store_true", help="refuse a target that would not compute in these bits"
    )
    teach = parser.add_argument_group("who teaches, and how")
    teach.add_argument(
        "--teacher",
        metavar="T",
        help="a shipped model, bmshj2018-hyperprior:5, a checkpoint, a run, recipe:NAME for the run of a recipe "
        "(default: the shipped one)",
    )
    teach.add_argument(
        "--second-teacher", metavar="T", help="the paper's hybrid: z_hat is learnt from this one"
    )
    teach.add_argument(
        "--kd",
        default="latent,output",
        metavar="TERMS",
        help="terms of the distillation, weights after '=': latent=0.2,hyper=0.2,output=0.2; none for none "
        "(default: latent,output: Eq. 1; with hyper: Eq. 2)",
    )
    teach.add_argument(
        "--kd-loss", default="mse", metavar="D", help="mse or kld, for the latents (default: mse)"
    )
    teach.add_argument(
        "--rd-weight",
        type=from_0,
        metavar="W",
        help="of the rate-distortion term (default: 0.6, alone 1)",
    )
    teach.add_argument(
        "--start",
        default="teacher",
        metavar="S",
        help="first weights: teacher, random, a shipped model, or the float student of a run or of recipe:NAME "
        "(default: teacher)",
    )
    how = parser.add_argument_group("training")
    how.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="images: a folder, one of .tar shards as webdataset writes them, or a .tar file; shards are always streamed "
        "(default: embedded photographs)",
    )
    how.add_argument(
        "--stream",
        action="store_true",
        help="read the images of --data while training, where decoded they would not fit in memory",
    )
    how.add_argument(
        "--data-workers",
        type=whole(0, 256),
        metavar="W",
        help="processes that decode what is streamed, for each one that trains; 0: it decodes itself (default: 2, with "
        "fewer than 3 cores all but one)",
    )
    length = how.add_mutually_exclusive_group()
    length.add_argument(
        "--steps", type=whole(0, MOST), metavar="S", help="of the float phase, 0 for none"
    )
    length.add_argument(
        "--minutes",
        type=above_0,
        metavar="M",
        help=f"in place of --steps: as many as fit (default: {DEFAULT_MINUTES:g})",
    )
    how.add_argument(
        "--qat-steps",
        type=whole(0, MOST),
        metavar="S",
        help="of the quantized phase (default: a quarter of --steps)",
    )
    how.add_argument(
        "--ptq", action="store_true", help="quantize after training, do not train in bits"
    )
    how.add_argument(
        "--crop",
        type=crop,
        default=256,
        metavar="PIXELS",
        help="side, a multiple of 64 (default: 256)",
    )
    how.add_argument(
        "--batch",
        type=whole(1, 4096),
        default=4,
        metavar="B",
        help="crops a step, of all processes together (default: 4)",
    )
    how.add_argument(
        "--accumulate",
        type=whole(1, 4096),
        default=1,
        metavar="K",
        help="pass a process's share of the batch in K parts, to save memory; the result is the same (default: 1)",
    )
    how.add_argument(
        "--lr",
        type=above_0,
        default=5e-4,
        metavar="RATE",
        help="peak rate of Adam (default: 5e-4)",
    )
    how.add_argument(
        "--qat-lr",
        type=above_0,
        default=5e-5,
        metavar="RATE",
        help="of the quantized phase (default: 5e-5)",
    )
    how.add_argument(
        "--schedule",
        default="wsd",
        metavar="S",
        help="wsd (warm-up, constant, a linear fall over the last third; may be made longer on --resume), cosine, or the "
        "paper's plateau (default: wsd)",
    )
    how.add_argument(
        "--optimizer",
        default="auto",
        metavar="O",
        help="muon (for matrices, with adam for the rest), adam, or auto: muon for family patch (default: auto)",
    )
    how.add_argument(
        "--precision",
        default="auto",
        metavar="P",
        help="bf16, fp32 or auto, of the float phase (default: auto)",
    )
    how.add_argument(
        "--threads",
        type=whole(1, 4096),
        metavar="T",
        help="of torch on the CPU (default: torch's)",
    )
    how.add_argument(
        "--seed",
        type=whole(0, LAST_SEED),
        default=0,
        metavar="N",
        help="of all chance (default: 0)",
    )
    how.add_argument(
        "--cache-crops",
        type=whole(0, MOST),
        default=0,
        metavar="K",
        help="train on K fixed crops whose teacher outputs are computed once (default: new crops at every step)",
    )
    how.add_argument(
        "--checkpoint-every",
        type=whole(1, MOST),
        default=200,
        metavar="S",
        help="steps between checkpoints (default: 200)",
    )
    out = parser.add_argument_group("output")
    out.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="DIR",
        help="run folder (default: runs/TARGET-FAMILY-BITS, or runs/RECIPE)",
    )
    out.add_argument("--resume", action="store_true", help="continue the run in the output folder")
    out.add_argument("--force", action="store_true", help="start over where the folder holds a run")
    out.add_argument(
        "--evaluate",
        type=Path,
        metavar="DIR",
        help="images of the report, never trained on (default: embedded ones)",
    )


# `hwkd distill --recipe`: a recipe's keys become options, below those of the command line.

RUNS = Path("runs")
"""Where run folders lie unless -o says so."""
OF_RECIPE = "recipe:"
"""In front of the name of a recipe whose run is meant."""
MODELS = ("start", "teacher", "second_teacher")
"""The options that may name a recipe's run."""
NOT_IN_RECIPES = frozenset({"recipe", "recipes", "full", "output", "resume", "force"})
"""Options that say where a run is made and how it is started, not what it makes."""


class _OptionParser(argparse.ArgumentParser):
    """The options of `hwkd distill` for words that stand at `where`; what is wrong with them raises InputError."""

    def __init__(self, where: str) -> None:
        super().__init__(allow_abbrev=False, add_help=False)
        self.where = where
        configure(self)
        self.defaults: dict[str, Any] = vars(self.parse_args([]))

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{self.where}: {message}")

    def given(self, words: list[str]) -> dict[str, Any]:
        """The options that `words` name, without the defaults of others."""
        # argparse leaves alone what a namespace has already; no option's value is None.
        parsed = self.parse_args(words, argparse.Namespace(**dict.fromkeys(self.defaults)))
        return {name: value for name, value in vars(parsed).items() if value is not None}


def with_recipe(args: argparse.Namespace) -> argparse.Namespace:
    """`args` with what its recipe says where the command line says nothing, and the runs of recipes found.

    Raises:
        InputError: no such recipe, a key or value in it that is no option's, or a recipe's run that is not there.
    """
    merged = vars(args)
    if args.recipe is not None:
        recipe = read_recipe(args.recipe)
        typed = _OptionParser("command line").given(args.argv[1:])
        beaten = {beaten for name in typed for beaten in TAKES_PLACE_OF.get(name, ())}
        kept = {name: v for name, v in recipe_options(recipe).items() if name not in beaten}
        merged = {**merged, "output": RUNS / recipe.name, **kept, **typed}
    runs = RUNS if merged["output"] is None else merged["output"].parent
    found = {name: _run_folder(merged[name], runs, merged["data"]) for name in MODELS}
    return argparse.Namespace(**{**merged, **found})


def recipe_options(recipe: Recipe) -> dict[str, Any]:
    """The values of the options that `recipe` sets, as the command line would give them.

    Raises:
        InputError: an unknown key, a value of the wrong type, or one that the option refuses.
    """
    parser = _OptionParser(recipe.where)
    accepted = parser.defaults.keys() - NOT_IN_RECIPES
    words: list[str] = []
    for key, value in recipe.options.items():
        if key not in accepted:
            raise InputError(f"{recipe.where}: {unknown('key', key, {*accepted, 'description'})}")
        words += _words(key, value, parser)
    options = parser.given(words)
    for key, value in recipe.options.items():
        if isinstance(value, str) and isinstance(options.get(key), int | float):
            raise InputError(
                f"{recipe.where}: {key} is a number, got the text {value!r}: write {key} = {options[key]}"
            )
    return options


def _words(key: str, value: object, parser: _OptionParser) -> list[str]:
    """The words that give this option this value on a command line."""
    option, default = f"--{key.replace('_', '-')}", parser.defaults[key]
    if isinstance(default, bool):
        if not isinstance(value, bool):
            parser.error(f"{key} takes true or false, got {value!r}")
        return [option] if value else []
    parts = value if isinstance(value, list) else [value]
    if not all(isinstance(part, str | int | float) and type(part) is not bool for part in parts):
        parser.error(f"{key} takes a text, a number, or an array of these, got {value!r}")
    texts = [str(part) for part in parts]
    if isinstance(default, list):  # an option that may be given again
        return [f"{option}={text}" for text in texts]
    return [f"{option}={','.join(texts)}"]


def _run_folder(text: str | None, runs: Path, data: Path | None) -> str | None:
    """`text`; for recipe:NAME the folder of that recipe's run in `runs`."""
    if text is None or not text.startswith(OF_RECIPE):
        return text
    name = text.removeprefix(OF_RECIPE)
    # Not str(runs / name), which of "." and "patch-q5" makes the name of a shipped teacher.
    folder = f"{runs}/{name}"
    if Path(folder, "config.json").is_file():
        return folder
    is_shipped = name in recipe_names()
    words = ["hwkd", "distill", "--recipe", name if is_shipped else f"{name}.toml"]
    words += ["--data", "DIR" if data is None else str(data), "-o", folder]
    hint = "" if is_shipped else f" ({unknown('shipped recipe', name, recipe_names())})"
    raise InputError(
        f"{text} stands for the run in {folder}, which is not there: make it first, `{shlex.join(words)}`{hint}"
    )


def recipes_table() -> Table:
    """The recipes that ship: what each makes, its steps, and whose runs it needs first."""
    rows = []
    for name in recipe_names():
        recipe = read_recipe(name)
        options = recipe_options(recipe)
        steps = [f"{options[key]:,}" for key in ("steps", "qat_steps") if options.get(key)]
        runs = [str(options.get(key, "")) for key in MODELS]
        needed = [text.removeprefix(OF_RECIPE) for text in runs if text.startswith(OF_RECIPE)]
        rows.append((name, recipe.description, " + ".join(steps), ", ".join(needed) or "nothing"))
    notes = (
        "steps: of the float phase + of the quantized phase.",
        f"needs: runs of other recipes, looked for beside the new one ({RUNS}/NAME unless -o says so).",
        "Make one: hwkd distill --recipe NAME --data DIR; options given beside it win over the recipe's.",
    )
    columns = ("recipe", "makes", "steps", "needs")
    return Table("Recipes", columns, tuple(rows), notes, ("steps",))
