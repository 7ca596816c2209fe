"""The verb ``train``: the same for every learner and objective."""

import contextlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from quickstudy.core.disk import as_path, make_folder
from quickstudy.core.errors import ConfigError
from quickstudy.core.learner import AbstractLearner
from quickstudy.core.lock import locked
from quickstudy.core.objective import AbstractObjective, MetaStep
from quickstudy.core.tasks import AbstractTasks
from quickstudy.core.transform import AbstractTransform
from quickstudy.evaluation import Report
from quickstudy.objectives import default_objective
from quickstudy.training.engine import TIMEOUT, AbstractEngine, launched
from quickstudy.training.log import AbstractLogger
from quickstudy.training.plan import Optimiser, Plan
from quickstudy.training.run import Job, TrainingRun, TrainResult
from quickstudy.training.stopping import stop_requested


@dataclass(frozen=True)
class Advanced:
    """Settings of a training that few need.

    Args:
        engine: the processes that train together; None: those that were launched with this one, if
            any.
        timeout: seconds after which another process that does not answer counts as lost.
        identity: JSON that says what is trained; a checkpoint of another identity is not resumed.
        seconds: after so many the training stops as by Ctrl-C: it is saved and can be resumed.
        trackers: where its values go besides ``log.jsonl``, such as
            `quickstudy.training.TensorBoard`; in the process that writes.
    """

    engine: AbstractEngine | None = None
    timeout: float = TIMEOUT
    identity: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = math.inf
    trackers: Sequence[AbstractLogger] = ()


def train(
    learner: AbstractLearner[Any] | MetaStep,
    tasks: AbstractTasks,
    *,
    steps: int | None = None,
    lr: float | None = None,
    plan: Plan | None = None,
    optimiser: Optimiser | None = None,
    val_tasks: AbstractTasks | None = None,
    transform: AbstractTransform | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    console: Console | None = None,
    on_validation: Callable[[int, Report], None] | None = None,
    advanced: Advanced | None = None,
) -> TrainResult:
    """Meta-train a learner in place; afterwards it is in eval mode.

    Step ``s`` takes the tasks ``s·B … (s+1)·B − 1`` of the stream, in pieces of ``plan.chunk``, and
    all randomness depends on the seed, the step and the piece: torch's global generators are seeded
    anew for every piece. So a training that was killed and resumed ends with the very numbers of
    one that was not. The data of a step is drawn, moved and transformed in a background thread
    while the step before computes, see `Prefetch`.

    Several processes, started by ``torchrun`` or ``accelerate launch``, each call this function
    with equal arguments. They share the pieces, start from the weights of process 0, which alone
    writes files and shows progress, and end with the same weights, those of one process up to
    rounding (1e-6; see `Exchange` for running statistics). A training may be resumed with another
    number of processes.

    Ctrl-C, or a termination request to any of the processes, finishes the step, saves and returns.

    Args:
        learner: on the device to train on. It is trained with `default_objective`; for another
            objective give ``MetaStep(learner, objective)``.
        tasks: the training stream.
        steps: outer steps; None = as the plan says.
        lr: the optimiser's rate; None = as the optimiser says.
        plan: how long, in what portions; None = ``Plan()``, with ten validations where there are
            ``val_tasks``.
        optimiser: with what; None = ``Optimiser()``.
        val_tasks: tasks of validation classes; the weights with the best mean score are kept.
        transform: changes training tasks (augmentation).
        out: a folder for ``last.pt`` and ``log.jsonl``; None keeps nothing on disk.
        resume: go on from ``out/last.pt``.
        console: where progress is shown; None shows nothing.
        on_validation: called with the step and the report after each validation, in every process;
            what it raises ends the training.
        advanced: settings that few need.

    Raises:
        ConfigError: nothing to train, a folder that another training writes, a plan that validates
            without ``val_tasks`` or the other way round, fewer pieces in a step than processes, or
            processes that were not started alike.
        LoadError: no checkpoint to resume from, or one of another training.
        TrainingError: the loss or the gradient is not a number; or another process was lost (the
            state before that step is then saved).

    Example:
        >>> from quickstudy.algorithms import ProtoNet
        >>> from quickstudy.core.setting import Setting
        >>> from quickstudy.data import Glyphs
        >>> from quickstudy.encoders import Conv4
        >>> learner = ProtoNet(Conv4(size=28, in_channels=1, width=8))
        >>> result = train(learner, Glyphs().tasks("train", Setting(5, 1, 5)), steps=3, lr=1e-3)
        >>> result.finished, result.tasks
        (True, 3)
    """
    step = _meta_step(learner)
    trained = [p for p in step.parameters() if p.requires_grad]
    if not trained:
        raise ConfigError(
            f"{type(step.learner).__name__} has nothing to train: none of its "
            f"{sum(1 for _ in step.parameters())} parameters requires a gradient. Use it as it is, "
            "give it an encoder with weights, or set requires_grad_(True) on what shall be trained."
        )
    advanced = advanced or Advanced()
    job = Job(
        step=step,
        tasks=tasks,
        plan=_plan(plan, steps, validates=val_tasks is not None),
        optimiser=_optimiser(optimiser, lr),
        val_tasks=val_tasks,
        transform=transform,
        out=None if out is None else as_path(out, "out"),
        identity=json.dumps(dict(advanced.identity), sort_keys=True),
        console=console,
        on_validation=on_validation,
        engine=advanced.engine or launched(trained[0].device, timeout=advanced.timeout),
        trackers=tuple(advanced.trackers),
    )
    with only_writer(job.out, job.engine):
        run = TrainingRun(job)
        if resume:
            run.resume()
        with stop_requested(advanced.seconds) as stop:
            return run.go(stop)


@contextlib.contextmanager
def only_writer(folder: Path | None, engine: AbstractEngine) -> Iterator[None]:
    """Meanwhile no other training writes into the folder.

    Raises:
        ConfigError: when one does already.
    """
    if folder is None or not engine.is_main:
        yield
        return
    make_folder(folder)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(folder, patience=0.0))
        except ConfigError as error:
            raise ConfigError(
                f"{folder} is being written by another training, so this one does not begin. "
                f"Wait until it is over, or choose another folder. ({error})"
            ) from error
        yield


def _meta_step(learner: AbstractLearner[Any] | MetaStep) -> MetaStep:
    if isinstance(learner, MetaStep):
        return learner
    if isinstance(learner, AbstractLearner):
        device = next((p.device for p in learner.parameters()), None)
        return MetaStep(learner, default_objective(learner)).to(device)
    named = "an objective alone" if isinstance(learner, AbstractObjective) else "no learner"
    raise ConfigError(
        f"train needs a learner, or MetaStep(learner, objective), but got {named}: "
        f"{type(learner).__name__}. Make one, for instance ProtoNet(encoder)."
    )


def _plan(plan: Plan | None, steps: int | None, *, validates: bool) -> Plan:
    if plan is not None and not isinstance(plan, Plan):
        raise ConfigError(f"plan must be a Plan, such as Plan(steps=1000), got {plan!r}.")
    chosen = plan or Plan()
    if steps is not None:
        chosen = replace(chosen, steps=steps)
    if plan is None and validates:
        chosen = replace(chosen, validate_every=max(1, chosen.steps // 10))
    if chosen.validate_every and not validates:
        raise ConfigError(
            f"The plan validates every {chosen.validate_every} steps but there are no validation "
            "tasks. Give val_tasks, or set validate_every=0."
        )
    if validates and not chosen.validate_every:
        raise ConfigError(
            "There are validation tasks but the plan never validates (validate_every=0). Set how "
            f"often, for instance validate_every={max(1, chosen.steps // 10)}, or leave val_tasks "
            "out."
        )
    return chosen


def _optimiser(optimiser: Optimiser | None, lr: float | None) -> Optimiser:
    if optimiser is not None and not isinstance(optimiser, Optimiser):
        raise ConfigError(
            "optimiser must be quickstudy's Optimiser, which is built for each training, such as "
            f"Optimiser(name='adamw', lr=1e-3), got {type(optimiser).__name__}."
        )
    chosen = optimiser or Optimiser()
    return chosen if lr is None else replace(chosen, lr=lr)
