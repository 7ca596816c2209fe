"""The paired difference of two reports on the same tasks."""

from dataclasses import dataclass

import numpy as np

from quickstudy.core.errors import ConfigError
from quickstudy.core.words import rounded
from quickstudy.evaluation.report import DECIMALS, LOG_LIKELIHOOD, Report
from quickstudy.metrics.intervals import mean_ci95

_TASK = (
    "data",
    "split",
    "split_hash",
    "uniform",
    "n_way",
    "n_shot",
    "n_query",
    "n_unlabelled",
    "n_distractors",
    "labelled",
    "alpha",
    "n_unknown",
    "n_tasks",
    "seed",
    "metric",
)
"""What two reports on the same tasks have in common."""


@dataclass(frozen=True)
class Comparison:
    """The paired difference of two reports on the same tasks.

    Args:
        difference: the mean of b − a; positive where b is better.
        ci95: its 95 % half-width.
        p_value: of Wilcoxon's signed-rank test, two-sided.
        n_tasks: how many.
        metric: "accuracy" (between 0 and 1), "mse" or "log_likelihood".
        warnings: what makes the two hard to compare.
    """

    difference: float
    ci95: float
    p_value: float
    n_tasks: int
    metric: str = "accuracy"
    warnings: tuple[str, ...] = ()

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out 0; never for a difference within the rounding of saved
        scores.
        """
        return abs(self.difference) > max(self.ci95, 10.0**-DECIMALS)

    def __str__(self) -> str:
        if self.metric == "accuracy":
            gap = f"{_signed(100 * self.difference)} ± {_plain(100 * self.ci95)} points"
        elif self.metric == LOG_LIKELIHOOD:
            gap = f"log-likelihood {_signed(self.difference)} ± {_plain(self.ci95)}"
        else:
            gap = f"MSE {_signed(-self.difference)} ± {_plain(self.ci95)}"
        text = (
            f"{gap} over {self.n_tasks} shared tasks (Wilcoxon p = {self.p_value:.2g}): "
            f"{'clear' if self.clear else 'not clear'}"
        )
        return "\n".join([text, *(f"Note: {warning}" for warning in self.warnings)])


def compare(a: Report, b: Report) -> Comparison:
    """How much better ``b`` is than ``a``, task by task.

    Raises:
        ConfigError: when the two were not scored on the same tasks, saying what differs.
    """
    from scipy.stats import wilcoxon

    differ = [
        f"{k}: {getattr(a, k)} and {getattr(b, k)}" for k in _TASK if getattr(a, k) != getattr(b, k)
    ]
    if differ:
        raise ConfigError(
            "Only results on the same tasks can be compared in pairs, but these differ in "
            f"{'; '.join(differ)}. Evaluate both alike."
        )
    if not len(a.scores) == len(b.scores) == a.n_tasks:
        raise ConfigError(
            f"Reports of {a.n_tasks} tasks are compared score by score, but they hold "
            f"{len(a.scores)} and {len(b.scores)} scores. Evaluate both again."
        )
    gap = np.asarray(b.scores) - np.asarray(a.scores)
    gap[np.abs(gap) <= 10.0**-DECIMALS] = 0.0  # one of them may come from a file
    mean, half = mean_ci95(gap)
    p = 1.0
    if np.any(gap):
        p = float(wilcoxon(gap).pvalue)  # pyright: ignore[reportAttributeAccessIssue]
    return Comparison(mean, half, p, len(gap), a.metric, _warnings(a, b))


def _warnings(a: Report, b: Report) -> tuple[str, ...]:
    if a.transductive == b.transductive:
        return ()
    one, other = (a, b) if a.transductive else (b, a)
    return (
        f"{one.name} is transductive: its answer to a query depends on the others of the task. "
        f"{other.name} answers each query by itself.",
    )


def _signed(value: float) -> str:
    """With two decimals, or as many as it takes to see the number."""
    return f"{'-' if value < 0 else '+'}{_plain(abs(value))}"


def _plain(value: float) -> str:
    return rounded(value, 2) if value >= 0.005 or not value else f"{value:.1g}"
