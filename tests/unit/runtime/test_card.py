from dataclasses import replace

import pytest

from hwkd.errors import InputError
from hwkd.runtime.card import SetFigures
from hwkd.schema import read_table


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": ""}, "data is empty; a text is accepted"),
        ({"hardware": ""}, "hardware is empty; a text is accepted"),
        ({"teacher": ""}, "teacher is empty; a text is accepted"),
        ({"recipe": ""}, "recipe is empty; a text is accepted"),
        ({"seed": -1}, "seed must be 0 to 1000000000000, got -1"),
        (
            {"quantized_steps": 10**13},
            "quantized_steps must be 0 to 1000000000000, got 10000000000000",
        ),
        ({"hours": float("nan")}, "hours must be 0 to 1000000000000, got nan"),
        ({"limits": ("One.", "")}, "limits holds an empty text; sentences are accepted"),
    ],
)
def test_a_field_that_cannot_be_is_refused(card, changes, message):
    with pytest.raises(InputError) as caught:
        replace(card, **changes)
    assert str(caught.value) == message


def test_what_is_not_known_may_be_none(card):
    bare = replace(
        card,
        **dict.fromkeys(("teacher", "start", "seed", "float_steps", "quantized_steps", "hours")),
        recipe=None,
        limits=(),
        figures=(),
    )
    assert bare.on_kodak is None


def test_a_set_is_measured_once(card):
    with pytest.raises(
        InputError, match="figures must be of different sets or qualities, got kodak, kodak"
    ):
        replace(card, figures=(card.figures[0],) * 2)


@pytest.mark.parametrize("name", ["kodak", "Kodak"])
def test_kodak_is_found_among_the_sets(card, name):
    kodak = replace(card.figures[0], on=name)
    assert replace(card, figures=(card.figures[1], kodak)).on_kodak == kodak
    assert replace(card, figures=(card.figures[1],)).on_kodak is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"on": ""}, "on is empty; a text is accepted"),
        ({"runtime": ""}, "runtime is empty; a text is accepted"),
        ({"images": 0}, "images must be 1 to 1000000000000, got 0"),
        ({"psnr_db": -1.0}, "psnr_db must be 0 to 200, got -1.0"),
        ({"psnr_db": float("inf")}, "psnr_db must be 0 to 200, got inf"),
        ({"ms_ssim": 1.01}, "ms_ssim must be 0 to 1, got 1.01"),
        ({"bpp": -0.1}, "bpp must be 0 to 1000000000000, got -0.1"),
        ({"quality": 0}, "a quality must be a whole number from 1 to 100, got 0"),
        ({"rd_loss": float("nan")}, "rd_loss must be 0 to 1000000000000, got nan"),
    ],
)
def test_figures_out_of_range_are_refused(changes, message):
    with pytest.raises(InputError) as caught:
        replace(SetFigures("kodak", 24, "onnxruntime 1", 34.0, 0.9, 0.7, 1.3), **changes)
    assert str(caught.value) == message


def test_a_set_may_be_measured_at_several_qualities(card):
    one = card.figures[0]
    several = tuple(replace(one, quality=quality) for quality in (10, 90))
    assert replace(card, figures=several).figures == several
    with pytest.raises(InputError) as caught:
        replace(card, figures=(several[0], *several))
    assert str(caught.value) == (
        "figures must be of different sets or qualities, got kodak quality 10, kodak quality 10, kodak quality 90"
    )


def test_of_several_qualities_the_nearest_to_the_default_stands_for_the_set(card):
    one = card.figures[0]
    several = tuple(replace(one, quality=quality) for quality in (10, 40, 70))
    held = replace(card, figures=several)
    assert held.on_kodak == several[1]
    assert held.on_first == several[1]
    assert replace(card, figures=()).on_first is None


def test_a_card_without_qualities_reads_as_before():
    table = {
        "on": "kodak",
        "images": 24,
        "runtime": "onnxruntime 1",
        "psnr_db": 34.0,
        "ms_ssim": None,
        "bpp": 0.7,
        "rd_loss": 1.3,
    }
    assert read_table(SetFigures, table, "card").quality is None
