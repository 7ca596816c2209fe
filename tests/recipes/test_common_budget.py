"""The recipes of the common budget."""

from dataclasses import replace

import pytest

from quickstudy.algorithms import ALGORITHMS
from quickstudy.core.setting import Setting
from quickstudy.recipes.common_budget import NOT_COMPARED, common_learners, common_recipe
from quickstudy.recipes.recipe import Part


def test_every_learner_is_compared_or_left_out_for_a_reason() -> None:
    assert {*common_learners(), *NOT_COMPARED} == set(ALGORITHMS)
    assert not {*common_learners()} & {*NOT_COMPARED}


@pytest.mark.parametrize("name", ["mann", "snail"])
def test_a_learner_has_an_output_for_each_class_of_a_task(name: str) -> None:
    recipe = common_recipe(name)
    assert "n_out" not in recipe.learner.options
    assert recipe.build_learner().n_out == 5
    wider = replace(recipe, episodes=Setting(7, 1, 5))
    assert wider.build_learner().n_out == 7
    chosen = replace(wider, learner=Part(name, {**recipe.learner.options, "n_out": 3}))
    assert chosen.build_learner().n_out == 3
