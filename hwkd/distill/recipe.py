"""Recipes: the options of `hwkd distill` that make one model, in a TOML file. Shipped recipes are in recipes/."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwkd.distill.options import DistillOptions
from hwkd.errors import InputError, unknown
from hwkd.files import in_home
from hwkd.schema import parse_toml

RECIPES = Path(__file__).resolve().parent / "recipes"
SUFFIX = ".toml"
DESCRIPTION = "description"

RUNS = Path("runs")
"""The folder of run folders, unless -o sets another."""
OF_RECIPE = "recipe:"
"""Prefix of a recipe's name that stands for that recipe's run."""
MODELS = ("start", "teacher", "second_teacher")
"""The options that may name a recipe's run."""
NOT_IN_RECIPES = frozenset({"recipe", "output", "resume", "force"})
"""Options that control where a run is made and how it is started, not what it makes."""

TAKES_PLACE_OF = {
    "quality": ("lmbda", "all_rates"),
    "lmbda": ("quality", "all_rates"),
    "all_rates": ("quality", "lmbda"),
    "steps": ("minutes",),
    "minutes": ("steps",),
    "ptq": ("qat_steps",),
}
"""An option of the command line (a key) removes a recipe's values of the options beside it: they contradict each other."""


@dataclass(frozen=True)
class Recipe:
    """The content of a recipe's file, unchanged.

    Attributes:
        name: the file's name without its suffix.
        description: one line for people; "" if the file has none.
        options: long names of options, with underscores, and their values.
        where: the file, for messages.
    """

    name: str
    description: str
    options: Mapping[str, object]
    where: str

    def given(self) -> dict[str, Any]:
        """The options that the recipe sets.

        Raises:
            InputError: a key is unknown, a value has the wrong type, or the option refuses it.
        """
        accepted = vars(DistillOptions()).keys() - NOT_IN_RECIPES
        for key in self.options:
            if key not in accepted:
                raise InputError(f"{self.where}: {unknown('key', key, {*accepted, DESCRIPTION})}")
        return DistillOptions.read(self.options, self.where)


def recipe_names() -> list[str]:
    """The names of the recipes that ship with hwkd, sorted."""
    return sorted(path.stem for path in RECIPES.glob(f"*{SUFFIX}"))


def read_recipe(text: str) -> Recipe:
    """The recipe of this name, or in this file.

    Args:
        text: the name of a recipe that ships, or a path that ends in .toml.
    Raises:
        InputError: there is no such recipe or file, it is not TOML, or its description is not one line of text.
    """
    if text.endswith(SUFFIX):
        path = in_home(text)
    elif text in recipe_names():
        path = RECIPES / f"{text}{SUFFIX}"
    else:
        raise unknown(
            f"recipe (NAME, or FILE{SUFFIX})", text, recipe_names(), see="hwkd distill --recipes"
        )
    try:
        content = parse_toml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"cannot read the recipe {path}: {error.strerror or error}; give another file, or the name of a recipe "
            "(see `hwkd distill --recipes`)"
        ) from error
    except ValueError as error:
        raise InputError(
            f"{path}: not a TOML file in UTF-8 ({error}); a recipe has lines such as steps = 4000"
        ) from error
    description = content.pop(DESCRIPTION, "")
    if not isinstance(description, str) or not description.isprintable():
        raise InputError(
            f"{path}: {DESCRIPTION} must be one line of text, got {str(description)[:60]!r}"
        )
    return Recipe(path.name.removesuffix(SUFFIX), description, content, str(path))


def with_recipe(given: Mapping[str, Any]) -> DistillOptions:
    """The given options, completed with those of their recipe; names of recipes' runs are replaced by their folders.

    Raises:
        InputError: there is no such recipe, it has a key or value that no option takes, or a recipe's run does not exist.
    """
    values = dict(given)
    if "recipe" in given:
        recipe = read_recipe(given["recipe"])
        beaten = {beaten for name in given for beaten in TAKES_PLACE_OF.get(name, ())}
        kept = {name: v for name, v in recipe.given().items() if name not in beaten}
        values = {"output": RUNS / recipe.name, **kept, **given}
    runs = values["output"].parent if "output" in values else RUNS
    for name in MODELS:
        if name in values:
            values[name] = _run_folder(name, values[name], runs, values.get("data"))
    return DistillOptions(**values)


def _run_folder(option: str, text: str, runs: Path, data: Path | None) -> str:
    """`text`, the value of `option`; for recipe:NAME the folder of that recipe's run in `runs`."""
    if not text.startswith(OF_RECIPE):
        return text
    name = text.removeprefix(OF_RECIPE)
    # Not str(runs / name), which turns "." and "patch-q5" into the name of a shipped teacher.
    folder = f"{runs}/{name}"
    if Path(folder, "config.json").is_file():
        return folder
    is_shipped = name in recipe_names()
    words = ["hwkd", "distill", "--recipe", name if is_shipped else f"{name}.toml"]
    words += ["--data", "DIR" if data is None else str(data), "-o", folder]
    hint = "" if is_shipped else f" ({unknown('shipped recipe', name, recipe_names())})"
    raise InputError(
        f"{text} stands for the run in {folder}, which is not there: make it first, `{shlex.join(words)}`{hint}, or give "
        f"another --{option.replace('_', '-')}"
    )
