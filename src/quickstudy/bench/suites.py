"""Which rows a suite of results has: the trainings and the settings that they are scored in."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from quickstudy.bench.domains import cross_domain, own_images
from quickstudy.bench.measurement import Measurement
from quickstudy.bench.real_tables import on_tables
from quickstudy.bench.returns import navigation
from quickstudy.core.errors import ConfigError, did_you_mean
from quickstudy.recipes import RECIPES, Recipe, recipe_named
from quickstudy.recipes.common_budget import (
    COMMON_BUDGET,
    SHORT_BUDGET,
    Budget,
    common_learners,
    common_recipe,
)


@dataclass(frozen=True)
class Row:
    """One row of a table of results.

    Args:
        name: of the row, and of its file.
        recipe: what is trained, with the settings that this row is scored in; several rows may
            share a training. None where nothing is, or the measurement trains by itself.
        measurement: what is scored in the place of the recipe's settings.
    """

    name: str
    recipe: Recipe | None = None
    measurement: Measurement | None = None


def _common(budget: Budget) -> tuple[Row, ...]:
    return tuple(Row(name, common_recipe(name, budget)) for name in common_learners())


def _of(prefix: str, *, paper: bool = False) -> tuple[Row, ...]:
    recipes = (recipe_named(name) for name in RECIPES if name.startswith(prefix))
    return tuple(Row(r.name, r) for r in recipes if r.name.endswith("-paper") == paper)


def _regression() -> tuple[Row, ...]:
    recipes = (recipe_named(name) for name in RECIPES)
    return tuple(Row(r.name, r) for r in recipes if not r.episodes.n_way)


def _measured(measurements: Iterable[tuple[str, Measurement]]) -> tuple[Row, ...]:
    return tuple(Row(name, None, measurement) for name, measurement in measurements)


_SUITES: dict[str, Callable[[], tuple[Row, ...]]] = {
    "omniglot": lambda: (*_common(COMMON_BUDGET), *_of("omniglot-")),
    "omniglot-short": lambda: _common(SHORT_BUDGET),
    "mini-imagenet": lambda: _of("mini-imagenet-"),
    "regression": _regression,
    "family": lambda: _of("family-"),
    "few-classes": lambda: _of("few-"),
    "paper": lambda: _of("", paper=True),
    "rl": lambda: _measured(navigation()),
    "own-images": lambda: _measured(own_images()),
    "cross-domain": lambda: tuple(Row(n, recipe_named(n), m) for n, m in cross_domain()),
    "tables": lambda: _measured(on_tables()),
}
SUITES = tuple(_SUITES)


def suite_rows(suite: str, only: tuple[str, ...] = ()) -> tuple[Row, ...]:
    """The rows of a suite.

    Args:
        suite: one of `SUITES`.
        only: names of rows; empty = all.

    Raises:
        ConfigError: for an unknown suite or row, with the nearest spelling.
    """
    if suite not in _SUITES:
        raise ConfigError(f"There is no suite '{suite}'. {did_you_mean(suite, SUITES)}")
    rows = {row.name: row for row in _SUITES[suite]()}
    for name in only:
        if name not in rows:
            raise ConfigError(
                f"The suite {suite} has no row '{name}'. {did_you_mean(name, list(rows))}"
            )
    return tuple(row for row in rows.values() if not only or row.name in only)


def chain_of(recipe: Recipe) -> tuple[Recipe, ...]:
    """The recipe, and before it those whose runs it starts from, the first training first."""
    base = recipe.start_from.rpartition("/")[2]
    if base not in RECIPES:
        return (recipe,)
    return (*chain_of(recipe_named(base)), recipe)


def on_validation(recipe: Recipe) -> Recipe | None:
    """The recipe scored once, in its first setting, on validation classes; None where it was
    trained on those.
    """
    if recipe.train_split != "train" or not recipe.evaluations:
        return None
    first = replace(recipe.evaluations[0], split=recipe.val_split, n_tasks=600, published=None)
    return replace(recipe, evaluations=(first,))
