import pytest
import torch
import torch.nn.functional as F

from quickstudy.algorithms import ProtoNet
from quickstudy.core.errors import ConfigError
from quickstudy.core.types import Classes, Episode, Examples
from quickstudy.encoders import MLP, Conv4, Identity
from quickstudy.testing import toy_episode


def slow(z_support, y, z_query, n_classes, name):
    """Class by class and query by query."""
    out = torch.zeros(len(z_query), n_classes, dtype=z_query.dtype)
    for c in range(n_classes):
        members = [z for z, label in zip(z_support, y, strict=True) if label == c]
        mean = sum(members) / len(members)
        for i, z in enumerate(z_query):
            if name == "euclidean":
                out[i, c] = -((z - mean) ** 2).sum()
            else:
                out[i, c] = z @ mean / (z.norm() * mean.norm() if name == "cosine" else 1)
    return out


def test_numbers_by_hand():
    support = Examples.single(
        torch.tensor([[0.0, 0.0], [4.0, 4.0], [0.0, 2.0]]), torch.tensor([0, 1, 0])
    )
    queries = torch.tensor([[1.0, 1.0], [4.0, 3.0]])
    # means (0, 1) and (4, 4)
    assert ProtoNet(Identity(2)).fit(support, Classes(2))(queries).tolist() == [
        [-1, -18],
        [-20, -1],
    ]
    assert ProtoNet(Identity(2), similarity="dot").fit(support, Classes(2))(queries).tolist() == [
        [1, 8],
        [3, 28],
    ]
    cosines = ProtoNet(Identity(2), similarity="cosine").fit(support, Classes(2))(queries)
    torch.testing.assert_close(cosines, torch.tensor([[0.5**0.5, 1.0], [0.6, 7 / 50**0.5]]))


@pytest.mark.parametrize("similarity", ["euclidean", "cosine", "dot"])
@pytest.mark.parametrize("n_shot", [1, 3, (1, 4, 2, 5)])
def test_a_slow_loop_agrees_with_equal_and_unequal_shots(similarity, n_shot):
    e = toy_episode(n_shot=n_shot)
    learner = ProtoNet(MLP(6, widths=(16, 8)), similarity=similarity)
    out = learner(e)
    for t in range(3):
        z, q = learner.encoder(e.support.x)[t], learner.encoder(e.query.x)[t]
        torch.testing.assert_close(
            out[t], slow(z, e.support.y[t], q, 4, similarity), rtol=1e-4, atol=1e-4
        )


def test_it_is_the_linear_classifier_of_the_paper():
    # Snell et al., section 2.4: −|z − μ|² = 2 μ·z − |μ|² − |z|², and the last term is the same for
    # all classes.
    e = toy_episode()
    learner = ProtoNet(MLP(6, widths=(16,))).double()
    x = e.support.x.double()
    support, queries = Examples(x, e.support.y), e.query.x.double()
    (means, _), q = learner.adapt(support, e.target), learner.encoder(queries)
    linear = q @ (2 * means).transpose(1, 2) - means.square().sum(-1)[:, None]
    difference = learner.predict((means, ()), queries) - linear
    torch.testing.assert_close(difference, -q.square().sum(-1, keepdim=True).expand_as(difference))


def test_probabilities_are_the_softmax_over_distances():
    e = toy_episode()
    learner = ProtoNet(MLP(6, widths=(16,)))
    out = learner(e)
    loss = e.target.loss(out, e.query.y)
    for t in range(3):
        d = (
            torch.cdist(learner.encoder(e.query.x)[t], learner.adapt(e.support, e.target)[0][t])
            ** 2
        )
        p = torch.exp(-d) / torch.exp(-d).sum(1, keepdim=True)
        torch.testing.assert_close(
            loss[t], -p[torch.arange(len(p)), e.query.y[t]].log().mean(), rtol=1e-3, atol=1e-4
        )


def test_the_meta_gradient_in_double_precision_equals_a_slow_loops():
    e = toy_episode(n_shot=(1, 4, 2, 5))
    e = Episode(
        Examples(e.support.x.double() / 3, e.support.y),
        Examples(e.query.x.double() / 3, e.query.y),
        e.target,
    )
    learner = ProtoNet(MLP(6, widths=(16, 8))).double()
    parameters = list(learner.parameters())
    ours = torch.autograd.grad(e.target.loss(learner(e), e.query.y).mean(), parameters)

    def encode(x):
        for w, b in zip(parameters[::2], parameters[1::2], strict=True):
            x = F.relu(x @ w.T + b)
        return x

    losses = [
        F.cross_entropy(
            slow(encode(e.support.x[t]), e.support.y[t], encode(e.query.x[t]), 4, "euclidean"),
            e.query.y[t],
        )
        for t in range(3)
    ]
    theirs = torch.autograd.grad(sum(losses) / 3, parameters)
    for a, b in zip(ours, theirs, strict=True):
        assert (a - b).norm() <= 1e-10 * b.norm()


@pytest.mark.parametrize("n_way", [1, 2, 9])
def test_any_way_without_retraining(n_way):
    learner = ProtoNet(MLP(6))
    assert learner(toy_episode(n_way=n_way)).shape == (3, 3 * n_way, n_way)


def test_support_statistics_make_images_inductive():
    e = toy_episode(shape=(1, 16, 16))
    learner = ProtoNet(Conv4(size=16, width=4, norm="support"))
    assert not learner.traits.transductive
    whole = learner(e)
    alone = torch.cat(
        [
            learner(
                Episode(
                    e.support, Examples(e.query.x[:, i : i + 1], e.query.y[:, i : i + 1]), e.target
                )
            )
            for i in range(12)
        ],
        1,
    )
    torch.testing.assert_close(whole, alone, rtol=1e-3, atol=1e-3)
    assert ProtoNet(Conv4(size=16, width=4, norm="batch")).traits.transductive


def test_unknown_similarity():
    with pytest.raises(ConfigError, match="Did you mean 'euclidean'"):
        ProtoNet(Identity(2), similarity="euclid")
