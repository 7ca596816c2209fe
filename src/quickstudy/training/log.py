"""What a training says while it runs: a JSON-lines file for programs, a progress bar for people."""

import json
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

from quickstudy.core.saving import append_file, write_file


class JsonLines:
    """An append-only log, one JSON object per line.

    Args:
        file: where; None keeps nothing.
        keep_until: on resuming, lines of later steps are dropped, since those steps will be taken
            again.
    """

    def __init__(self, file: Path | None, *, keep_until: int = 0) -> None:
        self._file = file
        if file is None:
            return
        kept = (
            [line for line in read_log(file) if line["step"] <= keep_until]
            if keep_until and file.exists()
            else []
        )
        # Beside the old one and renamed: a kill loses no line that was there.
        write_file(file, "".join(json.dumps(line) + "\n" for line in kept).encode())

    def write(self, **values: Any) -> None:
        """Add a line.

        Raises:
            ConfigError: when it cannot be written.
        """
        if self._file is not None:
            append_file(self._file, (json.dumps(values) + "\n").encode())


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

    def validated(self, step: int, text: str, seconds: float) -> None:
        """A validation is done."""
        self._bar.update(self._task, val=text)
        if not self._console.is_terminal:
            self._console.print(f"step {step}/{self._steps}  validation {text}  {seconds:.0f} s")
