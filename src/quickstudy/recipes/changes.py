"""What of a recipe decides about its result, and how it differs from the registered one."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from quickstudy.recipes.recipe import Recipe
from quickstudy.recipes.registry import RECIPES

_PROSE = ("evaluations", "summary", "paper")
# How the work is shared out and how often it is saved.
_SHARING = (
    "train.workers",
    "train.workers_kind",
    "train.checkpoint_every",
    "train.log_every",
)
# Where a result is the same up to rounding, or one of several equals.
_EQUIVALENT = (*_SHARING, "train.chunk", "train.compile", "train.seed", "start_from")


def identity_of(recipe: Recipe) -> dict[str, Any]:
    """What may not change when a training is resumed, as JSON values."""
    about = {k: v for k, v in recipe.to_json().items() if k not in _PROSE}
    about["train"] = {k: v for k, v in about["train"].items() if f"train.{k}" not in _SHARING}
    return json.loads(json.dumps(about))


def changes_of(recipe: Recipe) -> tuple[str, ...]:
    """How a recipe differs from the registered one of its name, each as ``field=value`` (as
    ``--set`` takes it); nothing for a recipe that is not registered.

    Seeds, the run that it starts from, how the work is shared out and prose are left out: they
    change nothing about what is reproduced.

    >>> from quickstudy.recipes.registry import recipe_named
    >>> changes_of(recipe_named("glyphs-protonet").with_changes({"train.steps": "9"}))
    ('train.steps=9',)
    """
    if recipe.name not in RECIPES:
        return ()
    before, now = (_fields(r) for r in (RECIPES[recipe.name](), recipe))
    return tuple(
        f"{path}={_text(now.get(path))}"
        for path in {**before, **now}
        if before.get(path) != now.get(path)
    )


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """The leaves of nested dicts, by their dotted paths.

    >>> flat({"a": {"b": 1}, "c": 2})
    {'a.b': 1, 'c': 2}
    """
    if not isinstance(value, Mapping):
        return {path: value}
    return {
        name: leaf
        for key, v in value.items()
        for name, leaf in flat(v, f"{path}.{key}" if path else key).items()
    }


def _fields(recipe: Recipe) -> dict[str, Any]:
    about = {k: v for k, v in dataclasses.asdict(recipe).items() if k not in _PROSE}
    leaves = flat(json.loads(json.dumps(about)))
    return {
        path.replace(".options.", ".").removesuffix(".name"): leaf
        for path, leaf in leaves.items()
        if path not in ("name", *_EQUIVALENT)
    }


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
