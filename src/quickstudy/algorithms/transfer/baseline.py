"""Baseline and Baseline++: a new last layer for every task, on features that stay as they are."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from quickstudy.algorithms.transfer.feature_head import FeatureHead
from quickstudy.core.encoder import AbstractEncoder
from quickstudy.core.errors import ConfigError
from quickstudy.core.rng import generator
from quickstudy.functional.descent import (
    SGD,
    cross_entropy_slope,
    descended,
    through_normalise,
)

_PROMISES: dict[str, Any] = {
    "order_free": False,
    "class_equivariant": False,
    "exact_gradient": False,
}


class Baseline(FeatureHead):
    """A linear layer is trained on the features of the support by stochastic gradient descent, from
    random weights.

    min over W, b of the mean of CE(W f(x_i) + b, y_i): SGD with momentum 0.9 and dampening 0.9

    Shapes:
        support ``[T N *S]``, queries ``[T Q *S] -> [T Q C]``

    Args:
        encoder: f; train it by the objective ``classify``.
        epochs: passes over the support.
        batch: examples of a step.
        lr, weight_decay: of SGD.

    Example:
        >>> from quickstudy.core.types import Classes, Examples
        >>> from quickstudy.encoders import Identity
        >>> support = Examples.single(torch.tensor([[-9.0], [9.0]]), torch.tensor([0, 1]))
        >>> Baseline(Identity(1)).fit(support, Classes(2))(torch.tensor([[5.0]])).argmax(-1)
        tensor([1])

    Raises:
        ConfigError: for numbers that train nothing.

    Paper: Chen et al. 2019, arXiv:1904.04232, section 3.2; rates from the authors' code.
    Differs: random weights and batches are the same for all tasks, so that a task has one answer.
    """

    def __init__(
        self,
        encoder: AbstractEncoder,
        *,
        epochs: int = 100,
        batch: int = 4,
        lr: float = 0.01,
        weight_decay: float = 1e-3,
    ) -> None:
        super().__init__(encoder, transform="un", **_PROMISES)
        _check(epochs, batch, lr)
        self.epochs, self.batch, self.lr, self.weight_decay = epochs, batch, lr, weight_decay

    def learn(self, z: Tensor, y: Tensor, n: int, queries: Tensor | None) -> tuple[Tensor, ...]:
        return _trained(self, [_uniform(n, z), z.new_zeros(len(z), n)], z, y)

    def answer(self, learned: tuple[Tensor, ...], z: Tensor) -> Float[Tensor, "T Q C"]:
        weight, bias = learned
        return z @ weight.transpose(1, 2) + bias[:, None]

    def gradient(
        self, parameters: tuple[Tensor, ...], z: Tensor, slope: Float[Tensor, "T N C"]
    ) -> tuple[Tensor, ...]:
        """That for the parameters, from the ``slope`` for the scores of ``z``."""
        return slope.transpose(1, 2) @ z, slope.sum(1)


class BaselinePP(FeatureHead):
    """As `Baseline`, but the layer compares directions.

    score(c | x) = s · g_c · cos(w_c, f(x)), w and g learned

    Shapes:
        support ``[T N *S]``, queries ``[T Q *S] -> [T Q C]``

    Args:
        encoder: f; train it by the objective ``classify`` with ``head="cosine"``.
        scale: s; 2 as in the authors' code for up to 200 classes.
        epochs: passes over the support.
        batch: examples of a step.
        lr, weight_decay: of SGD.

    Example:
        >>> from quickstudy.core.types import Classes, Examples
        >>> from quickstudy.encoders import Identity
        >>> support = Examples.single(torch.eye(2), torch.tensor([0, 1]))
        >>> BaselinePP(Identity(2)).fit(support, Classes(2))(torch.tensor([[0.5, 0.1]])).argmax(-1)
        tensor([0])

    Raises:
        ConfigError: for numbers that train nothing.

    Paper: Chen et al. 2019, arXiv:1904.04232, section 3.2; rates from the authors' code, and g, a
        weight normalisation.
    Differs: as `Baseline`.
    """

    def __init__(
        self,
        encoder: AbstractEncoder,
        *,
        scale: float = 2.0,
        epochs: int = 100,
        batch: int = 4,
        lr: float = 0.01,
        weight_decay: float = 1e-3,
    ) -> None:
        super().__init__(encoder, transform="l2n", **_PROMISES)
        _check(epochs, batch, lr)
        if not scale > 0:
            raise ConfigError(f"scale must be above 0, got {scale}.")
        self.scale = scale
        self.epochs = epochs
        self.batch = batch
        self.lr = lr
        self.weight_decay = weight_decay

    def learn(self, z: Tensor, y: Tensor, n: int, queries: Tensor | None) -> tuple[Tensor, ...]:
        weight = _uniform(n, z)
        return _trained(self, [weight, weight.norm(dim=-1, keepdim=True)], z, y)

    def answer(self, learned: tuple[Tensor, ...], z: Tensor) -> Float[Tensor, "T Q C"]:
        weight, norm = learned
        return self.scale * z @ (norm * F.normalize(weight, dim=-1)).transpose(1, 2)

    def gradient(
        self, parameters: tuple[Tensor, ...], z: Tensor, slope: Float[Tensor, "T N C"]
    ) -> tuple[Tensor, ...]:
        """That for the parameters, from the ``slope`` for the scores of ``z``."""
        weight, norm = parameters
        of_row = self.scale * (slope.transpose(1, 2) @ z)  # of norm · direction
        of_norm = (of_row * F.normalize(weight, dim=-1)).sum(-1, keepdim=True)
        return through_normalise(weight, norm * of_row), of_norm


def _trained(
    learner: Baseline | BaselinePP, start: list[Tensor], z: Tensor, y: Tensor
) -> tuple[Tensor, ...]:
    g, fixed = generator("baseline", "batches"), z.detach()
    target = F.one_hot(y, start[0].shape[1]).to(z.dtype)

    def of_rows(rows: Tensor) -> Callable[..., tuple[Tensor, ...]]:
        x, wanted = fixed[:, rows], target[:, rows]

        def gradient(*parameters: Tensor) -> tuple[Tensor, ...]:
            slope = cross_entropy_slope(learner.answer(parameters, x), wanted)
            return learner.gradient(parameters, x, slope)

        return gradient

    n = z.shape[1]
    batches = [
        rows.to(z.device)
        for _ in range(learner.epochs)
        for rows in torch.randperm(n, generator=g).split(learner.batch)
    ]
    return descended(
        start,
        [of_rows(rows) for rows in batches],
        SGD(learner.lr, momentum=0.9, dampening=0.9, weight_decay=learner.weight_decay),
    )


def _uniform(n: int, z: Float[Tensor, "T N D"]) -> Float[Tensor, "T C D"]:
    """Weights as `torch.nn.Linear` draws them, the same for all tasks."""
    d = z.shape[2]
    drawn = (
        2 * torch.rand(n, d, generator=generator("baseline", "weights"), dtype=torch.float32) - 1
    ) / d**0.5
    return drawn.to(z).expand(len(z), n, d)


def _check(epochs: int, batch: int, lr: float) -> None:
    if epochs < 1 or batch < 1 or not lr > 0:
        raise ConfigError(
            f"epochs and batch must be at least 1 and lr above 0, got {epochs}, {batch} and {lr}."
        )
