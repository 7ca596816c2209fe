"""The in-context learner of tables that comes with quickstudy."""

import functools
from importlib import resources
from pathlib import Path

import torch

from quickstudy.algorithms.in_context import TabularInContext
from quickstudy.core.errors import LoadError
from quickstudy.recipes.runs import load

TABULAR = Path(str(resources.files("quickstudy.pretrained") / "weights" / "tabular"))


@functools.cache
def open_tabular() -> TabularInContext:
    """The learner that was fitted to synthetic tables, in eval mode and double precision, so that
    an answer does not depend on what else is asked for; the same object at every call.

    It was trained by `quickstudy.recipes.tables` and has seen no real table. How it was trained and
    its licence are in the folder ``weights/tabular`` beside this file.

    Example:
        >>> open_tabular().max_classes
        10

    Raises:
        LoadError: when the files are damaged.
    """
    with torch.random.fork_rng(devices=()):  # building a network draws random weights
        learner = load(TABULAR)
    if not isinstance(learner, TabularInContext):
        raise LoadError(
            f"{TABULAR} holds a {type(learner).__name__} where a TabularInContext was expected. "
            "Install quickstudy again."
        )
    return learner.double().requires_grad_(False)
