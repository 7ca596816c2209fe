"""A split encoded once."""

import dataclasses
from pathlib import Path

import pytest
import torch

from quickstudy.algorithms import ALGORITHMS, MatchingNet, ProtoNet
from quickstudy.core.errors import ConfigError
from quickstudy.core.learner import encoder_of
from quickstudy.core.setting import Setting
from quickstudy.data import Glyphs, can_be_encoded, encoded, on_features
from quickstudy.data.episodes import Episodes
from quickstudy.encoders import Conv4, Identity
from quickstudy.evaluation import evaluate
from quickstudy.recipes import load_run, recipe_named, train_recipe
from quickstudy.testing import toy_learner


@pytest.mark.parametrize("norm", ["running", "group"])
def test_tasks_of_features_are_the_tasks_of_the_pictures(norm: str) -> None:
    torch.manual_seed(0)
    learner, data = MatchingNet(Conv4(size=28, width=8, norm=norm)).eval(), Glyphs().split("val")
    made = encoded(data, learner.encoder, batch=100)
    assert (made.name, made.split, made.split_hash, made.x.shape) == (
        data.name,
        data.split,
        data.split_hash,
        (len(data.x), 8),
    )
    pictures, features = (Episodes(d, Setting(5, 2, 3), seed=3) for d in (data, made))
    a, b = pictures.batch([4, 9]), features.batch([4, 9])
    assert torch.equal(a.query.y, b.query.y)
    short = on_features(learner)
    torch.testing.assert_close(short(b), learner(a), rtol=1e-4, atol=1e-4)
    assert isinstance(short.encoder, Identity)
    assert short.encoder.norm == norm
    assert isinstance(learner.encoder, Conv4)
    assert short.log_scale is not learner.log_scale


def test_training_mode_comes_back() -> None:
    encoder = Conv4(size=28, width=8, norm="running").train()
    before = [b.clone() for b in encoder.buffers()]
    encoded(Glyphs().split("val"), encoder)
    assert encoder.training
    assert all(map(torch.equal, before, encoder.buffers()))


def test_who_cannot_be_served_by_features() -> None:
    assert can_be_encoded(ProtoNet(Conv4(norm="running")))
    assert not can_be_encoded(ProtoNet(Conv4(norm="batch")))
    assert not can_be_encoded(ProtoNet(Conv4(norm="support")))
    assert not can_be_encoded(toy_learner("maml"))
    assert {name for name in ALGORITHMS if can_be_encoded(toy_learner(name))} >= {
        "protonet",
        "matching",
        "nil",
        "nearest_neighbour",
        "linear_probe",
    }
    with pytest.raises(ConfigError, match="normalises by the batch"):
        encoded(Glyphs().split("val"), Conv4(norm="batch"))
    with pytest.raises(ConfigError, match="GradientLearner needs the examples themselves"):
        on_features(toy_learner("maml"))


def test_a_run_is_scored_on_features_and_its_report_says_what_it_would_say(tmp_path: Path) -> None:
    recipe = recipe_named("glyphs-protonet").with_changes(
        {"train.steps": "3", "train.validate_every": "0", "encoder.width": "8"}
    )
    train_recipe(recipe, tmp_path / "run")
    run = load_run(tmp_path / "run")
    asked = dataclasses.replace(recipe.evaluations[0], n_tasks=30)
    report = run.evaluate(asked)
    plain = evaluate(
        run.learner, recipe.build_data().tasks("test", asked.setting), n_tasks=30, origin=run.origin
    )
    assert report.scores == pytest.approx(plain.scores, abs=0.03)
    assert report.mean == pytest.approx(plain.mean, abs=0.01)
    same = ("algorithm", "norm", "parameters", "transductive", "split_hash", "data", "split")
    assert [getattr(report, k) for k in same] == [getattr(plain, k) for k in same]
    assert isinstance(encoder_of(run.learner), Conv4)
