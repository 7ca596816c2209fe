import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import t as student

from quickstudy.algorithms import NearestNeighbour, ProtoNet, maml
from quickstudy.core.errors import ConfigError, LoadError
from quickstudy.core.tasks import Setting
from quickstudy.data import ClassDataset, ClassIndex, Episodes, Sinusoid, VariableEpisodes
from quickstudy.encoders import MLP, Conv4, Identity
from quickstudy.evaluation import Origin, Report, compare, evaluate

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
    x = torch.randn(60, 4, generator=torch.Generator().manual_seed(3)) + torch.arange(60)[:, None] // 10 * 0.8
    return Episodes(ClassDataset("blobs", "test", x, ClassIndex([i // 10 for i in range(60)], list("abcdef"))), Setting(3, 2, 4), seed=seed)


def test_a_report_has_every_promised_key_and_survives_a_file(tmp_path: Path) -> None:
    report = evaluate(ProtoNet(Identity(4)), tasks(), n_tasks=20, origin=Origin("r", "protonet", 1, 2, 3.0), published=0.5)
    report.save(tmp_path / "deep" / "r.json")
    about = json.loads((tmp_path / "deep" / "r.json").read_text())
    assert set(KEYS) <= set(about)
    again = Report.load(tmp_path / "deep" / "r.json")
    assert again == replace(report, scores=tuple(round(s, 6) for s in report.scores))
    assert 0 <= about["mean"] <= 1
    assert "inductive" in str(report)


def test_mean_and_interval_are_those_of_the_tasks() -> None:
    learner, stream = ProtoNet(Identity(4)), tasks()
    report = evaluate(learner, stream, n_tasks=30)
    by_hand = []
    for i in range(30):
        e = stream.batch([i])
        by_hand.append(float((learner(e).argmax(-1) == e.query.y).float().mean()))
    assert np.allclose(report.scores, by_hand)
    assert report.mean == pytest.approx(np.mean(by_hand))
    assert report.ci95 == pytest.approx(student.ppf(0.975, 29) * np.std(by_hand, ddof=1) / np.sqrt(30))


def test_the_batch_size_does_not_change_a_report() -> None:
    learner = maml(MLP(4, widths=(8,)), n_out=3)
    a, b = (evaluate(learner, tasks(), n_tasks=10, batch=batch) for batch in (1, 7))
    assert a.scores == b.scores


def test_the_learner_is_left_as_it_was() -> None:
    learner = ProtoNet(Conv4(size=16, width=4)).train()
    x = torch.rand(40, 1, 16, 16)
    stream = Episodes(ClassDataset("n", "t", x, ClassIndex([i // 10 for i in range(40)], list("abcd"))), Setting(2, 1, 2))
    before = {k: v.clone() for k, v in learner.state_dict().items()}
    evaluate(learner, stream, n_tasks=4)
    assert learner.training
    assert all(torch.equal(v, before[k]) for k, v in learner.state_dict().items())


def test_transductive_results_say_so() -> None:
    x = torch.rand(40, 1, 16, 16)
    stream = Episodes(ClassDataset("n", "t", x, ClassIndex([i // 10 for i in range(40)], list("abcd"))), Setting(2, 1, 2))
    for norm, said in (("batch", "transductive"), ("support", "inductive"), ("running", "inductive")):
        report = evaluate(ProtoNet(Conv4(size=16, width=4, norm=norm)), stream, n_tasks=2)
        assert report.transductive == (norm == "batch")
        assert report.norm == norm
        assert f" {said}, norm {norm}" in str(report)


def test_regression_is_scored_by_squared_error() -> None:
    report = evaluate(maml(MLP(1, widths=(8,)), n_out=1, inner_lr=0.01), Sinusoid().tasks("test", Setting(0, 5, 5)), n_tasks=6)
    assert report.metric == "mse"
    assert report.mean < 0
    assert "MSE" in str(report)


def test_tasks_of_varying_size_say_so() -> None:
    report = evaluate(ProtoNet(Identity(4)), VariableEpisodes(tasks().dataset), n_tasks=4)
    assert not report.uniform
    assert "up to 6-way" in str(report)


def test_compare_pairs_the_tasks() -> None:
    a, b = (evaluate(learner, tasks(), n_tasks=40) for learner in (NearestNeighbour(Identity(4)), ProtoNet(Identity(4))))
    gap = compare(a, b)
    differences = np.array(b.scores) - np.array(a.scores)
    assert gap.difference == pytest.approx(differences.mean())
    assert gap.ci95 == pytest.approx(student.ppf(0.975, 39) * differences.std(ddof=1) / np.sqrt(40))
    assert compare(a, a).difference == 0
    assert compare(a, a).p_value == 1


def test_compare_refuses_other_tasks() -> None:
    a, b = (evaluate(ProtoNet(Identity(4)), tasks(seed), n_tasks=4) for seed in (0, 1))
    with pytest.raises(ConfigError, match="seed: 0 and 1"):
        compare(a, b)


def test_one_task_gives_no_interval() -> None:
    with pytest.raises(ConfigError, match="at least 2 tasks, got n_tasks=1"):
        evaluate(ProtoNet(Identity(4)), tasks(), n_tasks=1)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"mean": 1}'])
def test_what_is_no_report_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(LoadError, match="not a readable report"):
        Report.load(tmp_path / "r.json")
