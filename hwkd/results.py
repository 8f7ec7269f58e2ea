"""Rate-distortion results in CompressAI's JSON form, so that curves travel between the two.

Beside CompressAI's keys a file of ours has "models": for each point, which model it is and what made it, and "images": on
which images.
"""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hwkd.errors import InputError
from hwkd.files import write_text
from hwkd.metrics import Curve
from hwkd.qualities import check_quality
from hwkd.schema import read_json, read_table

# Newest name first; CompressAI's files of 2020 and 2021 have the second.
_PSNR_KEYS = ("psnr-rgb", "psnr")
_MS_SSIM_KEYS = ("ms-ssim-rgb", "ms-ssim")


@dataclass(frozen=True)
class TrainedModel:
    """The model behind one point of a curve. A field is None where it is not known.

    Attributes:
        lmbda: of R + lmbda * 255^2 * MSE.
        rd_loss: that loss at the model's own lmbda, with the bpp of real bytes: the mean over the images. It does not
            follow from the mean PSNR.
        kmac_per_pixel: 1000 multiply-accumulates per pixel of the float model's g_a, h_a, h_s and g_s, each once.
        steps: training steps, without those of earlier runs that it started from.
        hours: time for these steps, on `hardware`.
        precision: "fp32", or how the networks were computed and in how many bits.
        quality: quality at which a model of all rates coded (hwkd/qualities.py); None for a model of one rate.

    Raises:
        InputError: no name, or a number that cannot be.
    """

    name: str
    lmbda: float | None = None
    rd_loss: float | None = None
    kmac_per_pixel: float | None = None
    steps: int | None = None
    hours: float | None = None
    hardware: str | None = None
    precision: str | None = None
    quality: int | None = None

    @property
    def label(self) -> str:
        """The name, with the quality where there is one."""
        return self.name if self.quality is None else f"{self.name} quality {self.quality}"

    def __post_init__(self) -> None:
        if not self.name:
            raise InputError("name is empty; a text is accepted")
        if self.quality is not None:
            check_quality(self.quality)
        for field in ("lmbda", "rd_loss", "kmac_per_pixel"):
            value = getattr(self, field)
            if value is not None and not 0 < value < math.inf:
                raise InputError(f"{field} must be a finite number above 0, got {value}")
        for field in ("steps", "hours"):
            value = getattr(self, field)
            # A model taken as it was made has 0 steps; NaN is refused too.
            if value is not None and not 0 <= value < math.inf:
                raise InputError(f"{field} must be a finite number, 0 or more, got {value}")


@dataclass(frozen=True)
class Result:
    """A file of results.

    Attributes:
        description: how the curve was measured.
        models: one for each of its points, or none.
        images: the set it was measured on, in words ("24 images of kodak"); "" where the file does not say.

    Raises:
        InputError: another number of models.
    """

    curve: Curve
    description: str
    models: tuple[TrainedModel, ...] = ()
    images: str = ""

    def __post_init__(self) -> None:
        if self.models and len(self.models) != len(self.curve.bpp):
            raise InputError(
                f"curve {self.curve.name!r} has {len(self.curve.bpp)} points and {len(self.models)} models; give one "
                "for each point, or none"
            )


def read_curve(path: Path) -> Curve:
    """The curve in a file of CompressAI's form (its results/image/*/*.json). Raises as `read_result`."""
    return read_result(path).curve


def read_result(path: Path) -> Result:
    """Read a file in CompressAI's format; the curve's name is the file's "name".

    {"name": .., "description": .., "results": {"psnr-rgb": [..], "ms-ssim-rgb": [..], "bpp": [..], ..}}; other
    entries of the results (coding times) are not read. A number in place of a list is a curve of one point. "models" and
    "images", which CompressAI's files lack, are a list of objects with the fields of TrainedModel, and a text.

    Raises:
        InputError: no such file, not JSON, or not of that form.
    """
    raw = read_json(path, "give a results file of CompressAI's form", "the curve")
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
    name, description, images = (raw.get(key) for key in ("name", "description", "images"))
    curve = Curve(
        name if isinstance(name, str) and name else path.stem,
        bpp,
        psnr,
        _values(results, _MS_SSIM_KEYS, path),
    )
    said = description if isinstance(description, str) else ""
    try:
        on = images if isinstance(images, str) else ""
        return Result(curve, said, _models(raw.get("models", [])), on)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def write_result(path: Path, result: Result) -> None:
    """Write `result` in CompressAI's form. Raises as hwkd.files.write_text.

    A curve without MS-SSIM gets no "ms-ssim-rgb": unknown values are left out, not written as 0. Of a model, what is
    not known is null.
    """
    curve = result.curve
    results = {"psnr-rgb": list(curve.psnr_db), "bpp": list(curve.bpp)}
    if curve.ms_ssim is not None:
        results["ms-ssim-rgb"] = list(curve.ms_ssim)
    content: dict[str, Any] = {
        "name": curve.name,
        "description": result.description,
        **({"images": result.images} if result.images else {}),
        "results": results,
    }
    if result.models:
        content["models"] = [asdict(model) for model in result.models]
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def _models(raw: object) -> tuple[TrainedModel, ...]:
    if not isinstance(raw, list) or not all(isinstance(item, dict) for item in raw):
        raise InputError('"models" must be a list of objects, one for each point')
    return tuple(
        read_table(TrainedModel, item, f'"models"[{index}]') for index, item in enumerate(raw)
    )


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
