"""Hyper-parameter search by Optuna: on validation classes, alone or by several processes and
machines that share a study.
"""

import contextlib
import importlib
import json
import math
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from quickstudy.core.errors import (
    ConfigError,
    EpisodeError,
    TargetError,
    TrainingError,
    TransductiveError,
)
from quickstudy.core.objective import MetaStep
from quickstudy.core.rng import words
from quickstudy.core.tasks import AbstractData
from quickstudy.evaluation import Report
from quickstudy.recipes import Part, Recipe, save_learner
from quickstudy.recipes.runs import pick_device
from quickstudy.training import TrainResult, launch, train

# What a choice of values may bring about: such a trial has failed, and the study goes on. Anything
# else ends it.
_TRIALS_FAULT = (
    ConfigError,
    EpisodeError,
    TargetError,
    TransductiveError,
    TrainingError,
    torch.OutOfMemoryError,
)
# Seconds between a trial's signs of life, and of silence until others take its process for dead.
_BEAT, _DEAD = 30.0, 300.0
# Seconds before each try to open a database.
_PAUSES = (0.0, 0.2, 0.5, 1.0, 2.0)
_IDENTITY = "quickstudy"


@dataclass(frozen=True)
class Range:
    """All numbers from ``low`` to ``high``, both included: whole ones if both are, evenly spread
    over their logarithm if ``log``.
    """

    low: int | float
    high: int | float
    log: bool = False

    @property
    def ends(self) -> tuple[str, ...]:
        """The outermost values, as ``--set`` takes them."""
        return str(self.low), str(self.high)

    def suggest(self, trial: Any, field: str) -> str:
        """The value that Optuna's trial takes, as ``--set`` takes it."""
        if isinstance(self.low, int) and isinstance(self.high, int):
            return str(trial.suggest_int(field, self.low, self.high, log=self.log))
        return str(trial.suggest_float(field, self.low, self.high, log=self.log))


@dataclass(frozen=True)
class Choice:
    """One of several values, each as ``--set`` takes it."""

    values: tuple[str, ...]

    @property
    def ends(self) -> tuple[str, ...]:
        """All values: none is between others."""
        return self.values

    def suggest(self, trial: Any, field: str) -> str:
        """The value that Optuna's trial takes."""
        return trial.suggest_categorical(field, self.values)


@dataclass(frozen=True)
class Trial:
    """One training with values of the search space.

    Args:
        number: of the trial in its study.
        values: of the fields that are searched, as ``--set`` takes them.
        state: complete; pruned, as its scores were low; failed, as its values do not work or its
            training diverged; stopped, by Ctrl-C or because its process died (it does not count,
            another takes its place); running, here or in another process.
        score: best mean score on the validation tasks; of a pruned trial the last one.
        reason: why it failed.
    """

    number: int
    values: Mapping[str, str]
    state: str
    score: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class TuneResult:
    """What a search found.

    Args:
        base: the recipe that was searched around.
        trials: all trials of the study, those of other processes included.
        finished: False if it was stopped by Ctrl-C.
    """

    base: Recipe
    trials: tuple[Trial, ...]
    finished: bool

    @property
    def best(self) -> Trial:
        """The complete trial with the highest score, the earliest of equals.

        Raises:
            TrainingError: when no trial is complete.
        """
        complete = [t for t in self.trials if t.state == "complete" and t.score is not None]
        if not complete:
            failed = [t for t in self.trials if t.reason]
            last = f" Trial {failed[-1].number} failed: {failed[-1].reason}" if failed else ""
            states = (
                ", ".join(f"{n} {state}" for state, n in self.counts.items()) or "none was begun"
            )
            raise TrainingError(
                f"No trial of {self.base.name} is complete ({states}), so there is no best "
                f"one.{last}"
            )
        return max(complete, key=lambda t: (t.score, -t.number))

    @property
    def recipe(self) -> Recipe:
        """The recipe with the best trial's values.

        Raises:
            TrainingError: when no trial is complete.
        """
        return self.base.with_changes(self.best.values)

    @property
    def counts(self) -> dict[str, int]:
        """The number of trials in each state."""
        return dict(Counter(t.state for t in self.trials))


def parse_space(space: Mapping[str, str]) -> dict[str, Range | Choice]:
    """What each text means: ``LOW..HIGH``, ``LOW..HIGH:log``, or values with commas between them.

    >>> parse_space(
    ...     {
    ...         "optimiser.lr": "1e-4..1e-2:log",
    ...         "learner.inner_steps": "1..5",
    ...         "encoder.width": "32,64",
    ...     }
    ... )
    {'optimiser.lr': Range(low=0.0001, high=0.01, log=True),
     'learner.inner_steps': Range(low=1, high=5, log=False),
     'encoder.width': Choice(values=('32', '64'))}

    Raises:
        ConfigError: for a text that is neither, saying what to write instead.
    """
    return {field: _dimension(field, text.strip()) for field, text in space.items()}


def tune(
    recipe: Recipe,
    space: Mapping[str, str],
    *,
    n_trials: int = 20,
    storage: str = "",
    study: str = "",
    seed: int = 0,
    prune: bool = True,
    out: str | Path | None = None,
    device: str = "auto",
    console: Console | None = None,
) -> TuneResult:
    """Search values of a recipe's fields for the best mean score on validation tasks; the test
    split is never drawn from.

    Values are proposed by the tree-structured Parzen estimator, trial ``i`` with randomness of
    ``(seed, i)`` alone. All trials train from the recipe's seed and are scored on the same
    validation tasks, so they differ by their values and nothing else.

    Trials are pruned by the median rule: after five complete trials, and a quarter of its steps, a
        trial ends at a validation where
    its best score so far is below the median of the others at that step. Hyperband would divide the
    trials into brackets, and the estimator
    learns from one bracket at a time: with the few tens of trials that a meta-training allows it
        would hardly begin to learn.

    Args:
        recipe: what is searched around; its ``train.validate_every`` may not be 0.
        space: a text for each field, as `parse_space` reads it.
        n_trials: of the whole study, over all processes and earlier calls. Stopped trials do not
            count.
        storage: an Optuna database URL, such as ``sqlite:///study.db``, that processes share and a
            later call goes on with; empty keeps the study in memory.
        study: its name in the storage; empty is the recipe's name.
        seed: of the proposals.
        prune: whether poor trials are ended early.
        out: a folder in which trial ``N`` is kept as the run ``trial-N``; None keeps nothing on
            disk.
        device: auto, cpu, cuda or cuda:N.
        console: where progress is shown; None shows nothing.

    Raises:
        ConfigError: when Optuna is not installed, a field or range cannot be searched, the storage
            cannot be opened or its study is another one.
    """
    optuna = _optuna()
    if n_trials < 1:
        raise ConfigError(f"A search needs at least 1 trial, got {n_trials}.")
    if (size := launch().size) > 1:
        raise ConfigError(
            f"{size} processes were launched together, but each trial trains in one. Start "
            "quickstudy tune once per process, without torchrun; "
            "processes with the same --storage and --study share the trials."
        )
    dimensions = parse_space(space)
    data = _Data()
    exam = _checked(recipe, dimensions, data)
    where = pick_device(device)
    name = study or recipe.name
    pruner = (
        optuna.pruners.MedianPruner(n_warmup_steps=recipe.train.steps // 4)
        if prune
        else optuna.pruners.NopPruner()
    )
    with _opened(optuna, storage, name, pruner) as shared:
        _claim_study(
            shared,
            _identity(recipe, space, exam),
            f"'{name}'" + (f" in {_without_password(storage)}" if storage else ""),
        )
        search = _Search(
            optuna,
            shared,
            recipe,
            dimensions,
            data,
            where,
            Path(out) if out else None,
            seed,
            console,
            bool(storage),
        )
        finished = search.run(n_trials)
        return TuneResult(recipe, search.trials(), finished)


class _Data:
    """The data set of a recipe; the last one is kept, as nearly all trials have the same."""

    def __init__(self) -> None:
        self._part: Part | None = None
        self._built: AbstractData | None = None

    def of(self, recipe: Recipe) -> AbstractData:
        """The recipe's data set."""
        if self._built is None or recipe.data != self._part:
            self._part, self._built = recipe.data, recipe.build_data()
        return self._built


class _Search:
    """The part of one process in a study."""

    def __init__(
        self,
        optuna: Any,
        study: Any,
        recipe: Recipe,
        space: Mapping[str, Range | Choice],
        data: _Data,
        device: torch.device,
        out: Path | None,
        seed: int,
        console: Console | None,
        shared: bool,
    ) -> None:
        self.optuna, self.study, self.recipe, self.space, self.data = (
            optuna,
            study,
            recipe,
            space,
            data,
        )
        self.device, self.out, self.seed, self.console, self.shared = (
            device,
            out,
            seed,
            console or Console(quiet=True),
            shared,
        )
        self.state = optuna.trial.TrialState

    def run(self, n_trials: int) -> bool:
        """Take trials until the study has enough; False if stopped."""
        while (trial := self._next(n_trials)) is not None:
            folder = self._folder(trial)
            values = {
                field: dimension.suggest(trial, field) for field, dimension in self.space.items()
            }
            self.console.print(
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
        self._bury_the_dead()
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
            seed=int(words(1, "tune", self.seed, trial.number)[0] >> 32)
        )
        return trial

    def _count(self, *, before: int | None = None) -> int:
        trials = self.study.get_trials(deepcopy=False)
        return sum(
            self._word(t) != "stopped" for t in trials if before is None or t.number < before
        )

    def _bury_the_dead(self) -> None:
        """Trials whose process gives no more sign of life are stopped, so that they no longer
        count.
        """
        for t in self.study.get_trials(deepcopy=False, states=(self.state.RUNNING,)):
            if time.time() - t.user_attrs.get("seen", math.inf) > _DEAD:
                with contextlib.suppress(
                    self.optuna.exceptions.UpdateFinishedTrialError
                ):  # another process was faster
                    self.study.tell(t.number, state=self.state.FAIL, skip_if_finished=True)

    def _attempt(self, trial: Any, values: Mapping[str, str], folder: Path | None) -> bool:
        """Train with the values and tell the study what came of it; False if stopped."""

        def report(step: int, validation: Report) -> None:
            if not math.isfinite(validation.mean):
                raise TrainingError(f"At step {step} the validation score is {validation.mean}.")
            trial.report(validation.mean, step)
            if trial.should_prune():
                raise self.optuna.TrialPruned

        told, reason, stopped = {"state": self.state.FAIL}, "", False
        try:
            with self._signs_of_life(trial):
                result = self._train(values, folder, report)
            stopped = not result.finished
            if result.finished:
                told = {"values": result.best_val}
        except self.optuna.TrialPruned:
            told = {"state": self.state.PRUNED}
        except _TRIALS_FAULT as error:
            # For Optuna a pruned trial without a score is the worst there is; of a failed one it
            # would learn nothing.
            told, reason = {"state": self.state.PRUNED}, str(error)
        except self.optuna.exceptions.UpdateFinishedTrialError:
            reason = "other processes took this one for dead"
        finally:
            # Also on the way out of an error that ends the search: the trial must not stay behind
            # as running.
            with contextlib.suppress(self.optuna.exceptions.UpdateFinishedTrialError):
                if reason:
                    trial.set_user_attr("reason", reason)
                self.study.tell(trial, **told, skip_if_finished=True)
        done = next(t for t in self.trials() if t.number == trial.number)
        self.console.print(
            f"trial {done.number}: "
            f"{done.state}{'' if done.score is None else f' {done.score:.4f}'} {reason}".rstrip()
        )
        return not stopped

    def _train(
        self, values: Mapping[str, str], folder: Path | None, report: Callable[[int, Report], None]
    ) -> TrainResult:
        recipe = self.recipe.with_changes(values)
        data, learner, seed = self.data.of(recipe), recipe.build_learner(), recipe.train.seed
        if folder is not None:
            (folder / "recipe.json").write_text(
                json.dumps(recipe.to_json(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
            )
        result = train(
            MetaStep(learner, recipe.build_objective()).to(self.device),
            data.tasks(recipe.train_split, recipe.episodes, seed=seed).to(self.device),
            plan=recipe.train,
            optimiser=recipe.optimiser,
            val_tasks=data.tasks(recipe.val_split, recipe.validation, seed=seed).to(self.device),
            transform=recipe.build_transform(),
            out=folder,
            console=self.console,
            on_validation=report,
        )
        if folder is not None:
            save_learner(
                learner,
                folder,
                extra={
                    "image": dict(data.image_format) if data.image_format else None,
                    "result": vars(result),
                },
            )
        return result

    def _folder(self, trial: Any) -> Path | None:
        if self.out is None:
            return None
        folder = self.out / f"trial-{trial.number}"
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
        if not self.shared:
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
            field: str(frozen.params[field]) for field in self.space if field in frozen.params
        }
        state = self._word(frozen)
        score = frozen.value if state in ("complete", "pruned") else None
        return Trial(frozen.number, values, state, score, frozen.user_attrs.get("reason", ""))


def short(text: str) -> str:
    """A value for people to read: fractions with four digits.

    >>> short("0.0031622776601683794"), short("5"), short("cosine")
    ('0.003162', '5', 'cosine')
    """
    return (
        f"{float(text):.4g}" if re.fullmatch(r"-?\d+(\.\d+(e[+-]?\d+)?|e[+-]?\d+)", text) else text
    )


def _optuna() -> Any:
    try:
        return importlib.import_module("optuna")
    except ImportError as error:
        raise ConfigError(
            "The search needs Optuna, which is not installed. Install it with: pip install "
            "'quickstudy[tune]'"
        ) from error


def _dimension(field: str, text: str) -> Range | Choice:
    instead = (
        f"Write {field}=1e-4..1e-2 (add :log for even steps of the logarithm), {field}=1..5 "
        f"(whole numbers) or {field}=a,b,c."
    )
    values = tuple(
        value.strip() for value in re.split(r",(?![^\[]*\])", text)
    )  # a comma inside [ ] belongs to the value
    if len(values) > 1:
        if "" in values or len(set(values)) < len(values):
            raise ConfigError(
                f"--tune {field}={text}: each value must be there once and none may be empty. "
                f"{instead}"
            )
        return Choice(values)
    low, dots, rest = text.partition("..")
    if not dots:
        raise ConfigError(
            f"--tune {field}={text}: a search needs a range or several values. {instead} For one "
            f"value use --set {field}={text}."
        )
    high, colon, scale = rest.partition(":")
    if colon and scale != "log":
        raise ConfigError(
            f"--tune {field}={text}: after the range there may be ':log', got ':{scale}'. {instead}"
        )
    try:
        ends = [int(n) if re.fullmatch(r"[+-]?\d+", n.strip()) else float(n) for n in (low, high)]
    except ValueError as error:
        raise ConfigError(
            f"--tune {field}={text}: both ends of a range must be numbers, got '{low}' and "
            f"'{high}'. {instead}"
        ) from error
    if not all(map(math.isfinite, ends)):
        raise ConfigError(
            f"--tune {field}={text}: both ends of a range must be finite, got {ends[0]} and "
            f"{ends[1]}. {instead}"
        )
    if ends[0] >= ends[1]:
        raise ConfigError(
            f"--tune {field}={text}: the first number must be below the second, got {ends[0]} and "
            f"{ends[1]}. {instead}"
        )
    if colon and ends[0] <= 0:
        raise ConfigError(
            f"--tune {field}={text}: a logarithmic range must begin above 0, got {ends[0]}. Raise "
            "it, or leave ':log' out."
        )
    return Range(
        *(ends if all(isinstance(n, int) for n in ends) else map(float, ends)), log=bool(colon)
    )


def _checked(recipe: Recipe, space: Mapping[str, Range | Choice], data: _Data) -> dict[str, Any]:
    """Refuse a recipe or a space that cannot be searched, before anything is trained.

    Returns:
        what the validation tasks depend on; the same for all trials.
    """
    if not space:
        raise ConfigError(
            "There is nothing to search. Name at least one field: --tune "
            "optimiser.lr=1e-4..1e-2:log."
        )
    first = {field: dimension.ends[0] for field, dimension in space.items()}
    exam: dict[str, Any] = {}
    for field, dimension in space.items():
        exams = [
            _exam(recipe.with_changes({**first, field: text}), data) for text in dimension.ends
        ]
        exam = exams[0]
        for other in exams[1:]:
            differ = [
                f"{key} {exam[key]} and {other[key]}" for key in exam if exam[key] != other[key]
            ]
            if differ:
                raise ConfigError(
                    f"--tune {field}: trials would be scored in different ways "
                    f"({'; '.join(differ)}), so their scores could not be compared. "
                    f"Fix the field with --set {field}=VALUE."
                )
    return exam


def _exam(recipe: Recipe, data: _Data) -> dict[str, Any]:
    """All that a trial's score depends on besides its learner.

    Raises:
        ConfigError: when the recipe has no validation, or one that is not on classes kept for it.
    """
    plan, split = recipe.train, recipe.val_split
    if not plan.validate_every:
        raise ConfigError(
            f"{recipe.name} has no validation (train.validate_every is 0), so a search has nothing "
            "to go by. "
            "Set how often to validate, for instance --set "
            f"train.validate_every={max(1, plan.steps // 4)}, a quarter of its steps."
        )
    if split == "test":
        raise ConfigError(
            "val_split is 'test', but a search may not see the test classes. Set val_split=val."
        )
    if split in recipe.train_split:
        raise ConfigError(
            f"{recipe.name} trains on train_split='{recipe.train_split}', which has the classes of "
            f"val_split='{split}', so its validation "
            "says nothing about new classes. Set train_split=train for the search, and train the "
            "best values as the recipe says."
        )
    tasks = data.of(recipe).tasks(split, recipe.validation, seed=plan.seed)
    return {
        "data": tasks.data,
        "split": tasks.split,
        "split_hash": tasks.split_hash,
        "setting": str(tasks.setting),
        "n_query": tasks.setting.n_query,
        "seed": tasks.seed,
        "n_val_tasks": plan.n_val_tasks,
        "validate_every": plan.validate_every,
    }


def _identity(recipe: Recipe, space: Mapping[str, str], exam: Mapping[str, Any]) -> dict[str, Any]:
    """What the trials of a study have in common."""
    about = {
        k: v for k, v in recipe.to_json().items() if k not in ("evaluations", "summary", "paper")
    }
    # How the work is shared and how often it is saved may differ from machine to machine.
    about["train"] = {
        k: v
        for k, v in about["train"].items()
        if k not in ("workers", "checkpoint_every", "log_every")
    }
    return json.loads(json.dumps({"recipe": about, "space": dict(space), "validation": dict(exam)}))


def _claim_study(study: Any, identity: Mapping[str, Any], where: str) -> None:
    """Write the identity into a new study; refuse one of another identity."""
    found = study.user_attrs.get(_IDENTITY)
    if found is None and not study.get_trials(deepcopy=False):
        study.set_user_attr(_IDENTITY, identity)
        found = study.user_attrs[_IDENTITY]
    if found is None:
        raise ConfigError(
            f"The study {where} was not begun by quickstudy. Choose another name with --study."
        )
    here, there = _flat(identity), _flat(found)
    differ = [
        f"{k} is {there.get(k)!r} there and {here.get(k)!r} here"
        for k in {**there, **here}
        if there.get(k) != here.get(k)
    ]
    if differ:
        raise ConfigError(
            f"The study {where} is of another search: {'; '.join(differ)}. Repeat the options that "
            "it was begun with, or begin another with --study NAME."
        )


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    """The leaves of nested dicts, by their dotted paths."""
    if not isinstance(value, dict):
        return {path: value}
    return {
        name: leaf
        for key, v in value.items()
        for name, leaf in _flat(v, f"{path}.{key}" if path else key).items()
    }


@contextlib.contextmanager
def _opened(optuna: Any, url: str, name: str, pruner: Any) -> Iterator[Any]:
    """The study of this name, begun if it is not there."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = _database(optuna, url) if url else None
    try:
        yield optuna.create_study(
            storage=storage,
            study_name=name,
            direction="maximize",
            pruner=pruner,
            load_if_exists=True,
        )
    finally:
        optuna.logging.set_verbosity(verbosity)
        if storage is not None:
            storage.remove_session()
            storage.engine.dispose()


def _database(optuna: Any, url: str) -> Any:
    from sqlalchemy.exc import ArgumentError, DBAPIError

    # SQLite: others may write for a moment. Servers: a connection may have been cut during a long
    # trial.
    options: dict[str, Any] = (
        {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {"pool_pre_ping": True}
    )
    refused: DBAPIError | None = None
    for pause in _PAUSES:
        time.sleep(pause)
        try:
            return optuna.storages.RDBStorage(url, engine_kwargs=options)
        except DBAPIError as error:  # not there yet, or another process is creating the tables
            refused = error
        except ArgumentError as error:
            raise ConfigError(
                "--storage takes a database URL, such as sqlite:///study.db or "
                f"postgresql+psycopg://USER:PASSWORD@HOST/NAME: {error}"
            ) from error
        except ImportError as error:
            raise ConfigError(
                f"The driver for {_without_password(url)} is not installed ({error.__cause__}). "
                "For PostgreSQL: pip install 'psycopg[binary]', and a URL that begins with "
                "postgresql+psycopg://"
            ) from error
    assert refused is not None
    raise ConfigError(
        f"{_without_password(url)} cannot be opened: {str(refused.orig).strip()}. Check that it "
        "exists and may be written."
    ) from refused


def _without_password(url: str) -> str:
    return re.sub(r"(://[^:@/]*):.*@", r"\1:***@", url)
