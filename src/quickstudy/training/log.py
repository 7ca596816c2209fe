"""What a training says while it runs: loggers for programs, a progress bar for people."""

import json
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from quickstudy.core.disk import append_file, write_file
from quickstudy.core.errors import QuickstudyWarning


class AbstractLogger(ABC):
    """Where the values of a training go. The methods are called in this order, in one process."""

    @abstractmethod
    def begin(self, about: Mapping[str, Any], *, done: int) -> None:
        """The training begins.

        Args:
            about: its settings, by name.
            done: steps that were taken before, of one that is resumed. Values of later steps come
                again.
        """

    @abstractmethod
    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Keep the values after a step: "loss", "lr", "gradient_norm", "seconds" and "waiting", or
        "val", "val_ci95" and "seconds" of a validation, or "worker_processes", 1 where workers go
        on as processes and 0 where they stay threads.
        """

    @abstractmethod
    def end(self) -> None:
        """The training is over, or stopped."""


class JsonLines(AbstractLogger):
    """An append-only log, one JSON object per line; on resuming, lines of later steps are dropped.

    Args:
        file: where.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def begin(self, about: Mapping[str, Any], *, done: int) -> None:
        """Start the file anew, or keep the lines of the steps that are done.

        Raises:
            ConfigError: when it cannot be written.
        """
        file = self._file
        kept = (
            [line for line in read_log(file) if line["step"] <= done]
            if done and file.exists()
            else []
        )
        # Beside the old one and renamed: a kill loses no line that was there.
        write_file(file, "".join(json.dumps(line) + "\n" for line in kept).encode())

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add a line.

        Raises:
            ConfigError: when it cannot be written.
        """
        append_file(self._file, (json.dumps({"step": step, **values}) + "\n").encode())

    def end(self) -> None:
        """Every line is on disk already."""


class Loggers(AbstractLogger):
    """Several loggers as one. A tracker that fails, as where its server is gone, is given up with a
    warning, and the training goes on.

    Args:
        file: the log of the training's own folder, whose errors end the training; None without one.
        trackers: the others.
    """

    def __init__(self, file: JsonLines | None, trackers: Sequence[AbstractLogger] = ()) -> None:
        self._file = file
        self._trackers = list(trackers)

    def begin(self, about: Mapping[str, Any], *, done: int) -> None:
        """Begin all. What a tracker raises now ends the training, before any step is taken."""
        for logger in [*([self._file] if self._file else []), *self._trackers]:
            logger.begin(about, done=done)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Give the values to all."""
        if self._file is not None:
            self._file.write(step, values)
        for tracker in list(self._trackers):
            try:
                tracker.write(step, values)
            except Exception as error:
                # A tracker talks to programs and servers of others, which raise anything.
                self._give_up(tracker, error)

    def end(self) -> None:
        """End all."""
        for tracker in list(self._trackers):
            try:
                tracker.end()
            except Exception as error:
                self._give_up(tracker, error)

    def _give_up(self, tracker: AbstractLogger, error: Exception) -> None:
        self._trackers.remove(tracker)
        warnings.warn(
            f"{type(tracker).__name__} failed ({type(error).__name__}: {error}), so it is told "
            "nothing more of this training. log.jsonl in the training's folder is complete.",
            QuickstudyWarning,
            stacklevel=2,
        )


def read_log(file: Path) -> list[dict[str, Any]]:
    """The lines of a log, up to the first that a kill or damage left unreadable."""
    lines: list[dict[str, Any]] = []
    for text in file.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            break
        if not isinstance(line, dict) or not isinstance(line.get("step"), int):
            break
        lines.append(line)
    return lines


class ProgressBar:
    """Loss, validation score and time left; where the output is no terminal, a line per validation
    instead.
    """

    def __init__(self, console: Console | None, *, steps: int, done: int) -> None:
        self._console = console or Console(quiet=True)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]}"),
            TextColumn("val {task.fields[val]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns, console=self._console, disable=not self._console.is_terminal)
        self._task = self._bar.add_task("training", total=steps, completed=done, loss="…", val="…")
        self._steps = steps

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def step(self, step: int, loss: float | None = None) -> None:
        """``step`` steps are done."""
        fields = {} if loss is None else {"loss": f"{loss:.3f}"}
        self._bar.tasks[self._task].fields.update(fields)
        self._bar.update(self._task, completed=step)

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self._console.print(text, markup=False)

    def validated(self, step: int, text: str, seconds: float) -> None:
        """A validation is done."""
        self._bar.update(self._task, val=text)
        if not self._console.is_terminal:
            self._console.print(f"step {step}/{self._steps}  validation {text}  {seconds:.0f} s")
