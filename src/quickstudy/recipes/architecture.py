"""Searching for a cell on Omniglot, and training the cell that was found."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from quickstudy.core.setting import Setting
from quickstudy.recipes.recipe import Evaluation, Part, Recipe
from quickstudy.training import Optimiser, Plan

_LIAN = "Lian et al. 2020, ICLR (T-NAS)"


def _recipe(
    name: str, summary: str, encoder: Part, learner: Part, paper: str, *, steps: int, tasks: int
) -> Recipe:
    return Recipe(
        name=name,
        summary=summary,
        data=Part("omniglot", {"protocol": "vinyals", "rotations": True}),
        encoder=encoder,
        learner=learner,
        episodes=Setting(n_way=5, n_shot=1, n_query=5),
        validation=Setting(n_way=5, n_shot=1, n_query=5),
        train=Plan(steps=steps, tasks_per_step=tasks, validate_every=0, clip_norm=10.0),
        optimiser=Optimiser(lr=3e-3, schedule="cosine"),
        evaluations=(Evaluation(Setting(5, 1, 15)),),
        paper=paper,
    )


def omniglot_t_nas() -> Recipe:
    """Weights and wiring learned together, five-way one-shot."""
    return _recipe(
        "omniglot-t-nas",
        "T-NAS on Omniglot, 5-way 1-shot: weights and wiring learned together.",
        Part("mixed_cell", {"norm": "batch", "cool_steps": 300}),
        Part("t_nas", {"n_out": 5, "inner_lr": 0.5, "logits_lr": 1.0, "inner_steps": 3}),
        _LIAN,
        steps=300,
        tasks=4,
    )


def omniglot_proto_nas() -> Recipe:
    """Weights and wiring of prototypical networks learned together, without steps on a task."""
    return _prototypes(
        "omniglot-proto-nas",
        "Prototypical networks on Omniglot whose wiring is learned with their weights; the mixture "
        "cools to a choice.",
        Part("mixed_cell", {"cool_steps": 400}),
    )


def omniglot_meta_nas() -> Recipe:
    """Reptile on weights and wiring, five-way one-shot."""
    recipe = _recipe(
        "omniglot-meta-nas",
        "MetaNAS on Omniglot, 5-way 1-shot: Reptile on weights and wiring.",
        Part("mixed_cell", {"norm": "batch", "cool_steps": 80}),
        Part("meta_nas", {"n_out": 5, "inner_steps": 5, "test_steps": 20}),
        "Elsken, Staffler, Metzen, Hutter 2020, arXiv:1911.11090",
        steps=80,
        tasks=4,
    )
    return replace(
        recipe,
        objective=Part("reptile"),
        episodes=replace(recipe.episodes, n_query=4),
        optimiser=Optimiser(name="sgd", lr=1.0, momentum=0.0, schedule="linear"),
    )


def cell_recipe(edges: Sequence[Sequence[int | str]]) -> Recipe:
    """Prototypes on a given cell, from fresh weights: the same short training for whatever cell."""
    cell = Part("cell", {"edges": tuple(tuple(e) for e in edges)})
    return _prototypes(
        "omniglot-cell", "Prototypical networks on Omniglot with a given cell.", cell
    )


def conv4_recipe(width: int) -> Recipe:
    """The same with the field's fixed network, of so many filters."""
    return _prototypes(
        "omniglot-conv4",
        "Prototypical networks on Omniglot, trained as the cells are.",
        Part("conv4", {"size": 28, "width": width}),
    )


def _prototypes(name: str, summary: str, encoder: Part) -> Recipe:
    return Recipe(
        name=name,
        summary=summary,
        data=Part("omniglot", {"protocol": "vinyals", "rotations": True}),
        encoder=encoder,
        learner=Part("protonet"),
        episodes=Setting(n_way=20, n_shot=1, n_query=5),
        validation=Setting(n_way=20, n_shot=1, n_query=5),
        train=Plan(steps=400, validate_every=0, clip_norm=10.0),
        optimiser=Optimiser(lr=3e-3, schedule="cosine"),
        evaluations=(Evaluation(Setting(5, 1, 15)),),
        paper=_LIAN,
    )


def architecture_recipes() -> dict[str, Callable[[], Recipe]]:
    """The recipes under their names."""
    return {
        "omniglot-t-nas": omniglot_t_nas,
        "omniglot-meta-nas": omniglot_meta_nas,
        "omniglot-proto-nas": omniglot_proto_nas,
    }
