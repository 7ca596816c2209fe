import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from quickstudy.algorithms import LinearProbe, NearestNeighbour
from quickstudy.core.errors import ConfigError
from quickstudy.core.types import Classes, Examples
from quickstudy.encoders import MLP, Conv4, Identity
from quickstudy.testing import toy_episode


def similarities(name, q, z):
    """In numpy, pair by pair."""
    pair = {
        "euclidean": lambda a, b: -np.sum((a - b) ** 2),
        "cosine": lambda a, b: a @ b / np.linalg.norm(a) / np.linalg.norm(b),
        "dot": lambda a, b: a @ b,
    }[name]
    return np.array([[pair(a, b) for b in z] for a in q])


# --- nearest neighbour


@pytest.mark.parametrize("name", ["euclidean", "cosine", "dot"])
@pytest.mark.parametrize("n_shot", [1, (3, 1, 4, 2)])
def test_the_nearest_neighbour_is_numpys(name, n_shot):
    e = toy_episode(n_shot=n_shot)
    out = NearestNeighbour(Identity(6), similarity=name)(e).numpy()
    for t in range(3):
        y = e.support.y[t].numpy()
        near = similarities(name, e.query.x[t].numpy(), e.support.x[t].numpy())
        expected = np.stack([near[:, y == c].max(1) for c in range(4)], 1)
        np.testing.assert_allclose(out[t], expected, rtol=1e-3, atol=1e-4)
        assert (out[t].argmax(1) == y[near.argmax(1)]).all()


def test_the_nearest_neighbour_looks_through_its_encoder():
    e = toy_episode()
    learner = NearestNeighbour(MLP(6, widths=(5,)))
    out = learner(e)
    with torch.no_grad():
        near = similarities(
            "euclidean",
            learner.encoder(e.query.x)[1].numpy(),
            learner.encoder(e.support.x)[1].numpy(),
        )
    assert (out[1].argmax(1).numpy() == e.support.y[1].numpy()[near.argmax(1)]).all()


def test_a_class_without_examples_is_never_the_nearest():
    learner = NearestNeighbour(Identity(1))
    state = learner.adapt(Examples(torch.zeros(1, 2, 1), torch.tensor([[0, 2]])), Classes(3))
    assert learner.predict(state, torch.ones(1, 1, 1)).tolist() == [[[-1, -float("inf"), -1]]]


# --- linear probe


def sklearn_probabilities(x, y, queries, c=1.0):
    return (
        LogisticRegression(C=c, max_iter=1000)
        .fit(x.double().numpy(), y.numpy())
        .predict_proba(queries.double().numpy())
    )


@pytest.mark.parametrize("n_way", [2, 3, 7])
@pytest.mark.parametrize("c", [0.1, 1.0, 10.0])
def test_probabilities_are_scikit_learns(n_way, c):
    e = toy_episode(n_way=n_way, n_shot=3)
    p = LinearProbe(Identity(6), inverse_penalty=c)(e).softmax(-1).numpy()
    for t in range(3):
        expected = sklearn_probabilities(e.support.x[t], e.support.y[t], e.query.x[t], c)
        np.testing.assert_allclose(p[t], expected, rtol=1e-4, atol=1e-6)


def test_many_classes_minimise_the_loss_of_the_docstring():
    e = toy_episode(n_tasks=1, n_shot=5)
    x, y = e.support.x.double(), e.support.y
    learner = LinearProbe(Identity(6), inverse_penalty=0.5).double()
    weight, bias, _ = learner.adapt(Examples(x, y), e.target)
    weight, bias = weight[0].requires_grad_(), bias[0].requires_grad_()
    loss = 0.5 * weight.square().sum() + 0.5 * torch.nn.functional.cross_entropy(
        x[0] @ weight.T + bias, y[0], reduction="sum"
    )
    for gradient in torch.autograd.grad(loss, (weight, bias)):
        assert gradient.abs().max() < 1e-3


def test_one_class_is_certain():
    support = Examples.single(torch.randn(3, 2), torch.zeros(3, dtype=torch.long))
    assert (
        LinearProbe(Identity(2)).fit(support, Classes(1))(torch.randn(4, 2)).softmax(-1).tolist()
        == [[1.0]] * 4
    )


@pytest.mark.parametrize("labels", [[1, 1, 1], [0, 2, 2], [3, 0, 2]])
def test_classes_without_examples_are_never_chosen(labels):
    learner, x, y = LinearProbe(Identity(2)), torch.randn(1, 3, 2), torch.tensor([labels])
    p = learner.predict(learner.adapt(Examples(x, y), Classes(4)), torch.randn(1, 5, 2)).softmax(-1)
    seen = sorted(set(labels))
    assert p[..., [c for c in range(4) if c not in seen]].eq(0).all()
    torch.testing.assert_close(p[..., seen].sum(-1), torch.ones(1, 5))


def test_the_probe_works_on_features_and_leaves_the_encoder_alone():
    e = toy_episode()
    learner = LinearProbe(MLP(6, widths=(5,)))
    before = [p.clone() for p in learner.parameters()]
    with torch.no_grad():
        z, q = learner.encoder(e.support.x), learner.encoder(e.query.x)
        p = learner(e).softmax(-1).numpy()
    np.testing.assert_allclose(
        p[2], sklearn_probabilities(z[2], e.support.y[2], q[2]), rtol=1e-4, atol=1e-6
    )
    assert all(torch.equal(a, b) for a, b in zip(before, learner.parameters(), strict=True))


@pytest.mark.parametrize("penalty", [0.0, -1.0])
def test_a_penalty_must_be_above_zero(penalty):
    with pytest.raises(ConfigError, match=f"inverse_penalty must be above 0, got {penalty}"):
        LinearProbe(Identity(2), inverse_penalty=penalty)


@pytest.mark.parametrize("make", [NearestNeighbour, LinearProbe])
def test_the_encoders_policy_decides_about_transduction(make):
    assert make(Conv4(width=4, norm="batch")).traits.transductive
    assert not make(Conv4(width=4, norm="support")).traits.transductive
