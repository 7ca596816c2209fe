"""Trains and scores what a suite lacks: a file for each row, by any number of processes at once."""

import hashlib
import json
import math
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from quickstudy.bench.machine import about
from quickstudy.bench.measurement import Setup
from quickstudy.bench.record import Look, Record
from quickstudy.bench.suites import Row, chain_of, on_validation, suite_rows
from quickstudy.core.disk import make_folder
from quickstudy.core.errors import ConfigError, QuickstudyError
from quickstudy.core.lock import locked
from quickstudy.core.saving import holds
from quickstudy.evaluation import EarlierRun, Report, commit, versions
from quickstudy.recipes import Recipe, Run, is_trained, load_run, train_recipe
from quickstudy.recipes.changes import flat, identity_of
from quickstudy.training import Advanced, pick_device


@dataclass(frozen=True)
class Outcome:
    """What became of a row.

    Args:
        row: its name.
        state: "measured", "there" (nothing was missing), "taken" (another process is at it),
            "stopped" (the time was over, or Ctrl-C), "refused" (a second look at the test classes)
            or "failed".
        detail: the reason, or what was measured.
    """

    row: str
    state: str
    detail: str = ""


@dataclass(frozen=True)
class Places:
    """Where a suite keeps what it makes.

    Args:
        rows: the folder of the rows, ``ROWS/SUITE/ROW.json``.
        runs: the folder of the trainings, which several suites may share.
    """

    rows: Path
    runs: Path


class _TakenError(Exception):
    """Another process works on it."""


class _StoppedError(Exception):
    """The time was over, or somebody pressed Ctrl-C."""


def run_suite(
    suite: str,
    places: Places,
    *,
    only: tuple[str, ...] = (),
    minutes: float = math.inf,
    again: str = "",
    device: str = "auto",
    console: Console | None = None,
    on_row: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Train and score the rows of a suite that are not there yet, one after another. A training
    that was stopped goes on from its checkpoint. Further processes may do the same at once: none
    takes a row, or a training, that another one has taken.

    The weights are scored on validation classes, then once on the test classes. A row whose recipe
    has changed since then is refused.

    Args:
        suite: as of `suite_rows`.
        places: where rows and trainings are kept.
        only: names of rows; empty = all.
        minutes: no row is begun after so many, and a training is stopped then; a scoring is not.
        again: why a changed recipe may be scored on the test classes a second time; the row keeps
            it. Needs ``only``.
        device: as in `quickstudy.training.pick_device`.
        console: where the progress of the trainings is shown; None shows nothing.
        on_row: called with what became of each row.

    Raises:
        ConfigError: for an unknown suite or row, or ``again`` without ``only``.
    """
    if again and not only:
        raise ConfigError(
            "A second look at the test classes is for rows that you name: say which with --only."
        )
    until = time.monotonic() + 60.0 * minutes
    work = _Work(suite, places, again, device, console, until)
    outcomes: list[Outcome] = []
    for row in suite_rows(suite, only):
        outcome = work.outcome(row)
        outcomes.append(outcome)
        on_row(outcome)
        if outcome.state == "stopped":
            break
    return outcomes


@dataclass(frozen=True)
class _Work:
    """What one process does in a suite."""

    suite: str
    places: Places
    again: str
    device: str
    console: Console | None
    until: float

    def outcome(self, row: Row) -> Outcome:
        """Measure what a row lacks, and say what became of it."""
        try:
            with _alone(self.places.runs / "rows" / self.suite / row.name):
                return self._measured(row)
        except _TakenError:
            return Outcome(row.name, "taken", "another process is at it, or at its training")
        except _StoppedError as stopped:
            return Outcome(row.name, "stopped", str(stopped))
        except (QuickstudyError, RuntimeError, ValueError, OSError) as error:
            return Outcome(row.name, "failed", f"{type(error).__name__}: {error}")

    def _measured(self, row: Row) -> Outcome:
        file = self.places.rows / self.suite / f"{row.name}.json"
        before = Record.load(file) if file.exists() else None
        recipe, measurement = row.recipe, row.measurement
        trainings = [identity_of(r) for r in chain_of(recipe)] if recipe else []
        if measurement is not None:
            trainings.append(json.loads(json.dumps(dict(measurement.fixes))))
        changed = before is not None and list(before.trainings) != trainings
        if before is not None and changed and not self.again:
            return Outcome(
                row.name,
                "refused",
                f"its recipe has changed since it was scored on the test classes: "
                f"{_difference(before.trainings, trainings)}. Decide on validation classes, and "
                'score it once more with --again "REASON", which the row will say',
            )
        reports = {} if before is None or changed else dict(before.test)
        if all(title in reports for title in _titles(row)):
            return Outcome(row.name, "there")
        run = self._trained(recipe) if recipe else None
        started = time.perf_counter()
        validation = None if before is None or changed else before.validation
        new: dict[str, Report] = {}
        if measurement is not None:
            setup = Setup(run, self.places.runs / self.suite)
            for title in measurement.settings:
                if title not in reports:
                    self._check_time(f"{title} of {row.name} is not scored")
                    new[title] = measurement.score(title, setup)
        elif recipe is not None and run is not None:
            if validation is None and (checked := on_validation(recipe)) is not None:
                validation = run.evaluate(checked.evaluations[0])
            missing = [e for e in recipe.evaluations if e.title not in reports]
            new = {e.title: run.evaluate(e) for e in missing}
        reports |= new
        look = Look(
            commit(), self.again if changed else "", {t: round(r.mean, 6) for t, r in new.items()}
        )
        machine = about(pick_device(self.device), ())
        scoring = round(time.perf_counter() - started, 1)
        Record(
            row=row.name,
            suite=self.suite,
            command=f"quickstudy bench run --suite {self.suite} --only {shlex.quote(row.name)}",
            commit=commit(),
            trainings=trainings,
            chain=_chain(run),
            versions=versions(),
            hardware={k: v for k, v in machine.items() if k not in ("versions", "commit")},
            seconds={
                "training": round(run.result.seconds, 1) if run else 0.0,
                "scoring": scoring,
            },
            validation=validation,
            test=reports,
            looks=(*(before.looks if before else ()), look),
        ).save(file)
        return Outcome(row.name, "measured", "; ".join(f"{r}" for r in new.values()))

    def _check_time(self, what: str) -> None:
        if time.monotonic() >= self.until:
            raise _StoppedError(f"the time is over; {what}")

    def _trained(self, recipe: Recipe) -> Run:
        """The finished training of a recipe, after those that it starts from."""
        *earlier, _ = chain = chain_of(recipe)
        if earlier:
            recipe = replace(recipe, start_from=str(self._trained(earlier[-1]).folder))
        identity = json.dumps([identity_of(r) for r in chain], sort_keys=True)
        digest = hashlib.sha256(identity.encode()).hexdigest()[:8]
        folder = self.places.runs / f"{recipe.name}-{digest}"
        with _alone(folder):
            if is_trained(folder):
                run = load_run(folder)
                if run.result.finished:
                    return replace(run, recipe=recipe)
            self._check_time(f"{recipe.name} is not trained to its end")
            left = self.until - time.monotonic()
            run = train_recipe(
                recipe,
                folder,
                resume=holds(folder, "run"),
                device=self.device,
                console=self.console,
                advanced=Advanced(seconds=left),
            )
        if not run.result.finished:
            raise _StoppedError(
                f"{recipe.name} has done {run.result.steps} of {recipe.train.steps} steps, which "
                "are kept"
            )
        return run


def _titles(row: Row) -> list[str]:
    """The settings that a row is scored in."""
    if row.measurement is not None:
        return list(row.measurement.settings)
    return [e.title for e in row.recipe.evaluations] if row.recipe else []


def _chain(run: Run | None) -> tuple[EarlierRun, ...]:
    """The trainings of a row, the first one first."""
    if run is None:
        return ()
    last = EarlierRun(
        run.recipe.name, run.result.tasks, round(run.result.seconds, 1), run.recipe.train.seed
    )
    return (*run.earlier, last)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Meanwhile no other process works on what the folder is of."""
    make_folder(folder)
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(folder, patience=0.0))
        except ConfigError as error:
            raise _TakenError from error
        yield


def _difference(before: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]) -> str:
    """The fields that differ between two chains of trainings, with both values."""
    if len(before) != len(now):
        return f"{len(before)} trainings, now {len(now)}"
    parts = []
    for old, new in zip(before, now, strict=True):
        a, b = flat(old), flat(new)
        parts += [
            f"{path} was {a.get(path)!r}, now {b.get(path)!r}"
            for path in {**a, **b}
            if a.get(path) != b.get(path)
        ]
    return ", ".join(parts)
