from dataclasses import replace
from pathlib import Path

import torch

from quickstudy.inner.learner import GradientLearner
from quickstudy.recipes import recipe_named, train_recipe


def test_maml_learns_waves_in_a_few_steps(tmp_path: Path) -> None:
    """A short training already halves the error of an answer that ignores the wave, and the
    recipe's recorded step is what it trains with.
    """
    recipe = recipe_named("sinusoid-maml")
    assert recipe.train.compile == "trace"
    short = replace(
        recipe, train=replace(recipe.train, steps=500, validate_every=0), evaluations=()
    )
    run = train_recipe(short, tmp_path / "run")
    assert run.result.finished
    assert isinstance(run.learner, GradientLearner)
    e = recipe.build_data().tasks("test", recipe.validation).batch(range(100))
    with torch.no_grad():
        along = [
            float(-e.target.score(out, e.query.y).mean())
            for out in run.learner.answers_along(e, steps=5)
        ]
    ignoring = float(e.query.y.square().mean())
    assert along[5] < along[1] < along[0]
    assert along[5] < 0.5 * ignoring
