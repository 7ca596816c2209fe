"""Where the commands print: results to standard output, progress to standard error."""

import sys

from rich.console import Console
from rich.table import Column, Table

# Into a file or a pipe nothing may be cut to the width of a screen that is not there.
_WIDE = 1000


def results() -> Console:
    """Where results go."""
    return Console(
        highlight=False, markup=False, soft_wrap=True, width=None if sys.stdout.isatty() else _WIDE
    )


def progress() -> Console:
    """Where progress goes."""
    return Console(stderr=True, highlight=False)


def table(*names: str) -> Table:
    """A table without lines, whose cells are folded rather than cut."""
    return Table(*(Column(name, overflow="fold") for name in names), box=None)


class Bar:
    """A progress bar on standard error, where that is a terminal.

    Args:
        what: what is being done.
        total: how often.
    """

    def __init__(self, what: str, total: int) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        console = progress()
        self._bar = Progress(*columns, console=console, disable=not console.is_terminal)
        self._task = self._bar.add_task(what, total=total)

    def update(self, done: int, total: int) -> None:
        """So many of so many are done."""
        self._bar.update(self._task, completed=done, total=total)

    def __enter__(self) -> "Bar":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
