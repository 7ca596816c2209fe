import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import t as student

from quickstudy.algorithms import ProtoNet, maml
from quickstudy.core.batching import threads_per_operation
from quickstudy.core.errors import ConfigError, EpisodeError, EvaluationError, TrainingError
from quickstudy.core.learner import AbstractLearner
from quickstudy.core.setting import Setting
from quickstudy.core.types import Classes, Examples, Target
from quickstudy.data import ClassDataset, ClassIndex, Episodes, Sinusoid, VariableEpisodes
from quickstudy.encoders import MLP, Conv4, Identity
from quickstudy.evaluation import (
    Origin,
    Report,
    Share,
    evaluate,
    evaluate_shared,
    with_unknowns,
)
from quickstudy.metrics.open_set import auroc, fpr_at_tpr, oscr

KEYS = [
    "recipe",
    "algorithm",
    "data",
    "split",
    "split_hash",
    "n_way",
    "n_shot",
    "n_query",
    "n_tasks",
    "mean",
    "ci95",
    "transductive",
    "norm",
    "seed",
    "train_seed",
    "train_tasks",
    "train_seconds",
    "parameters",
    "device",
    "versions",
    "commit",
]


def tasks(seed: int = 0) -> Episodes:
    x = (
        torch.randn(60, 4, generator=torch.Generator().manual_seed(3))
        + torch.arange(60)[:, None] // 10 * 0.8
    )
    return Episodes(
        ClassDataset("blobs", "test", x, ClassIndex([i // 10 for i in range(60)], list("abcdef"))),
        Setting(3, 2, 4),
        seed=seed,
    )


def test_a_report_has_every_promised_key_and_survives_a_file(tmp_path: Path) -> None:
    report = evaluate(
        ProtoNet(Identity(4)),
        tasks(),
        n_tasks=20,
        origin=Origin("r", "protonet", 1, 2, 3.0),
        published=0.5,
    )
    report.save(tmp_path / "deep" / "r.json")
    about = json.loads((tmp_path / "deep" / "r.json").read_text())
    assert set(KEYS) <= set(about)
    again = Report.load(tmp_path / "deep" / "r.json")
    assert again == replace(report, scores=tuple(round(s, 6) for s in report.scores))
    assert 0 <= about["mean"] <= 1
    assert "inductive" in str(report)
    assert report.published_value == "50.0"
    assert replace(report, metric="log_likelihood").published_value == "0.5"
    assert replace(report, published=None).published_value == ""


def test_mean_and_interval_are_those_of_the_tasks() -> None:
    learner, stream = ProtoNet(Identity(4)), tasks()
    report = evaluate(learner, stream, n_tasks=30)
    by_hand = []
    for i in range(30):
        e = stream.batch([i])
        by_hand.append(float((learner(e).argmax(-1) == e.query.y).float().mean()))
    assert np.allclose(report.scores, by_hand)
    assert report.mean == pytest.approx(np.mean(by_hand))
    assert report.ci95 == pytest.approx(
        student.ppf(0.975, 29) * np.std(by_hand, ddof=1) / np.sqrt(30)
    )


def test_the_batch_size_does_not_change_a_report() -> None:
    learner = maml(MLP(4, widths=(8,)), n_out=3)
    a, b = (evaluate(learner, tasks(), n_tasks=10, batch=batch) for batch in (1, 7))
    assert a.scores == b.scores


def test_the_learner_is_left_as_it_was() -> None:
    learner = ProtoNet(Conv4(size=16, width=4)).train()
    x = torch.rand(40, 1, 16, 16)
    stream = Episodes(
        ClassDataset("n", "t", x, ClassIndex([i // 10 for i in range(40)], list("abcd"))),
        Setting(2, 1, 2),
    )
    before = {k: v.clone() for k, v in learner.state_dict().items()}
    evaluate(learner, stream, n_tasks=4)
    assert learner.training
    assert all(torch.equal(v, before[k]) for k, v in learner.state_dict().items())


def test_transductive_results_say_so() -> None:
    x = torch.rand(40, 1, 16, 16)
    stream = Episodes(
        ClassDataset("n", "t", x, ClassIndex([i // 10 for i in range(40)], list("abcd"))),
        Setting(2, 1, 2),
    )
    for norm, said in (
        ("batch", "transductive"),
        ("support", "inductive"),
        ("running", "inductive"),
    ):
        report = evaluate(ProtoNet(Conv4(size=16, width=4, norm=norm)), stream, n_tasks=2)
        assert report.transductive == (norm == "batch")
        assert report.norm == norm
        assert f" {said}, norm {norm}" in str(report)


def test_regression_is_scored_by_squared_error() -> None:
    report = evaluate(
        maml(MLP(1, widths=(8,)), n_out=1, inner_lr=0.01),
        Sinusoid().tasks("test", Setting(0, 5, 5)),
        n_tasks=6,
    )
    assert report.metric == "mse"
    assert report.mean < 0
    assert "MSE" in str(report)


def test_tasks_of_varying_size_say_so() -> None:
    report = evaluate(ProtoNet(Identity(4)), VariableEpisodes(tasks().dataset), n_tasks=4)
    assert not report.uniform
    assert "up to 6-way" in str(report)


def test_one_task_gives_no_interval() -> None:
    with pytest.raises(ConfigError, match="at least 2 tasks, got n_tasks=1"):
        evaluate(ProtoNet(Identity(4)), tasks(), n_tasks=1)


class Broken(Episodes):
    """Tasks whose queries hold one number that is none."""

    def __init__(self, value: float) -> None:
        super().__init__(tasks().dataset, tasks().setting)
        self.value = value

    def batch(self, numbers):
        episode = super().batch(numbers)
        if 6 in numbers:
            episode.query.x[-1, -1, 0] = self.value
        return episode


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_answers_that_are_no_numbers_have_no_score(value: float) -> None:
    learner = ProtoNet(Identity(4))
    with pytest.raises(EvaluationError, match=r"not finite, in the tasks 4 … 7 of blobs test"):
        evaluate(learner, Broken(value), n_tasks=10, batch=4)
    assert evaluate(learner, Broken(value), n_tasks=6, batch=3).mean > 0.5


# --- unknowns


def many(n_way: int, *, n_shot: int = 2, n_query: int = 4, **more: Any) -> Episodes:
    """Ten classes that overlap a little, so that the rates are neither 0 nor 1."""
    x = torch.randn(100, 4, generator=torch.Generator().manual_seed(5))
    x[torch.arange(100), torch.arange(100) // 10 % 4] += torch.arange(100) // 10 * 0.7
    data = ClassDataset(
        "blobs", "test", x, ClassIndex([i // 10 for i in range(100)], list("abcdefghij"))
    )
    return Episodes(data, Setting(n_way, n_shot, n_query, **more))


class Watched(AbstractLearner[Any]):
    """Prototypes that remember what they were shown."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = ProtoNet(Identity(4))
        self.traits = self.inner.traits
        self.seen: list[tuple[Examples, Target]] = []

    def adapt(self, support, target, query_x=None):
        self.seen.append((support, target))
        return self.inner.adapt(support, target)

    def predict(self, state, x):
        return self.inner.predict(state, x)


def test_the_learner_is_shown_nothing_of_unknown_classes() -> None:
    learner, wide, narrow = Watched(), many(7), many(3)
    evaluate(learner, wide, n_tasks=6, n_unknown=4, batch=3)
    assert [target for _, target in learner.seen] == [Classes(3)] * 2
    for at, (support, _) in zip((0, 3), learner.seen, strict=True):
        same = narrow.batch(range(at, at + 3)).support
        assert support.unlabelled is None
        for t in range(3):
            assert support.x[t].sort(0).values.equal(same.x[t].sort(0).values)
            assert support.y[t].bincount().tolist() == [2, 2, 2]


def test_the_known_are_scored_as_without_unknowns() -> None:
    """Streams are nested, so the known queries are those of the narrow tasks."""
    open_ = evaluate(ProtoNet(Identity(4)), many(7), n_tasks=20, n_unknown=4)
    closed = evaluate(ProtoNet(Identity(4)), many(3), n_tasks=20)
    assert open_.scores == pytest.approx(closed.scores)
    assert (open_.n_way, open_.n_unknown) == (3, 4)
    assert closed.auroc is None


@pytest.mark.parametrize("unknown_score", ["max_similarity", "energy", "max_probability"])
def test_rates_of_unknowns_are_means_over_tasks(unknown_score: str) -> None:
    learner, stream = ProtoNet(Identity(4)), many(7)
    report = evaluate(learner, stream, n_tasks=30, n_unknown=4, unknown_score=unknown_score)
    rates: dict[str, list[float]] = {"auroc": [], "fpr95": [], "oscr": []}
    for i in range(30):
        e = stream.batch([i])
        keep = e.support.y < 3
        out = learner.predict(
            learner.adapt(Examples(e.support.x[keep][None], e.support.y[keep][None]), Classes(3)),
            e.query.x,
        )[0]
        score = {
            "max_similarity": out.amax(1),
            "energy": out.exp().sum(1).log(),
            "max_probability": out.softmax(1).amax(1),
        }[unknown_score].tolist()
        y = e.query.y[0].tolist()
        known, unknown = (
            [s for s, c in zip(score, y, strict=True) if (c < 3) == of_known]
            for of_known in (True, False)
        )
        rates["auroc"].append(auroc(known, unknown))
        rates["fpr95"].append(fpr_at_tpr(known, unknown))
        rates["oscr"].append(
            oscr(score, (out.argmax(1) == e.query.y[0]).tolist(), [c < 3 for c in y])
        )
    for name, values in rates.items():
        assert getattr(report, name) == pytest.approx(np.mean(values))
        assert getattr(report, f"{name}_ci95") == pytest.approx(
            student.ppf(0.975, 29) * np.std(values, ddof=1) / np.sqrt(30)
        )
        assert 0 < getattr(report, name) < 1
    again = evaluate(learner, stream, n_tasks=30, n_unknown=4, unknown_score=unknown_score, batch=1)
    assert [again.mean, again.auroc, again.fpr95, again.oscr] == pytest.approx(
        [report.mean, report.auroc, report.fpr95, report.oscr]
    )
    assert "3-way 2-shot + 4 unknown, 4 queries" in str(report)
    assert f"AUROC {100 * np.mean(rates['auroc']):.2f} ± " in str(report)
    assert f" % by {unknown_score}  (" in str(report)


def test_a_report_with_unknowns_survives_a_file_and_one_without_says_nothing_of_them(
    tmp_path: Path,
) -> None:
    for n, keys in ((4, {"n_unknown", "auroc", "fpr95", "oscr"}), (0, set())):
        report = evaluate(ProtoNet(Identity(4)), many(3 + n), n_tasks=5, n_unknown=n)
        report.save(tmp_path / "r.json")
        about = json.loads((tmp_path / "r.json").read_text())
        assert keys == {"n_unknown", "auroc", "fpr95", "oscr"} & set(about)
        assert Report.load(tmp_path / "r.json") == replace(
            report, scores=tuple(round(s, 6) for s in report.scores)
        )


def test_processes_share_the_unknowns() -> None:
    whole, parts = evaluate(ProtoNet(Identity(4)), many(7), n_tasks=7, n_unknown=4, batch=2), []
    evaluate_shared(
        ProtoNet(Identity(4)),
        many(7),
        Share(slice(0, None, 2), lambda own: parts.append(own) or own),
        n_tasks=7,
        n_unknown=4,
        batch=2,
    )
    here = iter(parts)
    shared = evaluate_shared(
        ProtoNet(Identity(4)),
        many(7),
        Share(slice(1, None, 2), lambda own: own + next(here)),
        n_tasks=7,
        n_unknown=4,
        batch=2,
    )
    assert shared == whole


def test_a_learner_that_sees_all_queries_says_so_of_unknowns_too() -> None:
    x = torch.rand(40, 1, 16, 16)
    stream = Episodes(
        ClassDataset("n", "t", x, ClassIndex([i // 10 for i in range(40)], list("abcd"))),
        Setting(4, 1, 2),
    )
    report = evaluate(
        ProtoNet(Conv4(size=16, width=4, norm="batch")), stream, n_tasks=2, n_unknown=2
    )
    assert report.transductive
    assert " transductive, " in str(report)


def test_tasks_that_cannot_have_unknowns_are_refused() -> None:
    learner = ProtoNet(Identity(4))
    with pytest.raises(ConfigError, match="n_unknown must be at least 0, got -1"):
        evaluate(learner, many(7), n_tasks=4, n_unknown=-1)
    for n in (7, 8):
        with pytest.raises(
            ConfigError,
            match=f"Of a task's 7 classes, known and unknown together, {n} cannot be unknown",
        ):
            evaluate(learner, many(7), n_tasks=4, n_unknown=n)
    with pytest.raises(ConfigError, match="without unlabelled examples"):
        evaluate(learner, many(7, n_unlabelled=1), n_tasks=4, n_unknown=2)
    with pytest.raises(ConfigError, match="equally many queries of each class"):
        evaluate(learner, many(4, n_shot=1, n_query=2, alpha=2.0), n_tasks=4, n_unknown=2)
    with pytest.raises(ConfigError, match="tasks of one size"):
        evaluate(learner, VariableEpisodes(many(3).dataset), n_tasks=4, n_unknown=2)
    with pytest.raises(ConfigError, match="no membership score 'margin'"):
        evaluate(learner, many(7), n_tasks=4, n_unknown=2, unknown_score="margin")
    episode = many(3).batch([0, 1])
    y = episode.support.y.clone()
    y[0, y[0] == 2] = 1
    with pytest.raises(EpisodeError, match=r"these have \[4, 6\] examples of the 2 known classes"):
        with_unknowns(replace(episode, support=Examples(episode.support.x, y)), 2)


def wide() -> Episodes:
    """Tasks of so many numbers that several workers share them."""
    index = ClassIndex([i // 10 for i in range(60)], list("abcdef"))
    x = torch.randn(60, 400, generator=torch.Generator().manual_seed(0))
    return Episodes(ClassDataset("wide", "test", x, index), Setting(3, 2, 4))


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_the_workers_do_not_change_a_report(kind: str) -> None:
    torch.manual_seed(0)
    learner = maml(MLP(4, widths=(8,)), n_out=3, inner_steps=2, inner_lr=0.5)
    done: list[int] = []
    for n_unknown in (0, 2):
        setting = many(5) if n_unknown else many(3)
        alone = evaluate(learner, setting, n_tasks=10, batch=3, n_unknown=n_unknown, workers=1)
        several = evaluate(
            learner,
            setting,
            n_tasks=10,
            batch=3,
            n_unknown=n_unknown,
            workers=2,
            workers_kind=kind,
            on_batch=done.append,
        )
        assert alone == several
    assert done == [3, 6, 9, 10] * 2
    assert all(p.is_leaf and not p.is_shared() for p in learner.parameters())


def test_answers_that_are_no_numbers_are_named_by_a_worker_process() -> None:
    learner = ProtoNet(MLP(4, widths=(8,)))
    with torch.no_grad():
        next(learner.parameters()).fill_(float("nan"))
    with pytest.raises(EvaluationError, match="in the tasks 0"):
        evaluate(learner, many(3), n_tasks=6, batch=2, workers=2, workers_kind="processes")


def test_a_learner_that_cannot_be_copied_is_scored_alone_unless_workers_are_asked_for() -> None:
    learner: Any = ProtoNet(Identity(400))
    with threads_per_operation(2):
        alone = evaluate(learner, wide(), n_tasks=4, batch=1, workers=1)
        learner.lock = threading.Lock()
        assert evaluate(learner, wide(), n_tasks=4, batch=1) == alone
        with pytest.raises(TrainingError, match="ProtoNet cannot be copied for 2 workers") as error:
            evaluate(learner, wide(), n_tasks=4, batch=1, workers=2)
    assert "workers=1" in str(error.value)


def test_a_mistake_in_copying_a_learner_is_not_hidden() -> None:
    class Mistaken(Identity):
        def __deepcopy__(self, memo: Any) -> "Mistaken":
            raise KeyError("a mistake")

    with threads_per_operation(2), pytest.raises(KeyError, match="a mistake"):
        evaluate(ProtoNet(Mistaken(400)), wide(), n_tasks=4, batch=1)


def test_other_workers_are_refused() -> None:
    learner = ProtoNet(MLP(4, widths=(8,)))
    with pytest.raises(ConfigError, match="processes"):
        evaluate(learner, many(3), workers_kind="proceses")
    with pytest.raises(ConfigError, match="at least 0"):
        evaluate(learner, many(3), workers=-1)
