"""Rate-distortion results in CompressAI's JSON form, so that curves travel between the two. No torch."""

import json
from pathlib import Path
from typing import Any

from hwkd.errors import InputError
from hwkd.files import write_text
from hwkd.metrics import Curve

# Newest name first; CompressAI's files of 2020 and 2021 have the second.
_PSNR_KEYS = ("psnr-rgb", "psnr")
_MS_SSIM_KEYS = ("ms-ssim-rgb", "ms-ssim")


def read_curve(path: Path) -> Curve:
    """The curve in a file of CompressAI's form (its results/image/*/*.json); its name is the file's "name".

    {"name": .., "description": .., "results": {"psnr-rgb": [..], "ms-ssim-rgb": [..], "bpp": [..], ..}}; what else
    the results hold (coding times) is not read. A number in place of a list is a curve of one point.

    Raises:
        InputError: no such file, not JSON, or not of that form.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"cannot read the curve {path}: {error.strerror}; give a results file of CompressAI's form"
        ) from error
    except ValueError as error:
        raise InputError(
            f"{path} is not JSON ({error}); give a results file of CompressAI's form"
        ) from error
    results = raw.get("results") if isinstance(raw, dict) else None
    if not isinstance(results, dict):
        raise InputError(
            f'{path} has no "results" object; give a file of CompressAI\'s form: '
            '{"name": "..", "results": {"psnr-rgb": [..], "bpp": [..]}}'
        )
    bpp, psnr = _values(results, ("bpp",), path), _values(results, _PSNR_KEYS, path)
    if bpp is None or psnr is None:
        raise InputError(
            f'{path} lacks "bpp" or "psnr-rgb"; its results hold {", ".join(sorted(results)) or "nothing"}'
        )
    name = raw.get("name")
    return Curve(
        name if isinstance(name, str) and name else path.stem,
        bpp,
        psnr,
        _values(results, _MS_SSIM_KEYS, path),
    )


def write_curve(path: Path, curve: Curve, description: str) -> None:
    """Write `curve` in CompressAI's form; `description` says how it was measured. Raises as hwkd.files.write_text.

    A curve without MS-SSIM gets no "ms-ssim-rgb": unknown values are left out, not written as 0.
    """
    results = {"psnr-rgb": list(curve.psnr_db), "bpp": list(curve.bpp)}
    if curve.ms_ssim is not None:
        results["ms-ssim-rgb"] = list(curve.ms_ssim)
    content = {"name": curve.name, "description": description, "results": results}
    write_text(path, json.dumps(content, indent=2) + "\n")


def _values(results: dict[str, Any], keys: tuple[str, ...], path: Path) -> tuple[float, ...] | None:
    """The first of `keys` that is there, as floats."""
    for key in keys:
        if key in results:
            value = results[key]
            values = value if isinstance(value, list) else [value]
            if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
                raise InputError(f'"{key}" of {path} must be a list of numbers, got {value!r:.80}')
            return tuple(float(v) for v in values)
    return None
