"""The heads of a `FewShotClassifier` as modules, in double precision as they are."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core.errors import ConfigError
from quickstudy.estimators.heads import AbstractHead, CosineHead, LearnerHead, PrototypeHead
from quickstudy.estimators.in_context_head import InContextHead
from quickstudy.estimators.linear_heads import GaussianHead, LogisticHead, RidgeHead
from quickstudy.estimators.scaling import Scaling, unit


class DoubleModule(nn.Module):
    """A module that keeps arrays as buffers of doubles."""

    def keep(self, **arrays: Any) -> None:
        """Keep arrays by name."""
        for name, array in arrays.items():
            values = np.ascontiguousarray(np.asarray(array, dtype=np.float64))
            self.register_buffer(name, torch.from_numpy(values.copy()))


def unit_rows(x: Float[Tensor, "n D"]) -> Float[Tensor, "n D"]:
    """As `quickstudy.estimators.scaling.unit`."""
    largest = x.abs().amax(1, keepdim=True)
    x = x / torch.where(largest > 0, largest, torch.ones_like(largest))
    length = (x * x).sum(1, keepdim=True).sqrt()
    return x / torch.where(length > 0, length, torch.ones_like(length))


class ScalingGraph(DoubleModule):
    """As `quickstudy.estimators.scaling.Scaling`."""

    mean: Tensor
    scale: Tensor

    def __init__(self, scaling: Scaling) -> None:
        super().__init__()
        self.unit_first = scaling.unit_first
        self.unit_last = scaling.unit_last
        self.keep(
            mean=0.0 if scaling.mean is None else scaling.mean,
            scale=1.0 if scaling.scale is None else scaling.scale,
        )

    def forward(self, x: Float[Tensor, "n D"]) -> Float[Tensor, "n D"]:
        """The scaled vectors."""
        x = unit_rows(x) if self.unit_first else x
        x = (x - self.mean) / self.scale
        return unit_rows(x) if self.unit_last else x


class LinearGraph(DoubleModule):
    """Scores that are linear in the scaled vectors: ``x W + b``."""

    weight: Tensor
    bias: Tensor

    def __init__(self, scaling: Scaling, weight: Any, bias: Any) -> None:
        super().__init__()
        self.scaled = ScalingGraph(scaling)
        self.keep(weight=weight, bias=bias)

    def forward(self, x: Float[Tensor, "n D"]) -> Float[Tensor, "n C"]:
        """The scores."""
        return self.scaled(x) @ self.weight + self.bias


class DistanceGraph(DoubleModule):
    """Minus the squared distance to each mean."""

    means: Tensor

    def __init__(self, scaling: Scaling, means: Any) -> None:
        super().__init__()
        self.scaled = ScalingGraph(scaling)
        self.keep(means=means)

    def forward(self, x: Float[Tensor, "n D"]) -> Float[Tensor, "n C"]:
        """The scores."""
        x = self.scaled(x)
        squares = (x * x).sum(1, keepdim=True) - 2 * x @ self.means.T
        return -(squares + (self.means * self.means).sum(1)).clamp(min=0.0)


class LogProbabilityGraph(nn.Module):
    """The log softmax of other scores."""

    def __init__(self, scores: nn.Module) -> None:
        super().__init__()
        self.scores = scores

    def forward(self, x: Float[Tensor, "n D"]) -> Float[Tensor, "n C"]:
        """The scores."""
        return torch.log_softmax(self.scores(x), dim=1)


class SilentGraph(nn.Module):
    """The score 0 of the only class, as of a logistic head."""

    def forward(self, x: Float[Tensor, "n D"]) -> Float[Tensor, "n 1"]:
        """The scores."""
        return torch.zeros_like(x[:, :1])


class LearnerGraph(nn.Module):
    """What a learner predicts from the state that it adapted."""

    def __init__(self, head: LearnerHead) -> None:
        super().__init__()
        self.predictor = head.predictor
        parameters = list(head.learner.parameters())
        self.dtype = parameters[0].dtype if parameters else torch.float32

    def forward(self, x: Float[Tensor, "n D"]) -> Float[Tensor, "n C"]:
        """The scores."""
        return self.predictor(x.to(self.dtype)).double()


def head_graph(head: AbstractHead) -> nn.Module:
    """A fitted head as a module, vectors ``[n D]`` to scores ``[n C]``, both in doubles.

    Raises:
        ConfigError: for one that cannot be a graph.
    """
    for kind, build in _BUILDERS.items():
        if isinstance(head, kind):
            return build(head)
    raise ConfigError(
        f"A head of the kind {type(head).__name__} cannot be exported: it is not known how it "
        "becomes a graph. Fit with another head."
    )


def _prototype(head: PrototypeHead) -> nn.Module:
    if head.metric == "cosine":
        return LinearGraph(head.scaled, unit(head.means).T, 0.0)
    return DistanceGraph(head.scaled, head.means)


def _cosine(head: CosineHead) -> nn.Module:
    return LinearGraph(head.scaled, head.scale * head.directions.T, 0.0)


def _ridge(head: RidgeHead) -> nn.Module:
    return LinearGraph(head.scaled, head.coefficients, head.offset)


def _logistic(head: LogisticHead) -> nn.Module:
    if head.model is None:
        return SilentGraph()
    return LogProbabilityGraph(LinearGraph(head.scaled, head.model.weights, head.model.offset))


def _gaussian(head: GaussianHead) -> nn.Module:
    # (means − directions projected') x / base is linear in x − centre.
    weight = (head.means.T - head.directions @ head.projected.T) / head.base
    return LinearGraph(head.scaled, weight, -head.constant - head.centre @ weight)


def _learner(head: LearnerHead) -> nn.Module:
    traits = head.learner.traits
    name = type(getattr(head.learner, "learner", head.learner)).__name__
    if not traits.exportable:
        raise ConfigError(
            f"A model with the learner {name} cannot be exported: it answers by more than one pass "
            "through a fixed graph. Fit with a head such as prototype, or a learner such as "
            "ProtoNet."
        )
    return LearnerGraph(head)


def _in_context(head: InContextHead) -> nn.Module:
    raise ConfigError(
        "A model with the head in-context cannot be exported: it reads all its examples anew for "
        "every answer. Fit with --head ridge or another head."
    )


_BUILDERS: dict[type[AbstractHead], Callable[[Any], nn.Module]] = {
    PrototypeHead: _prototype,
    CosineHead: _cosine,
    RidgeHead: _ridge,
    LogisticHead: _logistic,
    GaussianHead: _gaussian,
    LearnerHead: _learner,
    InContextHead: _in_context,
}
