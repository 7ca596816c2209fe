import pytest
import torch

from quickstudy.algorithms import OSLO, ProtoNet
from quickstudy.core.errors import ConfigError, TransductiveError
from quickstudy.core.setting import Setting
from quickstudy.core.types import Classes, Examples
from quickstudy.data import ClassDataset, ClassIndex, Episodes
from quickstudy.encoders import MLP, Identity
from quickstudy.evaluation import evaluate
from quickstudy.functional.oslo import oslo
from quickstudy.metrics.open_set import membership
from quickstudy.testing import toy_episode


def test_its_scores_say_the_soft_classes_and_the_inlierness() -> None:
    torch.manual_seed(0)
    learner = OSLO(
        MLP(6, widths=(5,)), steps=3, inlier_temperature=0.3, class_temperature=0.2
    ).eval()
    e = toy_episode(n_shot=(1, 2, 3, 2))
    out = learner(e)
    for t in range(3):
        z = learner.encoder(e.support.x[t : t + 1])[0]
        queries = learner.encoder(e.query.x[t : t + 1])[0]
        mean = torch.cat((z, queries)).mean(0)
        unit = [rows / rows.norm(dim=1, keepdim=True) for rows in (z - mean, queries - mean)]
        soft, xi = oslo(
            unit[0][None],
            e.support.y[t : t + 1],
            unit[1][None],
            4,
            steps=3,
            inlier_temperature=0.3,
            class_temperature=0.2,
        )
        torch.testing.assert_close(out[t].softmax(-1), soft[0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(membership(out[t : t + 1]).sigmoid(), xi, rtol=1e-4, atol=1e-5)


def test_scores_stay_finite_where_a_soft_class_is_zero() -> None:
    out = OSLO(Identity(6), class_temperature=1e-3)(toy_episode())
    assert out.isfinite().all()


def test_it_tells_unknowns_and_says_that_it_saw_all_queries() -> None:
    g = torch.Generator().manual_seed(0)
    centres = torch.randn(12, 1, 8, generator=g)
    x = (centres + 0.9 * torch.randn(12, 12, 8, generator=g)).reshape(-1, 8)
    data = ClassDataset(
        "blobs",
        "test",
        x,
        ClassIndex([i // 12 for i in range(144)], [f"c{i:02}" for i in range(12)]),
    )
    stream = Episodes(data, Setting(6, 2, 8))
    report, plain = (
        evaluate(learner, stream, n_tasks=40, n_unknown=3)
        for learner in (OSLO(Identity(8)), ProtoNet(Identity(8)))
    )
    assert report.transductive
    assert report.auroc is not None
    assert plain.auroc is not None
    assert report.auroc > plain.auroc > 0.6


def test_it_refuses_to_work_without_queries() -> None:
    support = Examples.single(torch.eye(2), torch.arange(2))
    with pytest.raises(TransductiveError, match="learns from the queries of a task, but got none"):
        OSLO(Identity(2)).adapt(support, Classes(2))
    with pytest.raises(TransductiveError, match="OSLO is transductive"):
        OSLO(Identity(2)).fit(support, Classes(2))


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"inlier_temperature": 0.0}, {"class_temperature": -1.0}]
)
def test_its_options_are_checked(wrong: dict) -> None:
    with pytest.raises(ConfigError, match="steps must be at least 1 and the temperatures above 0"):
        OSLO(Identity(2), **wrong)
