"""Heads that look at the queries, each against a loop over the formulas of its paper."""

import pytest
import torch
import torch.nn.functional as F

from quickstudy.algorithms import BDCSPN, PTMAP, TIM, AlphaTIM, LaplacianShot, ProtoNet, SoftKMeans
from quickstudy.core.errors import ConfigError
from quickstudy.encoders import Identity
from quickstudy.testing import toy_episode

E = toy_episode(n_shot=(1, 2, 3, 2), n_query=3)
TASKS = range(3)


def _task(t, *, unit=True):
    x, q = E.support.x[t], E.query.x[t]
    return (
        (F.normalize(x, dim=-1), E.support.y[t], F.normalize(q, dim=-1))
        if unit
        else (x, E.support.y[t], q)
    )


def _means(z, y):
    return torch.stack([z[y == c].mean(0) for c in range(4)])


def _distances(a, b):
    return torch.stack([torch.stack([((p - q) ** 2).sum() for q in b]) for p in a])


def test_soft_kmeans_by_a_loop() -> None:
    out = SoftKMeans(Identity(6), steps=3, scale=4.0)(E)
    for t in TASKS:
        z, y, q = _task(t)
        means = _means(z, y)
        for _ in range(3):
            p = torch.softmax(-4 * _distances(q, means), -1)
            means = torch.stack(
                [
                    (sum(z[y == c]) + sum(p[u, c] * q[u] for u in range(len(q))))
                    / ((y == c).sum() + p[:, c].sum())
                    for c in range(4)
                ]
            )
        torch.testing.assert_close(out[t], -4 * _distances(q, means), rtol=1e-4, atol=1e-4)


def test_soft_kmeans_without_steps_is_the_prototypical_network() -> None:
    torch.testing.assert_close(
        SoftKMeans(Identity(6), steps=0, scale=1.0, transform="un")(E), ProtoNet(Identity(6))(E)
    )


def _rectified(z, y, q, *, shrink=False):
    shift, first = z.mean(0) - q.mean(0), _means(z, y)
    total, weights = torch.zeros(4, 6), torch.zeros(4)

    def near(v):
        return int(F.cosine_similarity(v[None], first).argmax())

    labelled = [(v, near(v) if shrink else int(c)) for v, c in zip(z, y, strict=True)]
    for v in q + shift:
        labelled.append((v, near(v)))
    for v, c in labelled:
        w = torch.softmax(10 * F.cosine_similarity(v[None], first), 0)[c]
        total[c] += w * v
        weights[c] += 1 if shrink else w
    return total / weights[:, None], shift


def test_bd_cspn_by_a_loop() -> None:
    out = BDCSPN(Identity(6))(E)
    for t in TASKS:
        z, y, q = _task(t)
        means, shift = _rectified(z, y, q)
        expected = 10 * F.cosine_similarity((q + shift)[:, None], means[None], dim=-1)
        torch.testing.assert_close(out[t], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shrink", [False, True])
def test_laplacian_shot_by_a_loop(shrink: bool) -> None:
    out = LaplacianShot(Identity(6), smoothness=0.8, neighbours=2, rounds=5, shrink=shrink)(E)
    for t in TASKS:
        z, y, q = _task(t)
        means, shift = _rectified(z, y, q, shrink=shrink)
        d, between = _distances(q + shift, means), _distances(q, q)
        scores = -d
        for _ in range(5):
            labels, new = torch.softmax(scores, -1), []
            for i in range(len(q)):
                nearest = [j for j in between[i].argsort().tolist() if j != i][:2]
                new.append(-d[i] + 0.8 * sum(labels[j] for j in nearest))
            scores = torch.stack(new)
        torch.testing.assert_close(out[t], scores.log_softmax(-1), rtol=1e-4, atol=1e-4)


def test_laplacian_shot_with_fewer_queries_than_neighbours() -> None:
    few = toy_episode(n_way=2, n_query=1)
    assert LaplacianShot(Identity(6), neighbours=5)(few).isfinite().all()


def test_pt_map_by_a_loop() -> None:
    out = PTMAP(Identity(6), steps=4)(E)

    def dealt_out(q, means):
        p = torch.exp(-10 * _distances(q, means))
        for _ in range(50):
            p = p / p.sum(0, keepdim=True) * len(q) / 4
            p = p / p.sum(1, keepdim=True)
        return p

    for t in TASKS:
        z, y, q = _task(t, unit=False)
        z, q = (F.normalize(v.sign() * (v.abs() + 1e-6) ** 0.5, dim=-1) for v in (z, q))
        z, q = F.normalize(z - z.mean(0), dim=-1), F.normalize(q - q.mean(0), dim=-1)
        means = _means(z, y)
        for _ in range(4):
            p = dealt_out(q, means)
            moved = torch.stack(
                [
                    (z[y == c].sum(0) + (p[:, c : c + 1] * q).sum(0))
                    / ((y == c).sum() + p[:, c].sum())
                    for c in range(4)
                ]
            )
            means = 0.8 * means + 0.2 * moved
        torch.testing.assert_close(out[t].exp(), dealt_out(q, means), rtol=1e-3, atol=1e-4)


def test_pt_map_deals_the_queries_out_in_equal_parts() -> None:
    p = PTMAP(Identity(6), iterations=300)(E).exp()
    torch.testing.assert_close(p.sum(2), torch.ones(3, 12))
    torch.testing.assert_close(p.sum(1), torch.full((3, 4), 3.0), rtol=1e-2, atol=1e-2)


def _entropy(p, alpha):
    return -(p * p.log()).sum(-1) if alpha is None else (1 - (p**alpha).sum(-1)) / (alpha - 1)


@pytest.mark.parametrize("alpha", [None, 2.0, 7.0])
def test_tim_by_hand(alpha) -> None:
    learner = (
        TIM(Identity(6), steps=5, lr=0.01)
        if alpha is None
        else AlphaTIM(Identity(6), alpha=alpha, steps=5, lr=0.01)
    )
    out, (of_support, of_query) = learner(E), (0.1, 0.1) if alpha is None else (1.0, 1.0)
    for t in TASKS:
        z, y, q = _task(t)
        w = _means(z, y).requires_grad_()
        adam = torch.optim.Adam([w], lr=0.01)
        for _ in range(5):
            adam.zero_grad()
            p = torch.softmax(-7.5 * _distances(q, w), -1)
            loss = of_support * F.cross_entropy(-7.5 * _distances(z, w), y)
            (loss - _entropy(p.mean(0), alpha) + of_query * _entropy(p, alpha).mean()).backward()
            adam.step()
        torch.testing.assert_close(out[t], -7.5 * _distances(q, w.detach()), rtol=1e-3, atol=1e-3)


def test_tsallis_entropy_approaches_shannons() -> None:
    p = torch.tensor([0.2, 0.3, 0.5])
    assert float(_entropy(p, 1.0001)) == pytest.approx(float(_entropy(p, None)), abs=1e-3)
    near = AlphaTIM(Identity(6), alpha=1.001, steps=20, lr=0.01)(E).softmax(-1)
    shannon = TIM(Identity(6), steps=20, lr=0.01, support_weight=1.0, conditional_weight=1.0)(
        E
    ).softmax(-1)
    torch.testing.assert_close(near, shannon, rtol=0.02, atol=0.02)


@pytest.mark.parametrize(
    "make",
    [
        lambda: SoftKMeans(Identity(6), scale=0),
        lambda: BDCSPN(Identity(6), scale=0),
        lambda: LaplacianShot(Identity(6), neighbours=0),
        lambda: PTMAP(Identity(6), rate=0),
        lambda: TIM(Identity(6), temperature=0),
        lambda: AlphaTIM(Identity(6), alpha=1),
    ],
)
def test_numbers_out_of_range_are_refused(make) -> None:
    with pytest.raises(ConfigError):
        make()
