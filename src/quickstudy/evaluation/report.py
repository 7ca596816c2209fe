"""A mean score with its interval, and all that both depend on."""

import dataclasses
import functools
import json
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from quickstudy.core.disk import write_file
from quickstudy.core.errors import LoadError
from quickstudy.core.words import counted, percent_about, rounded
from quickstudy.version import __version__

DECIMALS = 6
"""Of the scores in a file."""

_OPEN_SET = (
    "n_unknown",
    "unknown_score",
    "auroc",
    "auroc_ci95",
    "fpr95",
    "fpr95_ci95",
    "oscr",
    "oscr_ci95",
)
# Scores of tasks with unknowns were once called otherwise.
_RENAMED_SCORES = {"logit": "max_similarity", "msp": "max_probability"}

LOG_LIKELIHOOD = "log_likelihood"
"""The metric of answers that are distributions: the mean log density, in nats."""


@dataclass(frozen=True)
class EarlierRun:
    """A training that the weights of another one began with.

    Args:
        recipe: its name, with what was changed.
        tasks, seconds: what it was trained on and for how long; None = not known.
        seed: of its training.
    """

    recipe: str
    tasks: int | None = None
    seconds: float | None = None
    seed: int | None = None


@dataclass(frozen=True)
class Origin:
    """Where a learner comes from, as kept and printed with its results.

    Args:
        recipe: the name of the recipe that trained it.
        algorithm: the learner's own name.
        train_seed, train_tasks, train_seconds: of the training.
        changes: of the recipe, each as ``field=value``.
        earlier: the trainings that it began with, the first one first.
    """

    recipe: str = ""
    algorithm: str = ""
    train_seed: int | None = None
    train_tasks: int | None = None
    train_seconds: float | None = None
    changes: tuple[str, ...] = ()
    earlier: tuple[EarlierRun, ...] = ()


@dataclass(frozen=True)
class Report:
    """A mean score over tasks, its 95 % half-width, and what both depend on. Accuracies lie between
    0 and 1.

    The task: where ``uniform`` is False its size varies, and n_way, n_shot and n_query are upper
    bounds; ``n_unlabelled``, ``n_distractors``, ``labelled`` and ``alpha`` are those of
    `quickstudy.core.tasks.Setting`.

    For regression the score is minus the mean squared error. ``scores`` holds the score of each
    task, in the order of the stream, so that two reports on the same tasks can be compared in
    pairs.

    Where there were queries of ``n_unknown`` further classes, which the learner has not seen, the
    accuracy is that of the others, and the report also says how well the membership score
    ``unknown_score`` separates them: means over tasks of the AUROC, of the false-positive rate at a
    true-positive rate of 95 %, and of the OSCR (see `quickstudy.metrics.open_set`).

    The learner: ``changes`` are those of its recipe, ``earlier`` the trainings that it began with.
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
    n_unlabelled: int = 0
    n_distractors: int = 0
    labelled: float = 1.0
    alpha: float = 0.0
    changes: tuple[str, ...] = ()
    earlier: tuple[EarlierRun, ...] = ()
    n_unknown: int = 0
    unknown_score: str = ""
    auroc: float | None = None
    auroc_ci95: float | None = None
    fpr95: float | None = None
    fpr95_ci95: float | None = None
    oscr: float | None = None
    oscr_ci95: float | None = None
    scores: tuple[float, ...] = field(default=(), repr=False)

    @property
    def name(self) -> str:
        """What was scored: the recipe with its changes, the runs it began with, the learner."""
        if not self.recipe:
            return self.algorithm
        changed = f" with {', '.join(self.changes)}" if self.changes else ""
        after = f" after {' and '.join(run.recipe for run in self.earlier)}" if self.earlier else ""
        return f"{self.recipe}{changed}{after} ({self.algorithm})"

    @property
    def task(self) -> str:
        """The tasks in words: two reports on different tasks never say the same."""
        parts = [
            ("" if self.uniform else "up to ")
            + (f"{self.n_way}-way " if self.n_way else "")
            + f"{self.n_shot}-shot"
        ]
        if self.n_unknown:
            parts[0] += f" + {self.n_unknown} unknown"
        parts.append(counted(self.n_query, "query", "queries"))
        if self.alpha:
            parts.append(f"spread by Dirichlet({self.alpha!r})")
        if self.n_unlabelled:
            parts.append(f"{self.n_unlabelled} unlabelled")
        if self.n_distractors:
            parts.append(counted(self.n_distractors, "distractor class", "distractor classes"))
        if self.labelled != 1:
            parts.append(f"{self.labelled!r} of the examples labelled")
        parts.append(f"{self.data} {self.split} [{self.split_hash}]")
        parts += [f"{counted(self.n_tasks, 'task')}", f"seed {self.seed}"]
        return ", ".join(parts)

    def __str__(self) -> str:
        value = (
            percent_about(self.mean, self.ci95)
            if self.metric == "accuracy"
            else f"log-likelihood {self.mean:.3f} ± {self.ci95:.3f}"
            if self.metric == LOG_LIKELIHOOD
            else f"MSE {-self.mean:.3f} ± {self.ci95:.3f}"
            if self.metric == "mse"
            else f"{self.metric} {self.mean:.3f} ± {self.ci95:.3f}"
        )
        if self.n_unknown:
            for name, mean, half in (
                ("AUROC", self.auroc, self.auroc_ci95),
                ("FPR95", self.fpr95, self.fpr95_ci95),
                ("OSCR", self.oscr, self.oscr_ci95),
            ):
                value += f", {name} {percent_about(mean or 0.0, half or 0.0)}"
            value += f" by {self.unknown_score}"
        kind = "transductive" if self.transductive else "inductive"
        return f"{self.name}: {value}  ({self.task}; {kind}, norm {self.norm})"

    @property
    def published_value(self) -> str:
        """The paper's number in the units of the score: accuracies in per cent; "" if none."""
        if self.published is None:
            return ""
        return (
            rounded(100 * self.published, 1) if self.metric == "accuracy" else f"{self.published:g}"
        )

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values, the scores rounded to six decimals."""
        about = dataclasses.asdict(self)
        about["scores"] = [round(s, DECIMALS) for s in self.scores]
        if not self.n_unknown:
            about = {k: v for k, v in about.items() if k not in _OPEN_SET}
        return about

    @classmethod
    def from_json(cls, about: Mapping[str, Any]) -> "Report":
        """Read back what `to_json` gave, also in earlier versions.

        Raises:
            LoadError: for what is no report.
        """
        try:
            return cls(**_current(dict(about)))
        except (ValueError, TypeError, KeyError) as error:
            raise LoadError(f"This is no report that this version can read: {error}.") from error

    def save(self, path: str | Path) -> None:
        """Write the report as JSON, whole or not at all.

        Raises:
            ConfigError: when it cannot be written.
        """
        about = self.to_json()
        scores = about.pop("scores")
        text = json.dumps(about, indent=1, ensure_ascii=False)
        # The scores on one line: a thousand lines of numbers would bury the rest.
        whole_text = text.removesuffix("\n}") + f',\n "scores": {json.dumps(scores)}\n}}\n'
        write_file(path, whole_text.encode())

    @classmethod
    def load(cls, path: str | Path) -> "Report":
        """Read back what `save` wrote, also in earlier versions.

        Raises:
            LoadError: when the file is missing, damaged or not a report.
        """
        try:
            about = json.loads(Path(path).read_text(encoding="utf-8"))
            if not isinstance(about, dict):
                raise TypeError(f"an object was expected, not {type(about).__name__}")
            return cls(**_current(about))
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise LoadError(
                f"{path} is not a readable report: {error}. Write one with `quickstudy eval RUN "
                "--json FILE`."
            ) from error


def _current(about: dict[str, Any]) -> dict[str, Any]:
    """The fields as they are called today."""
    if "known_by" in about:
        score = about.pop("known_by")
        about["unknown_score"] = _RENAMED_SCORES.get(score, score)
    scores = np.array(about["scores"], dtype=np.float64)
    values = [about["mean"], about["ci95"], *scores]
    if not np.isfinite(values).all():
        raise ValueError("a score is not a finite number")
    return {
        **about,
        "scores": tuple(scores.tolist()),
        "changes": tuple(about.get("changes", ())),
        "earlier": tuple(EarlierRun(**run) for run in about.get("earlier", ())),
    }


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
    here = Path(__file__).parent.parent
    try:
        run = functools.partial(
            subprocess.run, cwd=here, capture_output=True, text=True, timeout=10, check=True
        )
        if not run(["git", "ls-files", "--", "version.py"]).stdout:
            return ""
        changed = run(["git", "status", "--porcelain", "--untracked-files=no", "--", "."]).stdout
        return run(["git", "rev-parse", "--short=12", "HEAD"]).stdout.strip() + (
            "+" if changed else ""
        )
    except (OSError, subprocess.SubprocessError):
        return ""
