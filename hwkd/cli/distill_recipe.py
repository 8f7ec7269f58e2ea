"""`hwkd distill --recipe`: a recipe's keys become options, below those of the command line."""

import argparse
import shlex
from pathlib import Path
from typing import Any, NoReturn

from hwkd.cli.distill_options import TAKES_PLACE_OF, configure
from hwkd.distill.recipe import Recipe, read_recipe, recipe_names
from hwkd.errors import InputError, unknown
from hwkd.report.table import Table

RUNS = Path("runs")
"""Where run folders lie unless -o says so."""
OF_RECIPE = "recipe:"
"""In front of the name of a recipe whose run is meant."""
MODELS = ("start", "teacher", "second_teacher")
"""The options that may name a recipe's run."""
NOT_IN_RECIPES = frozenset({"recipe", "recipes", "output", "resume", "force"})
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
    return Table("Recipes", ("recipe", "makes", "steps", "needs"), tuple(rows), notes)
