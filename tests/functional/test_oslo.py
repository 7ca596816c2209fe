"""Open-set likelihood optimisation against loops over tasks, steps, queries and classes."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quickstudy.functional.oslo import centred, oslo, oslo_answers, oslo_means


def by_hand(support, y, query, n, steps, inlier, classes):
    """One task, one number at a time."""

    def cos(a, b):
        return (
            sum(p * q for p, q in zip(a, b, strict=True))
            / math.sqrt(sum(p * p for p in a))
            / math.sqrt(sum(q * q for q in b))
        )

    z, xi = [[1 / n] * n for _ in query], [0.0] * len(query)
    means = [
        [
            float(np.mean([x[d] for x, label in zip(support, y, strict=True) if label == c]))
            for d in range(len(query[0]))
        ]
        for c in range(n)
    ]
    for _ in range(steps):
        for i, q in enumerate(query):
            near = [cos(q, means[c]) for c in range(n)]
            xi[i] = 1 / (1 + math.exp(-sum(z[i][c] * near[c] for c in range(n)) / inlier))
            weight = [math.exp(xi[i] * near[c] / classes) for c in range(n)]
            z[i] = [w / sum(weight) for w in weight]
        for c in range(n):
            total = sum(label == c for label in y) + sum(xi[i] * z[i][c] for i in range(len(query)))
            for d in range(len(query[0])):
                known = sum(x[d] for x, label in zip(support, y, strict=True) if label == c)
                means[c][d] = (
                    known + sum(xi[i] * z[i][c] * query[i][d] for i in range(len(query)))
                ) / total
    return z, xi


def task(n_tasks=3, n=3, shots=2, queries=5, dim=4, seed=0):
    g = torch.Generator().manual_seed(seed)
    support = torch.randn(n_tasks, n * shots, dim, generator=g, dtype=torch.float64)
    y = torch.stack(
        [
            torch.arange(n).repeat(shots)[torch.randperm(n * shots, generator=g)]
            for _ in range(n_tasks)
        ]
    )
    return support, y, torch.randn(n_tasks, queries, dim, generator=g, dtype=torch.float64)


@pytest.mark.parametrize(
    ("steps", "inlier", "classes"), [(1, 0.1, 0.1), (2, 0.1, 0.2), (5, 0.5, 0.05)]
)
def test_it_is_what_a_loop_gives(steps, inlier, classes):
    support, y, query = task()
    z, xi = oslo(
        support, y, query, 3, steps=steps, inlier_temperature=inlier, class_temperature=classes
    )
    for t in range(3):
        z_t, xi_t = by_hand(
            support[t].tolist(), y[t].tolist(), query[t].tolist(), 3, steps, inlier, classes
        )
        assert z[t].numpy() == pytest.approx(np.array(z_t))
        assert xi[t].numpy() == pytest.approx(np.array(xi_t))


@given(st.integers(0, 50), st.integers(1, 4), st.sampled_from([0.02, 0.1, 1.0]))
def test_bounds(seed, steps, temperature):
    support, y, query = task(seed=seed)
    z, xi = oslo(
        support,
        y,
        query,
        3,
        steps=steps,
        inlier_temperature=temperature,
        class_temperature=temperature,
    )
    assert torch.allclose(z.sum(-1), torch.ones(3, 5, dtype=torch.float64))
    assert (z >= 0).all()
    assert ((xi >= 0) & (xi <= 1)).all()


@given(st.integers(0, 50))
def test_renaming_and_reordering_change_nothing(seed):
    support, y, query = task(seed=seed)
    z, xi = oslo(support, y, query, 3)
    g = torch.Generator().manual_seed(seed)
    names, order = torch.randperm(3, generator=g), torch.randperm(5, generator=g)
    again, xi_again = oslo(support, names[y], query[:, order], 3)
    assert torch.allclose(again[:, :, names], z[:, order])
    assert torch.allclose(xi_again, xi[:, order])


def test_the_class_vectors_answer_queries_one_by_one():
    support, y, query = task()
    z, xi = oslo(support, y, query, 3, steps=3)
    means = oslo_means(support, y, query, 3, steps=3)
    assert means.shape == (3, 3, 3, 4)
    for i in range(5):
        z_i, odds = oslo_answers(query[:, i : i + 1], means)
        assert torch.allclose(z_i[:, 0], z[:, i])
        assert torch.allclose(odds.sigmoid()[:, 0], xi[:, i])


def test_log_odds_keep_the_order_where_the_inlierness_cannot():
    query = torch.tensor([[[1.0, 0.0], [0.99, 0.2]]])
    _, odds = oslo_answers(query, torch.tensor([[[[1.0, 0.0]]]]), inlier_temperature=0.02)
    assert odds.sigmoid().tolist() == [[1.0, 1.0]]
    assert odds[0, 0] > odds[0, 1]


def test_unknowns_pull_less_than_members():
    """A class of one example, six queries like it and six unknowns: the class vector moves to the
    six members.
    """
    g = torch.Generator().manual_seed(0)
    direction = torch.eye(8)
    like = direction[0] + 0.2 * torch.randn(6, 8, generator=g)
    unknowns = (
        direction[5]
        - 0.5 * direction[0]
        - 0.5 * direction[1]
        + 0.2 * torch.randn(6, 8, generator=g)
    )
    example = direction[0] + 0.6 * direction[2]
    support = torch.stack((example, direction[1]))[None]
    query = torch.cat((like, unknowns))[None]
    means = oslo_means(support, torch.tensor([[0, 1]]), query, 2, steps=2)[0, :, 0]
    near = torch.cosine_similarity(means, direction[0][None])
    assert near[1] > near[0]
    xi = oslo(support, torch.tensor([[0, 1]]), query, 2)[1][0]
    assert xi[:6].min() > xi[6:].max()


def test_centred_by_hand():
    support, query = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[3.0, 0.0], [2.0, 6.0]]])
    s, q, mean = centred(support, query)
    assert torch.equal(mean, torch.tensor([[[2.0, 2.0]]]))
    assert torch.allclose(s, torch.tensor([[[-1.0, -2.0]]]) / 5**0.5)
    assert torch.allclose(q[0, 1], torch.tensor([0.0, 1.0]))
