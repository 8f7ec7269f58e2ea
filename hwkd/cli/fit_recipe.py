"""The recipe of a search's best student, for `hwkd distill --recipe`."""

import tomli_w

from hwkd.search.found import Found
from hwkd.search.settings import Settings
from hwkd.search.space import distill_options

STEPS, QAT_STEPS = 4000, 150
"""As the shipped recipes of this size have them: a search's few steps are not for use."""


def recipe_of(best: Found, settings: Settings, place: str, target: str) -> str:
    """The recipe as TOML. place: where the student shall run, for people; target: what `hwkd distill` takes for it."""
    assert best.bits is not None  # it was trained for all steps
    bits = best.bits
    options = {
        "description": f"the best of a search for {place} within {settings.budget}: trial {best.number}",
        "target": target,
        "bits": f"{bits.weight_bits}/{bits.act_bits}",
        "layer_bits": [f"{name}={w}/{a}" for name, w, a in bits.layers],
        **distill_options(best.spec),
        "lmbda": settings.lmbda,
        "teacher": settings.teacher_of(best.spec.family).text,
        "kd": "latent,output",
        "start": "teacher",
        "steps": STEPS,
        "qat_steps": QAT_STEPS,
        "lr": settings.lr,
        "crop": settings.crop,
        "batch": settings.batch,
        "seed": settings.seed,
    }
    return tomli_w.dumps({name: value for name, value in options.items() if value != []})
