"""Rapid learning or feature reuse: how much adapting changes the features, and what is lost where
it may not.
"""

import copy
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from quickstudy.analysis.figures import new_figure, save_figure
from quickstudy.analysis.inner import gradient_learner
from quickstudy.analysis.report import AbstractReport
from quickstudy.core.errors import ConfigError
from quickstudy.core.learner import AbstractLearner
from quickstudy.core.tasks import AbstractTasks
from quickstudy.core.types import Classes, Episode
from quickstudy.functional.cka import linear_cka
from quickstudy.inner.learned_rules import GeneratedRates
from quickstudy.inner.learner import GradientLearner
from quickstudy.inner.loop import InnerLoop
from quickstudy.inner.losses import TargetLoss
from quickstudy.inner.rules import FixedRate
from quickstudy.metrics.intervals import mean_ci95


@dataclass(frozen=True)
class ReuseReport(AbstractReport):
    """Similarity of each stage's features before and after adaptation, and the score with the first
    stages frozen.

    Args:
        cka: by stage (and ``head``), the mean over tasks with its 95 % half-width; features are
            those of the queries.
        frozen: the score when the first 0, 1, … stages are not adapted, likewise. The head always
            is.
        metric: accuracy, or minus the mean squared error.
        n_tasks: how many tasks.
    """

    cka: dict[str, tuple[float, float]]
    frozen: dict[str, tuple[float, float]]
    metric: str
    n_tasks: int

    def rows(self) -> list[tuple[str, ...]]:
        """What a table shows."""
        return [
            *((f"CKA of {name}", f"{m:.3f} ± {c:.3f}") for name, (m, c) in self.cka.items()),
            *(
                (f"{self.metric}, {name} frozen", f"{m:.4f} ± {c:.4f}")
                for name, (m, c) in self.frozen.items()
            ),
        ]

    def draw(self, path: str | Path, *, title: str = "") -> Path:
        """Both side by side."""
        figure = new_figure(9.5, 4.0)
        for axes, values, label in zip(
            figure.subplots(1, 2),
            (self.cka, self.frozen),
            ("CKA, before and after adaptation", self.metric),
            strict=True,
        ):
            means, halves = zip(*values.values(), strict=True)
            axes.bar(range(len(values)), means, yerr=halves, color="#0969da", capsize=3)
            axes.set_xticks(range(len(values)), list(values), rotation=20, ha="right")
            axes.set_ylabel(label)
        figure.axes[0].set_ylim(0, 1.05)
        figure.axes[1].set_title("with these stages frozen in the inner loop", fontsize=10)
        figure.axes[0].set_title("how much of the features adapting keeps", fontsize=10)
        figure.suptitle(title or f"Rapid learning or feature reuse, {self.n_tasks} tasks")
        return save_figure(figure, path)


def feature_reuse(
    learner: AbstractLearner[Any], tasks: AbstractTasks, *, n_tasks: int = 100
) -> ReuseReport:
    """CKA of the features of every stage before and after adaptation, and the sweep of frozen
    stages.

    Args:
        learner: with an inner loop, and an encoder with stages.
        tasks: the stream; its first ``n_tasks`` tasks are taken.

    Raises:
        ConfigError: for a learner without inner loop, an encoder without stages, or a part that
            needs all adapted parameters (ALFA, MeTAL).

    Paper: Raghu, Raghu, Bengio, Vinyals 2020, arXiv:1909.09157, sections 3.2 and 3.3.
    """
    after = gradient_learner(learner.eval())
    stages = after.encoder.stages
    if not stages:
        raise ConfigError(
            f"{type(after.encoder).__name__} has no stages to tell apart. Give a run with conv4 or "
            "mlp."
        )
    before = copy.deepcopy(after)
    before.loop = InnerLoop(FixedRate(1.0), steps=0).eval()
    variants = {"none": after}
    for k in range(1, len(stages) + 1):
        frozen = tuple(f"encoder.{stage}." for stage in stages[:k])
        names = [n for n in after.fast_names if not n.startswith(frozen)]
        if names and len(names) < len(after.fast_names):
            _check_can_be_narrowed(after)
            variants["first" if k == 1 else f"first {k}"] = after.adapting(names)
    alike, scores = defaultdict[str, list[float]](list), defaultdict[str, list[float]](list)
    kind = "accuracy"
    for e in tasks.batches(range(n_tasks), 1):
        kind = "accuracy" if isinstance(e.target, Classes) else "minus the mean squared error"
        on_device = e.to(next(after.parameters()).device)
        with torch.no_grad():
            for name, x, y in zip(
                *_features(before, on_device), _features(after, on_device)[1], strict=True
            ):
                alike[name].append(float(linear_cka(x, y)))
            for name, variant in variants.items():
                scores[name].append(float(e.target.score(variant(on_device).cpu(), e.query.y)))
    return ReuseReport(
        {n: mean_ci95(v) for n, v in alike.items()},
        {n: mean_ci95(v) for n, v in scores.items()},
        kind,
        n_tasks,
    )


def _features(learner: GradientLearner, e: Episode) -> tuple[list[str], list[Tensor]]:
    """Names of the stages and their features of the queries, ``[Q D]``, the head's answers last."""
    by_stage = dict[str, Tensor]()

    def note(stage: int, features: Tensor) -> Tensor:
        by_stage[f"stage {stage}"] = features[0].flatten(1)
        return features

    state = learner.adapt(e.support, e.target, e.query.x if learner.traits.transductive else None)
    with learner.encoder.between(note):
        out = learner.predict(state, e.query.x)
    return [*by_stage, "head"], [*by_stage.values(), out[0]]


def _check_can_be_narrowed(learner: GradientLearner) -> None:
    if not isinstance(learner.loss, TargetLoss) or any(
        isinstance(m, GeneratedRates) for m in learner.loop.modules()
    ):
        raise ConfigError(
            "This learner's inner loop reads all adapted parameters together, so none of them can "
            "be frozen. Give a run of maml or the like."
        )
