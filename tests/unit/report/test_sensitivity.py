import tomllib
from dataclasses import replace

import pytest

from hwkd.errors import InputError
from hwkd.measure.sensitivity import (
    BaseLayer,
    BitsPoint,
    CheckedAllocation,
    Coded,
    Sensitivity,
    base_allocation,
    uniform,
)
from hwkd.models.spec import HyperpriorSpec, PatchSpec, student_spec
from hwkd.report.plots.sensitivity import write_figure
from hwkd.report.sensitivity import (
    RecipeBase,
    SensitivitySource,
    allocations_in_words,
    allocations_table,
    bits_table,
    layers_table,
    points_table,
    read_points,
    recipe_text,
    write_sensitivity,
)

LMBDA = 0.01
K = LMBDA * 255**2
BASE = Coded(bpp=1.0, mse=1 / K, psnr_db=30.0)  # a loss of 2
LAYERS = (BaseLayer("g_a.0", 1024, 8, 8), BaseLayer("g_s.0", 2048, 4, 6))
FOUND = Sensitivity(
    LMBDA,
    5000,
    BASE,
    LAYERS,
    (
        BitsPoint("g_a.0", 6, Coded(0.9, 1 / K, 30.0)),  # -5 %
        BitsPoint("g_a.0", 3, Coded(1.5, 2 / K, 27.0)),  # +75 %
        BitsPoint("g_s.0", 3, Coded(1.0, 1.5 / K, 28.2)),  # +25 %
    ),
)
TOLD = SensitivitySource(
    fingerprint="f",
    model="m",
    base="as it is",
    measured_on="crops",
    checked_on="others",
    command="hwkd sensitivity m",
    created="2026-01-01",
    host="host",
    versions={"hwkd": "0"},
)


def test_a_layer_is_a_row_with_its_changes_in_percent() -> None:
    table = layers_table(FOUND, "m", "crops")
    assert table.columns == ("layer", "weights", "bits", "6 bits", "3 bits")
    assert table.rows == (
        ("g_a.0", "1,024", "8", "-5.000", "+75.000"),
        ("g_s.0", "2,048", "4", "n/a", "+25.000"),
    )
    assert table.notes[-1] == "n/a: not fewer bits than the layer has."


def test_every_measurement_tells_rate_and_distortion() -> None:
    assert points_table(FOUND).rows[1] == (
        *("g_a.0", "8", "3", "+1.50000", "+75.000", "+0.50000", "-3.0000"),
    )


def test_allocations_are_held_against_the_model_as_it_is() -> None:
    # Of 5000 bytes 1024 x 8 / 8 and 2048 x 4 / 8 are weights; three bits take 384 and 768.
    three = uniform(FOUND, 3)
    checked = [
        CheckedAllocation(base_allocation(FOUND), BASE),
        CheckedAllocation(three, Coded(2.0, 1 / K, 30.0)),
    ]
    table = allocations_table(FOUND, checked, "others", ("a note",))
    assert allocations_in_words(FOUND, checked, [three], "others") == (
        "uniform 3 bits: 4.0 KiB in place of 4.9, rd_loss +50.00 %, measured on others."
    )
    as_it_is = ("4 to 8", "5.33", "4.9", "1.0000", "30.000", "2.0000", "+0.00", "+0.00")
    at_three = ("3", "3.00", "4.0", "2.0000", "30.000", "3.0000", "+50.00", "+100.00")
    assert table.rows == (("as it is, 4 to 8 bits", *as_it_is), ("uniform 3 bits", *at_three))
    assert three.weight_bytes == 5000 - 2048 + 384 + 768
    assert table.notes[-1] == "a note"
    assert bits_table(checked[1:]).rows == (("g_a.0", "3"), ("g_s.0", "3"))


def test_points_are_read_back_as_they_were_written(tmp_path) -> None:
    path = tmp_path / "sensitivity.json"
    assert read_points(path, "f") == {}
    write_sensitivity(path, TOLD, FOUND)
    assert read_points(path, "f") == {(p.layer, p.bits): p.coded for p in FOUND.points}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 9}', '{"format": 1, "points": 3}'])
def test_a_file_that_is_another_is_refused(tmp_path, text) -> None:
    path = tmp_path / "sensitivity.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"is not what `hwkd sensitivity` writes .*--force"):
        read_points(path, "f")


def test_the_figure_is_the_same_twice_and_names_layers_and_bits(tmp_path) -> None:
    pair = [tmp_path / name for name in ("a.svg", "b.svg")]
    write_figure(FOUND, "Sensitivity of m", pair[:1])
    write_figure(FOUND, "Sensitivity of m", pair[1:])
    text = pair[0].read_text()
    assert text == pair[1].read_text()
    for word in ("g_a.0", "g_s.0", "6 bits", "3 bits", "≤0.01", "Sensitivity of m"):
        assert word in text


ORIGIN = RecipeBase(
    model="m",
    spec=HyperpriorSpec("gdn", (8, 16, 8), 12, 4, 6),
    lmbda=LMBDA,
    teacher="patch-q5",
    run=None,
    target="x86-vnni",
    act_bits={"g_a.0": 8, "g_s.0": 6},
)


def test_a_recipe_says_bits_start_and_widths() -> None:
    recipe = tomllib.loads(recipe_text(ORIGIN, base_allocation(FOUND)))
    assert recipe.pop("description") == (
        "m in 4 to 8 bits, chosen by hwkd sensitivity (as it is, 4 to 8 bits: 4.9 KiB of weights)"
    )
    assert recipe == {
        "target": "x86-vnni",
        "bits": "8/8",
        "layer_bits": ["g_s.0=4/6"],
        "family": "gdn",
        "width": [8, 16, 8],
        "latent": 12,
        "hyper": 4,
        "hyper_latent": 6,
        "lmbda": LMBDA,
        "teacher": "patch-q5",
        "start": "teacher",
        "steps": 0,
        "qat_steps": 600,
    }


def test_a_recipe_of_a_run_takes_its_widths_from_there() -> None:
    origin = replace(ORIGIN, run="runs/m", target=None)
    recipe = tomllib.loads(recipe_text(origin, uniform(FOUND, 3)))
    assert recipe["start"] == "runs/m"
    assert recipe["layer_bits"] == ["g_s.0=3/6"]
    assert not recipe.keys() & {"target", "family", "width", "latent", "hyper", "hyper_latent"}


def test_a_recipe_of_a_model_of_all_rates_makes_one_of_all_rates() -> None:
    spec = student_spec("patch", (16, 16), 24, 8, 8, (8,), all_rates=True)
    recipe = tomllib.loads(recipe_text(replace(ORIGIN, spec=spec), base_allocation(FOUND)))
    assert recipe["all_rates"] is True and "lmbda" not in recipe
    assert recipe["width"] == [16, 16] and recipe["latent"] == 24


def test_widths_that_no_option_describes_give_no_recipe() -> None:
    one_block = PatchSpec(M=12, H=8, Z=8, C=16, widths=(16,), post=(8,))
    with pytest.raises(InputError, match="no recipe was written: the options of hwkd distill"):
        recipe_text(replace(ORIGIN, spec=one_block), base_allocation(FOUND))
