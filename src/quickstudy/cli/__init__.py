"""The command ``quickstudy``."""

import io
import os
import sys
import warnings
from typing import Any, TextIO

from quickstudy.core.errors import QuickstudyError, QuickstudyWarning


def main() -> None:
    """Run the command line. Errors raised on purpose are told in one line and end with status 2;
    others keep their trace.
    """
    from quickstudy.cli.app import app

    if sys.stdout is None:
        # Closed by the caller (`>&-`), so that nothing could be told.
        print("ConfigError: standard output is closed. Give the command one.", file=sys.stderr)
        sys.exit(2)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Names of files need not be valid Unicode, nor the terminal know every letter.
        sys.stdout.reconfigure(errors="backslashreplace")
    warnings.showwarning = _note
    try:
        app()
    except QuickstudyError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        # The reader (`| head`) has had enough; keep Python from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


_show = warnings.showwarning


def _note(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> Any:
    """Show what is meant for people in one line, without the place in the code."""
    if issubclass(category, QuickstudyWarning):
        print(f"Note: {message}", file=sys.stderr)
    else:
        _show(message, category, filename, lineno, file, line)
