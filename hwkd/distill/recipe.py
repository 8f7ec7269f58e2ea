"""Recipes: the options of `hwkd distill` that make one model, in a TOML file; those that ship lie in recipes/."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hwkd.errors import InputError, unknown
from hwkd.files import in_home
from hwkd.schema import parse_toml

RECIPES = Path(__file__).resolve().parent / "recipes"
SUFFIX = ".toml"
DESCRIPTION = "description"


@dataclass(frozen=True)
class Recipe:
    """What a recipe's file says, as it stands there: `hwkd.cli.distill_options` holds it to the options.

    name: of the file, without its suffix. description: one line for people, empty where the file has none.
    options: long names of options, with underscores, and their values. where: the file, for messages.
    """

    name: str
    description: str
    options: Mapping[str, object]
    where: str


def recipe_names() -> list[str]:
    """The names of the recipes that ship with hwkd, sorted."""
    return sorted(path.stem for path in RECIPES.glob(f"*{SUFFIX}"))


def read_recipe(text: str) -> Recipe:
    """The recipe of this name, or in this file.

    Args:
        text: the name of a recipe that ships, or a path that ends in .toml.
    Raises:
        InputError: no such recipe or file, not TOML, or a description that is not one line of text.
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
