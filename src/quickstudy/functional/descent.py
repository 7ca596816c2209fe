"""Gradient descent on small parameters of many tasks at once."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def descended(
    start: Sequence[Float[Tensor, "T ..."]],
    losses: Sequence[Callable[..., Float[Tensor, " T"]]],
    optimiser: Callable[[list[Tensor]], torch.optim.Optimizer],
    *,
    seen: Callable[[int, tuple[Tensor, ...]], None] | None = None,
) -> tuple[Tensor, ...]:
    """Where an optimiser of torch's takes ``start``, one step for each of ``losses``. The tasks are
    independent, as torch's optimisers work number by number.

    The result is detached; gradients need not be enabled outside. What else the losses depend on
    must be detached too.

    Args:
        start: the parameters of all tasks.
        losses: each takes them and gives one loss per task.
        optimiser: made of the parameters.
        seen: called before each step, and after the last, with the number of steps done and the
            parameters, for early stopping.

    >>> descended(
    ...     [torch.tensor([[4.0]])],
    ...     [lambda w: w.square().sum(1)] * 2,
    ...     lambda p: torch.optim.SGD(p, lr=0.25),
    ... )
    (tensor([[1.]]),)
    """
    parameters = [p.detach().clone().requires_grad_() for p in start]
    descent = optimiser(parameters)
    for i, loss in enumerate(losses):
        if seen is not None:
            seen(i, tuple(p.detach() for p in parameters))
        with torch.enable_grad():
            gradients = torch.autograd.grad(loss(*parameters).sum(), parameters)
        for p, g in zip(parameters, gradients, strict=True):
            p.grad = g
        descent.step()
    if seen is not None:
        seen(len(losses), tuple(p.detach() for p in parameters))
    return tuple(p.detach() for p in parameters)


def mean_cross_entropy(out: Float[Tensor, "T Q C"], y: Int[Tensor, "T Q"]) -> Float[Tensor, " T"]:
    """The mean of −log p(y) over each task's examples."""
    return F.cross_entropy(out.flatten(0, 1), y.flatten(), reduction="none").view(y.shape).mean(1)


def mean_entropy(out: Float[Tensor, "T Q C"]) -> Float[Tensor, " T"]:
    """The mean over each task's examples of H(p) = −Σ_c p_c log p_c, in nats.

    >>> mean_entropy(torch.zeros(1, 3, 2))
    tensor([0.6931])
    """
    log_p = out.log_softmax(-1)
    return -(log_p.exp() * log_p).sum(-1).mean(1)
