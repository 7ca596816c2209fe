"""The recipes of CAML and CAMeLU, shortened, on data that is here."""

from dataclasses import replace

import torch

from quickstudy.core.setting import Setting
from quickstudy.recipes import Part, recipe_named, train_recipe
from quickstudy.training import Plan


def short(name: str, data: Part):
    recipe = recipe_named(name)
    plan = Plan(steps=2, tasks_per_step=1, validate_every=0)
    return replace(
        recipe,
        data=data,
        train_split="train",
        validation=Setting(5, 1, 1),
        evaluations=(),
        train=plan,
        start_from="",
    )


def test_the_encoder_stays_as_it_is_and_the_rest_is_trained(tmp_path) -> None:
    recipe = short("omniglot-caml", Part("glyphs", {"drawings": 3}))
    before = recipe.build_learner().state_dict()
    after = train_recipe(recipe, tmp_path / "run", device="cpu").learner.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert not any(name.startswith("encoder.") for name in changed)


def test_without_labels_a_task_is_made_of_drawings() -> None:
    options = {"of": "glyphs", "options": {"drawings": 2}}
    recipe = short("omniglot-camelu", Part("unlabelled", options))
    batch = recipe.training_tasks().batch([0])
    task = recipe.build_transform()(batch, torch.Generator().manual_seed(0))
    assert task.target.n == 20
    assert task.query.y.shape == (1, 40)
    assert recipe.build_learner()(task).shape == (1, 40, 20)
