"""Quality levels."""

import pytest

from hwkd.errors import InputError
from hwkd.models.quality import lmbda_of


def test_lambdas_are_those_compressai_publishes() -> None:
    published = [0.0018, 0.0035, 0.0067, 0.0130, 0.0250, 0.0483, 0.0932, 0.1800]
    assert [lmbda_of(quality) for quality in range(1, 9)] == published


@pytest.mark.parametrize("quality", [0, 9, -1])
def test_a_quality_outside_1_to_8_is_refused(quality: int) -> None:
    with pytest.raises(InputError, match=f"^no quality {quality}: it is 1 "):
        lmbda_of(quality)
