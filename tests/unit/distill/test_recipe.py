import tomllib

import pytest

from hwkd.distill.recipe import RECIPES, Recipe, read_recipe, recipe_names
from hwkd.errors import InputError

SIZES = ("large", "medium", "small")
SHIPPED = {
    *(f"patch-{size}" for size in SIZES),
    *(
        "gdn-16",
        "gdn-32",
        "gdn-64",
        "relu-32",
        "relu-64",
        "patch-q5",
        "hyperprior-64",
        "hyperprior-128",
    ),
}


def test_every_shipped_model_has_its_recipe() -> None:
    assert set(recipe_names()) == SHIPPED
    # A file in a folder below would ship and not be found.
    assert {path.stem for path in RECIPES.rglob("*.toml")} == SHIPPED


def test_a_shipped_recipe_is_what_its_file_says() -> None:
    recipe = read_recipe("gdn-16")
    content = tomllib.loads((RECIPES / "gdn-16.toml").read_text(encoding="utf-8"))
    assert recipe.name == "gdn-16"
    assert recipe.description == content.pop("description") != ""
    assert recipe.options == content


def test_a_file_is_named_by_its_place(tmp_path) -> None:
    path = tmp_path / "mine.v2.toml"
    path.write_text('steps = 3\nwidth = [8, 16]\n"any key" = true\n')
    options = {"steps": 3, "width": [8, 16], "any key": True}
    assert read_recipe(str(path)) == Recipe("mine.v2", "", options, str(path))


def test_an_unknown_name_suggests_near_ones() -> None:
    with pytest.raises(InputError) as error:
        read_recipe("patch-medum")
    text = str(error.value)
    assert text.startswith(
        "unknown recipe (NAME, or FILE.toml) 'patch-medum': did you mean patch-medium"
    )
    assert text.endswith("(see `hwkd distill --recipes`)")


def test_a_missing_file(tmp_path) -> None:
    with pytest.raises(InputError) as error:
        read_recipe(f"{tmp_path}/none.toml")
    assert str(error.value) == (
        f"cannot read the recipe {tmp_path}/none.toml: No such file or directory; "
        "give another file, or the name of a recipe (see `hwkd distill --recipes`)"
    )


@pytest.mark.parametrize("content", [b"steps 3", b"\xff\xfe", b"steps = 3\nsteps = 4\n"])
def test_a_file_that_is_not_toml(tmp_path, content: bytes) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read_recipe(str(path))
    assert str(error.value).startswith(f"{path}: not a TOML file in UTF-8 (")
    assert str(error.value).endswith("); a recipe has lines such as steps = 4000")


@pytest.mark.parametrize("value", ["5", '"two\\nlines"', '["a"]'])
def test_a_description_is_one_line_of_text(tmp_path, value: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f"description = {value}\n")
    with pytest.raises(InputError, match=r"mine\.toml: description must be one line of text, got "):
        read_recipe(str(path))
