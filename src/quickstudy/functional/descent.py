"""Gradient descent on the small parameters of heads, many tasks at once, by gradients in closed
form.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.sgd import sgd

Step: TypeAlias = Callable[[Sequence[Tensor], Sequence[Tensor]], None]


def descended(
    start: Sequence[Float[Tensor, "T ..."]],
    gradients: Sequence[Callable[..., Sequence[Tensor]]],
    step: Step,
    *,
    seen: Callable[[int, tuple[Tensor, ...]], None] | None = None,
) -> tuple[Tensor, ...]:
    """Where steps of an optimiser take ``start``, one for each of ``gradients``. The tasks are
    independent, as the optimisers work number by number.

    No graph is built: the result is detached, and so must be what the gradients depend on.

    Args:
        start: the parameters of all tasks.
        gradients: each takes them and gives the gradient of each, of the sum of the tasks' losses.
        step: changes the parameters in place, given them and their gradients; see `SGD` and
            `Adam`.
        seen: called before each step, and after the last, with the number of steps done and the
            parameters, for early stopping. They change in place afterwards.

    >>> descended([torch.tensor([[4.0]])], [lambda w: (2 * w,)] * 2, SGD(0.25))
    (tensor([[1.]]),)
    """
    with torch.no_grad():
        parameters = tuple(p.detach().clone() for p in start)
        for i, gradient in enumerate(gradients):
            if seen is not None:
                seen(i, parameters)
            step(parameters, gradient(*parameters))
        if seen is not None:
            seen(len(gradients), parameters)
    return parameters


class SGD:
    """Steps of torch's stochastic gradient descent, without what an optimiser does besides.

    Args:
        lr: the rate.
        momentum, dampening, weight_decay: as of `torch.optim.SGD`.
    """

    def __init__(
        self,
        lr: float,
        *,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
    ) -> None:
        self._options: dict[str, Any] = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": False,
            "maximize": False,
        }
        self._velocity: list[Tensor | None] = []

    def __call__(self, parameters: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
        self._velocity = self._velocity or [None] * len(parameters)
        sgd(list(parameters), list(gradients), self._velocity, foreach=False, **self._options)


class Adam:
    """Steps of torch's Adam, without what an optimiser does besides.

    Args:
        lr: the rate.
    """

    def __init__(self, lr: float) -> None:
        self._lr = lr
        self._state: tuple[list[Tensor], list[Tensor], list[Tensor]] = ([], [], [])

    def __call__(self, parameters: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
        if not self._state[0]:
            mean, square = ([torch.zeros_like(p) for p in parameters] for _ in range(2))
            self._state = (mean, square, [torch.zeros(()) for _ in parameters])
        mean, square, done = self._state
        adam(
            list(parameters),
            list(gradients),
            mean,
            square,
            [],
            done,
            foreach=False,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=self._lr,
            weight_decay=0.0,
            eps=1e-8,
            maximize=False,
        )


def through_softmax(
    p: Float[Tensor, "T Q C"], slope: Float[Tensor, "T Q C"]
) -> Float[Tensor, "T Q C"]:
    """The gradient for scores whose softmax is ``p``, from the ``slope`` for ``p``.

    What the slope has in common for all classes makes no difference, so that of the likeliest class
    is subtracted first: where p is nearly 1 there, two large numbers would cancel.

    >>> through_softmax(torch.tensor([[[1.0, 1e-9]]]), torch.tensor([[[70.3, 50.1]]]))
    tensor([[[ 2.0200e-08, -2.0200e-08]]])
    """
    slope = slope - slope.gather(-1, p.argmax(-1, keepdim=True))
    return p * (slope - (p * slope).sum(-1, keepdim=True))


def through_normalise(w: Float[Tensor, "T C D"], slope: Float[Tensor, "T C D"]) -> Tensor:
    """The gradient for vectors ``w``, from the ``slope`` for `torch.nn.functional.normalize` of
    them.
    """
    length = w.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    unit = w / length
    return (slope - unit * (unit * slope).sum(-1, keepdim=True)) / length


def entropy_slope(out: Float[Tensor, "T Q C"]) -> Float[Tensor, "T Q C"]:
    """The gradient of `mean_entropy`, of all tasks' sum.

    >>> entropy_slope(torch.zeros(1, 3, 2)).abs().sum()
    tensor(0.)
    """
    log_p = out.log_softmax(-1)
    return through_softmax(log_p.exp(), -log_p / out.shape[1])


def cross_entropy_slope(
    out: Float[Tensor, "T Q C"], target: Float[Tensor, "T Q C"]
) -> Float[Tensor, "T Q C"]:
    """The gradient of `mean_cross_entropy`, of all tasks' sum; ``target`` is one-hot.

    >>> cross_entropy_slope(torch.zeros(1, 1, 2), torch.tensor([[[1.0, 0.0]]]))
    tensor([[[-0.5000,  0.5000]]])
    """
    return (out.softmax(-1) - target) / out.shape[1]


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
