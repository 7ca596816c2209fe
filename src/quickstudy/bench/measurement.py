"""What a row of results measures where no evaluation of a recipe says it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from quickstudy.evaluation import Report, commit, versions
from quickstudy.metrics.intervals import mean_ci95
from quickstudy.recipes import Run


@dataclass(frozen=True)
class Setup:
    """What a measurement works with.

    Args:
        run: the training of its row; None where the row has none.
        folder: where the measurement may keep what it trained itself.
    """

    run: Run | None
    folder: Path


@dataclass(frozen=True)
class Measurement:
    """The settings of a row, and how each is scored.

    Args:
        settings: their titles.
        fixes: all that decides the scores, as JSON: a row with other values is another row.
        score: the report of one setting.
    """

    settings: tuple[str, ...]
    fixes: Mapping[str, Any]
    score: Callable[[str, Setup], Report]


def report_of(
    scores: Sequence[float],
    *,
    algorithm: str,
    data: str,
    metric: str = "accuracy",
    n_way: int = 0,
    n_shot: int = 0,
    n_query: int = 0,
    parameters: int = 0,
    train_tasks: int | None = None,
    train_seconds: float | None = None,
) -> Report:
    """A report of scores that were not computed by `quickstudy.evaluate`.

    Args:
        scores: of each task or draw.
        algorithm: what was scored.
        data: on what.
        metric: "accuracy" (between 0 and 1), or the name of another score.
        n_way, n_shot, n_query: the size of a task; 0 where there is no such number.
        parameters: of what was scored.
        train_tasks, train_seconds: of its training.
    """
    values = np.asarray(scores, dtype=np.float64)
    mean, half = mean_ci95(values)
    return Report(
        recipe="",
        algorithm=algorithm,
        data=data,
        split="test",
        split_hash="",
        n_way=n_way,
        n_shot=n_shot,
        n_query=n_query,
        n_tasks=len(values),
        mean=mean,
        ci95=half,
        transductive=False,
        norm="none",
        seed=0,
        train_seed=0,
        train_tasks=train_tasks,
        train_seconds=train_seconds,
        parameters=parameters,
        device="cpu",
        versions=versions(),
        commit=commit(),
        std=float(values.std(ddof=1)),
        median=float(np.median(values)),
        worst5=float(np.quantile(values, 0.05)),
        metric=metric,
        scores=tuple(map(float, values)),
    )
