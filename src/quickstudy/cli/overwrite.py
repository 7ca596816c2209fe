"""Before a command writes a folder: what lies there already is not replaced without a word."""

import sys
from collections.abc import Callable
from pathlib import Path

import typer

from quickstudy.core.errors import ConfigError, LoadError
from quickstudy.core.lock import LOCK
from quickstudy.core.saving import KINDS, holds


def check_replaceable(
    folder: Path, kind: str, *, force: bool, about: Callable[[Path], str], otherwise: str = ""
) -> None:
    """Let a command write into a folder that is new, empty, or may be replaced.

    On a terminal the person is asked whether what lies there may be replaced; elsewhere it takes
    ``force``.

    Args:
        folder: where the command is going to write.
        kind: what it writes, see `quickstudy.core.saving`; anything else is never replaced.
        force: replace it without a question.
        about: says of the folder what is lost, in a sentence or two.
        otherwise: what else could be done, as the end of a sentence.

    Raises:
        ConfigError: when something else lies there, or it may not be replaced.
    """
    if not folder.exists() or (
        folder.is_dir() and all(path.name == LOCK for path in folder.iterdir())
    ):
        return
    if not (folder.is_dir() and holds(folder, kind)):
        raise ConfigError(
            f"{folder} exists and is not {KINDS[kind]}; it is left alone. Choose another name for "
            "-o."
        )
    if force:
        return
    try:
        content = about(folder)
    except LoadError as error:
        content = str(error)
    said = f"{folder} holds {KINDS[kind]} already. {content}"
    if is_terminal():
        typer.echo(said, err=True)
        if typer.confirm("Replace it?", err=True):
            return
    raise ConfigError(
        f"{said} Nothing was changed. Take --force to replace it, or another name for -o"
        f"{f', or {otherwise}' if otherwise else ''}."
    )


def is_terminal() -> bool:
    """Whether there is a person to ask."""
    return sys.stdin.isatty() and sys.stderr.isatty()
