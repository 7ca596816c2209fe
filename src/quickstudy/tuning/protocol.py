"""How the trials of a search are scored: all alike, and never on test classes."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from quickstudy.core.errors import ConfigError
from quickstudy.core.tasks import AbstractData
from quickstudy.recipes import Part, Recipe
from quickstudy.tuning.space import Choice, Range


class DataOfRecipes:
    """The data set of a recipe; the last one is kept, as nearly all trials have the same."""

    def __init__(self) -> None:
        self._part: Part | None = None
        self._built: AbstractData | None = None

    def of(self, recipe: Recipe) -> AbstractData:
        """The recipe's data set."""
        if self._built is None or recipe.data != self._part:
            self._part, self._built = recipe.data, recipe.build_data()
        return self._built


def protocol_of(
    recipe: Recipe, space: Mapping[str, Range | Choice], data: DataOfRecipes
) -> dict[str, Any]:
    """Refuse a recipe or a space that cannot be searched, before anything is trained.

    Returns:
        what the validation tasks depend on; the same for all trials.
    """
    if not space:
        raise ConfigError(
            "There is nothing to search. Name at least one field: --tune "
            "optimiser.lr=1e-4..1e-2:log."
        )
    first = {field: dimension.ends[0] for field, dimension in space.items()}
    protocol: dict[str, Any] = {}
    for field, dimension in space.items():
        changed = [recipe.with_changes({**first, field: text}) for text in dimension.ends]
        protocol, *others = [_validation_of(one, data) for one in changed]
        for other in others:
            differ = [
                f"{key} {protocol[key]} and {other[key]}"
                for key in protocol
                if protocol[key] != other[key]
            ]
            if differ:
                raise ConfigError(
                    f"--tune {field}: trials would be scored in different ways "
                    f"({'; '.join(differ)}), so their scores could not be compared. "
                    f"Fix the field with --set {field}=VALUE."
                )
    return protocol


def _validation_of(recipe: Recipe, data: DataOfRecipes) -> dict[str, Any]:
    """All that a trial's score depends on besides its learner.

    Raises:
        ConfigError: when the recipe has no validation, or one that is not on classes kept for it.
    """
    plan, split = recipe.train, recipe.val_split
    if not plan.validate_every:
        raise ConfigError(
            f"{recipe.name} has no validation (train.validate_every is 0), so a search has nothing "
            "to go by. "
            "Set how often to validate, for instance --set "
            f"train.validate_every={max(1, plan.steps // 4)}, a quarter of its steps."
        )
    if split == "test":
        raise ConfigError(
            "val_split is 'test', but a search may not see the test classes. Set val_split=val."
        )
    if split in recipe.train_split:
        raise ConfigError(
            f"{recipe.name} trains on train_split='{recipe.train_split}', which has the classes of "
            f"val_split='{split}', so its validation "
            "says nothing about new classes. Set train_split=train for the search, and train the "
            "best values as the recipe says."
        )
    tasks = data.of(recipe).tasks(split, recipe.validation, seed=plan.seed)
    return {
        "data": tasks.data,
        "split": tasks.split,
        "split_hash": tasks.split_hash,
        **asdict(tasks.setting),
        "seed": tasks.seed,
        "n_val_tasks": plan.n_val_tasks,
        "validate_every": plan.validate_every,
    }
