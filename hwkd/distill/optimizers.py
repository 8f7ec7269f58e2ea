"""The optimizers: Muon for the matrices of wide layers with Adam for the rest, or Adam alone; and the weights' average."""

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

OPTIMIZERS = ("muon", "adam")

MUON_RATE = 4.0
"""Muon's rate over Adam's. Of 1, 2, 4 and 10 it trained a patch codec best from its principal components."""

SMALLEST_SIDE = 48
"""A narrower matrix is left to Adam: it has too few directions for their lengths to be worth evening out."""

MOMENTUM = 0.95

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS = 5

AVERAGED_STEPS = 1000
"""The average forgets over so many steps; early on over a tenth of those done."""


def takes_muon(name: str, parameter: Tensor) -> bool:
    """Whether Muon moves the parameter called `name`: the filters of a convolution that mixes at least SMALLEST_SIDE
    channels into as many.

    Not those of `linear`, which start as principal components: lengths matter in them.
    """
    if parameter.ndim != 4 or parameter.shape[1] == 1 or ".linear." in name:
        return False
    return min(parameter.shape[0], parameter[0].numel()) >= SMALLEST_SIDE


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, made orthogonal: each filter bank, seen as a matrix of output channels, moves by an update with all
    singular values near 1.

        m = m + (1 - MOMENTUM) (g - m),  u = g + MOMENTUM (m - g),  w = w - lr 0.2 sqrt(larger side) orthogonal(u)

    With that factor an update is as large as Adam's usually are, so that one rate fits matrices of all sizes. torch's own
    Muon takes matrices only, and one at a time; here those of one shape are made orthogonal together.

    Source: K. Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024); the factor: J. Liu et al.,
    arXiv 2502.16982, section 2.2.

    Attributes:
        bf16: run the matrix products in bfloat16, where the processor is fast at it.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, *, bf16: bool) -> None:
        super().__init__(parameters, {"lr": lr})
        self._type = torch.bfloat16 if bf16 else torch.float32

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move every parameter that has a gradient."""
        for group in self.param_groups:
            by_shape: dict[tuple[int, int], list[tuple[nn.Parameter, Tensor]]] = {}
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                held = self.state[parameter]
                if not held:
                    held["momentum"] = torch.zeros_like(parameter)
                momentum = held["momentum"].lerp_(parameter.grad, 1 - MOMENTUM)
                update = parameter.grad.lerp(momentum, MOMENTUM).flatten(1)
                rows, columns = update.shape
                # The products are of the shorter side.
                update = update.T if rows > columns else update
                by_shape.setdefault((update.shape[0], update.shape[1]), []).append(
                    (parameter, update)
                )
            for shape, found in by_shape.items():
                moves = orthogonal(torch.stack([update for _, update in found]).to(self._type))
                rate = group["lr"] * 0.2 * math.sqrt(shape[1])
                for (parameter, _), move in zip(found, moves.float(), strict=True):
                    move = move.T if move.shape[0] != parameter.shape[0] else move
                    parameter.sub_(move.reshape(parameter.shape), alpha=rate)


def orthogonal(matrices: Tensor) -> Tensor:
    """[n, rows, columns], rows at most columns, with the same singular vectors and singular values of 0.7 to 1.2.

    A quintic Newton-Schulz iteration with coefficients that raise small singular values fast and let large ones waver.
    """
    a, b, c = NEWTON_SCHULZ
    x: Tensor = matrices / (
        torch.linalg.vector_norm(matrices.float(), dim=(1, 2), keepdim=True) + 1e-7
    )
    x = x.to(matrices.dtype)
    for _ in range(NEWTON_SCHULZ_STEPS):
        square = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x


def optimizers(
    named: Mapping[str, nn.Parameter], kind: str, lr: float, *, bf16: bool
) -> list[torch.optim.Optimizer]:
    """The optimizers that share the parameters `named` out among themselves.

    Args:
        kind: one of OPTIMIZERS.
        lr: Adam's peak rate.
    """
    wide = [p for name, p in named.items() if kind == "muon" and takes_muon(name, p)]
    taken = set(map(id, wide))
    rest = [p for p in named.values() if id(p) not in taken]
    found: list[torch.optim.Optimizer] = [torch.optim.Adam(rest, lr, fused=True)]
    if wide:
        found.append(Muon(wide, MUON_RATE * lr, bf16=bf16))
    return found


class Average:
    """The running average of a model's parameters, which evaluates better than the last ones (Polyak averaging).

    It leaves out the quantiles of the entropy bottleneck: their medians are whole numbers.
    """

    def __init__(self, model: nn.Module) -> None:
        self._own = {
            name: p for name, p in model.named_parameters() if not name.endswith("quantiles")
        }
        self._averaged = {name: p.detach().clone() for name, p in self._own.items()}
        self._steps = 0

    @torch.no_grad()
    def update(self) -> None:
        """Take in the parameters after one more step."""
        self._steps += 1
        share = max(1 / AVERAGED_STEPS, 1 / (1 + self._steps / 10))
        torch._foreach_lerp_(list(self._averaged.values()), list(self._own.values()), share)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside, the model has the averaged parameters."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def take_over(self) -> None:
        """Give the model the averaged parameters for good."""
        for name, parameter in self._own.items():
            parameter.copy_(self._averaged[name])

    def state(self) -> dict[str, Any]:
        """The state that `restore` takes."""
        return {"steps": self._steps, "parameters": dict(self._averaged)}

    @torch.no_grad()
    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        self._steps = state["steps"]
        for name, averaged in self._averaged.items():
            averaged.copy_(state["parameters"][name])

    @torch.no_grad()
    def _exchange(self) -> None:
        for name, parameter in self._own.items():
            kept = parameter.detach().clone()
            parameter.copy_(self._averaged[name])
            self._averaged[name] = kept
