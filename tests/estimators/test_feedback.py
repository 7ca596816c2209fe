"""Feedback changes what a model says, is kept, and can be undone."""

from pathlib import Path

import numpy as np
import pytest

from quickstudy.core.errors import ConfigError
from quickstudy.estimators import (
    BlankModel,
    Encoding,
    FewShotClassifier,
    FittedModel,
    OpenSetClassifier,
)
from quickstudy.pretrained import FunctionEncoder

DIM = 8


def calibrated(cohort: bool = True) -> FittedModel:
    rng = np.random.default_rng(0)
    x = np.repeat(np.eye(DIM)[:3], 4, axis=0) + 0.05 * rng.normal(size=(12, DIM))
    y = np.repeat(["a", "b", "c"], 4)
    others = rng.normal(size=(60, DIM)) if cohort else None
    rate = 0.05 if cohort else 0.6
    known = OpenSetClassifier(false_accept_rate=rate).fit(x, y, cohort=others)
    return FittedModel(known, Encoding("table", columns=tuple("abcdefgh")))


def probe() -> np.ndarray:
    return np.eye(DIM)[0] + 0.15 * np.eye(DIM)[5]


@pytest.mark.parametrize("cohort", [True, False])
def test_a_negative_is_unknown_from_then_on_and_its_class_is_not(
    cohort: bool, tmp_path: Path
) -> None:
    model = calibrated(cohort)
    assert model.predict([probe()]).tolist() == ["a"]
    before = model.classifier.threshold_, model.classifier.n_unknowns_
    one = model.give_feedback(probe(), "wrong")
    loaded = FittedModel.load(model.save(tmp_path / "m"))
    for now in (model, loaded):
        answer = now.answer_vectors(["it"], probe()[None])[0]
        assert answer.label == "unknown"
        assert answer.score <= answer.threshold
        assert now.classifier.n_unknowns_ == before[1] + 1
        assert now.predict(np.eye(DIM)[:3]).tolist() == ["a", "b", "c"]
    assert loaded.feedback[0].to_json() == one.to_json()
    loaded.take_back(one.id)
    assert loaded.predict([probe()]).tolist() == ["a"]
    assert (loaded.classifier.threshold_, loaded.classifier.n_unknowns_) == before
    assert loaded.feedback == ()


def test_a_wrong_answer_with_its_class_becomes_an_example(tmp_path: Path) -> None:
    model = calibrated()
    far = np.eye(DIM)[6]
    assert model.predict([far]).tolist() == ["unknown"]
    added = model.give_feedback(far, "wrong", "d")
    right = model.give_feedback(far + 0.01, "right", "d")
    assert model.counts["d"] == 2
    assert model.predict([far]).tolist() == ["d"]
    loaded = FittedModel.load(model.save(tmp_path / "m"))
    loaded.take_back(right.id)
    assert loaded.counts["d"] == 1
    loaded.take_back(added.id)
    assert "d" not in loaded.counts
    with pytest.raises(ConfigError, match="taken back already"):
        loaded.take_back(added.id)


def test_what_cannot_be_learned_from_changes_nothing() -> None:
    model = calibrated()
    for verdict, label in (("right", None), ("right", "nobody"), ("perhaps", "a")):
        with pytest.raises(ConfigError):
            model.give_feedback(probe(), verdict, label)
    assert model.feedback == ()
    assert model.predict([probe()]).tolist() == ["a"]
    sure = FittedModel(
        FewShotClassifier().fit(np.eye(2), ["x", "y"]), Encoding("table", columns=("p", "q"))
    )
    with pytest.raises(ConfigError, match="never says unknown"):
        sure.give_feedback(np.eye(2)[0], "wrong")


def test_a_class_is_renamed_with_its_feedback() -> None:
    model = calibrated()
    one = model.give_feedback(np.eye(DIM)[0], "right", "a")
    scores = sorted(model.known.class_scores(np.eye(DIM)[:1])[0])
    model.rename_class("a", "z")
    assert sorted(model.counts) == ["b", "c", "z"]
    assert model.predict([np.eye(DIM)[0]]).tolist() == ["z"]
    np.testing.assert_allclose(sorted(model.known.class_scores(np.eye(DIM)[:1])[0]), scores)
    model.take_back(one.id)
    assert model.counts["z"] == 4
    with pytest.raises(ConfigError, match="already"):
        model.rename_class("z", "b")


def test_a_blank_model_learns_its_first_class() -> None:
    encoder = FunctionEncoder(lambda items: np.zeros((len(items), DIM)), key="k", dim=DIM, read=str)
    cohort = np.random.default_rng(0).normal(size=(40, DIM))
    model = BlankModel(encoder, cohort).with_class("one", np.eye(DIM)[:1])
    model.add_vectors("two", np.eye(DIM)[1:2]).add_vectors("two", np.eye(DIM)[1:2] + 0.1)
    assert model.counts == {"one": 1, "two": 2}
    answers = model.answer_vectors([0, 1, 2], np.eye(DIM)[[0, 1, 7]])
    assert [answer.label for answer in answers] == ["one", "two", "unknown"]
