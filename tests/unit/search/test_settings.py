from dataclasses import replace

import pytest

from hwkd.errors import InputError
from hwkd.search.cost import Budget
from hwkd.search.settings import TeacherFacts, differences, settings_from_json
from hwkd.search.space import Space
from tests.unit.search.conftest import small_settings, small_space


def test_settings_come_back_from_their_json():
    settings = small_settings()
    assert settings_from_json(settings.to_json()) == settings
    assert differences(settings, settings_from_json(settings.to_json())) == ()


def test_what_differs_is_named_in_words():
    settings = small_settings()
    given = replace(
        settings,
        steps=400,
        budget=Budget(99, 800, None),
        space=Space((small_space().of("gdn"),)),
        teachers=(TeacherFacts("t.pt", "t", "0123456789", ("patch",)),),
    )
    assert differences(settings, given) == (
        "budget was 120 ms, is now 99 ms, 800 mJ",
        "space was gdn (N1=8..32 N2=8..32 N3=8..32 M=16..32 H=8..8 Z=8..8), "
        "patch (w1=16..48 w2=16..48 w3=16..48 M=16..32 H=8..8 Z=8..8 post=4..8), "
        "is now gdn (N1=8..32 N2=8..32 N3=8..32 M=16..32 H=8..8 Z=8..8)",
        "teachers was patch-q5 (cd), hyperprior-64 (ef), is now t (01234567)",
        "steps was 8, is now 400",
    )


@pytest.mark.parametrize("text", ["[]", "{}", '{"format": 2}', '{"format": 1}', "not JSON"])
def test_what_is_no_search_is_refused(text):
    with pytest.raises(InputError, match="the study "):
        settings_from_json(text)


def test_a_pool_smaller_than_a_batch_is_refused():
    with pytest.raises(InputError, match="--pool 1 is less than a batch: give 2"):
        small_settings(pool=1)
