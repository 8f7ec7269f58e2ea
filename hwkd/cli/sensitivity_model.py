"""What `hwkd sensitivity` says of the model beside its layers: its predicted latency, and what it was made from."""

from pathlib import Path
from typing import TYPE_CHECKING

from hwkd.measure.record import Entry
from hwkd.report.sensitivity_recipe import Origin
from hwkd.target import Target

if TYPE_CHECKING:
    from hwkd.measure.eager.sensitivity import Base

LATENCY_SIZE = (768, 512)


def predicted_latency(base: "Base", target: Target) -> Entry:
    """For the slower side of an image of LATENCY_SIZE. Raises InputError where nobody can say."""
    from hwkd.measure.layer_table import codec_layers
    from hwkd.measure.slower_side import slower_side
    from hwkd.models.build import build
    from hwkd.quantize.precision import plan_precision

    plan = plan_precision(
        target,
        max(layer.weight_bits for layer in base.layers),
        max(layer.act_bits for layer in base.layers),
        family=base.spec.family,
    )
    return slower_side(codec_layers(build(base.spec), *LATENCY_SIZE), target, plan)


def origin_of(base: "Base", text: str, target: str | None) -> Origin:
    """What the model that `text` names was made from, as far as it is known; target: as given, None for a run's own."""
    from hwkd.distill.run_folder import read_config
    from hwkd.models.shipped import shipped_names
    from hwkd.models.zoo import is_zoo_name

    acts = {layer.name: layer.act_bits for layer in base.layers}
    folder = text.removesuffix(":float")
    if not Path(folder).is_dir():
        return Origin(base.name, base.spec, base.lmbda, text, None, target, acts)
    config = read_config(Path(folder))
    is_known = config.teacher in shipped_names() or is_zoo_name(config.teacher)
    return Origin(
        base.name,
        base.spec,
        base.lmbda,
        config.teacher if is_known else folder,
        folder,
        target or config.target,
        acts,
    )
