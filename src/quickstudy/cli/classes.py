"""The command ``classes``. It reads what a model says of itself, and needs no torch."""

from quickstudy.cli.options import ModelFolder
from quickstudy.cli.screen import results, table
from quickstudy.estimators import class_counts


def classes(
    model: ModelFolder,
) -> None:
    """List the classes of a fitted model and how many examples each has."""
    shown = table("class", "examples")
    for name, n in class_counts(model).items():
        shown.add_row(str(name), str(n))
    results().print(shown)
