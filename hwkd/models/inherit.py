"""A student's first weights: inherited from its teacher's filters, or random and fitted to one batch."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from hwkd.models.base import HyperpriorCodec
from hwkd.models.compat import GDN
from hwkd.models.hyperprior import ConvHyperprior
from hwkd.models.patch import Block, Deblock, MeanContext, PatchAnalysis, PatchCodec, PatchSynthesis

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
    A part is inherited when both have the same kind of layers and the student's are no wider.
    """
    if student.M > teacher.M:
        return ()
    inherited: list[str] = []
    with torch.no_grad():
        y = _latent(student, teacher)
        if isinstance(student, PatchCodec) and isinstance(teacher, PatchCodec):
            inherited += _patch(student, teacher, y)
        elif isinstance(student, ConvHyperprior) and isinstance(teacher, ConvHyperprior):
            inherited += _convolutional(student, teacher, y)
        if inherited and type(student) is type(teacher):  # mbt2018-mean has another h_a and h_s
            inherited += _hyper(student, teacher, y)
    return tuple(inherited)


def same_shapes(student: HyperpriorCodec, other: HyperpriorCodec) -> bool:
    """Whether both are one architecture, so that every weight of `other` fits `student`."""
    mine = {name: (p.shape, type(student)) for name, p in student.named_parameters()}
    return mine == {name: (p.shape, type(other)) for name, p in other.named_parameters()}


def has_gdn(codec: HyperpriorCodec | None) -> bool:
    """Whether a layer of `codec` is a GDN."""
    return codec is not None and any(isinstance(m, GDN) for m in codec.modules())


def _latent(student: HyperpriorCodec, teacher: HyperpriorCodec) -> Index:
    """Which of the teacher's channels of y the student keeps."""
    if isinstance(teacher, ConvHyperprior):
        g_a, g_s = cast(nn.Sequential, teacher.g_a), cast(nn.Sequential, teacher.g_s)
        return _most(_out_norm(cast(Conv, g_a[6])) * _in_norm(cast(Conv, g_s[0])), student.M)
    # A patch teacher's components stand in the order of their variance.
    return torch.arange(student.M, device=next(teacher.parameters()).device)


def _patch(student: PatchCodec, teacher: PatchCodec, y: Index) -> list[str]:
    s_a, t_a = cast(PatchAnalysis, student.g_a), cast(PatchAnalysis, teacher.g_a)
    s_s, t_s = cast(PatchSynthesis, student.g_s), cast(PatchSynthesis, teacher.g_s)
    if s_a.stem.out_channels > t_a.stem.out_channels:
        return []
    stream = _most(_out_norm(t_a.stem) * _in_norm(t_a.head), s_a.stem.out_channels)
    _copy(s_a.linear, t_a.linear, out=y)
    _copy(s_a.stem, t_a.stem, out=stream)
    _copy(s_a.head, t_a.head, out=y, into=stream)
    _blocks(s_a.trunk, t_a.trunk, stream)
    stream = _most(_out_norm(t_s.stem) * _in_norm(t_s.head), s_s.stem.out_channels)
    _copy(s_s.linear, t_s.linear, into=y)
    _copy(s_s.stem, t_s.stem, out=stream, into=y)
    _copy(s_s.head, t_s.head, into=stream)
    _blocks(s_s.trunk, t_s.trunk, stream)
    for pair, source in zip(s_s.post, t_s.post, strict=False):
        _deblock(cast(Deblock, pair), cast(Deblock, source))
    if s_s.context is not None and t_s.context is not None:
        _context(s_s.context, t_s.context)
    mine, theirs = student.gains, teacher.gains
    if mine is not None and theirs is not None and len(mine.deviations) == len(theirs.deviations):
        mine.deviations.copy_(theirs.deviations[:, y])
    return ["g_a", "g_s"]


def _context(student: MeanContext, teacher: MeanContext) -> None:
    """Of channels that stand in one order in both: the first of the teacher's are the student's."""
    if student.channels > teacher.channels:
        return
    known = torch.arange(student.channels, device=teacher.scale.device)
    student.scale.copy_(teacher.scale[known])
    if student.conv_in.out_channels > teacher.conv_in.out_channels:
        return
    hidden = _most(
        _out_norm(teacher.conv_in) * _in_norm(teacher.conv_out), student.conv_in.out_channels
    )
    _copy(student.conv_in, teacher.conv_in, out=hidden, into=known)
    _copy(student.conv_out, teacher.conv_out, out=known, into=hidden)


def _blocks(student: nn.Sequential, teacher: nn.Sequential, stream: Index) -> None:
    """Each of the student's blocks takes the teacher's block at the same relative depth."""
    for i, mine in enumerate(student):
        theirs = teacher[min(len(teacher) - 1, i * len(teacher) // len(student))]
        _block(cast(Block, mine), cast(Block, theirs), stream)


def _block(student: Block, teacher: Block, stream: Index) -> None:
    if student.mix_in.out_channels > teacher.mix_in.out_channels:
        return
    hidden = _most(
        _out_norm(teacher.mix_in) * _out_norm(teacher.mix) * _in_norm(teacher.mix_out),
        student.mix_in.out_channels,
    )
    _copy(student.mix_in, teacher.mix_in, out=hidden, into=stream)
    _copy(student.mix, teacher.mix, out=hidden)
    _copy(student.mix_out, teacher.mix_out, out=stream, into=hidden)
    fed = _most(
        _out_norm(teacher.feed_in) * _in_norm(teacher.feed_out), student.feed_in.out_channels
    )
    _copy(student.feed_in, teacher.feed_in, out=fed, into=stream)
    _copy(student.feed_out, teacher.feed_out, out=stream, into=fed)


def _deblock(student: Deblock, teacher: Deblock) -> None:
    if student.conv_in.out_channels > teacher.conv_in.out_channels:
        return
    hidden = _most(
        _out_norm(teacher.conv_in) * _in_norm(teacher.conv_out), student.conv_in.out_channels
    )
    _copy(student.conv_in, teacher.conv_in, out=hidden)
    _copy(student.conv_out, teacher.conv_out, into=hidden)


def _convolutional(student: ConvHyperprior, teacher: ConvHyperprior, latent: Index) -> list[str]:
    s_a, t_a = list(cast(nn.Sequential, student.g_a)), list(cast(nn.Sequential, teacher.g_a))
    s_s, t_s = list(cast(nn.Sequential, student.g_s)), list(cast(nn.Sequential, teacher.g_s))
    done = []
    if _chain(s_a, t_a, None, latent):
        done.append("g_a")
    if _chain(s_s, t_s, latent, None):
        done.append("g_s")
    return done


def _chain(
    student: Sequence[nn.Module],
    teacher: Sequence[nn.Module],
    first_in: Index | None,
    last_out: Index | None,
) -> bool:
    """Copy a chain of convolutions with activations between; False where the student is wider somewhere."""
    convs = [i for i, m in enumerate(student) if isinstance(m, Conv)]
    if any(
        cast(Conv, student[i]).out_channels > cast(Conv, teacher[i]).out_channels for i in convs
    ):
        return False
    into = first_in
    for place, i in enumerate(convs):
        mine, theirs = cast(Conv, student[i]), cast(Conv, teacher[i])
        if place + 1 < len(convs):
            consumer = cast(Conv, teacher[convs[place + 1]])
            out: Index | None = _most(_out_norm(theirs) * _in_norm(consumer), mine.out_channels)
        else:
            out = last_out
        _copy(mine, theirs, out=out, into=into)
        if place + 1 < len(convs):
            activation, source = student[i + 1], teacher[i + 1]
            if isinstance(activation, GDN) and isinstance(source, GDN) and out is not None:
                activation.beta.copy_(source.beta[out])
                activation.gamma.copy_(source.gamma[out][:, out])
        into = out
    return True


def _hyper(student: HyperpriorCodec, teacher: HyperpriorCodec, y: Index) -> list[str]:
    """h_a, h_s and the entropy bottleneck, where nothing is wider. y: the channels of the teacher's y that are kept."""
    if student.Z > teacher.Z:
        return []
    t_a, t_s = cast(nn.Sequential, teacher.h_a), cast(nn.Sequential, teacher.h_s)
    z = _most(_out_norm(cast(Conv, t_a[-1])), student.Z)
    if isinstance(student, PatchCodec):
        return _patch_hyper(student, cast(PatchCodec, teacher), y, z)
    s_a, s_s = cast(nn.Sequential, student.h_a), cast(nn.Sequential, student.h_s)
    if not (_chain(list(s_a), list(t_a), y, z) and _chain(list(s_s), list(t_s), z, y)):
        return []
    _bottleneck(student, teacher, z)
    return ["h_a", "h_s"]


def _patch_hyper(student: PatchCodec, teacher: PatchCodec, y: Index, z: Index) -> list[str]:
    s_a, t_a = cast(nn.Sequential, student.h_a), cast(nn.Sequential, teacher.h_a)
    if not _chain(list(s_a), list(t_a), y, z):
        return []
    # h_s: each 3x3 convolution gives four sub-pixels per channel, in groups of four (PixelShuffle).
    s_s, t_s = cast(nn.Sequential, student.h_s), cast(nn.Sequential, teacher.h_s)
    into = z
    for i, consumer in ((0, 3), (3, 6)):
        mine, theirs = cast(nn.Conv2d, s_s[i]), cast(nn.Conv2d, t_s[i])
        four = _out_norm(theirs).square().reshape(-1, 4).sum(1).sqrt()
        keep = _most(four * _in_norm(cast(Conv, t_s[consumer])), mine.out_channels // 4)
        sub_pixels = (keep[:, None] * 4 + torch.arange(4, device=keep.device)).flatten()
        _copy(mine, theirs, out=sub_pixels, into=into)
        into = keep
    _copy(cast(Conv, s_s[6]), cast(Conv, t_s[6]), out=y, into=into)
    _bottleneck(student, teacher, z)
    return ["h_a", "h_s"]


def _bottleneck(student: HyperpriorCodec, teacher: HyperpriorCodec, z: Index) -> None:
    mine = dict(student.entropy_bottleneck.named_parameters())
    for name, value in teacher.entropy_bottleneck.named_parameters():
        mine[name].copy_(value[z])


def _axis_out(layer: Conv) -> int:
    return 1 if isinstance(layer, nn.ConvTranspose2d) else 0


def _out_norm(layer: Conv) -> Tensor:
    """L2 norm of the filters that make each output channel, [C_out]."""
    filters: Tensor = layer.weight.transpose(0, _axis_out(layer))
    return filters.flatten(1).square().sum(1).sqrt()


def _in_norm(layer: Conv) -> Tensor:
    """L2 norm of the filters that read each input channel, [C_in]."""
    filters: Tensor = layer.weight.transpose(0, 1 - _axis_out(layer))
    return filters.flatten(1).square().sum(1).sqrt()


def _most(importance: Tensor, count: int) -> Index:
    """The places of the `count` largest, in ascending order."""
    return importance.topk(count).indices.sort().values


def _copy(
    student: Conv, teacher: Conv, *, out: Index | None = None, into: Index | None = None
) -> None:
    weight = teacher.weight
    axis = _axis_out(teacher)
    if out is not None:
        weight = weight.index_select(axis, out)
    if into is not None:
        weight = weight.index_select(1 - axis, into)
    student.weight.copy_(weight)
    if student.bias is not None and teacher.bias is not None:
        student.bias.copy_(teacher.bias if out is None else teacher.bias[out])


# Start a convolutional student from random filters at the right scale, measured on one batch.

LATENT_SPREAD = 3.0
"""Standard deviation of y at the start: some symbols away from zero, few far away."""

PIXEL_SPREAD = 0.2
"""Standard deviation of x_hat at the start: that of photographs in [0, 1]."""


@torch.no_grad()
def fit_to_data(codec: ConvHyperprior, x: Tensor) -> None:
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
