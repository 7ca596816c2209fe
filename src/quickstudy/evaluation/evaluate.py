"""How good a learner is on a stream of tasks."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from quickstudy.core.arguments import returned_state
from quickstudy.core.batching import is_small, order_dependent, threads_per_operation
from quickstudy.core.errors import ConfigError, EpisodeError, EvaluationError, did_you_mean
from quickstudy.core.learner import AbstractLearner, check_is_learner, norm_policy, parameter_count
from quickstudy.core.modes import in_mode
from quickstudy.core.objective import MetaStep
from quickstudy.core.predictive import AbstractPredictive
from quickstudy.core.scalars import whole
from quickstudy.core.tasks import AbstractTasks
from quickstudy.core.types import Classes, Episode, Examples
from quickstudy.core.worker_kinds import WORKER_KINDS
from quickstudy.core.workers import UncopiedError, Workers
from quickstudy.evaluation.report import LOG_LIKELIHOOD, Origin, Report, commit, versions
from quickstudy.metrics.intervals import mean_ci95
from quickstudy.metrics.open_set import auroc, fpr_at_tpr, membership, oscr


@dataclass(frozen=True)
class Share:
    """The part of one process in an evaluation that several share.

    Args:
        own: which of the batches it scores.
        total: the sum over all processes of what each gives: scores [n_tasks], with 0 for the tasks
            of the others.
    """

    own: slice
    total: Callable[[Tensor], Tensor]


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
    metric: str = "",
    on_batch: Callable[[int], None] | None = None,
    workers: int = 0,
    workers_kind: str = "auto",
) -> Report:
    """Score a learner on the first ``n_tasks`` tasks of a stream. The learner is in eval mode
    meanwhile and is not changed.

    With ``n_unknown`` the last so many classes of each task are unknown: the learner learns the
    others alone (`with_unknowns`), and meets examples of the unknown ones as queries. As a stream's
    tasks are nested, 5 + 5 classes of a stream of 10-way tasks are the 5-way tasks of the same
    stream with unknowns beside.

    Args:
        learner: what is scored.
        tasks: the stream, of tasks with all their classes; two learners scored on equal streams
            have met the same tasks.
        n_tasks: how many; the 95 % interval shrinks with the root of it.
        batch: tasks at a time; does not change the result.
        origin: where the learner comes from, kept in the report.
        published: the number to be compared with, between 0 and 1.
        n_unknown: how many of the classes are unknown.
        unknown_score: the membership score of the queries, "max_similarity", "energy" or
            "max_probability", see `quickstudy.metrics.open_set.membership`.
        metric: "log_likelihood" for the mean log density of a regression's queries, in nats, of a
            learner that answers with a distribution; empty = accuracy of classes, and the mean
            squared error of numbers.
        on_batch: called with the number of tasks done.
        workers: on a CPU, how many take batches side by side, one thread each; does not change the
            result. 0 = one for each core, unless tasks are small or the learner holds running
            statistics or dropout.
        workers_kind: "threads", "processes" or "auto", see `quickstudy.core.workers.Workers`.

    Raises:
        ConfigError: for what is no learner, fewer than 2 tasks, tasks that cannot have unknown
            classes, a metric that does not fit learner and tasks, or another kind of workers.
        TrainingError: for several workers of a learner that cannot be shared among them.
        EvaluationError: when the learner's answers are not finite numbers.
    """
    check_is_learner(learner, "evaluate")
    asked = _Asked(
        whole(n_tasks, "n_tasks"),
        whole(batch, "batch", least=1),
        whole(n_unknown, "n_unknown", least=0),
        unknown_score,
        _checked_metric(metric, learner, tasks),
        on_batch,
    )
    if workers_kind not in WORKER_KINDS:
        raise ConfigError(
            f"workers_kind cannot be '{workers_kind}'. {did_you_mean(workers_kind, WORKER_KINDS)}"
        )
    crew = _Crew(whole(workers, "workers", least=0), workers_kind)
    return _report(learner, tasks, asked, _ALL, crew, origin or Origin(), published)


def evaluate_shared(
    learner: AbstractLearner[Any],
    tasks: AbstractTasks,
    share: Share,
    *,
    n_tasks: int = 600,
    batch: int = 8,
    n_unknown: int = 0,
    unknown_score: str = "max_similarity",
    workers: Workers | None = None,
) -> Report:
    """As `evaluate`, by several processes: each scores its own batches, and all get the report that
    one process would.

    Args:
        share: the part of this process.
        workers: that take its batches side by side; they hold the learner, or the `MetaStep` that
            it is trained by. None: threads.
        others: as of `evaluate`.
    """
    asked = _Asked(
        whole(n_tasks, "n_tasks"),
        whole(batch, "batch", least=1),
        whole(n_unknown, "n_unknown", least=0),
        unknown_score,
        _checked_metric("", learner, tasks),
        None,
    )
    return _report(learner, tasks, asked, share, _Crew(0, "threads", workers), Origin(), None)


def with_unknowns(episode: Episode, n_known: int) -> Episode:
    """Tasks of which a learner sees the examples of the first ``n_known`` classes; the queries are
    those of all, and y ≥ n_known is of an unknown class.

    Raises:
        EpisodeError: when shots vary, so that the tasks no longer fit in one batch.
    """
    support = episode.support
    known = support.y < n_known
    shots = known.sum(1)
    if support.padded or (shots != shots[0]).any():
        raise EpisodeError(
            "Unknown classes need tasks of one size, but these have "
            f"{sorted(set(shots.tolist()))} examples of the {n_known} known classes."
        )
    x, y = (rows[known].unflatten(0, (len(known), -1)) for rows in (support.x, support.y))
    classes = None if episode.classes is None else episode.classes[:, :n_known]
    return Episode(Examples(x, y), episode.query, Classes(n_known), classes)


_ALL = Share(slice(None), lambda own: own)


@dataclass(frozen=True)
class _Crew:
    """Who takes the batches, as the arguments of `evaluate`; or workers that are there already."""

    n: int
    kind: str
    workers: Workers | None = None


@dataclass(frozen=True)
class _Asked:
    """What an evaluation is asked for, as the arguments of `evaluate`."""

    n_tasks: int
    batch: int
    n_unknown: int
    unknown_score: str
    metric: str
    on_batch: Callable[[int], None] | None


def _checked_metric(metric: str, learner: AbstractLearner[Any], tasks: AbstractTasks) -> str:
    own = "accuracy" if tasks.setting.n_way else "mse"
    if metric in ("", own):
        return own
    if metric != LOG_LIKELIHOOD or tasks.setting.n_way:
        known = own if tasks.setting.n_way else f"{own} or {LOG_LIKELIHOOD}"
        raise ConfigError(f"The metric of these tasks is {known}, not '{metric}'.")
    if not isinstance(learner, AbstractPredictive):
        raise ConfigError(
            f"{LOG_LIKELIHOOD} needs a learner that answers with a distribution, such as cnp or "
            f"tnp, but {type(learner).__name__} answers with numbers. Leave the metric out."
        )
    return metric


def _report(
    learner: AbstractLearner[Any],
    tasks: AbstractTasks,
    asked: _Asked,
    share: Share,
    crew: _Crew,
    origin: Origin,
    published: float | None,
) -> Report:
    if asked.n_tasks < 2:
        raise ConfigError(f"An interval needs at least 2 tasks, got n_tasks={asked.n_tasks}.")
    if asked.n_unknown:
        _check_open(tasks, asked.n_unknown)
    device = next((p.device for p in learner.parameters()), torch.device("cpu"))
    with in_mode(learner, training=False), torch.no_grad():
        scores, rates = _scores(learner, tasks, asked, share, crew, device)
    every = share.total(scores).numpy()
    mean, half = mean_ci95(every)
    open_set: dict[str, Any] = {}
    if asked.n_unknown:
        open_set = {"n_unknown": asked.n_unknown, "unknown_score": asked.unknown_score}
        for name, of_tasks in zip(_RATES, share.total(rates).numpy(), strict=True):
            open_set[name], open_set[f"{name}_ci95"] = mean_ci95(of_tasks)
    setting = tasks.setting
    return Report(
        recipe=origin.recipe,
        algorithm=origin.algorithm or type(learner).__name__,
        data=tasks.data,
        split=tasks.split,
        split_hash=tasks.split_hash,
        n_way=setting.n_way - asked.n_unknown,
        n_shot=setting.n_shot,
        n_query=setting.n_query,
        n_tasks=asked.n_tasks,
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
        metric=asked.metric,
        published=published,
        n_unlabelled=setting.n_unlabelled,
        n_distractors=setting.n_distractors,
        labelled=setting.labelled,
        alpha=setting.alpha,
        changes=origin.changes,
        earlier=origin.earlier,
        scores=tuple(every.tolist()),
        **open_set,
    )


_RATES = ("auroc", "fpr95", "oscr")


def _scores(
    learner: AbstractLearner[Any],
    tasks: AbstractTasks,
    asked: _Asked,
    share: Share,
    crew: _Crew,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """The score of each task, ``[n_tasks]``, and its open-set rates, ``[3 n_tasks]``; 0 for the
    tasks of other processes.
    """
    n = asked.n_tasks
    scores = torch.zeros(n, dtype=torch.float64)
    rates = torch.zeros(len(_RATES), n, dtype=torch.float64)
    size = tasks.together(asked.batch)

    def drawn(at: int) -> "_Batch":
        episode = tasks.batch(range(n)[at : at + size]).to(device)
        if asked.n_unknown:
            episode = with_unknowns(episode, tasks.setting.n_way - asked.n_unknown)
        return _Batch(at, episode)

    starts = list(range(0, n, size))[share.own]
    done = 0
    with contextlib.ExitStack() as stack:
        workers = crew.workers
        if workers is None:
            workers = stack.enter_context(_workers(learner, crew, drawn, starts, device))
        is_shared = device.type == "cpu" and len(starts) > 1 and not order_dependent(learner)
        score = _Score(
            replace(asked, on_batch=None), f"{tasks.data} {tasks.split}", 1 if is_shared else 0
        )
        for at in range(0, len(starts), workers.n):
            batches = [drawn(start) for start in starts[at : at + workers.n]]
            found = workers.map(score, batches, beside=crew.workers is not None)
            for batch, (of_tasks, of_rates) in zip(batches, found, strict=True):
                own = slice(batch.at, batch.at + batch.episode.n_tasks)
                scores[own] = of_tasks
                if of_rates is not None:
                    rates[:, own] = of_rates
                done += batch.episode.n_tasks
                if asked.on_batch:
                    asked.on_batch(done)
    return scores, rates


def _workers(
    learner: AbstractLearner[Any],
    crew: _Crew,
    drawn: Callable[[int], "_Batch"],
    starts: Sequence[int],
    device: torch.device,
) -> Workers:
    """Those that the caller asked for, or those that suit learner, tasks and machine."""
    n = crew.n
    if not n:
        is_alone = (
            device.type != "cpu"
            or len(starts) < 2
            or torch.get_num_threads() == 1
            or bool(order_dependent(learner))
            or bool(_threads(drawn(starts[0]).episode))
        )
        n = 1 if is_alone else torch.get_num_threads()
    n = max(1, min(n, len(starts)))
    try:
        return Workers(learner, n, kind=crew.kind, n_maps=-(-len(starts) // n))
    except UncopiedError:
        if crew.n:
            raise
        return Workers(learner, 1)


class _Batch(NamedTuple):
    """Tasks that are scored together, and the number of the first."""

    at: int
    episode: Episode


@dataclass(frozen=True)
class _Score:
    """What is done with a batch. A worker process gets it with its batches.

    Args:
        asked: what the evaluation is asked for.
        stream: a name of the tasks, for messages.
        threads: of one operation; 0 = as suits the batch.
    """

    asked: _Asked
    stream: str
    threads: int

    def __call__(self, module: nn.Module, batch: _Batch) -> tuple[Tensor, Tensor | None]:
        """The tasks' scores ``[T]`` and, with unknown classes, their rates ``[3 T]``."""
        learner = module.learner if isinstance(module, MetaStep) else module
        assert isinstance(learner, AbstractLearner)
        asked, (at, episode) = self.asked, batch
        rates: Tensor | None = None
        with (
            in_mode(learner, training=False),
            threads_per_operation(self.threads or _threads(episode)),
        ):
            if asked.metric == LOG_LIKELIHOOD:
                assert isinstance(learner, AbstractPredictive)
                out = _log_density(learner, episode)
            else:
                out = learner(episode)
        if asked.metric == LOG_LIKELIHOOD:
            scores = out.double().mean((1, 2)).cpu()
        elif asked.n_unknown:
            scores, rates = _open_rates(out.cpu(), episode.query.y.cpu(), asked.unknown_score)
        else:
            scores = episode.target.score(out, episode.query.y).cpu()
        # A class may have the score −inf, but NaN and inf would win or lose by chance.
        if (out.isnan() | out.isposinf()).any() or not scores.isfinite().all():
            raise EvaluationError(
                f"{type(learner).__name__} answers with numbers that are not finite, in the tasks "
                f"{at} … {at + episode.n_tasks - 1} of {self.stream}. They have no score: check "
                "the learner's weights and the data."
            )
        return scores, rates


def _threads(episode: Episode) -> int:
    """Of one operation: one where tasks are small, as in training; 0 = as many as torch may."""
    x = episode.support.x
    return int(x.device.type == "cpu" and is_small(x.numel() + episode.query.x.numel()))


def _log_density(learner: AbstractPredictive[Any], episode: Episode) -> Tensor:
    """Of the numbers of each query, ``[T Q O]``."""
    if episode.padded:
        raise ConfigError(f"{LOG_LIKELIHOOD} is of tasks of one size. Score one task at a time.")
    state = learner.adapt(episode.support, episode.target)
    returned_state(state, learner, episode.n_tasks)
    return learner.distribution(state, episode.query.x).log_prob(episode.query.y)


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
            "Unknown classes need tasks of one size, without unlabelled examples (which would be "
            f"of unknown classes too) and with equally many queries of each class, got {s}."
        )


def _open_rates(out: Tensor, y: Tensor, unknown_score: str) -> tuple[Tensor, Tensor]:
    """Accuracy of the known queries, ``[T]``, and AUROC, FPR95 and OSCR, ``[3 T]``."""
    is_known = y < out.shape[-1]
    correct = out.argmax(-1) == y
    score = membership(out, unknown_score).double()
    accuracy: list[float] = []
    rates: list[tuple[float, float, float]] = []
    for s, right, k in zip(score.numpy(), correct.numpy(), is_known.numpy(), strict=True):
        accuracy.append(float(right[k].mean()))
        rates.append((auroc(s[k], s[~k]), fpr_at_tpr(s[k], s[~k]), oscr(s, right, k)))
    return torch.tensor(accuracy, dtype=torch.float64), torch.tensor(rates, dtype=torch.float64).T
