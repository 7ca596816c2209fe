"""The training loop and its state."""

import contextlib
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from quickstudy.core.batching import (
    Strategy,
    order_dependent,
    strategy_for,
    threads_per_operation,
)
from quickstudy.core.clock import set_clocks
from quickstudy.core.compilers import COMPILERS
from quickstudy.core.disk import make_folder
from quickstudy.core.errors import ConfigError, LoadError, TrainingError
from quickstudy.core.malloc import keep_freed_memory
from quickstudy.core.modes import into_training
from quickstudy.core.objective import MetaStep
from quickstudy.core.rng import generator
from quickstudy.core.tasks import AbstractTasks
from quickstudy.core.transform import AbstractTransform
from quickstudy.core.worker_pool import WorkerLostError
from quickstudy.core.workers import Workers
from quickstudy.evaluation import Report, Share, evaluate_shared
from quickstudy.training.checkpoint import load_checkpoint, save_checkpoint
from quickstudy.training.engine import (
    AbstractEngine,
    Exchange,
    ProcessLostError,
    StepResult,
)
from quickstudy.training.log import AbstractLogger, JsonLines, Loggers, ProgressBar
from quickstudy.training.optimiser import build_optimiser
from quickstudy.training.pieces import Piece, PieceGradient, added
from quickstudy.training.plan import Optimiser, Plan
from quickstudy.training.prefetch import Prefetch
from quickstudy.training.stopping import await_launcher
from quickstudy.training.trial import try_recording

CHECKPOINT = "last.pt"


@dataclass(frozen=True)
class TrainResult:
    """What came of a training: the learner now holds the best weights (the last ones, if there was
    no validation), in eval mode.

    Args:
        finished: False if it was stopped before its last step; it can be resumed.
        steps, tasks, seconds: what was done, all interruptions left out.
        best_step, best_val: of the weights that were kept; the score is None without validation.
    """

    finished: bool
    steps: int
    tasks: int
    seconds: float
    best_step: int
    best_val: float | None


@dataclass(frozen=True)
class Job:
    """What is to be trained, on what and how.

    Args:
        identity: JSON that a checkpoint must have been written with.
        console: None shows nothing.
        trackers: where values go besides the folder.
        others: as in `quickstudy.training.train`.
    """

    step: MetaStep
    tasks: AbstractTasks
    plan: Plan
    optimiser: Optimiser
    val_tasks: AbstractTasks | None
    transform: AbstractTransform | None
    out: Path | None
    identity: str
    console: Console | None
    on_validation: Callable[[int, Report], None] | None
    engine: AbstractEngine
    trackers: Sequence[AbstractLogger] = ()


@dataclass
class _Progress:
    """How far a training is.

    Args:
        done: steps.
        validated: the step of the last validation.
        seconds: of training, all interruptions left out.
        best, best_step, best_val: the best weights so far, their step and their score.
        chunk: tasks that share one graph; 0 until it is chosen.
    """

    done: int = 0
    validated: int = 0
    seconds: float = 0.0
    best_step: int = 0
    best_val: float = -math.inf
    best: dict[str, Tensor] = field(default_factory=dict)
    chunk: int = 0


class _Meter:
    """The mean loss of the steps since the last line of the log, and how long they waited for
    data.
    """

    def __init__(self) -> None:
        self._losses: list[float] = []
        self._seconds = 0.0
        self._waited = 0.0

    def add(self, loss: float, seconds: float) -> None:
        """A step is done."""
        self._losses.append(loss)
        self._seconds += seconds

    @property
    def loss(self) -> float:
        """The mean."""
        return sum(self._losses) / len(self._losses)

    def restart(self, waited: float) -> float:
        """Begin the next line. Returns the share of the time in which there was nothing to compute
        with, where ``waited`` are the seconds since the beginning.
        """
        share = (waited - self._waited) / self._seconds
        self._losses = []
        self._seconds = 0.0
        self._waited = waited
        return share


class TrainingRun:
    """One training and its state.

    Args:
        job: what is to be done.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.step = job.step
        self.plan = job.plan
        self.engine = job.engine
        self.optimiser, self.schedule = build_optimiser(
            job.optimiser, job.step, steps=job.plan.steps
        )
        self.parameters = [p for p in job.step.parameters() if p.requires_grad]
        self.device = self.parameters[0].device
        self.exchange = Exchange(job.engine, job.step)
        self.gradient = PieceGradient(job.plan.seed, job.plan.tasks_per_step, job.plan.precision)
        if job.plan.compile in COMPILERS:
            self.gradient = self.gradient.recorded(job.step, job.plan.compile)
        n_tasks = job.plan.tasks_per_step
        if job.tasks.uniform:
            chunk = min(job.plan.chunk, n_tasks)
        else:
            chunk = job.tasks.together(math.gcd(job.plan.chunk, n_tasks))
        self.state = _Progress(chunk=chunk)
        if self.device.type == "cpu":
            keep_freed_memory()
        if job.out is not None:
            make_folder(job.out)

    def resume(self) -> None:
        """Take up the state of the last checkpoint."""
        out = self.job.out
        if out is None or not (out / CHECKPOINT).exists():
            raise LoadError(
                f"There is no {CHECKPOINT} in {out}, so nothing to resume. Start without --resume."
            )
        saved = load_checkpoint(out / CHECKPOINT)
        expected = {"identity", "step_state", "optimiser", "schedule"}
        expected |= {f.name for f in fields(_Progress)}
        if missing := sorted(expected - saved.keys()):
            raise LoadError(
                f"{out / CHECKPOINT} is no checkpoint of a training: it lacks "
                f"{', '.join(missing)}. Start again without --resume."
            )
        if saved["identity"] != self.job.identity:
            raise LoadError(
                f"{out / CHECKPOINT} belongs to a training with other settings. Use another "
                "--out, or the settings it was started with."
            )
        # Other pieces would be augmented and rounded otherwise, so the chunk that was chosen once
        # is kept, also on another device.
        if self.state.chunk not in (0, saved["chunk"]):
            raise LoadError(
                f"{out / CHECKPOINT} was trained with train.chunk={saved['chunk']}, not "
                f"{self.state.chunk}. Leave it out, or use that."
            )
        try:
            self.step.load_state_dict(saved["step_state"])
            self.optimiser.load_state_dict(saved["optimiser"])
            self.schedule.load_state_dict(saved["schedule"])
        except (RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
            raise LoadError(
                f"{out / CHECKPOINT} does not fit this learner, objective and optimiser: {error}. "
                "Resume with those that it was started with."
            ) from error
        self.state = _Progress(**{f.name: saved[f.name] for f in fields(_Progress)})

    def save(self) -> None:
        """Write the last checkpoint, in one of the processes."""
        if self.engine.is_main:
            self._write()

    def _write(self) -> None:
        if self.job.out is None:
            return
        content = {
            "identity": self.job.identity,
            "step_state": self.step.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            **vars(self.state),
        }
        save_checkpoint(self.job.out / CHECKPOINT, content)

    def go(self, stop: threading.Event) -> TrainResult:
        """Train until done or stopped."""
        plan = self.plan
        for part in self.step.children():
            into_training(part)
        strategy = self._choose_strategy()
        self._start_alike()
        try:
            self._go(stop, strategy)
        except ProcessLostError as lost:
            self._write()  # whoever is left: process 0 may be the one that is lost
            await_launcher(stop)
            raise TrainingError(self._what_is_left(lost)) from lost
        except WorkerLostError as lost:
            self.save()
            raise TrainingError(self._what_is_left(lost)) from lost
        if plan.validate_every and self.state.best and self.state.done == plan.steps:
            self.step.load_state_dict(self.state.best)
        else:
            self.state.best_step = self.state.done
        self.step.eval()
        val = self.state.best_val if math.isfinite(self.state.best_val) else None
        return TrainResult(
            self.state.done == plan.steps,
            self.state.done,
            self.state.done * plan.tasks_per_step,
            self.state.seconds,
            self.state.best_step,
            val,
        )

    def _choose_strategy(self) -> Strategy:
        """Fix the chunk, unless it is, and the number of workers."""
        place, n_tasks = self.engine.place, self.plan.tasks_per_step
        first = self.job.tasks.batch([0])
        numel = first.support.x.numel() + first.query.x.numel()
        chosen = strategy_for(
            self.step,
            self.device,
            n_tasks=n_tasks,
            task_numel=numel,
            chunk=self.state.chunk,
            workers=self.plan.workers,
            split=place.local_size,
        )
        # Every process needs a piece; one that is alone takes all small tasks in one graph.
        alone = place.size == 1 or bool(order_dependent(self.step))
        most = chosen.chunk if alone else min(chosen.chunk, max(1, n_tasks // place.size))
        self.state.chunk = self.state.chunk or most
        pieces = math.ceil(n_tasks / self.state.chunk)
        if pieces < place.size:
            cure = (
                f"Set train.chunk to {n_tasks // place.size} or less"
                if n_tasks >= place.size
                else f"Set train.tasks_per_step to {place.size} or more"
            )
            raise ConfigError(
                f"A step has {pieces} {'piece' if pieces == 1 else 'pieces'} ({n_tasks} tasks, "
                f"{self.state.chunk} to a graph), too few for {place.size} "
                f"processes. {cure}, or start fewer processes."
            )
        workers = max(1, min(chosen.workers, math.ceil(pieces / place.size)))
        return replace(chosen, chunk=self.state.chunk, workers=workers)

    def _record_if_faster(self, strategy: Strategy) -> str:
        """Record the step if that is allowed, pays and changes no bit; what to say of it."""
        plan, done = self.plan, self.state.done
        on_cpu = self.device.type == "cpu"
        if plan.compile != "auto" or not on_cpu or not self.job.tasks.uniform or done == plan.steps:
            return ""
        n_pieces = math.ceil(plan.tasks_per_step / self.state.chunk)
        threads = 1 if strategy.workers > 1 else strategy.threads
        with threads_per_operation(threads, strategy.kernels):
            faster = try_recording(
                self.gradient,
                self.step,
                self._draw,
                steps=range(done, plan.steps),
                gradients_per_step=n_pieces / strategy.workers,
            )
        if faster is None:
            return ""
        self.gradient = faster.gradient
        return str(faster)

    def _start_alike(self) -> None:
        tasks = self.job.tasks
        stream = (tasks.data, tasks.split, tasks.split_hash, tasks.setting, tasks.seed)
        plan = replace(self.plan, workers=0, workers_kind="auto", chunk=self.state.chunk)
        shapes = [(name, tuple(t.shape), t.dtype) for name, t in self.step.state_dict().items()]
        self.engine.agree(
            repr(
                (
                    self.job.identity,
                    stream,
                    plan,
                    self.job.optimiser,
                    self.state.done,
                    self.state.best_step,
                    shapes,
                )
            )
        )
        self.engine.adopt([*self.step.parameters(), *self.step.buffers()])

    def _go(self, stop: threading.Event, strategy: Strategy) -> None:
        plan, state, before = self.plan, self.state, self.state.seconds
        started = time.perf_counter()
        is_main, out = self.engine.is_main, self.job.out
        log = Loggers(
            JsonLines(out / "log.jsonl") if out and is_main else None,
            self.job.trackers if is_main else (),
        )
        log.begin(self._settings(), done=state.done)
        console = self.job.console if is_main else None
        meter = _Meter()
        stopped = False
        recording = self._record_if_faster(strategy)

        def chosen(kind: str, text: str) -> None:
            bar.say(text)
            log.write(state.done, {"worker_processes": float(kind == "processes")})

        with (
            contextlib.ExitStack() as stack,
            ProgressBar(console, steps=plan.steps, done=state.done) as bar,
            threads_per_operation(strategy.threads, strategy.kernels),
            Workers(
                self.step,
                strategy.workers,
                kind=plan.workers_kind,
                usual=self.gradient,
                n_maps=plan.steps - state.done,
                on_choice=chosen,
            ) as workers,
            Prefetch(self._draw, state.done, plan.steps) as drawn,
        ):
            stack.callback(log.end)
            if recording:
                bar.say(recording)
            if self._validation_is_due():
                self._validate(workers, log, bar)
            while state.done < plan.steps and not stopped:
                began = time.perf_counter()
                loss, norm, stopped = self._one_step(workers, next(drawn), stop)
                state.done += 1
                now = time.perf_counter()
                state.seconds = before + now - started
                meter.add(loss, now - began)
                bar.step(state.done, loss)
                last = state.done == plan.steps
                if state.done % plan.log_every == 0 or last:
                    values = {
                        "loss": meter.loss,
                        "lr": self.schedule.get_last_lr()[0],
                        "gradient_norm": norm,
                        "seconds": round(state.seconds, 2),
                        "waiting": round(meter.restart(drawn.waited), 4),
                    }
                    log.write(state.done, values)
                if self._validation_is_due():
                    self._validate(workers, log, bar)
                elif state.done % plan.checkpoint_every == 0 or last:
                    self.save()
            if state.done < plan.steps:
                self.save()

    def _settings(self) -> dict[str, Any]:
        """What trackers are told of the training."""
        tasks = self.job.tasks
        return {
            "learner": type(self.step.learner).__name__,
            "objective": type(self.step.objective).__name__,
            "data": tasks.data,
            "split": tasks.split,
            **{f"setting.{name}": value for name, value in vars(tasks.setting).items()},
            **{f"plan.{name}": value for name, value in vars(self.plan).items()},
            **{f"optimiser.{name}": value for name, value in vars(self.job.optimiser).items()},
        }

    def _one_step(
        self, workers: Workers, pieces: list[Piece], stop: threading.Event
    ) -> tuple[float, float, bool]:
        """Take a step, if all processes do: loss, norm of the gradient, and whether to stop now."""
        plan = self.plan
        set_clocks(self.step, self.state.done)
        self.exchange.begin()
        loss, gradient = added(workers.map(self.gradient, pieces))
        result = self.exchange.total(StepResult(loss, gradient, stop.is_set()))
        for p, g in zip(self.parameters, result.gradient, strict=True):
            p.grad = g
        size = torch.nn.utils.clip_grad_norm_(self.parameters, plan.clip_norm or math.inf)
        loss, norm = torch.stack((result.loss, size.to(result.loss))).tolist()
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise TrainingError(
                f"At step {self.state.done + 1} the loss is {loss} and the gradient's norm "
                f"{norm}. Lower the learning rate (optimiser.lr, for MAML also learner.inner_lr) "
                "or clip the gradient (train.clip_norm=10). The last checkpoint is from before."
            )
        if plan.clip_value:
            torch.nn.utils.clip_grad_value_(self.parameters, plan.clip_value)
        self.optimiser.step()
        self.schedule.step()
        return loss, norm, result.stop

    def _draw(self, step: int) -> list[Piece]:
        """The pieces of a step that this process takes. Runs in the background: see `Prefetch`."""
        n = self.plan.tasks_per_step
        numbers = range(step * n, (step + 1) * n)
        drawn = []
        for piece, at in list(enumerate(range(0, n, self.state.chunk)))[self.engine.own]:
            episode = self.job.tasks.batch(numbers[at : at + self.state.chunk]).to(self.device)
            if self.job.transform:
                episode = self.job.transform(
                    episode, generator("augment", self.plan.seed, step, piece)
                )
            drawn.append(Piece(step, piece, episode))
        return drawn

    def _validation_is_due(self) -> bool:
        """Also where a process was lost in the validation: the resumed training then begins with
        it.
        """
        plan = self.plan
        if not plan.validate_every or self.state.done == self.state.validated:
            return False
        return self.state.done % plan.validate_every == 0 or self.state.done == plan.steps

    def _validate(self, workers: Workers, log: AbstractLogger, bar: ProgressBar) -> None:
        assert self.job.val_tasks is not None
        engine = self.engine
        report = evaluate_shared(
            self.step.learner,
            self.job.val_tasks,
            Share(engine.own, engine.total),
            n_tasks=self.plan.n_val_tasks,
            workers=workers if workers.n > 1 else None,
        )
        self.state.validated = self.state.done
        if report.mean > self.state.best_val:
            self.state.best_val, self.state.best_step = report.mean, self.state.done
            self.state.best = {
                name: t.detach().clone() for name, t in self.step.state_dict().items()
            }
        values = {
            "val": report.mean,
            "val_ci95": report.ci95,
            "seconds": round(self.state.seconds, 2),
        }
        log.write(self.state.done, values)
        bar.validated(self.state.done, f"{report.mean:.4f} ± {report.ci95:.4f}", self.state.seconds)
        self.save()
        if self.job.on_validation:
            self.job.on_validation(self.state.done, report)

    def _what_is_left(self, lost: ProcessLostError | WorkerLostError) -> str:
        done = f"after {self.state.done} of {self.plan.steps} steps"
        if self.job.out is None:
            return f"{lost} Nothing is kept of the training, {done}, as it has no folder (out)."
        return (
            f"{lost} The state {done} is saved in {self.job.out / CHECKPOINT}. Go on with --resume "
            "(in Python resume=True), with any number of processes."
        )
