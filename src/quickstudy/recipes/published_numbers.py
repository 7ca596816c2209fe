"""The papers' numbers, which all stand in one file, ``published.toml``."""

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import resources

from quickstudy.recipes.recipe import Recipe


@dataclass(frozen=True)
class PublishedNumber:
    """A number that a paper published.

    Args:
        recipe, setting: which of our settings it is compared with: the name of a recipe and the
            title of one of its evaluations.
        value: an accuracy between 0 and 1, or what the setting's metric measures.
        source: the paper and its table.
        protocol: how the paper measured it, as far as our setting does not say.
        checked: where the number was seen: in the paper or its authors' repository ("authors"), in
            another publication ("quoted"), or nowhere yet ("memory").
        peer, peer_source: what another library says that it reaches, and where it says so; None
            where none was found.
    """

    recipe: str
    setting: str
    value: float
    source: str
    protocol: str
    checked: str
    peer: float | None = None
    peer_source: str = ""


@functools.cache
def published_numbers() -> Mapping[tuple[str, str], PublishedNumber]:
    """All of them, by recipe and setting."""
    text = (resources.files("quickstudy.recipes") / "published.toml").read_text(encoding="utf-8")
    numbers = [PublishedNumber(**entry) for entry in tomllib.loads(text)["number"]]
    return {(number.recipe, number.setting): number for number in numbers}


def with_published(recipe: Recipe) -> Recipe:
    """The recipe, with the papers' numbers in its evaluations."""
    known = published_numbers()
    evaluations = tuple(
        replace(e, published=number.value, source=number.source)
        if (number := known.get((recipe.name, e.title)))
        else e
        for e in recipe.evaluations
    )
    return replace(recipe, evaluations=evaluations)
