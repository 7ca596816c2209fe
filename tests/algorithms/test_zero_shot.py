"""Zero-shot prototypes against a loop over the paper's formulas."""

import pytest
import torch

from quickstudy.algorithms import ZeroShot
from quickstudy.core.errors import ConfigError, EpisodeError
from quickstudy.core.setting import Setting
from quickstudy.core.types import Classes, Episode, Examples
from quickstudy.encoders import MLP, Conv4, Identity
from quickstudy.recipes import Evaluation, load_run, recipe_named, train_recipe


def episode(n_tasks: int = 3) -> Episode:
    """Descriptions of length 4, one of class 0 and of class 2, two of class 1; queries of length
    6.
    """
    g = torch.Generator().manual_seed(0)
    y = torch.tensor([[1, 0, 2, 1]]).repeat(n_tasks, 1)
    support = Examples(torch.randn(n_tasks, 4, 4, generator=g), y)
    return Episode(
        support,
        Examples(
            torch.randn(n_tasks, 5, 6, generator=g), torch.zeros(n_tasks, 5, dtype=torch.long)
        ),
        Classes(3),
    )


def test_zero_shot_by_a_loop() -> None:
    torch.manual_seed(0)
    learner, e = ZeroShot(MLP(6, widths=(7,)), semantic_dim=4, dim=5), episode()
    out = learner(e)
    g, h = learner.of_class, learner.of_example
    for t in range(3):
        for q in range(5):
            features = torch.relu(
                learner.encoder.layers[0].weight @ e.query.x[t, q] + learner.encoder.layers[0].bias
            )
            seen = h.weight @ features + h.bias
            for c in range(3):
                described = [
                    g.weight @ v + g.bias
                    for v, label in zip(e.support.x[t], e.support.y[t], strict=True)
                    if label == c
                ]
                mean = sum(described) / len(described)
                prototype = mean / mean.square().sum().sqrt()
                expected = -((seen - prototype) ** 2).sum()
                torch.testing.assert_close(out[t, q, c], expected, rtol=1e-4, atol=1e-4)


def test_a_longer_description_vector_of_the_same_direction_is_the_same_class() -> None:
    learner, e = ZeroShot(Identity(6), semantic_dim=4, dim=5), episode()
    torch.nn.init.zeros_(learner.of_class.bias)
    longer = Episode(Examples(3 * e.support.x, e.support.y), e.query, e.target)
    torch.testing.assert_close(learner(longer), learner(e), rtol=1e-4, atol=1e-4)


def test_the_length_of_a_query_counts() -> None:
    learner, e = ZeroShot(Identity(6), semantic_dim=4, dim=5), episode()
    longer = Episode(e.support, Examples(3 * e.query.x, e.query.y), e.target)
    assert not torch.allclose(learner(longer).softmax(-1), learner(e).softmax(-1), atol=1e-2)


def test_examples_in_the_support_are_refused() -> None:
    learner, e = ZeroShot(Identity(6), semantic_dim=4), episode()
    with pytest.raises(
        EpisodeError, match=r"must hold semantic vectors \[T N 4\], but has shape \(3, 5, 6\)"
    ):
        learner(Episode(e.query, e.query, Classes(1)))


@pytest.mark.parametrize("options", [{"semantic_dim": 0}, {"semantic_dim": 3, "dim": 0}])
def test_dimensions_below_one_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="must be at least 1"):
        ZeroShot(Identity(6), **options)


def test_an_encoder_that_normalises_by_the_support_is_refused() -> None:
    with pytest.raises(ConfigError, match="holds no examples to normalise by"):
        ZeroShot(Conv4(size=16, width=4, norm="support"), semantic_dim=3)


def test_unseen_classes_are_told_apart_by_their_attributes(tmp_path) -> None:
    recipe = recipe_named("attributes-zero-shot").with_changes(
        {"train.steps": "150", "train.n_val_tasks": "5"}
    )
    run = train_recipe(recipe, tmp_path / "run")
    trained = run.evaluate(Evaluation(Setting(50, 1, 10), n_tasks=20))
    assert trained.mean - trained.ci95 > 0.5  # chance is 0.02
    assert (
        load_run(tmp_path / "run").evaluate(Evaluation(Setting(50, 1, 10), n_tasks=20)).scores
        == trained.scores
    )
