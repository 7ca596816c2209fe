import inspect
import json
from pathlib import Path

import pytest

from quickstudy.algorithms import NIL
from quickstudy.core.errors import ConfigError, LoadError
from quickstudy.core.learner import AbstractLearner
from quickstudy.core.setting import Setting
from quickstudy.evaluation import evaluate
from quickstudy.recipes import RECIPES, Evaluation, Part, Recipe, recipe_named, train_recipe


@pytest.mark.parametrize("name", list(RECIPES))
def test_recipes_are_complete(name: str) -> None:
    recipe = recipe_named(name)
    assert recipe.name == name
    assert inspect.getdoc(RECIPES[name])
    assert isinstance(recipe.build_learner(), AbstractLearner)
    recipe.build_objective()
    recipe.build_transform()
    data = recipe.build_data()
    assert data.shape
    assert recipe.evaluations
    for e in recipe.evaluations:
        assert e.published is None or e.source
        assert e.published is None or e.metric or 0 < e.published < 1


@pytest.mark.parametrize("name", list(RECIPES))
def test_recipes_survive_json(name: str) -> None:
    recipe = recipe_named(name)
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe


def test_fresh_weights_depend_on_the_seed_alone() -> None:
    a, b = (recipe_named("glyphs-protonet").build_learner() for _ in range(2))
    c = recipe_named("glyphs-protonet").with_changes({"train.seed": "1"}).build_learner()
    first = [next(m.parameters()) for m in (a, b, c)]
    assert first[0].equal(first[1])
    assert not first[0].equal(first[2])


def test_fields_are_set_from_text() -> None:
    recipe = recipe_named("omniglot-5w1s-maml").with_changes(
        {
            "learner.inner_steps": "10",
            "learner.inner_lr": "1",
            "encoder.norm": "support",
            "data.rotations": "false",
            "train.steps": "7",
            "optimiser.lr": "1e-4",
            "episodes.n_way": "5",
            "transform": "affine",
            "transform.degrees": "5",
            "train_split": "trainval",
        }
    )
    assert recipe.learner == Part("maml", {"n_out": 5, "inner_lr": 1, "inner_steps": 10})
    assert recipe.encoder.options["norm"] == "support"
    assert recipe.data.options["rotations"] is False
    assert (recipe.train.steps, recipe.optimiser.lr, recipe.train_split) == (7, 1e-4, "trainval")
    assert recipe.transform == Part("affine", {"degrees": 5})
    assert recipe.episodes == Setting(5, 1, 1)
    assert recipe.with_changes({"transform": "none"}).transform is None
    assert recipe.with_changes({"learner": "protonet"}).learner == Part("protonet")
    assert recipe.with_changes({"learner.name": "boil"}).learner == Part(
        "boil", recipe.learner.options
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"learner.inner_step": "3"},
            "'maml' has no option 'inner_step'. Did you mean 'inner_steps'?",
        ),
        ({"lerner.inner_steps": "3"}, "no field 'lerner'.*Did you mean 'learner'?"),
        ({"train.step": "3"}, "'train' has no field 'step'.*Did you mean 'steps'?"),
        (
            {"train.steps": "many"},
            r"--set train.steps='many': expected a value like 5000 \(int\), got str",
        ),
        ({"train.steps": "1.5"}, "got float"),
        ({"learner.first_order": "1"}, r"like False \(bool\), got int"),
        ({"learner.inner_lr": "true"}, r"\(float\), got bool"),
        ({"evaluations": "[]"}, "cannot be set on the command line"),
        ({"learner": "mamml"}, "Nothing is called 'mamml' here. Did you mean 'maml'?"),
        ({"train.steps": "0"}, "train.steps must be at least 1, got 0"),
    ],
)
def test_wrong_changes_are_refused_with_the_nearest_spelling(
    change: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        recipe_named("omniglot-5w1s-maml").with_changes(change).build_learner()


def test_unknown_recipes_are_refused() -> None:
    with pytest.raises(
        ConfigError,
        match=r"No recipe is called 'omniglot-protonets'. Did you mean 'omniglot-protonet', ",
    ):
        recipe_named("omniglot-protonets")


def test_what_is_no_recipe_is_refused() -> None:
    with pytest.raises(LoadError, match="not a recipe"):
        Recipe.from_json({"name": "x"})


def test_another_learner_is_scored_on_the_trained_encoder(tmp_path: Path) -> None:
    changes = {
        "train.steps": "1",
        "train.tasks_per_step": "1",
        "train.validate_every": "0",
        "encoder.width": "4",
    }
    run = train_recipe(recipe_named("glyphs-fomaml").with_changes(changes), tmp_path / "run")
    as_nil = run.evaluate(Evaluation(Setting(3, 1, 2), n_tasks=4, learner="nil"))
    assert as_nil.algorithm == "nil"
    expected = evaluate(
        NIL(run.learner.encoder).eval(),
        run.recipe.build_data().tasks("test", Setting(3, 1, 2)),
        n_tasks=4,
    )
    assert as_nil.scores == expected.scores
    assert (
        Evaluation(Setting(5, 1, 15), norm="support", learner="nil").title == "5w1s15q-support-nil"
    )
    with pytest.raises(ConfigError, match="cannot be made with"):
        run.evaluate(Evaluation(Setting(3, 1, 2), n_tasks=4, learner="maml"))
