"""SNAIL: what it looks at, and its parts by loops."""

import math

import pytest
import torch

from quickstudy.algorithms import SNAIL
from quickstudy.algorithms.black_box.causal import CausalAttention
from quickstudy.core.errors import ConfigError, EpisodeError, TargetError
from quickstudy.encoders import Identity
from quickstudy.testing import toy_episode


def test_attention_sums_to_one_over_the_keys_and_sees_nothing_behind_it() -> None:
    torch.manual_seed(0)
    part, x = CausalAttention(5, 8, 3), torch.randn(2, 7, 5)
    weights = part.weights(x)
    torch.testing.assert_close(weights.sum(2), torch.ones(2, 7))
    assert bool((weights.triu(1) == 0).all())
    q, k, v = part.query(x), part.key(x), part.value(x)
    for t in range(7):
        scores = torch.stack([q[0, t] @ k[0, s] / math.sqrt(8) for s in range(t + 1)]).softmax(0)
        torch.testing.assert_close(
            part(x)[0, t], torch.cat((x[0, t], sum(scores[s] * v[0, s] for s in range(t + 1))))
        )


def test_no_part_looks_ahead() -> None:
    for part in SNAIL(Identity(6), n_out=4, length=9, filters=4).net:
        x = torch.randn(1, 9, next(iter(part.parameters())).shape[1])
        base = part(x)
        for at in range(9):
            later = x.clone()
            later[0, at:] += 1
            torch.testing.assert_close(part(later)[:, :at], base[:, :at], atol=1e-5, rtol=1e-5)


def test_queries_are_the_ends_of_sequences_of_their_own() -> None:
    """The support is read once for all queries; slowly, each query ends a whole sequence."""
    torch.manual_seed(0)
    learner, e = SNAIL(Identity(6), n_out=4, length=12, filters=8), toy_episode()
    out = learner(e)
    known = torch.cat((e.support.x, torch.nn.functional.one_hot(e.support.y, 4)), 2)
    for q in range(e.query.x.shape[1]):
        x = torch.cat((known, torch.nn.functional.pad(e.query.x[:, q : q + 1], (0, 4))), 1)
        for part in learner.net:
            x = part(x)
        torch.testing.assert_close(out[:, q], learner.head(x[:, -1]), atol=1e-4, rtol=1e-4)


def test_the_whole_support_reaches_the_query() -> None:
    e = toy_episode(n_tasks=1)
    learner = SNAIL(Identity(6), n_out=4, length=9)
    x = e.support.x.clone().requires_grad_()
    learner.predict(
        learner.adapt(type(e.support)(x, e.support.y), e.target), e.query.x
    ).square().sum().backward()
    assert bool((x.grad.abs().sum(2) > 0).all())


def test_it_has_the_convolutions_of_the_paper() -> None:
    """Dilations 1, 2, 4, … until they span the sequence; widths add up, as all that was computed is
    kept beside.
    """
    learner = SNAIL(Identity(64), n_out=5, length=26)
    dilations = [p.dilation for p in learner.net if not isinstance(p, CausalAttention)]
    assert dilations == [1, 2, 4, 8, 16] * 2
    assert learner.head.in_features == 64 + 5 + 32 + 5 * 128 + 128 + 5 * 128 + 256


def test_mistakes() -> None:
    with pytest.raises(EpisodeError, match="Train with length=9"):
        SNAIL(Identity(6), n_out=4, length=5)(toy_episode())
    with pytest.raises(TargetError, match="reads labels of 3 classes"):
        SNAIL(Identity(6), n_out=3)(toy_episode())
    with pytest.raises(ConfigError, match="length must be at least 2"):
        SNAIL(Identity(6), n_out=4, length=1)
