"""How a learner that answers before it sees the label improves: its accuracy on the first, second,
… example of a class.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from quickstudy.analysis.figures import new_figure, save_figure
from quickstudy.analysis.report import AbstractReport
from quickstudy.core.errors import ConfigError
from quickstudy.core.learner import AbstractLearner
from quickstudy.core.online import AbstractOnline
from quickstudy.core.rng import generator
from quickstudy.core.tasks import AbstractTasks
from quickstudy.core.words import percent_about
from quickstudy.metrics.intervals import mean_ci95
from quickstudy.objectives.online import sequence


@dataclass(frozen=True)
class InstanceReport(AbstractReport):
    """Accuracy by instance.

    Args:
        means, ci95: on the first, second, … example of a class, over the tasks; the first can only
            be guessed.
        n_way: classes of a task.
        n_tasks: how many tasks.
    """

    means: tuple[float, ...]
    ci95: tuple[float, ...]
    n_way: int
    n_tasks: int

    def rows(self) -> list[tuple[str, ...]]:
        """What a table shows."""
        return [
            (str(k), percent_about(m, c))
            for k, (m, c) in enumerate(zip(self.means, self.ci95, strict=True), 1)
        ]

    def draw(self, path: str | Path, *, title: str = "") -> Path:
        """The curve, and chance."""
        figure = new_figure(6.5, 4.0)
        axes = figure.subplots()
        positions = range(1, len(self.means) + 1)
        axes.errorbar(
            positions,
            [100 * m for m in self.means],
            yerr=[100 * c for c in self.ci95],
            color="#0969da",
            marker="o",
            markersize=4,
            capsize=2,
        )
        axes.axhline(100 / self.n_way, color="#8c959f", linestyle="--")
        axes.annotate(
            "chance", (len(self.means), 100 / self.n_way), fontsize=9, va="bottom", ha="right"
        )
        axes.set_xticks(list(positions))
        axes.set_ylim(0, 101)
        axes.set_xlabel("example of a class")
        axes.set_ylabel("accuracy before its label is given, %")
        axes.set_title(
            title
            or f"Answers before the label is given, {self.n_way} classes, {self.n_tasks:,} tasks"
        )
        return save_figure(figure, path)


def instance_accuracy(
    learner: AbstractLearner[Any], tasks: AbstractTasks, *, n_tasks: int = 1000, batch: int = 20
) -> InstanceReport:
    """Show all examples of a task in one random order, and count the right answers to the k-th
    example of each class.

    Args:
        learner: one that answers online; in eval mode afterwards.
        tasks: with as many examples per class as instances are wanted, supports and queries
            together.
        n_tasks: the first so many of the stream.
        batch: tasks at a time.

    Raises:
        ConfigError: for a learner that does not answer online.

    Paper: Santoro et al. 2016, arXiv:1605.06065, section 4.1 and table 1.
    """
    if not isinstance(learner, AbstractOnline):
        raise ConfigError(
            f"{type(learner).__name__} does not answer before it sees the label. Give a "
            "run of one that does: mann or lstm."
        )
    learner.eval()
    right, at = [], 0
    for e in tasks.batches(range(n_tasks), batch):
        x, y = sequence(e, generator("instances", tasks.seed, at))
        at += len(y)
        device = next(learner.parameters()).device
        with torch.no_grad():
            hit = learner.online(x.to(device), y.to(device), e.target.width).argmax(-1).cpu() == y
        # the classes one after another, each in its order of appearance
        by_class = y.argsort(dim=1, stable=True)
        right.append(hit.gather(1, by_class).double().unflatten(1, (e.target.width, -1)).mean(1))
    columns = torch.cat(right).numpy().T
    means, ci95 = zip(*(mean_ci95(column) for column in columns), strict=True)
    return InstanceReport(means, ci95, tasks.setting.n_way, n_tasks)
