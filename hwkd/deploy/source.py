"""From what the user names to a quantized codec to export, with where it comes from."""

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from hwkd.deploy.export import Source
from hwkd.distill.data import calibration_crops
from hwkd.distill.runs import LoadedModel, load_model, read_config
from hwkd.errors import InputError
from hwkd.quantize.bits import BitPlan
from hwkd.quantize.ptq import post_training_quantize

CALIBRATION_SIDE = 256
VERSIONS = ("torch", "brevitas", "compressai", "onnx")


def load_source(
    text: str, bits: BitPlan | None, data: Path | None, show: Callable[[str], None]
) -> Source:
    """The quantized codec that `text` names, or a float one quantized after training.

    Args:
        text: as `hwkd.distill.runs.load_model`.
        bits: to quantize a float model to; None for one that is quantized.
        data: images to calibrate on; None for the embedded training photographs.
        show: called with what is being done, in words.
    Raises:
        InputError: no such model; a float one without `bits`, a quantized one with them.
    """
    loaded = load_model(text)
    provenance = _provenance(text, loaded)
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
        show("quantizing after training")
        codec = post_training_quantize(
            loaded.codec, bits, calibration_crops(data, CALIBRATION_SIDE)
        )
        plan = bits
        provenance["quantized"] = "after training, activations calibrated on crops of " + (
            "the embedded photographs" if data is None else "images given with --data"
        )
    return Source(loaded.name, codec, loaded.spec, loaded.lmbda, plan, provenance)


def _provenance(text: str, loaded: LoadedModel) -> dict[str, str]:
    found = {f"version of {name}": version(name) for name in VERSIONS}
    if loaded.sha256 is not None:
        found["sha256 of the weights"] = loaded.sha256
    folder = Path(text.partition(":")[0])
    if not folder.is_dir():
        return found
    config = read_config(folder)
    found["teacher"] = f"{config.teacher} (sha256 {config.teacher_sha256[:16] or 'n/a'})"
    # A user's folder is nobody else's business; its last part says enough.
    found["data"] = Path(config.data).name
    found["licence of the data"] = "not recorded"
    found["seed"] = str(config.seed)
    found["quantized"] = "after training" if config.ptq else "in training"
    return found
