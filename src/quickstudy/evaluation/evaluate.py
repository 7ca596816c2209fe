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
from torch import Tensor

from quickstudy.core.errors import ConfigError, EpisodeError, LoadError
from quickstudy.core.learner import AbstractLearner, norm_policy, parameter_count
from quickstudy.core.tasks import AbstractTasks
from quickstudy.core.types import Classes, Episode, Examples
from quickstudy.metrics.intervals import mean_ci95
from quickstudy.metrics.open_set import auroc, fpr_at_tpr, membership, oscr
from quickstudy.version import __version__


@dataclass(frozen=True)
class Report:
    """A mean score over tasks, its 95 % half-width, and what both depend on. Accuracies lie between
    0 and 1.

    Where ``uniform`` is False the size varies from task to task, and n_way, n_shot and n_query are
    its upper bounds.
    For regression the score is minus the mean squared error. ``scores`` holds the score of each
    task, in the order of the stream, so that two reports on the same tasks can be compared in
    pairs.

    Where there were queries of ``n_unknown`` further classes, which nobody had shown to the
    learner, the accuracy is that of the others, and the report also says how well the membership
    score ``unknown_score`` tells them apart: means over tasks of the AUROC, of the false-positive
    rate at a true-positive rate of 95 %, and of the OSCR (see `quickstudy.metrics.open_set`).
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
    n_unknown: int = 0
    unknown_score: str = ""
    auroc: float | None = None
    auroc_ci95: float | None = None
    fpr95: float | None = None
    fpr95_ci95: float | None = None
    oscr: float | None = None
    oscr_ci95: float | None = None
    scores: tuple[float, ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        kind = "transductive" if self.transductive else "inductive"
        where = f"{self.data} {self.split}"
        size = (
            ("" if self.uniform else "up to ")
            + (f"{self.n_way}-way " if self.n_way else "")
            + f"{self.n_shot}-shot"
        )
        value = (
            f"{100 * self.mean:.2f} ± {100 * self.ci95:.2f} %"
            if self.metric == "accuracy"
            else f"MSE {-self.mean:.3f} ± {self.ci95:.3f}"
        )
        if self.n_unknown:
            size += f" + {self.n_unknown} unknown"
            for name, mean, half in (
                ("AUROC", self.auroc, self.auroc_ci95),
                ("FPR95", self.fpr95, self.fpr95_ci95),
                ("OSCR", self.oscr, self.oscr_ci95),
            ):
                value += f", {name} {100 * (mean or 0):.2f} ± {100 * (half or 0):.2f} %"
            value += f" by {self.unknown_score}"
        return (
            f"{self.algorithm}: {value}  ({size}, {self.n_query} queries, {where}, "
            f"{self.n_tasks} tasks, {kind}, norm {self.norm}, seed {self.seed})"
        )

    def save(self, path: str | Path) -> None:
        """Write the report as JSON."""
        file = Path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        about = dataclasses.asdict(self)
        about["scores"] = [round(s, 6) for s in self.scores]
        if not self.n_unknown:
            about = {k: v for k, v in about.items() if k not in _OPEN}
        text = json.dumps(
            {k: v for k, v in about.items() if k != "scores"}, indent=1, ensure_ascii=False
        )
        # The scores on one line: a thousand lines of numbers would bury the rest.
        file.write_text(
            text.removesuffix("\n}") + f',\n "scores": {json.dumps(about["scores"])}\n}}\n',
            encoding="utf-8",
        )

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
            raise LoadError(
                f"{path} is not a readable report: {error}. Write one with `quickstudy eval RUN "
                "--json FILE`."
            ) from error


_OPEN = (
    "n_unknown",
    "unknown_score",
    "auroc",
    "auroc_ci95",
    "fpr95",
    "fpr95_ci95",
    "oscr",
    "oscr_ci95",
)
"""The fields of a report of tasks with strangers."""


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
    n_unknown: int = 0,
    unknown_score: str = "max_similarity",
    on_batch: Callable[[int], None] | None = None,
    own: slice = slice(None),
    total: Callable[[Tensor], Tensor] | None = None,
) -> Report:
    """Score a learner on the first ``n_tasks`` tasks of a stream. The learner is in eval mode
    meanwhile and is not changed.

    Several processes may share the work: each scores its ``own`` batches, and all get the report
        that one process would.

    With ``n_unknown`` the last so many classes of each task are strangers: the learner learns the
    others alone (`with_strangers`), and meets the strangers as queries. As a stream's tasks are
    nested, 5 + 5 classes of a stream of 10-way tasks are the 5-way tasks of the same stream and
    strangers beside.

    Args:
        learner: what is scored.
        tasks: the stream, of tasks with all their classes; two learners scored on equal streams
            have met the same tasks.
        n_tasks: how many; the 95 % interval shrinks with the root of it.
        batch: tasks at a time; does not change the result.
        origin: where the learner comes from, kept in the report.
        published: the number to be compared with, between 0 and 1.
        n_unknown: how many of the classes are strangers.
        unknown_score: the membership score of the queries, "max_similarity", "energy" or
            "max_probability", see `quickstudy.metrics.open_set.membership`.
        on_batch: called with the number of tasks done.
        own: which of the batches this process scores.
        total: the sum over all processes of what each gives, the scores [n_tasks] with 0 for the
            tasks of the others.

    Raises:
        ConfigError: for fewer than 2 tasks, or tasks that cannot have strangers.
    """
    if n_tasks < 2:
        raise ConfigError(f"An interval needs at least 2 tasks, got n_tasks={n_tasks}.")
    if n_unknown:
        _check_open(tasks, n_unknown)
    device = next((p.device for p in learner.parameters()), torch.device("cpu"))
    training, scores, done = learner.training, torch.zeros(n_tasks, dtype=torch.float64), 0
    rates = torch.zeros(3, n_tasks, dtype=torch.float64)
    learner.eval()
    try:
        with torch.no_grad():
            size = batch if tasks.uniform else 1
            for at in range(0, n_tasks, size)[own]:
                there = tasks.batch(range(n_tasks)[at : at + size]).to(device)
                if n_unknown:
                    there = with_strangers(there, tasks.setting.n_way - n_unknown)
                    scores[at : at + size], rates[:, at : at + size] = _open_rates(
                        learner(there).cpu(), there.query.y.cpu(), unknown_score
                    )
                else:
                    scores[at : at + size] = there.target.score(learner(there), there.query.y).cpu()
                done += there.n_tasks
                if on_batch:
                    on_batch(done)
    finally:
        learner.train(training)
    every = (total(scores) if total else scores).numpy()
    mean, half = mean_ci95(every)
    strangers: dict[str, Any] = {}
    if n_unknown:
        strangers = {"n_unknown": n_unknown, "unknown_score": unknown_score}
        for name, of_tasks in zip(
            ("auroc", "fpr95", "oscr"), (total(rates) if total else rates).numpy(), strict=True
        ):
            strangers[name], strangers[f"{name}_ci95"] = mean_ci95(of_tasks)
    origin = origin or Origin()
    return Report(
        recipe=origin.recipe,
        algorithm=origin.algorithm or type(learner).__name__,
        data=tasks.data,
        split=tasks.split,
        split_hash=tasks.split_hash,
        n_way=tasks.setting.n_way - n_unknown,
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
        **strangers,
    )


def with_strangers(episode: Episode, n_known: int) -> Episode:
    """Tasks of which a learner sees the examples of the first ``n_known`` classes; the queries are
    those of all, and y ≥ n_known is a stranger.

    Raises:
        EpisodeError: when shots vary, so that the tasks no longer fit in one batch.
    """
    support, known = episode.support, episode.support.y < n_known
    shots = known.sum(1)
    if support.padded or (shots != shots[0]).any():
        raise EpisodeError(
            f"Strangers need tasks of one size, but these have {sorted(set(shots.tolist()))} "
            f"examples of the {n_known} known classes."
        )
    x, y = (rows[known].unflatten(0, (len(known), -1)) for rows in (support.x, support.y))
    classes = None if episode.classes is None else episode.classes[:, :n_known]
    return Episode(Examples(x, y), episode.query, Classes(n_known), classes)


def _check_open(tasks: AbstractTasks, n_unknown: int) -> None:
    s = tasks.setting
    if not 0 < n_unknown < s.n_way:
        raise ConfigError(
            f"Of a task's {s.n_way} classes, known and unknown together, {n_unknown} cannot be "
            "unknown: at least one must be, and one must not. "
            f"Draw tasks of n_way + {max(n_unknown, 1)} classes."
        )
    if not tasks.uniform or s.n_unlabelled or s.alpha:
        raise ConfigError(
            "Strangers need tasks of one size, without unlabelled examples (of strangers too) and "
            f"with equally many queries of each class, got {s}."
        )


def _open_rates(out: Tensor, y: Tensor, unknown_score: str) -> tuple[Tensor, Tensor]:
    """Accuracy of the known queries, ``[T]``, and AUROC, FPR95 and OSCR, ``[3 T]``."""
    is_known, correct, score = (
        y < out.shape[-1],
        out.argmax(-1) == y,
        membership(out, unknown_score),
    )
    accuracy, rates = [], []
    for s, right, k in zip(score.double().numpy(), correct.numpy(), is_known.numpy(), strict=True):
        accuracy.append(float(right[k].mean()))
        rates.append((auroc(s[k], s[~k]), fpr_at_tpr(s[k], s[~k]), oscr(s, right, k)))
    return torch.tensor(accuracy, dtype=torch.float64), torch.tensor(rates, dtype=torch.float64).T


@dataclass(frozen=True)
class Comparison:
    """The paired difference of two reports on the same tasks: mean of b − a, 95 % half-width, and
    Wilcoxon's p (two-sided).
    """

    difference: float
    ci95: float
    p_value: float
    n_tasks: int

    def __str__(self) -> str:
        clear = "clear" if abs(self.difference) > self.ci95 else "not clear"
        return (
            f"{100 * self.difference:+.2f} ± {100 * self.ci95:.2f} points over {self.n_tasks} "
            f"shared tasks (Wilcoxon p = {self.p_value:.2g}): {clear}"
        )


def compare(a: Report, b: Report) -> Comparison:
    """How much better ``b`` is than ``a``, task by task.

    Raises:
        ConfigError: when the two were not scored on the same tasks, saying what differs.
    """
    from scipy.stats import wilcoxon

    keys = (
        "data",
        "split",
        "split_hash",
        "n_way",
        "n_shot",
        "n_query",
        "n_tasks",
        "n_unknown",
        "seed",
        "metric",
    )
    differ = [
        f"{k}: {getattr(a, k)} and {getattr(b, k)}" for k in keys if getattr(a, k) != getattr(b, k)
    ]
    if differ:
        raise ConfigError(
            "Only results on the same tasks can be compared in pairs, but these differ in "
            f"{'; '.join(differ)}. Evaluate both alike."
        )
    gap = np.asarray(b.scores) - np.asarray(a.scores)
    mean, half = mean_ci95(gap)
    p = float(wilcoxon(gap).pvalue) if np.any(gap) else 1.0  # pyright: ignore[reportAttributeAccessIssue] - scipy's stubs
    return Comparison(mean, half, p, len(gap))


def versions() -> dict[str, str]:
    """What the numbers were computed with."""
    return {
        "quickstudy": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


@functools.cache
def commit() -> str:
    """The commit of the source tree that is running, with "+" if it was changed since; empty
    outside a repository.
    """
    here = Path(__file__).parent
    try:
        run = functools.partial(
            subprocess.run, cwd=here, capture_output=True, text=True, timeout=10, check=True
        )
        if not run(["git", "ls-files", "--", "evaluation.py"]).stdout:
            return ""
        changed = run(["git", "status", "--porcelain", "--untracked-files=no", "--", "."]).stdout
        return run(["git", "rev-parse", "--short=12", "HEAD"]).stdout.strip() + (
            "+" if changed else ""
        )
    except (OSError, subprocess.SubprocessError):
        return ""
