"""From what the user names to a quantized codec to export, with where it comes from."""

from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from torch import Tensor

from hwkd.bits import BitPlan
from hwkd.distill.data import calibration_crops
from hwkd.distill.run_folder import LoadedModel, load_model, read_config
from hwkd.errors import InputError
from hwkd.export.card import Told
from hwkd.export.export import Source
from hwkd.export.training_card import training_card
from hwkd.quantize.precision import plan_precision
from hwkd.quantize.ptq import post_training_quantize
from hwkd.target import Target

CALIBRATION_SIDE = 256
FITTED_CROPS = 64
"""Three million symbols of y: of the scales that carry the bits, tens of thousands each."""
VERSIONS = ("torch", "brevitas", "compressai", "onnx")


def load_source(
    text: str,
    bits: BitPlan | None,
    target: Target,
    data: Path | None,
    show: Callable[[str], None],
    told: Told = Told(),  # noqa: B008 (frozen)
) -> Source:
    """The quantized codec that `text` names, or a float one quantized after training.

    Args:
        text: as `hwkd.distill.run_folder.load_model`.
        bits: to quantize a float model to; None for one that is quantized.
        target: where its kernels take fewer bits of weights, a float model is quantized to these. Weights that are
            quantized to 8 bits and then held to 7 lose more.
        data: images to calibrate and to fit the tables of y on; None for the embedded training photographs.
        show: called with what is being done, in words.
        told: what the user says of the training; it stands in the card in place of what the files say.
    Raises:
        InputError: no such model; a float one without `bits`, a quantized one with them.
    """
    loaded = load_model(text)
    provenance = _provenance(text, loaded)
    on = "the embedded photographs" if data is None else "images given with --data"
    if loaded.bits is not None:
        if bits is not None:
            raise InputError(
                f"{text} is quantized already, to {loaded.bits.weights_in_words()} bits: leave --bits out, or name "
                f"its float student, {text}:float"
            )
        codec, plan = loaded.codec, loaded.bits
    elif bits is None:
        raise InputError(
            f"{text} is in float: give --bits (8, or 4/8) to quantize it after training, or a run of `hwkd distill`"
        )
    else:
        fitting = plan_precision(
            target, bits.weight_bits, bits.act_bits, family=loaded.spec.family
        ).preferred("encoder")
        bits = replace(bits, weight_bits=min(bits.weight_bits, fitting.weight_storage_bits))
        show(f"quantizing after training, to {bits.weights_in_words()} bits")
        codec = post_training_quantize(
            loaded.codec, bits, calibration_crops(data, CALIBRATION_SIDE)
        )
        plan = bits
        provenance["quantized"] = f"after training, activations calibrated on crops of {on}"
    crops, provenance["tables of y"] = _to_fit_on(data, on)
    return Source(
        loaded.name,
        codec,
        loaded.spec,
        loaded.lmbda,
        plan,
        provenance,
        told.over(training_card(text)),
        crops,
    )


def _to_fit_on(data: Path | None, on: str) -> tuple[tuple[Tensor, ...], str]:
    """The crops to fit the tables of y on, and in words what they are; none where the images do not give any."""
    try:
        crops = calibration_crops(data, CALIBRATION_SIDE, FITTED_CROPS)
    except InputError:
        # Images too few or too small for crops can still be compared on.
        return (), f"those of a Gaussian, as {on} are too few or too small to fit others on"
    return tuple(crops), f"fitted to the symbols of {FITTED_CROPS} crops of {on}"


def _provenance(text: str, loaded: LoadedModel) -> dict[str, str]:
    found = {f"version of {name}": version(name) for name in VERSIONS}
    if loaded.sha256 is not None:
        found["sha256 of the weights"] = loaded.sha256
    folder = Path(text.partition(":")[0])
    if folder.is_dir():
        found["quantized"] = "after training" if read_config(folder).ptq else "in training"
    return found
