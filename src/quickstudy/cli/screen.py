"""Where the commands print: results to standard output, progress to standard error."""

import sys

from rich.console import Console
from rich.table import Column, Table

# Into a file or a pipe nothing may be cut to the width of a screen that is not there.
_WIDE = 1000


def results() -> Console:
    """Where results go."""
    return Console(highlight=False, markup=False, soft_wrap=True, width=None if sys.stdout.isatty() else _WIDE)


def progress() -> Console:
    """Where progress goes."""
    return Console(stderr=True, highlight=False)


def table(*names: str) -> Table:
    """A table without lines, whose cells are folded rather than cut."""
    return Table(*(Column(name, overflow="fold") for name in names), box=None)
