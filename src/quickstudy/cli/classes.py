"""The command ``classes``. It reads what a model says of itself, and needs no torch."""

from pathlib import Path
from typing import Annotated

import typer

from quickstudy.cli.screen import results, table
from quickstudy.estimators import class_counts


def classes(
    model: Annotated[
        Path, typer.Argument(help="A model that `quickstudy fit` wrote.", show_default=False)
    ],
) -> None:
    """List the classes of a fitted model and how many examples each has."""
    shown = table("class", "examples")
    for name, n in class_counts(model).items():
        shown.add_row(str(name), str(n))
    results().print(shown)
