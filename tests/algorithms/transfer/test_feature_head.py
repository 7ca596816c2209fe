import pytest
import torch
import torch.nn.functional as F

from quickstudy.algorithms import ALGORITHMS, SimpleShot
from quickstudy.algorithms.transfer.feature_head import FeatureHead
from quickstudy.core.errors import ConfigError, TransductiveError
from quickstudy.core.setting import Setting
from quickstudy.core.types import Classes, Examples
from quickstudy.data import Vectors
from quickstudy.encoders import MLP, Identity
from quickstudy.testing import toy_episode, toy_learner

TRANSDUCTIVE = (
    "soft_kmeans",
    "bd_cspn",
    "laplacian_shot",
    "pt_map",
    "tim",
    "alpha_tim",
    "transductive_tuning",
)


@pytest.mark.parametrize("name", TRANSDUCTIVE)
def test_a_transductive_head_says_so_and_is_refused_where_queries_come_one_at_a_time(name) -> None:
    learner, e = toy_learner(name), toy_episode(n_tasks=1)
    assert learner.traits.transductive
    with pytest.raises(
        TransductiveError, match="gives no predictor for queries that come one at a time"
    ):
        learner.fit(e.support, e.target)
    with pytest.raises(TransductiveError, match="learns from the queries of a task, but got none"):
        learner.adapt(e.support, e.target)


def test_features_are_centred_by_the_training_classes_and_have_length_one() -> None:
    torch.manual_seed(0)
    stream = Vectors(torch.randn(200, 5) + 3, [i % 10 for i in range(200)]).tasks(
        "train", Setting(4, 1, 2)
    )
    learner = SimpleShot(MLP(5, widths=(7,))).eval()
    learner.prepare(lambda: stream)
    # 342 · 12 ≥ 4096
    drawn = torch.cat(
        [torch.cat((e.support.x, e.query.x), 1) for e in (stream.batch([i]) for i in range(342))], 1
    )
    torch.testing.assert_close(
        learner.mean, learner.encoder(drawn)[0].mean(0), rtol=1e-4, atol=1e-5
    )
    e = toy_episode(shape=(5,), n_shot=(1, 2, 3, 2))
    z, q = (
        F.normalize(learner.encoder(part.x) - learner.mean, dim=-1) for part in (e.support, e.query)
    )
    for t in range(3):
        means = torch.stack([z[t][e.support.y[t] == c].mean(0) for c in range(4)])
        expected = torch.stack([torch.stack([-((a - m) ** 2).sum() for m in means]) for a in q[t]])
        torch.testing.assert_close(learner(e)[t], expected, rtol=1e-4, atol=1e-5)


def test_features_that_are_not_centred_need_no_training_tasks() -> None:
    def forbidden():
        raise AssertionError("drew tasks that it does not need")

    SimpleShot(Identity(3), transform="l2n").prepare(forbidden)
    SimpleShot(Identity(3), transform="un").prepare(forbidden)
    ALGORITHMS["protonet"](Identity(3)).prepare(forbidden)


def test_an_unknown_transform_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"no transform 'cl2'\. Did you mean 'cl2n'"):
        SimpleShot(Identity(3), transform="cl2")
    assert issubclass(SimpleShot, FeatureHead)


def test_un_is_the_prototypical_network() -> None:
    e = toy_episode(n_shot=(1, 2, 3, 2))
    torch.testing.assert_close(
        SimpleShot(Identity(6), transform="un")(e), ALGORITHMS["protonet"](Identity(6))(e)
    )
    support = Examples.single(torch.eye(2), torch.tensor([0, 1]))
    assert SimpleShot(Identity(2)).fit(support, Classes(2))(torch.eye(2)).argmax(-1).tolist() == [
        0,
        1,
    ]
