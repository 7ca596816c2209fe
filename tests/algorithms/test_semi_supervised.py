"""Semi-supervised prototypes against loops over the paper's formulas."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from quickstudy.algorithms import ProtoNet, SemiCluster, SemiMasked, SemiSoft
from quickstudy.core.errors import ConfigError
from quickstudy.core.types import Episode, Examples
from quickstudy.encoders import Identity
from quickstudy.testing import toy_episode

LEARNERS = (SemiSoft, SemiCluster, SemiMasked)


def episode(n_tasks: int = 3, scale: float = 0.2) -> Episode:
    """Classes that lie so close that most unlabelled examples are shared by several."""
    e, other = (toy_episode(n_tasks=n_tasks, n_shot=(1, 2, 3, 2), seed=seed) for seed in (0, 1))
    # 6 of the task's classes, 3 of others
    beside = torch.cat((e.query.x.flip(1)[:, ::2], other.query.x[:, :3]), 1)
    return Episode(
        Examples(scale * e.support.x, e.support.y, unlabelled=scale * beside),
        Examples(scale * e.query.x, e.query.y),
        e.target,
    )


def masked(seed: int = 0) -> SemiMasked:
    """With weights as large as training makes them."""
    torch.manual_seed(seed)
    learner = SemiMasked(Identity(6))
    for p in learner.parameters():
        torch.nn.init.normal_(p, std=0.5)
    return learner


def slow(e: Episode, weight: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Scores, one number at a time; ``weight(means, u)`` is [U C]."""
    assert e.support.unlabelled is not None
    out = torch.zeros(e.n_tasks, e.query.x.shape[1], 4)
    for t in range(e.n_tasks):
        x, y, u = e.support.x[t], e.support.y[t], e.support.unlabelled[t]
        means = torch.stack([x[y == c].mean(0) for c in range(4)])
        w = weight(means, u)
        for c in range(4):
            total = sum(x[i] for i in range(len(x)) if y[i] == c) + sum(
                w[j, c] * u[j] for j in range(len(u))
            )
            mean = total / (int((y == c).sum()) + sum(w[j, c] for j in range(len(u))))
            for q in range(out.shape[1]):
                out[t, q, c] = -((e.query.x[t, q] - mean) ** 2).sum()
    return out


def soft(means: Tensor, u: Tensor) -> Tensor:
    w = torch.zeros(len(u), len(means))
    for j in range(len(u)):
        near = [torch.exp(-((u[j] - m) ** 2).sum()) for m in means]
        w[j] = torch.stack(near) / sum(near)
    return w


def agree(came: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(came, expected, rtol=1e-4, atol=1e-4)


def test_soft_by_a_loop() -> None:
    e = episode()
    agree(SemiSoft(Identity(6))(e), slow(e, soft))
    assert not torch.allclose(SemiSoft(Identity(6))(e), ProtoNet(Identity(6))(e), atol=1e-2)


@pytest.mark.parametrize("radius", [0.8, 2.0])
def test_cluster_by_a_loop(radius: float) -> None:
    def with_a_stray(means: Tensor, u: Tensor) -> Tensor:
        w = torch.zeros(len(u), len(means))
        for j in range(len(u)):
            near = [torch.exp(-((u[j] - m) ** 2).sum() / 2) for m in means]
            stray = torch.exp(-(u[j] ** 2).sum() / (2 * radius**2)) / radius
            w[j] = torch.stack(near) / (sum(near) + stray)
        return w

    e = episode()
    agree(SemiCluster(Identity(6), radius=radius)(e).detach(), slow(e, with_a_stray))


def test_masked_by_a_loop() -> None:
    learner = masked()

    def with_masks(means: Tensor, u: Tensor) -> Tensor:
        w = soft(means, u)
        for c in range(len(means)):
            d = torch.stack([((v - means[c]) ** 2).sum() for v in u])
            d = d / (sum(d) / len(d))
            var = sum((v - 1) ** 2 for v in d) / len(d)
            skew = sum((v - 1) ** 3 for v in d) / len(d) / var**1.5
            kurtosis = sum((v - 1) ** 4 for v in d) / len(d) / var**2 - 3
            first, _, last = learner.judge
            hidden = torch.tanh(
                first.weight @ torch.stack([min(d), max(d), var, skew, kurtosis]) + first.bias
            )
            beta, gamma = torch.exp(last.weight @ hidden + last.bias)
            for j in range(len(u)):
                w[j, c] = w[j, c] / (1 + torch.exp(gamma * (d[j] - beta)))
        return w

    e = episode()
    agree(learner(e).detach(), slow(e, with_masks).detach())


@pytest.mark.parametrize("make", LEARNERS)
def test_without_unlabelled_examples_they_are_prototypes(make: type) -> None:
    e = episode()
    for unlabelled in (None, torch.zeros(3, 0, 6)):
        bare = replace(e, support=replace(e.support, unlabelled=unlabelled))
        assert torch.equal(make(Identity(6))(bare), ProtoNet(Identity(6))(bare))


def test_masks_of_one_are_soft_kmeans() -> None:
    learner, e = SemiMasked(Identity(6)), episode()
    torch.nn.init.zeros_(learner.judge[2].weight)
    learner.judge[2].bias.data = torch.tensor([6.0, 3.0])  # β = e⁶, γ = e³
    agree(learner(e).detach(), SemiSoft(Identity(6))(e))


def test_without_a_stray_cluster_is_soft_kmeans_at_half_the_distances() -> None:
    e = episode()
    agree(
        SemiCluster(Identity(6), radius=1e30)(e).detach(),
        slow(e, lambda means, u: soft(means / 2**0.5, u / 2**0.5)),
    )


@pytest.mark.parametrize("make", [SemiSoft, SemiCluster, lambda encoder: masked()])
def test_the_order_of_the_unlabelled_and_the_names_of_the_classes_do_not_matter(
    make: Callable[[Identity], torch.nn.Module],
) -> None:
    learner, e = make(Identity(6)), episode()
    assert e.support.unlabelled is not None
    out = learner(e)
    agree(
        learner(replace(e, support=replace(e.support, unlabelled=e.support.unlabelled.flip(1)))),
        out,
    )
    agree(learner(replace(e, support=replace(e.support, y=3 - e.support.y))), out.flip(-1))


@pytest.mark.parametrize("make", LEARNERS)
def test_unlabelled_examples_that_are_all_alike_or_lie_on_a_mean_give_numbers(make: type) -> None:
    e = episode()
    means = torch.stack([e.support.x[t][e.support.y[t] == 0].mean(0) for t in range(3)])[:, None]
    for u in (means, means.repeat(1, 4, 1), torch.zeros(3, 2, 6), 1e4 * torch.ones(3, 2, 6)):
        learner = make(Identity(6))
        out = learner(replace(e, support=replace(e.support, unlabelled=u)))
        assert out.isfinite().all()
        if out.requires_grad:
            out.logsumexp(-1).mean().backward()
            assert all(p.grad is None or p.grad.isfinite().all() for p in learner.parameters())


def test_distractors_are_masked_after_a_little_training() -> None:
    """One distractor class far off: the masks learn to leave it out, which soft k-means cannot."""
    torch.manual_seed(0)
    learner = SemiMasked(Identity(2))
    optimiser = torch.optim.Adam(learner.parameters(), lr=3e-2)

    def task(seed: int) -> Episode:
        g = torch.Generator().manual_seed(seed)
        centre = torch.tensor([[0.0, 0.0], [3.0, 0.0]])
        y = torch.tensor([0, 1])

        def drawn(c: Tensor) -> Tensor:
            return c + 0.7 * torch.randn(16, *c.shape, generator=g)

        unknowns = torch.tensor([0.0, 6.0]).expand(6, 2)
        u = torch.cat((drawn(centre.repeat(3, 1)), drawn(unknowns)), 1)
        query = drawn(centre.repeat(4, 1))
        return Episode(
            Examples(drawn(centre), y.expand(16, 2), unlabelled=u),
            Examples(query, y.repeat(4).expand(16, 8)),
            toy_episode(n_way=2).target,
        )

    for step in range(60):
        e = task(step)
        optimiser.zero_grad()
        e.target.loss(learner(e), e.query.y).mean().backward()
        optimiser.step()
    exam = task(1000)
    loss = {
        name: float(exam.target.loss(m(exam), exam.query.y).mean().detach())
        for name, m in (("m", learner), ("s", SemiSoft(Identity(2))))
    }
    assert loss["m"] < loss["s"]


def test_a_radius_of_zero_is_refused() -> None:
    with pytest.raises(ConfigError, match="radius must be above 0"):
        SemiCluster(Identity(6), radius=0.0)
