import pytest

from hwkd.errors import InputError
from hwkd.export.card import CardFields, read_told
from hwkd.runtime.manifest import NOT_RECORDED, Card

BARE = Card(
    data="photos: 9 images",
    licence=NOT_RECORDED,
    teacher=None,
    start=None,
    seed=3,
    float_steps=4,
    quantized_steps=5,
    hours=None,
    hardware=NOT_RECORDED,
    recipe=None,
    limits=(),
)


@pytest.fixture
def told(tmp_path):
    """told(TEXT): the file with this text, read."""

    def read(text):
        (tmp_path / "card.toml").write_text(text)
        return read_told(tmp_path / "card.toml")

    return read


def test_every_key_is_read_and_stands_in_the_card(told):
    card = told(
        'data = "788 photographs"\nlicence = "CC0"\nhardware = "2 cores"\nrecipe = "small"\n'
        'limits = ["Photographs only.", "One rate."]\n'
    ).over(BARE)
    assert (card.data, card.licence, card.hardware) == ("788 photographs", "CC0", "2 cores")
    assert (card.recipe, card.limits) == ("small", ("Photographs only.", "One rate."))
    assert (card.seed, card.float_steps, card.quantized_steps) == (3, 4, 5)


def test_what_is_not_said_stays_as_it_was(told):
    assert told("").over(BARE) == BARE
    assert CardFields().over(BARE) == BARE
    assert told('licence = "CC0"').over(BARE).data == "photos: 9 images"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            'license = "CC0"',
            "unknown key 'license'; accepted are data, licence, hardware, limits, recipe",
        ),
        ("data = 788", "data: got 788; a text is accepted"),
        ('limits = "One rate."', "limits: got 'One rate.'; an array is accepted"),
        ("limits = [1]", "limits[0]: got 1; a text is accepted"),
        ('data = ""', "data is empty; a text is accepted"),
        ('data = "a\\nb"', "'a\\nb' is not one line of printable text"),
        ('limits = ["a\\tb"]', "'a\\tb' is not one line of printable text"),
    ],
)
def test_what_does_not_fit_is_named_with_the_file(told, tmp_path, text, message):
    with pytest.raises(InputError) as caught:
        told(text)
    assert str(caught.value) == f"{tmp_path / 'card.toml'}: {message}"


def test_what_is_no_toml_is_refused(told):
    with pytest.raises(InputError, match="not a TOML file in UTF-8"):
        told("data: photographs")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"cannot read .*none.toml: No such file or directory"):
        read_told(tmp_path / "none.toml")
