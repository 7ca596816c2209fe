"""What the inner loop of a trained learner does: how many steps help, whether class positions
matter, what the second order adds.
"""

import copy
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from quickstudy.analysis.figures import new_figure, save_figure
from quickstudy.analysis.report import AbstractReport
from quickstudy.core.errors import ConfigError
from quickstudy.core.learner import AbstractLearner
from quickstudy.core.rng import generator
from quickstudy.core.tasks import AbstractTasks
from quickstudy.core.types import Classes, Episode, Examples
from quickstudy.core.words import percent_about
from quickstudy.evaluation import compare, evaluate
from quickstudy.inner.learner import GradientLearner
from quickstudy.inner.loop import InnerLoop
from quickstudy.metrics.intervals import mean_ci95
from quickstudy.objectives import QueryLoss

_BLUE, _INK = "#0969da", "#24292f"


def gradient_learner(learner: AbstractLearner[Any]) -> GradientLearner:
    """The learner, if it has an inner loop.

    Raises:
        ConfigError: if it has none.
    """
    if not isinstance(learner, GradientLearner):
        raise ConfigError(
            f"{type(learner).__name__} has no inner loop to look into. Give a run of a "
            "gradient-based learner (maml, anil, maml_pp, …)."
        )
    return learner


@dataclass(frozen=True)
class StepCurve(AbstractReport):
    """The score after 0, 1, … inner steps.

    Args:
        trained_steps: how many the learner takes by itself.
        means, ci95: over the tasks, for each number of steps from 0.
        metric: accuracy, or minus the mean squared error.
        n_tasks: how many tasks.
    """

    trained_steps: int
    means: tuple[float, ...]
    ci95: tuple[float, ...]
    metric: str
    n_tasks: int

    def rows(self) -> list[tuple[str, ...]]:
        """What a table shows."""
        return [
            (str(j), f"{m:.4f} ± {c:.4f}")
            for j, (m, c) in enumerate(zip(self.means, self.ci95, strict=True))
        ]

    def draw(self, path: str | Path, *, title: str = "") -> Path:
        """The curve, with the number of steps that the learner takes by itself."""
        figure = new_figure(6.5, 4.0)
        axes = figure.subplots()
        axes.errorbar(
            range(len(self.means)),
            self.means,
            yerr=self.ci95,
            color=_BLUE,
            marker="o",
            markersize=4,
            capsize=2,
        )
        axes.axvline(self.trained_steps, color="#8c959f", linestyle="--")
        axes.annotate(
            f" trained with {self.trained_steps}",
            (self.trained_steps, axes.get_ylim()[0]),
            fontsize=9,
            va="bottom",
        )
        axes.set_xlabel("inner steps")
        axes.set_ylabel(self.metric)
        axes.set_title(title or f"Score against inner steps, {self.n_tasks} tasks")
        return save_figure(figure, path)


def step_curve(
    learner: AbstractLearner[Any], tasks: AbstractTasks, *, n_tasks: int = 100, steps: int = 0
) -> StepCurve:
    """The score against the number of inner steps, also beyond those trained with.

    Args:
        learner: with an inner loop.
        tasks: the stream; its first ``n_tasks`` tasks are taken.
        steps: the most; 0 = twice as many as the learner takes, and at least 5.
    """
    learner = gradient_learner(learner.eval())
    most = steps or max(2 * learner.loop.steps, 5)
    scores: list[list[float]] = []
    classes = True
    for e in tasks.batches(range(n_tasks), 1):
        classes = isinstance(e.target, Classes)
        with torch.no_grad():
            outs = learner.answers_along(_on_device_of(learner, e), steps=most)
        scores.append([float(e.target.score(out.cpu(), e.query.y)) for out in outs])
    means, ci95 = zip(*(mean_ci95(column) for column in zip(*scores, strict=True)), strict=True)
    return StepCurve(
        learner.loop.steps,
        means,
        ci95,
        "accuracy" if classes else "minus the mean squared error",
        n_tasks,
    )


@dataclass(frozen=True)
class PermutationReport(AbstractReport):
    """Accuracy under every assignment of a task's classes to the learner's outputs.

    Args:
        n_orders: how many assignments were tried, and whether these are ``all``.
        mean, best, worst: of each task's orders, the mean over tasks with its 95 % half-width.
        spread: of each task, best minus worst.
        n_tasks: how many tasks.
    """

    n_orders: int
    all: bool
    mean: tuple[float, float]
    best: tuple[float, float]
    worst: tuple[float, float]
    by_task: tuple[tuple[float, float, float], ...]
    n_tasks: int

    def rows(self) -> list[tuple[str, ...]]:
        """What a table shows."""
        return [
            (name, percent_about(m, c))
            for name, (m, c) in (
                ("mean order", self.mean),
                ("best order", self.best),
                ("worst order", self.worst),
            )
        ]

    def draw(self, path: str | Path, *, title: str = "") -> Path:
        """Each task's worst, mean and best order, the tasks sorted by their mean."""
        figure = new_figure(7.5, 4.0)
        axes = figure.subplots()
        ordered = sorted(self.by_task)
        positions = range(len(ordered))
        axes.vlines(
            positions,
            [100 * t[1] for t in ordered],
            [100 * t[2] for t in ordered],
            color=_BLUE,
            alpha=0.5,
        )
        axes.plot(
            positions,
            [100 * t[0] for t in ordered],
            ".",
            color=_INK,
            markersize=4,
            label="mean over the orders",
        )
        axes.plot([], [], color=_BLUE, alpha=0.5, label="from the worst to the best order")
        axes.set_xlabel("task, sorted by its mean")
        axes.set_ylabel("accuracy, %")
        axes.legend(frameon=False, loc="lower right", fontsize=9)
        axes.set_title(
            title
            or f"{'All' if self.all else 'Random'} {self.n_orders} orders of the classes, "
            f"{self.n_tasks} tasks"
        )
        return save_figure(figure, path)


def label_permutations(
    learner: AbstractLearner[Any],
    tasks: AbstractTasks,
    *,
    n_tasks: int = 100,
    most_orders: int = 120,
    seed: int = 0,
) -> PermutationReport:
    """Accuracy of every task under all N! assignments of its classes to outputs, or a random sample
    of ``most_orders`` of them.

    Raises:
        ConfigError: for a regression.

    Paper: Ye, Chao 2022, arXiv:2106.16245, section 4.
    """
    n, by_task = tasks.setting.n_way, []
    if not n:
        raise ConfigError("A regression has no classes to permute. Give a run of a classifier.")
    complete = n <= 8 and math.factorial(n) <= most_orders
    if complete:
        orders = torch.tensor(list(itertools.permutations(range(n))))
    else:
        g = generator("label permutations", seed)
        orders = torch.stack([torch.randperm(n, generator=g) for _ in range(most_orders)])
    learner = learner.eval()
    for e in tasks.batches(range(n_tasks), 1):
        scores: list[Tensor] = []
        for chunk in orders.split(8):
            renamed = _repeated(e, chunk)
            with torch.no_grad():
                out = learner(_on_device_of(learner, renamed)).cpu()
            scores.append(e.target.score(out, renamed.query.y))
        of_task = torch.cat(scores)
        by_task.append((float(of_task.mean()), float(of_task.min()), float(of_task.max())))
    columns = list(zip(*by_task, strict=True))
    mean, worst, best = (mean_ci95(column) for column in columns)
    return PermutationReport(len(orders), complete, mean, best, worst, tuple(by_task), n_tasks)


@dataclass(frozen=True)
class OrderReport(AbstractReport):
    """The outer gradient of first and of second order, at the same weights on the same tasks.

    Args:
        cosine: between the two, mean over the tasks with its 95 % half-width.
        ratio: norm of the first-order one over that of the other, likewise.
        by_part: cosine of each parameter tensor's share.
        n_tasks: how many tasks.
        scores: of learners trained in the one and in the other order, and their paired difference
            (second minus first), if they were compared.
    """

    cosine: tuple[float, float]
    ratio: tuple[float, float]
    by_part: Mapping[str, float]
    n_tasks: int
    scores: Mapping[str, tuple[float, float]] = field(
        default_factory=dict[str, tuple[float, float]]
    )

    def rows(self) -> list[tuple[str, ...]]:
        """What a table shows."""
        return [
            ("cosine of the two gradients", f"{self.cosine[0]:.3f} ± {self.cosine[1]:.3f}"),
            ("norm, first order over second", f"{self.ratio[0]:.3f} ± {self.ratio[1]:.3f}"),
            *((f"cosine, {name}", f"{value:.3f}") for name, value in self.by_part.items()),
            *(
                (f"accuracy after training, {name}", percent_about(a, b))
                for name, (a, b) in self.scores.items()
            ),
        ]

    def draw(self, path: str | Path, *, title: str = "") -> Path:
        """A bar for each parameter tensor."""
        figure = new_figure(7.5, 1.5 + 0.3 * len(self.by_part))
        axes = figure.subplots()
        names = list(self.by_part)[::-1]
        axes.barh(names, [self.by_part[name] for name in names], color=_BLUE)
        axes.axvline(self.cosine[0], color=_INK, linestyle="--")
        axes.set_xlabel("cosine between the outer gradients of first and second order")
        whole = f"the whole gradient (dashed): {self.cosine[0]:.2f}"
        axes.set_title(
            f"{title or f'First against second order, {self.n_tasks} tasks'}\n{whole}", fontsize=11
        )
        return save_figure(figure, path)


def compare_orders(
    learner: AbstractLearner[Any], tasks: AbstractTasks, *, n_tasks: int = 50
) -> OrderReport:
    """How near the first-order outer gradient comes to the true one, at the learner's weights.

    Raises:
        ConfigError: when the loop has not two orders.
    """
    learner = gradient_learner(learner.eval())
    if not isinstance(learner.loop, InnerLoop):
        raise ConfigError(
            f"A {type(learner.loop).__name__} has no first and second order. Give a run of maml or "
            "of a relative of it."
        )
    variants = [copy.deepcopy(learner) for _ in range(2)]
    for variant, first in zip(variants, (True, False), strict=True):
        assert isinstance(variant.loop, InnerLoop)
        variant.loop.first_order, variant.loop.clock = first, None
    names = [n for n, p in learner.named_parameters() if p.requires_grad]
    cosines, ratios, parts = [], [], dict[str, list[float]]()
    for e in tasks.batches(range(n_tasks), 1):
        first, second = (_gradients(v, _on_device_of(learner, e)) for v in variants)
        whole = [torch.cat([g.flatten() for g in of]) for of in (first, second)]
        cosines.append(_cosine(*whole))
        ratios.append(float(whole[0].norm() / whole[1].norm()))
        for name, a, b in zip(names, first, second, strict=True):
            if a.norm() > 0 and b.norm() > 0:
                parts.setdefault(name, []).append(_cosine(a.flatten(), b.flatten()))
    means = {name: sum(values) / len(values) for name, values in parts.items()}
    return OrderReport(mean_ci95(cosines), mean_ci95(ratios), means, n_tasks)


def compare_trained(
    one: AbstractLearner[Any],
    other: AbstractLearner[Any],
    tasks: AbstractTasks,
    *,
    n_tasks: int = 50,
) -> dict[str, tuple[float, float]]:
    """What training in first and in second order came to: the scores of the two learners on the
    same tasks, and their paired difference.

    Raises:
        ConfigError: unless one of the two was trained in first and the other in second order.
    """
    by_order = dict[str, AbstractLearner[Any]]()
    for learner in (one, other):
        loop = gradient_learner(learner).loop
        by_order[
            "first order" if isinstance(loop, InnerLoop) and loop.first_order else "second order"
        ] = learner
    if len(by_order) < 2:
        raise ConfigError(
            f"The two runs are both of {next(iter(by_order))}. Give one of each, trained alike "
            "otherwise (fomaml and maml)."
        )
    reports = {
        name: evaluate(by_order[name], tasks, n_tasks=n_tasks)
        for name in ("first order", "second order")
    }
    difference = compare(*reports.values())
    return {
        **{name: (r.mean, r.ci95) for name, r in reports.items()},
        "difference": (difference.difference, difference.ci95),
    }


def _gradients(learner: GradientLearner, e: Episode) -> Sequence[Tensor]:
    parameters = [p for p in learner.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(QueryLoss()(learner, e), parameters, allow_unused=True)
    return [
        torch.zeros_like(p) if g is None else g for p, g in zip(parameters, gradients, strict=True)
    ]


def _cosine(a: Tensor, b: Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(a[None], b[None]))


def _repeated(e: Episode, orders: Tensor) -> Episode:
    """The one task under each of these names of its classes."""

    def renamed(examples: Examples) -> Examples:
        x = examples.x.expand(len(orders), *examples.x.shape[1:])
        return Examples(x, orders.gather(1, examples.y.expand(len(orders), -1)))

    return Episode(renamed(e.support), renamed(e.query), e.target)


def _on_device_of(learner: AbstractLearner[Any], e: Episode) -> Episode:
    return e.to(next((p.device for p in learner.parameters()), torch.device("cpu")))
