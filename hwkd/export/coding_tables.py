"""The integer tables and the self-test that a bundle carries: made once, the same numbers on every machine."""

import numpy as np
import numpy.typing as npt
import torch

from hwkd.codec.networks import SELFTEST_DIGESTS, SELFTEST_PREFIX, SELFTEST_QUALITIES, digest
from hwkd.codec.tables import Array, Tables
from hwkd.export.fitted_tables import Counts, fitted
from hwkd.models.base import HyperpriorCodec
from hwkd.qualities import DEFAULT_QUALITY, HIGHEST, LOWEST
from hwkd.runtime.exact import ExactPath
from hwkd.runtime.gains import Gains

_SIZES = ((1, 1), (3, 5), (8, 12))
"""Of the self-test's z: one position, an odd size, that of a 768x512 image."""

_SELFTEST_AT = (LOWEST, DEFAULT_QUALITY, HIGHEST)


@torch.no_grad()
def coding_tables(codec: HyperpriorCodec, counts: Counts | None = None) -> dict[str, Array]:
    """The tables of z, by channel, and of y, by scale index, in CompressAI's own integers.

    counts: of hwkd.export.fitted_tables.count_symbols, for tables of y that fit them; None for those of a Gaussian.

    CompressAI codes z relative to the medians, which are whole numbers here; a bundle's z is not relative to them, so
    they go into the offsets. `codec` must have its tables (codec.update()).
    """
    z, y = codec.entropy_bottleneck, codec.gaussian_conditional
    medians = z.quantiles[:, 0, 1].detach().round().int()
    of_z = Tables.from_padded(
        z.quantized_cdf.numpy(), z.cdf_length.numpy(), (z.offset + medians).numpy()
    )
    of_y = Tables.from_padded(y.quantized_cdf.numpy(), y.cdf_length.numpy(), y.offset.numpy())
    if counts is not None:
        of_y = fitted(of_y, counts)
    return of_z.to_arrays("z.") | of_y.to_arrays("y.")


def selftest(
    path: ExactPath,
    Z: int,
    largest_z: int,
    real: npt.NDArray[np.int32],
    seed: int = 0,
    gains: Gains | None = None,
) -> dict[str, Array]:
    """z symbols and the digests of the indexes that they must give: of a real image, small ones and the extremes.

    Args:
        real: z of an image, [Z, h, w] int32.
        gains: of a codec of all rates, whose digests are those at the lowest, a middle and the highest quality, a row each.
    """
    rng = np.random.default_rng(seed)
    cases = [real]
    for height, width in _SIZES:
        spread = rng.laplace(0, 4, (Z, height, width)).round()
        cases.append(np.clip(spread, -largest_z - 1, largest_z).astype(np.int32))
    low, high = -largest_z - 1, largest_z
    cases.append(rng.integers(low, high, (Z, 4, 4), dtype=np.int32, endpoint=True))
    cases += [np.full((Z, 3, 3), limit, np.int32) for limit in (low, high)]
    arrays: dict[str, Array] = {f"{SELFTEST_PREFIX}{i}": z for i, z in enumerate(cases)}
    if gains is None:
        digests = [digest(path.indexes(z[None])[0]) for z in cases]
        return {**arrays, SELFTEST_DIGESTS: np.array(digests)}
    rows = []
    for quality in _SELFTEST_AT:
        shift = gains.rate(quality).shift.ravel()
        rows.append([digest(path.indexes(z[None], shift)[0]) for z in cases])
    qualities = np.array(_SELFTEST_AT, np.uint8)
    return {**arrays, SELFTEST_QUALITIES: qualities, SELFTEST_DIGESTS: np.array(rows)}
