"""The training loop: the same for every learner and objective."""

import contextlib
import json
import math
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn

from quickstudy.core.batching import Workers
from quickstudy.core.errors import ConfigError, LoadError, TrainingError
from quickstudy.core.objective import MetaStep
from quickstudy.core.rng import generator, seed_everything
from quickstudy.core.tasks import AbstractTasks
from quickstudy.core.transform import AbstractTransform
from quickstudy.core.types import Episode
from quickstudy.evaluation import Report, evaluate
from quickstudy.training.checkpoint import load_checkpoint, save_checkpoint
from quickstudy.training.log import JsonLines, ProgressBar
from quickstudy.training.plan import Optimiser, Plan

CHECKPOINT = "last.pt"


@dataclass(frozen=True)
class TrainResult:
    """What came of a training: the learner now holds the best weights (the last ones, if there was no validation), in eval mode.

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
) -> TrainResult:
    """Meta-train the learner of ``step`` in place.

    Step ``s`` takes the tasks ``s·B … (s+1)·B − 1`` of the stream, and all randomness depends on the seed and the step, so a training that
    was killed and resumed ends with the very numbers of one that was not (torch's global generators are seeded anew at every step).
    Ctrl-C finishes the step, saves and returns.

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

    Raises:
        LoadError: no checkpoint to resume from, or one of another training.
        TrainingError: the loss or the gradient is not a number.
    """
    if plan.validate_every and val_tasks is None:
        raise ConfigError("The plan validates every so often but there are no validation tasks. Give val_tasks, or set validate_every=0.")
    run = _Run(step, tasks, plan, optimiser, val_tasks, transform, out, json.dumps(identity or {}, sort_keys=True), console)
    if resume:
        run.resume()
    with _stop_requested() as stop:
        return run.go(stop)


class _Run:
    """The state of one training: what a checkpoint holds."""

    def __init__(
        self, step: MetaStep, tasks: AbstractTasks, plan: Plan, optimiser: Optimiser, val_tasks: AbstractTasks | None,
        transform: AbstractTransform | None, out: Path | None, identity: str, console: Console | None,
    ) -> None:  # fmt: skip
        self.step, self.tasks, self.plan, self.val_tasks, self.transform = step, tasks, plan, val_tasks, transform
        self.out, self.identity, self.console = out, identity, console
        self.optimiser, self.schedule = optimiser.build(step, plan.steps)
        self.parameters = [p for p in step.parameters() if p.requires_grad]
        self.device = self.parameters[0].device
        self.done, self.seconds, self.best_step, self.best_val = 0, 0.0, 0, -math.inf
        self.best: dict[str, Tensor] = {}
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)

    def resume(self) -> None:
        """Take up the state of the last checkpoint."""
        if self.out is None or not (self.out / CHECKPOINT).exists():
            raise LoadError(f"There is no {CHECKPOINT} in {self.out}, so nothing to resume. Start without --resume.")
        saved = load_checkpoint(self.out / CHECKPOINT)
        if saved["identity"] != self.identity:
            raise LoadError(
                f"{self.out / CHECKPOINT} belongs to a training with other settings. Use another --out, or the settings it was started with."
            )
        self.step.load_state_dict(saved["step_state"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.schedule.load_state_dict(saved["schedule"])
        self.done, self.seconds, self.best = saved["done"], saved["seconds"], saved["best"]
        self.best_step, self.best_val = saved["best_step"], saved["best_val"]

    def save(self) -> None:
        """Write the last checkpoint."""
        if self.out is None:
            return
        content = {
            "identity": self.identity, "step_state": self.step.state_dict(), "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(), "done": self.done, "seconds": self.seconds, "best": self.best,
            "best_step": self.best_step, "best_val": self.best_val,
        }  # fmt: skip
        save_checkpoint(self.out / CHECKPOINT, content)

    def go(self, stop: threading.Event) -> TrainResult:
        """Train until done or stopped."""
        plan, before, started = self.plan, self.seconds, time.perf_counter()
        log = JsonLines(self.out / "log.jsonl" if self.out else None, keep_until=self.done)
        losses: list[float] = []
        with ProgressBar(self.console, steps=plan.steps, done=self.done) as bar, Workers(self.step, plan.workers) as workers:
            while self.done < plan.steps and not stop.is_set():
                loss, norm = self._one_step(workers)
                self.done += 1
                self.seconds = before + time.perf_counter() - started
                losses.append(loss)
                bar.step(self.done, loss)
                if self.done % plan.log_every == 0 or self.done == plan.steps:
                    rate = self.schedule.get_last_lr()[0]
                    log.write(step=self.done, loss=sum(losses) / len(losses), lr=rate, gradient_norm=norm, seconds=round(self.seconds, 2))
                    losses = []
                last = self.done == plan.steps
                if plan.validate_every and (self.done % plan.validate_every == 0 or last):
                    report = self._validate()
                    log.write(step=self.done, val=report.mean, val_ci95=report.ci95, seconds=round(self.seconds, 2))
                    bar.validated(self.done, f"{report.mean:.4f} ± {report.ci95:.4f}", self.seconds)
                    self.save()
                elif self.done % plan.checkpoint_every == 0 or last:
                    self.save()
            if self.done < plan.steps:
                self.save()
        if plan.validate_every and self.best and self.done == plan.steps:
            self.step.load_state_dict(self.best)
        else:
            self.best_step = self.done
        self.step.eval()
        val = self.best_val if math.isfinite(self.best_val) else None
        return TrainResult(self.done == plan.steps, self.done, self.done * plan.tasks_per_step, self.seconds, self.best_step, val)

    def _one_step(self, workers: Workers) -> tuple[float, float]:
        plan = self.plan
        self.step.train()
        seed_everything("train", plan.seed, self.done)
        first = self.done * plan.tasks_per_step
        numbers = range(first, first + plan.tasks_per_step)
        pieces = [self._prepare(e, i) for i, e in enumerate(self.tasks.batches(numbers, plan.chunk or plan.tasks_per_step))]
        parts = workers.map(self._gradient, pieces)
        loss = sum(part[0] for part in parts)
        for i, p in enumerate(self.parameters):
            got = [g for _, gradients in parts if (g := gradients[i]) is not None]
            p.grad = sum(got[1:], got[0]) if got else None  # type: ignore[arg-type]
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters, plan.clip_norm or math.inf))
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise TrainingError(
                f"At step {self.done + 1} the loss is {loss} and the gradient's norm {norm}. Lower the learning rate (optimiser.lr, for MAML also "
                "learner.inner_lr) or clip the gradient (train.clip_norm=10). The last checkpoint is from before."
            )
        if plan.clip_value:
            torch.nn.utils.clip_grad_value_(self.parameters, plan.clip_value)
        self.optimiser.step()
        self.schedule.step()
        return loss, norm

    def _prepare(self, episode: Episode, piece: int) -> Episode:
        there = episode.to(self.device)
        return self.transform(there, generator("augment", self.plan.seed, self.done, piece)) if self.transform else there

    def _gradient(self, step: nn.Module, piece: Episode) -> tuple[float, tuple[Tensor | None, ...]]:
        """The piece's share of the mean loss over the step's tasks, and its gradient."""
        share = piece.n_tasks / self.plan.tasks_per_step
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.plan.precision == "bf16"):
            loss = step(piece) * share
        return loss.item(), torch.autograd.grad(loss, self.parameters, allow_unused=True)

    def _validate(self) -> Report:
        assert self.val_tasks is not None
        report = evaluate(self.step.learner, self.val_tasks, n_tasks=self.plan.n_val_tasks)
        if report.mean > self.best_val:
            self.best_val, self.best_step = report.mean, self.done
            self.best = {name: t.detach().clone() for name, t in self.step.state_dict().items()}
        return report


@contextlib.contextmanager
def _stop_requested() -> Iterator[threading.Event]:
    """An event that Ctrl-C or a termination request sets; a second Ctrl-C interrupts at once."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def ask(number: int, frame: FrameType | None) -> None:
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
