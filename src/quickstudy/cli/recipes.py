"""The commands ``list`` and ``show``: what there is to train, and with what. They need no torch."""

import json
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from quickstudy.algorithms import ALGORITHMS, FAMILIES, family
from quickstudy.cli.options import ChangedFields, RecipeName
from quickstudy.cli.screen import results
from quickstudy.core.errors import ConfigError
from quickstudy.data import DATA
from quickstudy.encoders import ENCODERS
from quickstudy.pretrained.registry import ENCODERS as PRETRAINED
from quickstudy.recipes import RECIPES, Recipe, recipe_named

_WIDTH = 100


class Kind(StrEnum):
    """What can be listed."""

    recipes = "recipes"
    algorithms = "algorithms"
    encoders = "encoders"
    data = "data"


class Family(StrEnum):
    """The families of algorithms."""

    metric = "metric"
    gradient = "gradient"
    transfer = "transfer"
    transductive = "transductive"
    black_box = "black-box"
    in_context = "in-context"
    architecture = "architecture"
    semi_supervised = "semi-supervised"
    hallucination = "hallucination"
    zero_shot = "zero-shot"


def list_parts(
    kind: Annotated[Kind, typer.Argument(help="What to list.")] = Kind.recipes,
    family_: Annotated[
        Family | None, typer.Option("--family", help="Only recipes or algorithms of this family.")
    ] = None,
) -> None:
    """List the recipes by family of method; or the algorithms, the encoders or the data sets."""
    if family_ is not None and kind not in (Kind.recipes, Kind.algorithms):
        raise ConfigError(f"--family goes with recipes and algorithms, not with {kind.value}.")
    families = [name for name in FAMILIES if family_ is None or name == family_.name]
    match kind:
        case Kind.recipes:
            _by_family(families, _recipes())
        case Kind.algorithms:
            _by_family(families, {name: (family(name), "") for name in ALGORITHMS})
        case Kind.encoders:
            _section("Trained here", dict.fromkeys(ENCODERS, ""))
            _section("Pretrained", {e.name: f"{e.kind}: {e.use} {e.limits}" for e in PRETRAINED})
        case Kind.data:
            _section("Data sets", dict.fromkeys(DATA, ""))


def show(
    recipe: RecipeName,
    set_: ChangedFields = None,
) -> None:
    """Show everything a recipe fixes, as JSON; the paths of its fields are what --set takes."""
    results().print(
        json.dumps(changed(recipe_named(recipe), set_).to_json(), indent=1, ensure_ascii=False)
    )


def changed(recipe: Recipe, changes: list[str] | None) -> Recipe:
    """The recipe with the fields that ``--set FIELD=VALUE`` names.

    Raises:
        ConfigError: for a text that is no FIELD=VALUE, or as `Recipe.with_changes`.
    """
    pairs = {}
    for text in changes or []:
        field, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(
                f"--set takes FIELD=VALUE, got '{text}'. `quickstudy show {recipe.name}` lists the "
                "fields."
            )
        pairs[field] = value
    return recipe.with_changes(pairs)


def _recipes() -> dict[str, tuple[str, str]]:
    """Family and summary of each recipe."""
    recipes = {name: recipe_named(name) for name in RECIPES}
    return {name: (family(r.learner.name), r.summary) for name, r in recipes.items()}


def _by_family(families: list[str], rows: dict[str, tuple[str, str]]) -> None:
    for key in families:
        members = {name: summary for name, (where, summary) in rows.items() if where == key}
        if members:
            _section(FAMILIES[key], members)


def _section(title: str, rows: dict[str, str]) -> None:
    """A heading, and under it each name with what it is, within 100 columns."""
    console = Console(highlight=False, markup=False, width=_WIDTH)
    console.print(title, style="bold")
    table = Table(box=None, show_header=False, padding=(0, 0, 0, 2))
    table.add_column(overflow="fold", min_width=32)
    table.add_column(overflow="fold")
    for name, summary in rows.items():
        table.add_row(name, summary)
    console.print(table)
    console.print()
