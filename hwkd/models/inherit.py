"""A student's first weights: inherited from its teacher's filters, or random and fitted to one batch."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from hwkd.models.base import HyperpriorCodec
from hwkd.models.compat import GDN

# Start a student from its teacher's filters: the channels that matter most are kept, by name and position.
#
# Importance is the L2 norm of a channel's outgoing filter times that of its incoming one, as in magnitude pruning
# (Li et al. 2017, arXiv 1608.08710, with the consumer's side added).

Index = Tensor
Conv = nn.Conv2d | nn.ConvTranspose2d


def inherit(student: HyperpriorCodec, teacher: HyperpriorCodec) -> tuple[str, ...]:
    """Copy what fits from `teacher` into `student`, in place.

    Returns:
        The parts that were inherited, named ("g_a", "h_a", ...); empty when the families have nothing in common.
    A part is inherited when both have the same kind of layers with the same kernels and the student's are no wider.
    """
    if student.M > teacher.M:
        return ()
    with torch.no_grad():
        return student.inherit(teacher)


def same_shapes(student: HyperpriorCodec, other: HyperpriorCodec) -> bool:
    """Whether both are one architecture, so that every weight of `other` fits `student`."""
    mine = {name: (p.shape, type(student)) for name, p in student.named_parameters()}
    return mine == {name: (p.shape, type(other)) for name, p in other.named_parameters()}


def copy_chain(
    student: Sequence[nn.Module],
    teacher: Sequence[nn.Module],
    first_in: Index | None,
    last_out: Index | None,
) -> bool:
    """Copy a chain of convolutions with activations between; False where the student is wider or has other kernels.

    Args:
        first_in, last_out: the teacher's channels that the first layer reads and that the last one gives; None: all.
    """
    convs = [i for i, m in enumerate(student) if isinstance(m, Conv)]
    pairs = [(cast(Conv, student[i]), cast(Conv, teacher[i])) for i in convs]
    if any(s.out_channels > t.out_channels or s.kernel_size != t.kernel_size for s, t in pairs):
        return False
    into = first_in
    for place, i in enumerate(convs):
        mine, theirs = cast(Conv, student[i]), cast(Conv, teacher[i])
        if place + 1 < len(convs):
            consumer = cast(Conv, teacher[convs[place + 1]])
            out: Index | None = most(out_norm(theirs) * in_norm(consumer), mine.out_channels)
        else:
            out = last_out
        copy_filters(mine, theirs, out=out, into=into)
        if place + 1 < len(convs):
            activation, source = student[i + 1], teacher[i + 1]
            if isinstance(activation, GDN) and isinstance(source, GDN) and out is not None:
                activation.beta.copy_(source.beta[out])
                activation.gamma.copy_(source.gamma[out][:, out])
        into = out
    return True


def copy_bottleneck(student: HyperpriorCodec, teacher: HyperpriorCodec, z: Index) -> None:
    """Copy the entropy model of the teacher's channels `z` of z."""
    mine = dict(student.entropy_bottleneck.named_parameters())
    for name, value in teacher.entropy_bottleneck.named_parameters():
        mine[name].copy_(value[z])


def _axis_out(layer: Conv) -> int:
    return 1 if isinstance(layer, nn.ConvTranspose2d) else 0


def out_norm(layer: Conv) -> Tensor:
    """L2 norm of the filters that make each output channel, [C_out]."""
    filters: Tensor = layer.weight.transpose(0, _axis_out(layer))
    return filters.flatten(1).square().sum(1).sqrt()


def in_norm(layer: Conv) -> Tensor:
    """L2 norm of the filters that read each input channel, [C_in]."""
    filters: Tensor = layer.weight.transpose(0, 1 - _axis_out(layer))
    return filters.flatten(1).square().sum(1).sqrt()


def most(importance: Tensor, count: int) -> Index:
    """The places of the `count` largest, in ascending order."""
    return importance.topk(count).indices.sort().values


def copy_filters(
    student: Conv, teacher: Conv, *, out: Index | None = None, into: Index | None = None
) -> None:
    """Copy one layer: of the teacher's channels those of `out` that it gives and of `into` that it reads; None: all."""
    weight = teacher.weight
    axis = _axis_out(teacher)
    if out is not None:
        weight = weight.index_select(axis, out)
    if into is not None:
        weight = weight.index_select(1 - axis, into)
    # copy_ alone would spread a 1x1 kernel over a larger one.
    assert student.weight.shape == weight.shape
    student.weight.copy_(weight)
    if student.bias is not None and teacher.bias is not None:
        student.bias.copy_(teacher.bias if out is None else teacher.bias[out])


# Start a convolutional student from random filters at the right scale, measured on one batch.

LATENT_SPREAD = 3.0
"""Standard deviation of y at the start: some symbols away from zero, few far away."""

PIXEL_SPREAD = 0.2
"""Standard deviation of x_hat at the start: that of photographs in [0, 1]."""


@torch.no_grad()
def fit_to_data(codec: HyperpriorCodec, x: Tensor) -> None:
    """Rescale each convolution of g_a and g_s once, in order, so that its output on `x` has unit spread.

    torch's default initialisation shrinks the signal layer by layer: at equal steps this start stood at a third of
    its RD loss. h_a and h_s keep the default: rescaled too, they let z collapse to zero. A
    data-dependent start as in LSUV (Mishkin and Matas 2016, arXiv 1511.06422).

    Args:
        x: images, [B, 3, H, W] in [0, 1].
    """
    g_a, g_s = cast(nn.Sequential, codec.g_a), cast(nn.Sequential, codec.g_s)
    y = _fit(g_a, x, LATENT_SPREAD)
    _fit(g_s, torch.round(y), PIXEL_SPREAD)
    last = cast(nn.ConvTranspose2d, g_s[-1])
    assert last.bias is not None
    last.bias.add_(x.mean((0, 2, 3)))


def _fit(chain: nn.Sequential, h: Tensor, last_spread: float) -> Tensor:
    for i, layer in enumerate(chain):
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            assert layer.bias is not None
            layer.bias.zero_()
            out = layer(h)
            means = out.mean((0, 2, 3))
            # Of the centred output: the channels' means alone may spread wider than all that varies within them.
            spread = (out - means[:, None, None]).std()
            gain = (last_spread if i == len(chain) - 1 else 1.0) / spread
            layer.weight.mul_(gain)
            layer.bias.copy_(-gain * means)
        h = layer(h)
    return h
