"""Hyper-parameter search by Optuna: on validation classes, alone or by several processes and
machines that share a study.
"""

from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from quickstudy.core.errors import ConfigError
from quickstudy.recipes import Recipe
from quickstudy.training import launch, pick_device
from quickstudy.tuning.protocol import DataOfRecipes, protocol_of
from quickstudy.tuning.result import TuneResult
from quickstudy.tuning.search import Search, SearchSettings
from quickstudy.tuning.space import parse_space
from quickstudy.tuning.study import (
    claim_study,
    import_optuna,
    open_study,
    study_identity,
    without_password,
)


def tune(
    recipe: Recipe,
    space: Mapping[str, str],
    *,
    n_trials: int = 20,
    storage: str = "",
    study: str = "",
    seed: int = 0,
    prune: bool = True,
    out: str | Path | None = None,
    device: str = "auto",
    console: Console | None = None,
) -> TuneResult:
    """Search values of a recipe's fields for the best mean score on validation tasks; the test
    split is never drawn from.

    Values are proposed by the tree-structured Parzen estimator, trial ``i`` with randomness of
    ``(seed, i)`` alone. All trials train from the recipe's seed and are scored on the same
    validation tasks, so they differ by their values and nothing else.

    Trials are pruned by the median rule: after five complete trials, and a quarter of its steps, a
        trial ends at a validation where
    its best score so far is below the median of the others at that step. Hyperband would divide the
    trials into brackets, and the estimator
    learns from one bracket at a time: with the few tens of trials that a meta-training allows it
        would hardly begin to learn.

    Args:
        recipe: what is searched around; its ``train.validate_every`` may not be 0.
        space: a text for each field, as `parse_space` reads it.
        n_trials: of the whole study, over all processes and earlier calls. Stopped trials do not
            count.
        storage: an Optuna database URL, such as ``sqlite:///study.db``, that processes share and a
            later call goes on with; empty keeps the study in memory.
        study: its name in the storage; empty is the recipe's name.
        seed: of the proposals.
        prune: whether poor trials are ended early.
        out: a folder in which trial ``N`` is kept as the run ``trial-N``; None keeps nothing on
            disk.
        device: auto, cpu, cuda or cuda:N.
        console: where progress is shown; None shows nothing.

    Raises:
        ConfigError: when Optuna is not installed, a field or range cannot be searched, the storage
            cannot be opened or its study is another one.
    """
    optuna = import_optuna()
    if n_trials < 1:
        raise ConfigError(f"A search needs at least 1 trial, got {n_trials}.")
    if (size := launch().size) > 1:
        raise ConfigError(
            f"{size} processes were launched together, but each trial trains in one. Start "
            "quickstudy tune once per process, without torchrun; "
            "processes with the same --storage and --study share the trials."
        )
    data = DataOfRecipes()
    settings = SearchSettings(
        recipe=recipe,
        space=parse_space(space),
        data=data,
        device=pick_device(device),
        out=Path(out) if out else None,
        seed=seed,
        console=console or Console(quiet=True),
        shared=bool(storage),
    )
    protocol = protocol_of(recipe, settings.space, data)
    name = study or recipe.name
    pruner = (
        optuna.pruners.MedianPruner(n_warmup_steps=recipe.train.steps // 4)
        if prune
        else optuna.pruners.NopPruner()
    )
    with open_study(optuna, storage, name, pruner) as shared:
        claim_study(
            shared,
            study_identity(recipe, space, protocol),
            f"'{name}'" + (f" in {without_password(storage)}" if storage else ""),
        )
        search = Search(optuna, shared, settings)
        finished = search.run(n_trials)
        return TuneResult(recipe, search.trials(), finished)
