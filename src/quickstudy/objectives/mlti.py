"""More tasks than there are: interpolate between those that were drawn."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from quickstudy.core.arguments import returned_state
from quickstudy.core.encoder import AbstractEncoder
from quickstudy.core.errors import ConfigError
from quickstudy.core.learner import AbstractLearner, single_encoder
from quickstudy.core.objective import AbstractObjective
from quickstudy.core.rng import current
from quickstudy.core.types import Batch, Classes, Episode, Examples
from quickstudy.inner.learner import GradientLearner
from quickstudy.inner.loop import InnerLoop


class Mlti(AbstractObjective):
    """The query loss of mixtures of two tasks: H = λ H_i + (1 − λ) H_j at the input (stage 0) or
    behind a stage of the encoder.

    λ ~ Beta(beta, beta) for each pair and one stage for the batch, both the same for support and
    queries. Class r of task i is mixed with a random class of task j, and the mixture is class r of
    a new task. Where the classes mean the same in all tasks (``label_sharing``), and in
    regressions, examples are paired at random instead, and their labels are mixed as well: Y = λ
    Y_i + (1 − λ) Y_j.

    Pairs are formed within a graph's tasks (`Plan.chunk`), so it takes at least two.

    Args:
        beta: of the distribution of λ; 2 prefers even mixtures, 0.5 uneven ones.
        own: how often a task is paired with itself (with its classes in another order).
        stages: those to choose from, 0 = the input; None = the input and all stages but the last.
        label_sharing: whether class k means the same in every task.

    Raises:
        ConfigError: for a learner without an encoder of such stages, one that builds its graph a
            second time, a single task in a graph, or a regression without ``label_sharing``.

    Paper: Yao, Zhang, Finn 2022, arXiv:2106.02695, equations 4 to 7.
    Differs: images are mixed pixel by pixel, not pasted (the authors' image code has CutMix).
    """

    draws = True

    def __init__(
        self,
        *,
        beta: float = 2.0,
        own: float = 0.5,
        stages: Sequence[int] | None = None,
        label_sharing: bool = False,
    ) -> None:
        super().__init__()
        if not beta > 0 or not 0 <= own <= 1:
            raise ConfigError(
                f"beta must be above 0 and own a share between 0 and 1, got {beta} and {own}."
            )
        self.beta, self.own, self.label_sharing = beta, own, label_sharing
        self.stages = None if stages is None else tuple(stages)

    def forward(self, learner: AbstractLearner[Any], batch: Batch) -> Float[Tensor, ""]:
        if not isinstance(batch, Episode):
            raise ConfigError("mlti mixes episodes. Train on tasks that have support and queries.")
        e, stages = batch, self._stages(learner)
        if e.n_tasks < 2 and self.own < 1:
            raise ConfigError(
                "mlti pairs the tasks of a graph, and here is one only. Set train.chunk to 2 or "
                "more (or own=1)."
            )
        if not self.label_sharing and not isinstance(e.target, Classes):
            raise ConfigError(
                "The numbers of a regression mean the same in every task: set label_sharing=True."
            )
        g, n_tasks = current(), e.n_tasks
        ratio = _beta(self.beta, n_tasks, g).to(e.support.x)
        partner = _partners(n_tasks, self.own, g)
        order = (
            torch.rand(n_tasks, e.target.width, generator=g).argsort(1)
            if not self.label_sharing
            else None
        )
        stage = stages[int(torch.randint(len(stages), (), generator=g))]
        support, query = (
            self._paired(part, partner, order, ratio, e.target, g) for part in (e.support, e.query)
        )
        if stage == 0:
            mixed = [Examples(_mix(x, other, ratio), y) for x, other, y in (support, query)]
            return e.target.loss(learner(Episode(mixed[0], mixed[1], e.target)), mixed[1].y).mean()
        encoder = _encoder(learner)
        with encoder.between(_meeting(encoder, stage, encoder.prepare(support[1]), ratio)):
            state = learner.adapt(Examples(e.support.x, support[2]), e.target)
        returned_state(state, learner, n_tasks)
        with encoder.between(_meeting(encoder, stage, encoder.prepare(query[1]), ratio)):
            out = learner.predict(state, e.query.x)
        return e.target.loss(out, query[2]).mean()

    def _stages(self, learner: AbstractLearner[Any]) -> tuple[int, ...]:
        """Those to choose from, after a look at whether the learner can do with them."""
        if self.stages is not None and not any(self.stages):
            return self.stages
        n = len(_encoder(learner).stages)
        stages = self.stages or tuple(range(max(n, 1)))
        if not all(0 <= s <= n for s in stages):
            raise ConfigError(
                f"This encoder has the stages 1 to {n} (0 is the input), got stages={stages}."
            )
        if any(stages) and _encoder(learner).remembers:
            raise ConfigError(
                "Behind a stage tasks cannot be mixed with norm='support': whose statistics would "
                "hold? Use norm='batch', or stages=(0,)."
            )
        if any(stages) and isinstance(learner, GradientLearner):
            loop = learner.loop
            if not isinstance(loop, InnerLoop) or loop.recompute or learner.loss.needs_queries:
                raise ConfigError(
                    "Behind a stage of the encoder only learners can be mixed that build their "
                    "graph once and look at their support alone: "
                    "no recomputation, implicit gradients or losses that read queries. Set "
                    "stages=(0,)."
                )
        return stages

    def _paired(
        self,
        part: Examples,
        partner: Tensor,
        order: Tensor | None,
        ratio: Tensor,
        target: Any,
        g: torch.Generator,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The examples, those that each is mixed with, and the labels of the mixtures."""
        x, y = part.x, part.y
        if order is None:
            rows = torch.stack([torch.randperm(y.shape[1], generator=g) for _ in range(len(y))])
            at = (partner.to(x.device)[:, None], rows.to(x.device))
            values = (
                torch.nn.functional.one_hot(y, target.n).to(x) if isinstance(target, Classes) else y
            )
            return x, x[at], _mix(values, values[at], ratio)
        rows = torch.stack([_rows_of(y[t], y[j], order[t]) for t, j in enumerate(partner.tolist())])
        return x, x[partner.to(x.device)[:, None], rows.to(x.device)], y


def _meeting(
    encoder: AbstractEncoder, stage: int, others: Any, ratio: Tensor
) -> Callable[[int, Tensor], Tensor]:
    """What mixes the features behind the stage with those of the other examples, which go there
    through the same weights.
    """

    def meet(at: int, features: Tensor) -> Tensor:
        if at != stage:
            return features
        if len(features) != len(ratio):
            raise ConfigError(
                "This encoder takes tasks one at a time, so they cannot meet behind its stages. "
                "Set stages=(0,)."
            )
        return _mix(features, _arrived(encoder, stage, others), ratio)

    return meet


def _arrived(encoder: AbstractEncoder, stage: int, x: Any) -> Tensor:
    """The features of x behind a stage."""

    def stop(at: int, features: Tensor) -> Tensor:
        if at == stage:
            raise _ArrivedError(features)
        return features

    with encoder.between(stop):
        try:
            encoder(x)
        except _ArrivedError as arrived:
            return arrived.features
    raise ConfigError(f"{type(encoder).__name__} did not pass its stage {stage}.")


class _ArrivedError(Exception):
    def __init__(self, features: Tensor) -> None:
        super().__init__()
        self.features = features


def _rows_of(y: Tensor, other: Tensor, order: Tensor) -> Tensor:
    """For each example of class r the row of one of the other task's class order[r]: its k-th for
    the k-th, from the start where it has fewer.
    """
    places = {c: (other == c).nonzero()[:, 0] for c in range(len(order))}
    rows, seen = [], dict[int, int]()
    for c in y.tolist():
        k = seen.get(c, 0)
        seen[c] = k + 1
        there = places[int(order[c])]
        rows.append(there[k % len(there)])
    return torch.stack(rows)


def _partners(n_tasks: int, own: float, g: torch.Generator) -> Tensor:
    """For each task itself, or one of the others."""
    steps = torch.randint(1, max(n_tasks, 2), (n_tasks,), generator=g)
    alone = torch.rand(n_tasks, generator=g) < own
    return torch.where(alone, torch.arange(n_tasks), (torch.arange(n_tasks) + steps) % n_tasks)


def _beta(b: float, n: int, g: torch.Generator) -> Tensor:
    seed = int(torch.randint(2**62, (), generator=g))
    return torch.from_numpy(np.random.default_rng(seed).beta(b, b, n))


def _mix(a: Tensor, b: Tensor, ratio: Float[Tensor, " T"]) -> Tensor:
    w = ratio.to(a.dtype).view(-1, *[1] * (a.ndim - 1))
    return w * a + (1 - w) * b


def _encoder(learner: AbstractLearner[Any]) -> AbstractEncoder:
    encoder = single_encoder(learner)
    if encoder is None or not encoder.stages:
        raise ConfigError(
            f"{type(learner).__name__} has no single encoder with stages where tasks could meet. "
            "Set stages=(0,)."
        )
    return encoder
