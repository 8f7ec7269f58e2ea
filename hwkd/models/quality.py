"""CompressAI's quality levels and the lmbda that each was trained with."""

from hwkd.errors import InputError

LMBDA_MSE = (0.0018, 0.0035, 0.0067, 0.0130, 0.0250, 0.0483, 0.0932, 0.1800)
"""Lambda of qualities 1..8 in R + lmbda * 255^2 * MSE (CompressAI's documentation, model zoo, "Training")."""


def lmbda_of(quality: int) -> float:
    """The lmbda that CompressAI's models of this quality, 1..8, optimized for MSE were trained with.

    Raises:
        InputError: quality outside 1..8.
    """
    if not 1 <= quality <= len(LMBDA_MSE):
        raise InputError(
            f"no quality {quality}: it is 1 (smallest files) to {len(LMBDA_MSE)} (best images); "
            "for anything between give the lambda itself"
        )
    return LMBDA_MSE[quality - 1]
