"""Where the commands print: results to standard output, progress to standard error."""

import sys
import unicodedata
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.table import Column, Table

# Into a file or a pipe nothing may be cut to the width of a screen that is not there.
_WIDE = 1000
_TURNS = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class _Harmless(Console):
    """A console that shows control characters instead of obeying them."""

    def print(self, *objects: Any, **options: Any) -> None:
        super().print(*(harmless(o) if isinstance(o, str) else o for o in objects), **options)


def results() -> Console:
    """Where results go."""
    return _Harmless(
        highlight=False, markup=False, soft_wrap=True, width=None if sys.stdout.isatty() else _WIDE
    )


def progress() -> Console:
    """Where progress goes."""
    return _Harmless(stderr=True, highlight=False)


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


class Stages:
    """Progress bars on standard error, one for each stage of a longer work, where that is a
    terminal.
    """

    def __init__(self) -> None:
        self._bars: dict[str, Bar] = {}

    def update(self, stage: str, done: int, total: int) -> None:
        """So many of so many are done of a stage."""
        if stage not in self._bars:
            self._close()
            self._bars[stage] = Bar(stage, total)
            self._bars[stage].__enter__()
        self._bars[stage].update(done, total)

    def __enter__(self) -> "Stages":
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        for bar in self._bars.values():
            bar.__exit__()


@contextmanager
def warnings_as_notes() -> Iterator[None]:
    """Warnings are printed as notes, where progress goes."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        progress().print(f"Note: {message}", markup=False, soft_wrap=True)

    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = show
        yield


def harmless(text: str) -> str:
    r"""A text whose control characters, and those that turn the direction of writing, are shown
    instead of obeyed: the name of a file may hold what a terminal takes for a command.

    >>> harmless("bird\x1b[2J.png"), harmless("bird\u202egnp.exe")
    ('bird\\x1b[2J.png', 'bird\\u202egnp.exe')
    """
    return "".join(map(_shown, text))


def _shown(letter: str) -> str:
    if letter in _TURNS:
        return f"\\u{ord(letter):04x}"
    if unicodedata.category(letter) == "Cc" and letter not in "\n\t":
        return f"\\x{ord(letter):02x}"
    return letter
