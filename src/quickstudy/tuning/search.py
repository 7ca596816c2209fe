"""The part of one process in a study."""

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from quickstudy.core.errors import (
    ConfigError,
    EpisodeError,
    EvaluationError,
    TargetError,
    TrainingError,
    TransductiveError,
)
from quickstudy.core.objective import MetaStep
from quickstudy.core.rng import words
from quickstudy.evaluation import Report
from quickstudy.recipes import Recipe
from quickstudy.recipes.runs import begin_run
from quickstudy.recipes.train import parts_of, save_result
from quickstudy.training import TrainResult, train
from quickstudy.tuning.protocol import DataOfRecipes
from quickstudy.tuning.result import Trial
from quickstudy.tuning.space import Choice, Range, short

# What a choice of values may bring about: such a trial has failed, and the study goes on. Anything
# else ends it.
_FAILURES = (
    ConfigError,
    EpisodeError,
    EvaluationError,
    TargetError,
    TransductiveError,
    TrainingError,
    torch.OutOfMemoryError,
)
# Seconds between a trial's signs of life, and of silence until others take its process for dead.
_BEAT = 30.0
_DEAD = 300.0


@dataclass(frozen=True)
class SearchSettings:
    """What is searched, and where.

    Args:
        recipe: what is searched around.
        space: of its fields.
        data: the data set of the last recipe.
        device: that trials train on.
        out: where trials are kept; None = nowhere.
        seed: of the proposals.
        console: where progress is shown.
        shared: whether other processes may take part.
    """

    recipe: Recipe
    space: Mapping[str, Range | Choice]
    data: DataOfRecipes
    device: torch.device
    out: Path | None
    seed: int
    console: Console
    shared: bool


class Search:
    """The part of one process in a study.

    Args:
        optuna: the module.
        study: Optuna's study.
        settings: what is searched, and where.
    """

    def __init__(self, optuna: Any, study: Any, settings: SearchSettings) -> None:
        self.optuna = optuna
        self.study = study
        self.settings = settings
        self.state = optuna.trial.TrialState

    def run(self, n_trials: int) -> bool:
        """Take trials until the study has enough; False if stopped."""
        while (trial := self._next(n_trials)) is not None:
            folder = self._folder(trial)
            values = {
                field: dimension.suggest(trial, field)
                for field, dimension in self.settings.space.items()
            }
            self.settings.console.print(
                f"trial {trial.number}: "
                f"{', '.join(f'{field}={short(text)}' for field, text in values.items())}"
            )
            if not self._attempt(trial, values, folder):
                return False
        return True

    def trials(self) -> tuple[Trial, ...]:
        """The study's trials; one that was given back before it had values is none."""
        return tuple(self._record(t) for t in self.study.get_trials(deepcopy=False) if t.params)

    def _next(self, n_trials: int) -> Any:
        """A trial that is this process's own, or None when the study has enough."""
        self._stop_abandoned()
        if self._count() >= n_trials:
            return None
        trial = self.study.ask()
        # Another process may have asked at the same moment. Numbers are given out one by one, so
        # exactly one of them is the last.
        if self._count(before=trial.number) >= n_trials:
            self.study.tell(trial, state=self.state.FAIL)
            return None
        # Fresh for each trial: several processes with one seed must not propose the same, and a
        # study that goes on must not repeat itself.
        self.study.sampler = self.optuna.samplers.TPESampler(
            seed=int(words(1, "tune", self.settings.seed, trial.number)[0] >> 32)
        )
        return trial

    def _count(self, *, before: int | None = None) -> int:
        trials = self.study.get_trials(deepcopy=False)
        return sum(
            self._word(t) != "stopped" for t in trials if before is None or t.number < before
        )

    def _stop_abandoned(self) -> None:
        """Trials whose process gives no more sign of life are stopped, so that they no longer
        count.
        """
        for t in self.study.get_trials(deepcopy=False, states=(self.state.RUNNING,)):
            if time.time() - t.user_attrs.get("seen", math.inf) > _DEAD:
                # Another process may be faster.
                with contextlib.suppress(self.optuna.exceptions.UpdateFinishedTrialError):
                    self.study.tell(t.number, state=self.state.FAIL, skip_if_finished=True)

    def _attempt(self, trial: Any, values: Mapping[str, str], folder: Path | None) -> bool:
        """Train with the values and report the outcome to the study; False if stopped."""

        def report(step: int, validation: Report) -> None:
            if not math.isfinite(validation.mean):
                raise TrainingError(f"At step {step} the validation score is {validation.mean}.")
            trial.report(validation.mean, step)
            if trial.should_prune():
                raise self.optuna.TrialPruned

        outcome: dict[str, Any] = {"state": self.state.FAIL}
        reason = ""
        stopped = False
        try:
            with self._signs_of_life(trial):
                result = self._train(values, folder, report)
            stopped = not result.finished
            if result.finished:
                outcome = {"values": result.best_val}
        except self.optuna.TrialPruned:
            outcome = {"state": self.state.PRUNED}
        except _FAILURES as error:
            # For Optuna a pruned trial without a score is the worst there is; of a failed one it
            # would learn nothing.
            outcome = {"state": self.state.PRUNED}
            reason = str(error)
        except self.optuna.exceptions.UpdateFinishedTrialError:
            reason = "other processes took this one for dead"
        finally:
            # Also on the way out of an error that ends the search: the trial must not stay behind
            # as running.
            with contextlib.suppress(self.optuna.exceptions.UpdateFinishedTrialError):
                if reason:
                    trial.set_user_attr("reason", reason)
                self.study.tell(trial, **outcome, skip_if_finished=True)
        done = next(t for t in self.trials() if t.number == trial.number)
        self.settings.console.print(
            f"trial {done.number}: "
            f"{done.state}{'' if done.score is None else f' {done.score:.4f}'} {reason}".rstrip()
        )
        return not stopped

    def _train(
        self, values: Mapping[str, str], folder: Path | None, report: Callable[[int, Report], None]
    ) -> TrainResult:
        asked = self.settings
        recipe = asked.recipe.with_changes(values)
        parts = parts_of(recipe, asked.device, data=asked.data.of(recipe), is_scored=False)
        if folder is not None:
            begin_run(recipe, folder)
        result = train(
            MetaStep(parts.learner, parts.objective).to(asked.device),
            parts.tasks,
            plan=recipe.train,
            optimiser=recipe.optimiser,
            val_tasks=parts.val_tasks,
            transform=recipe.build_transform(),
            out=folder,
            console=asked.console,
            on_validation=report,
        )
        if folder is not None:
            save_result(recipe, parts, folder, result)
        return result

    def _folder(self, trial: Any) -> Path | None:
        if self.settings.out is None:
            return None
        folder = self.settings.out / f"trial-{trial.number}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError as error:
            self.study.tell(trial, state=self.state.FAIL)
            raise ConfigError(
                f"{folder} is there already, from another study. Choose another folder; nothing "
                "was changed."
            ) from error
        return folder

    @contextlib.contextmanager
    def _signs_of_life(self, trial: Any) -> Iterator[None]:
        """Meanwhile the trial says every so often that its process is alive, for other processes to
        see.
        """
        if not self.settings.shared:
            yield
            return
        trial.set_user_attr("seen", time.time())
        over = threading.Event()

        def beat() -> None:
            while not over.wait(_BEAT):
                # A sign that gets lost does no harm: the next one follows, and the trial itself
                # meets what is wrong with the storage.
                with contextlib.suppress(Exception):
                    trial.set_user_attr("seen", time.time())

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _word(self, frozen: Any) -> str:
        """The trial's state, as `Trial` calls it."""
        if frozen.state == self.state.FAIL:
            return "stopped"
        return "failed" if "reason" in frozen.user_attrs else frozen.state.name.lower()

    def _record(self, frozen: Any) -> Trial:
        values = {
            field: str(frozen.params[field])
            for field in self.settings.space
            if field in frozen.params
        }
        state = self._word(frozen)
        score = frozen.value if state in ("complete", "pruned") else None
        return Trial(frozen.number, values, state, score, frozen.user_attrs.get("reason", ""))
