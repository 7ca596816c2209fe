"""The training loop: the same for every learner and objective."""

import contextlib
import functools
import json
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn

from quickstudy.core.batching import Workers, order_dependent, strategy_for
from quickstudy.core.clock import set_clocks
from quickstudy.core.compiled import CompiledGradient
from quickstudy.core.errors import ConfigError, LoadError, TrainingError
from quickstudy.core.malloc import keep_freed_memory
from quickstudy.core.objective import MetaStep
from quickstudy.core.rng import drawing, generator
from quickstudy.core.tasks import AbstractTasks
from quickstudy.core.transform import AbstractTransform
from quickstudy.core.types import Episode
from quickstudy.evaluation import Report, evaluate
from quickstudy.training.checkpoint import load_checkpoint, save_checkpoint
from quickstudy.training.engine import (
    AbstractEngine,
    Exchange,
    ProcessLostError,
    StepResult,
    launched,
)
from quickstudy.training.log import JsonLines, ProgressBar
from quickstudy.training.plan import Optimiser, Plan
from quickstudy.training.prefetch import Prefetch

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


def train(
    step: MetaStep,
    tasks: AbstractTasks,
    *,
    plan: Plan,
    optimiser: Optimiser,
    val_tasks: AbstractTasks | None = None,
    transform: AbstractTransform | None = None,
    out: Path | None = None,
    resume: bool = False,
    identity: Mapping[str, Any] | None = None,
    console: Console | None = None,
    on_validation: Callable[[int, Report], None] | None = None,
    engine: AbstractEngine | None = None,
) -> TrainResult:
    """Meta-train the learner of ``step`` in place.

    Step ``s`` takes the tasks ``s·B … (s+1)·B − 1`` of the stream, in pieces of ``plan.chunk``, and
    all randomness depends on the seed, the step
    and the piece: torch's global generators are seeded anew for every piece. So a training that was
        killed and resumed ends with the very
    numbers of one that was not, and the pieces may be shared out to several processes: started by
    ``torchrun`` or ``accelerate launch``, each calls this function with equal arguments, takes its
    pieces, and ends with the same weights, those of one process up to rounding (1e-6; see
    `Exchange` for running statistics). They start from the weights of process 0, which alone writes
    files and shows progress. A training may be resumed with another number of processes.

    The data of a step is drawn, moved and transformed in a background thread while the step before
    computes, see `Prefetch`.

    Ctrl-C, or a termination request to any of the processes, finishes the step, saves and returns.

    Args:
        step: learner and objective, on the device to train on.
        tasks: the training stream.
        plan: how long, in what portions.
        optimiser: with what.
        val_tasks: tasks of validation classes; the weights with the best mean score are kept.
        transform: changes training tasks (augmentation).
        out: a folder for ``last.pt`` and ``log.jsonl``; None keeps nothing on disk.
        resume: go on from ``out/last.pt``.
        identity: JSON that says what is trained; a checkpoint of another identity is not resumed.
        console: where progress is shown; None shows nothing.
        on_validation: called with the step and the report after each validation, in every process;
            what it raises ends the training.
        engine: the processes that train together; None: those that were launched with this one, if
            any.

    Raises:
        ConfigError: fewer pieces in a step than processes, or processes that were not started
            alike.
        LoadError: no checkpoint to resume from, or one of another training.
        TrainingError: the loss or the gradient is not a number; or another process was lost (the
            state before that step is then saved).
    """
    if plan.validate_every and val_tasks is None:
        raise ConfigError(
            "The plan validates every so often but there are no validation tasks. Give val_tasks, "
            "or set validate_every=0."
        )
    device = next(p.device for p in step.parameters() if p.requires_grad)
    about = json.dumps(identity or {}, sort_keys=True)
    run = _Run(
        step,
        tasks,
        plan,
        optimiser,
        val_tasks,
        transform,
        out,
        about,
        console,
        on_validation,
        engine or launched(device),
    )
    if resume:
        run.resume()
    with _stop_requested() as stop:
        return run.go(stop)


class _Run:
    """The state of one training: what a checkpoint holds."""

    def __init__(
        self,
        step: MetaStep,
        tasks: AbstractTasks,
        plan: Plan,
        optimiser: Optimiser,
        val_tasks: AbstractTasks | None,
        transform: AbstractTransform | None,
        out: Path | None,
        identity: str,
        console: Console | None,
        on_validation: Callable[[int, Report], None] | None,
        engine: AbstractEngine,
    ) -> None:
        self.step, self.tasks, self.plan, self.val_tasks, self.transform = (
            step,
            tasks,
            plan,
            val_tasks,
            transform,
        )
        self.out, self.identity, self.engine, self.on_validation = (
            out,
            identity,
            engine,
            on_validation,
        )
        self.optimiser, self.schedule = optimiser.build(step, plan.steps)
        self.parameters = [p for p in step.parameters() if p.requires_grad]
        self.device = self.parameters[0].device
        self.exchange = Exchange(engine, step)
        self.compiled = CompiledGradient(step, how=plan.compile) if plan.compile else None
        if self.device.type == "cpu":
            keep_freed_memory()
        self.done, self.validated, self.seconds, self.best_step, self.best_val = (
            0,
            0,
            0.0,
            0,
            -math.inf,
        )
        self.best: dict[str, Tensor] = {}
        self.chunk = min(plan.chunk, plan.tasks_per_step) if tasks.uniform else 1
        self.console = console if engine.is_main else None
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)

    def resume(self) -> None:
        """Take up the state of the last checkpoint."""
        if self.out is None or not (self.out / CHECKPOINT).exists():
            raise LoadError(
                f"There is no {CHECKPOINT} in {self.out}, so nothing to resume. Start without "
                "--resume."
            )
        saved = load_checkpoint(self.out / CHECKPOINT)
        if missing := sorted({"chunk", "validated"} - saved.keys()):
            raise LoadError(
                f"{self.out / CHECKPOINT} was written by an older version and lacks "
                f"{', '.join(missing)}. Start again without --resume."
            )
        if saved["identity"] != self.identity:
            raise LoadError(
                f"{self.out / CHECKPOINT} belongs to a training with other settings. Use another "
                "--out, or the settings it was started with."
            )
        # Other pieces would be augmented and rounded otherwise, so the chunk that was chosen once
        # is kept, also on another device.
        if self.chunk not in (0, saved["chunk"]):
            raise LoadError(
                f"{self.out / CHECKPOINT} was trained with train.chunk={saved['chunk']}, not "
                f"{self.chunk}. Leave it out, or use that."
            )
        self.step.load_state_dict(saved["step_state"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.schedule.load_state_dict(saved["schedule"])
        self.done, self.seconds, self.best, self.chunk = (
            saved["done"],
            saved["seconds"],
            saved["best"],
            saved["chunk"],
        )
        self.validated, self.best_step, self.best_val = (
            saved["validated"],
            saved["best_step"],
            saved["best_val"],
        )

    def save(self) -> None:
        """Write the last checkpoint, in one of the processes."""
        if self.engine.is_main:
            self._write()

    def _write(self) -> None:
        if self.out is None:
            return
        content = {
            "identity": self.identity,
            "step_state": self.step.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "done": self.done,
            "seconds": self.seconds,
            "best": self.best,
            "chunk": self.chunk,
            "validated": self.validated,
            "best_step": self.best_step,
            "best_val": self.best_val,
        }
        save_checkpoint(self.out / CHECKPOINT, content, writer=self.engine.place.rank)

    def go(self, stop: threading.Event) -> TrainResult:
        """Train until done or stopped."""
        plan = self.plan
        workers = self._choose_strategy()
        self._start_alike()
        try:
            self._go(stop, workers)
        except ProcessLostError as lost:
            self._write()  # whoever is left: process 0 may be the one that is lost
            _await_launcher(stop)
            raise TrainingError(self._what_is_left(lost)) from lost
        if plan.validate_every and self.best and self.done == plan.steps:
            self.step.load_state_dict(self.best)
        else:
            self.best_step = self.done
        self.step.eval()
        val = self.best_val if math.isfinite(self.best_val) else None
        return TrainResult(
            self.done == plan.steps,
            self.done,
            self.done * plan.tasks_per_step,
            self.seconds,
            self.best_step,
            val,
        )

    def _choose_strategy(self) -> int:
        """Fix the chunk, unless it is, and return the number of workers."""
        place, n_tasks = self.engine.place, self.plan.tasks_per_step
        first = None if self.chunk else self.tasks.batch([0])
        numel = first.support.x.numel() + first.query.x.numel() if first else 0
        chosen = strategy_for(
            self.step,
            self.device,
            n_tasks=n_tasks,
            task_numel=numel,
            chunk=self.chunk,
            workers=self.plan.workers,
            split=place.local_size,
        )
        # Every process needs a piece; one that is alone takes all small tasks in one graph.
        alone = place.size == 1 or bool(order_dependent(self.step))
        self.chunk = self.chunk or (
            chosen.chunk if alone else min(chosen.chunk, max(1, n_tasks // place.size))
        )
        pieces = math.ceil(n_tasks / self.chunk)
        if pieces < place.size:
            cure = (
                f"Set train.chunk to {n_tasks // place.size} or less"
                if n_tasks >= place.size
                else f"Set train.tasks_per_step to {place.size} or more"
            )
            raise ConfigError(
                f"A step has {pieces} {'piece' if pieces == 1 else 'pieces'} ({n_tasks} tasks, "
                f"{self.chunk} to a graph), too few for {place.size} "
                f"processes. {cure}, or start fewer processes."
            )
        return max(1, min(chosen.workers, math.ceil(pieces / place.size)))

    def _start_alike(self) -> None:
        tasks = self.tasks
        stream = (tasks.data, tasks.split, tasks.split_hash, tasks.setting, tasks.seed)
        plan = replace(self.plan, workers=0, chunk=self.chunk)
        shapes = [(name, tuple(t.shape), t.dtype) for name, t in self.step.state_dict().items()]
        self.engine.agree(
            repr((self.identity, stream, plan, self.optimiser, self.done, self.best_step, shapes))
        )
        self.engine.adopt([*self.step.parameters(), *self.step.buffers()])

    def _go(self, stop: threading.Event, n_workers: int) -> None:
        plan, before, started = self.plan, self.seconds, time.perf_counter()
        log = JsonLines(
            self.out / "log.jsonl" if self.out and self.engine.is_main else None,
            keep_until=self.done,
        )
        losses: list[float] = []
        stopped, stepping, waited = False, 0.0, 0.0
        with (
            ProgressBar(self.console, steps=plan.steps, done=self.done) as bar,
            Workers(self.step, n_workers) as workers,
            Prefetch(self._draw, self.done, plan.steps) as drawn,
        ):
            if self._validation_is_due():
                self._validate(log, bar)
            while self.done < plan.steps and not stopped:
                began = time.perf_counter()
                loss, norm, stopped = self._one_step(workers, next(drawn), stop)
                self.done += 1
                now = time.perf_counter()
                self.seconds, stepping = before + now - started, stepping + now - began
                losses.append(loss)
                bar.step(self.done, loss)
                last = self.done == plan.steps
                if self.done % plan.log_every == 0 or last:
                    rate = self.schedule.get_last_lr()[0]
                    waiting = (
                        drawn.waited - waited
                    ) / stepping  # the share of the time in which there was nothing to compute with
                    log.write(
                        step=self.done,
                        loss=sum(losses) / len(losses),
                        lr=rate,
                        gradient_norm=norm,
                        seconds=round(self.seconds, 2),
                        waiting=round(waiting, 4),
                    )
                    losses, stepping, waited = [], 0.0, drawn.waited
                if self._validation_is_due():
                    self._validate(log, bar)
                elif self.done % plan.checkpoint_every == 0 or last:
                    self.save()
            if self.done < plan.steps:
                self.save()

    def _one_step(
        self, workers: Workers, pieces: list[tuple[int, Episode]], stop: threading.Event
    ) -> tuple[float, float, bool]:
        """Take a step, if all processes do: loss, norm of the gradient, and whether to stop now."""
        plan = self.plan
        self.step.train()
        set_clocks(self.step, self.done)
        self.exchange.begin()
        loss, gradient = _added(workers.map(self._gradient, pieces))
        result = self.exchange.total(StepResult(loss, gradient, stop.is_set()))
        for p, g in zip(self.parameters, result.gradient, strict=True):
            p.grad = g
        size = torch.nn.utils.clip_grad_norm_(self.parameters, plan.clip_norm or math.inf)
        loss, norm = torch.stack((result.loss, size.to(result.loss))).tolist()
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise TrainingError(
                f"At step {self.done + 1} the loss is {loss} and the gradient's norm {norm}. Lower "
                "the learning rate (optimiser.lr, for MAML also "
                "learner.inner_lr) or clip the gradient (train.clip_norm=10). The last checkpoint "
                "is from before."
            )
        if plan.clip_value:
            torch.nn.utils.clip_grad_value_(self.parameters, plan.clip_value)
        self.optimiser.step()
        self.schedule.step()
        return loss, norm, result.stop

    def _draw(self, step: int) -> list[tuple[int, Episode]]:
        """The pieces of a step that this process takes, with their numbers. Runs in the background:
        see `Prefetch`.
        """
        n = self.plan.tasks_per_step
        numbers = range(step * n, (step + 1) * n)
        drawn = []
        for piece, at in list(enumerate(range(0, n, self.chunk)))[self.engine.own]:
            episode = self.tasks.batch(numbers[at : at + self.chunk]).to(self.device)
            if self.transform:
                episode = self.transform(episode, generator("augment", self.plan.seed, step, piece))
            drawn.append((piece, episode))
        return drawn

    def _gradient(
        self, step: nn.Module, numbered: tuple[int, Episode]
    ) -> tuple[Tensor, tuple[Tensor | None, ...]]:
        """The piece's share of the mean loss over the step's tasks, and its gradient."""
        number, piece = numbered
        seed = generator("train", self.plan.seed, self.done, number).initial_seed()
        # torch.manual_seed also sees to devices that are not in use, which takes 0.2 ms.
        if self.device.type == "cpu":
            torch.default_generator.manual_seed(seed)
        else:
            torch.manual_seed(seed)
        share = piece.n_tasks / self.plan.tasks_per_step
        if self.compiled:
            loss, gradient = self.compiled(step, piece)
            return loss.float() * share, tuple(None if g is None else g * share for g in gradient)
        own = generator("objective", self.plan.seed, self.done, number)
        with (
            torch.autocast(self.device.type, torch.bfloat16, enabled=self.plan.precision == "bf16"),
            drawing(own),
        ):
            loss = step(piece) * share
        return loss.detach().float(), torch.autograd.grad(loss, self.parameters, allow_unused=True)

    def _validation_is_due(self) -> bool:
        """Also where a process was lost in the validation: the resumed training then begins with
        it.
        """
        plan = self.plan
        if not plan.validate_every or self.done == self.validated:
            return False
        return self.done % plan.validate_every == 0 or self.done == plan.steps

    def _validate(self, log: JsonLines, bar: ProgressBar) -> None:
        assert self.val_tasks is not None
        engine = self.engine
        report = evaluate(
            self.step.learner,
            self.val_tasks,
            n_tasks=self.plan.n_val_tasks,
            own=engine.own,
            total=engine.total,
        )
        self.validated = self.done
        if report.mean > self.best_val:
            self.best_val, self.best_step = report.mean, self.done
            self.best = {name: t.detach().clone() for name, t in self.step.state_dict().items()}
        log.write(
            step=self.done, val=report.mean, val_ci95=report.ci95, seconds=round(self.seconds, 2)
        )
        bar.validated(self.done, f"{report.mean:.4f} ± {report.ci95:.4f}", self.seconds)
        self.save()
        if self.on_validation:
            self.on_validation(self.done, report)

    def _what_is_left(self, lost: ProcessLostError) -> str:
        done = f"after {self.done} of {self.plan.steps} steps"
        if self.out is None:
            return f"{lost} Nothing is kept of the training, {done}, as it has no folder (out)."
        return (
            f"{lost} The state {done} is saved in {self.out / CHECKPOINT}. Go on with --resume "
            "(in Python resume=True), with any number of processes."
        )


def _added(
    parts: list[tuple[Tensor, tuple[Tensor | None, ...]]],
) -> tuple[Tensor, list[Tensor | None]]:
    """The sums of losses and gradients, in the order of the parts."""
    gradient: list[Tensor | None] = []
    for of_one_parameter in zip(*(g for _, g in parts), strict=True):
        got = [g for g in of_one_parameter if g is not None]
        gradient.append(functools.reduce(torch.add, got) if got else None)
    return torch.stack([loss for loss, _ in parts]).sum(), gradient


def _await_launcher(stop: threading.Event) -> None:
    """Wait a second at most for the launcher, which asks all processes to end as soon as one has:
    later that would cut the error message short.
    """
    until = time.monotonic() + 1.0
    while not stop.is_set() and time.monotonic() < until:
        time.sleep(
            0.02
            # not stop.wait(): the signal handler, which runs in this thread too, could find the
            # event
            # locked
        )


@contextlib.contextmanager
def _stop_requested() -> Iterator[threading.Event]:
    """An event that Ctrl-C or a termination request sets; a second Ctrl-C, but no second request,
    interrupts at once.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def ask(number: int, frame: FrameType | None) -> None:
        if stop.is_set() and number == signal.SIGTERM:
            return  # a scheduler and a launcher may each ask once
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        os.write(2, b"\nStopping after this step; once more to stop at once.\n")

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
