"""How good a learner is, with all that the number depends on."""

import dataclasses
import functools
import json
import platform
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from quickstudy.core.errors import ConfigError, LoadError
from quickstudy.core.learner import AbstractLearner, norm_policy, parameter_count
from quickstudy.core.tasks import AbstractTasks
from quickstudy.functional.intervals import mean_ci95
from quickstudy.version import __version__


@dataclass(frozen=True)
class Report:
    """A mean score over tasks, its 95 % half-width, and what both depend on. Accuracies lie between 0 and 1.

    Where ``uniform`` is False the size varies from task to task, and n_way, n_shot and n_query are its upper bounds.
    For regression the score is minus the mean squared error. ``scores`` holds the score of each task, in the order of the stream,
    so that two reports on the same tasks can be compared in pairs.
    """

    recipe: str
    algorithm: str
    data: str
    split: str
    split_hash: str
    n_way: int
    n_shot: int
    n_query: int
    n_tasks: int
    mean: float
    ci95: float
    transductive: bool
    norm: str
    seed: int
    train_seed: int | None
    train_tasks: int | None
    train_seconds: float | None
    parameters: int
    device: str
    versions: Mapping[str, str]
    commit: str
    std: float
    median: float
    worst5: float
    uniform: bool = True
    metric: str = "accuracy"
    published: float | None = None
    scores: tuple[float, ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        kind = "transductive" if self.transductive else "inductive"
        where = f"{self.data} {self.split}"
        size = ("" if self.uniform else "up to ") + (f"{self.n_way}-way " if self.n_way else "") + f"{self.n_shot}-shot"
        value = (
            f"{100 * self.mean:.2f} ± {100 * self.ci95:.2f} %" if self.metric == "accuracy" else f"MSE {-self.mean:.3f} ± {self.ci95:.3f}"
        )
        return f"{self.algorithm}: {value}  ({size}, {self.n_query} queries, {where}, {self.n_tasks} tasks, {kind}, norm {self.norm}, seed {self.seed})"

    def save(self, path: str | Path) -> None:
        """Write the report as JSON."""
        file = Path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        about = dataclasses.asdict(self)
        about["scores"] = [round(s, 6) for s in self.scores]
        text = json.dumps({k: v for k, v in about.items() if k != "scores"}, indent=1, ensure_ascii=False)
        # The scores on one line: a thousand lines of numbers would bury the rest.
        file.write_text(text.removesuffix("\n}") + f',\n "scores": {json.dumps(about["scores"])}\n}}\n', encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> "Report":
        """Read back what `save` wrote.

        Raises:
            LoadError: when the file is missing, damaged or not a report.
        """
        try:
            about = json.loads(Path(path).read_text(encoding="utf-8"))
            return cls(**{**about, "scores": tuple(about["scores"])})
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise LoadError(f"{path} is not a readable report: {error}. Write one with `quickstudy eval RUN --json FILE`.") from error


@dataclass(frozen=True)
class Origin:
    """Where a learner comes from, as printed with its results."""

    recipe: str = ""
    algorithm: str = ""
    train_seed: int | None = None
    train_tasks: int | None = None
    train_seconds: float | None = None


def evaluate(
    learner: AbstractLearner[Any],
    tasks: AbstractTasks,
    *,
    n_tasks: int = 600,
    batch: int = 8,
    origin: Origin | None = None,
    published: float | None = None,
    on_batch: Callable[[int], None] | None = None,
    own: slice = slice(None),
    total: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> Report:
    """Score a learner on the first ``n_tasks`` tasks of a stream. The learner is in eval mode meanwhile and is not changed.

    Several processes may share the work: each scores its ``own`` batches, and all get the report that one process would.

    Args:
        learner: what is scored.
        tasks: the stream; two learners scored on equal streams have met the same tasks.
        n_tasks: how many; the 95 % interval shrinks with the root of it.
        batch: tasks at a time; does not change the result.
        origin: where the learner comes from, kept in the report.
        published: the number to be compared with, between 0 and 1.
        on_batch: called with the number of tasks done.
        own: which of the batches this process scores.
        total: the sum over all processes of what each gives, the scores [n_tasks] with 0 for the tasks of the others.
    """
    if n_tasks < 2:
        raise ConfigError(f"An interval needs at least 2 tasks, got n_tasks={n_tasks}.")
    device = next((p.device for p in learner.parameters()), torch.device("cpu"))
    training, scores, done = learner.training, torch.zeros(n_tasks, dtype=torch.float64), 0
    learner.eval()
    try:
        with torch.no_grad():
            size = batch if tasks.uniform else 1
            for at in range(0, n_tasks, size)[own]:
                there = tasks.batch(range(n_tasks)[at : at + size]).to(device)
                scores[at : at + size] = there.target.score(learner(there), there.query.y).cpu()
                done += there.n_tasks
                if on_batch:
                    on_batch(done)
    finally:
        learner.train(training)
    every = (total(scores) if total else scores).numpy()
    mean, half = mean_ci95(every)
    origin = origin or Origin()
    return Report(
        recipe=origin.recipe,
        algorithm=origin.algorithm or type(learner).__name__,
        data=tasks.data,
        split=tasks.split,
        split_hash=tasks.split_hash,
        n_way=tasks.setting.n_way,
        n_shot=tasks.setting.n_shot,
        n_query=tasks.setting.n_query,
        n_tasks=n_tasks,
        mean=mean,
        ci95=half,
        transductive=learner.traits.transductive,
        norm=norm_policy(learner),
        seed=tasks.seed,
        train_seed=origin.train_seed,
        train_tasks=origin.train_tasks,
        train_seconds=origin.train_seconds,
        parameters=parameter_count(learner),
        device=str(device),
        versions=versions(),
        commit=commit(),
        std=float(every.std(ddof=1)),
        median=float(np.median(every)),
        worst5=float(np.quantile(every, 0.05)),
        uniform=tasks.uniform,
        metric="accuracy" if tasks.setting.n_way else "mse",
        published=published,
        scores=tuple(every.tolist()),
    )


@dataclass(frozen=True)
class Comparison:
    """The paired difference of two reports on the same tasks: mean of b − a, 95 % half-width, and Wilcoxon's p (two-sided)."""

    difference: float
    ci95: float
    p_value: float
    n_tasks: int

    def __str__(self) -> str:
        clear = "clear" if abs(self.difference) > self.ci95 else "not clear"
        return f"{100 * self.difference:+.2f} ± {100 * self.ci95:.2f} points over {self.n_tasks} shared tasks (Wilcoxon p = {self.p_value:.2g}): {clear}"


def compare(a: Report, b: Report) -> Comparison:
    """How much better ``b`` is than ``a``, task by task.

    Raises:
        ConfigError: when the two were not scored on the same tasks, saying what differs.
    """
    from scipy.stats import wilcoxon

    keys = ("data", "split", "split_hash", "n_way", "n_shot", "n_query", "n_tasks", "seed", "metric")
    differ = [f"{k}: {getattr(a, k)} and {getattr(b, k)}" for k in keys if getattr(a, k) != getattr(b, k)]
    if differ:
        raise ConfigError(
            f"Only results on the same tasks can be compared in pairs, but these differ in {'; '.join(differ)}. Evaluate both alike."
        )
    gap = np.asarray(b.scores) - np.asarray(a.scores)
    mean, half = mean_ci95(gap)
    p = float(wilcoxon(gap).pvalue) if np.any(gap) else 1.0  # pyright: ignore[reportAttributeAccessIssue] - scipy's stubs
    return Comparison(mean, half, p, len(gap))


def versions() -> dict[str, str]:
    """What the numbers were computed with."""
    return {"quickstudy": __version__, "torch": torch.__version__, "numpy": np.__version__, "python": platform.python_version()}


@functools.cache
def commit() -> str:
    """The commit of the source tree that is running, with "+" if it was changed since; empty outside a repository."""
    here = Path(__file__).parent
    try:
        run = functools.partial(subprocess.run, cwd=here, capture_output=True, text=True, timeout=10, check=True)
        if not run(["git", "ls-files", "--", "evaluation.py"]).stdout:
            return ""
        changed = run(["git", "status", "--porcelain", "--untracked-files=no", "--", "."]).stdout
        return run(["git", "rev-parse", "--short=12", "HEAD"]).stdout.strip() + ("+" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return ""
