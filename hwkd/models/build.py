"""From a spec to an untrained model."""

from hwkd.models.base import HyperpriorCodec
from hwkd.models.hyperprior import ConvHyperprior, MeanScaleCodec
from hwkd.models.patch import PatchCodec
from hwkd.models.spec import HyperpriorSpec, Spec


def build(spec: Spec) -> HyperpriorCodec:
    """A model of this spec with random weights (torch's global generator)."""
    if isinstance(spec, HyperpriorSpec):
        return MeanScaleCodec(spec) if spec.family == "mean" else ConvHyperprior(spec)
    return PatchCodec(
        M=spec.M,
        H=spec.H,
        Z=spec.Z,
        C=spec.C,
        widths=spec.widths,
        post=spec.post,
        anchors=spec.anchors,
        hyper_kernel=spec.hyper_kernel,
        context=(spec.context[0], spec.context[1]) if spec.context else None,
    )
