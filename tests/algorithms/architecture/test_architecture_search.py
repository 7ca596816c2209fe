"""T-NAS and MetaNAS: steps on weights and logits."""

import torch

from quickstudy.algorithms import meta_nas, t_nas
from quickstudy.core.objective import MetaStep
from quickstudy.encoders import MixedCellNet
from quickstudy.objectives import QueryLoss, Reptile
from quickstudy.testing import toy_episode


def episode(n_tasks: int = 2):
    return toy_episode(n_tasks=n_tasks, n_way=3, n_shot=2, n_query=2, shape=(1, 16, 16))


def net(**options) -> MixedCellNet:
    torch.manual_seed(0)
    return MixedCellNet(channels=4, nodes=2, layers=1, norm="batch", **options)


def test_a_step_moves_weights_and_logits_each_at_its_rate() -> None:
    learner = t_nas(net(), n_out=3, inner_lr=0.1, logits_lr=20.0, inner_steps=1).eval()
    e = episode(1)
    fast, _ = learner.adapt(e.support, e.target, e.query.x)
    loss = e.target.loss(
        learner.predict(
            ({n: p[None] for n, p in learner.start(e.support, e.target).items()}, ()), e.support.x
        ),
        e.support.y,
    ).sum()
    names = list(learner.fast_names)
    every = dict(learner.named_parameters())
    for n, g in zip(names, torch.autograd.grad(loss, [every[n] for n in names]), strict=True):
        rate = 20.0 if n == "encoder.logits" else 0.1
        torch.testing.assert_close(fast[n][0], every[n] - rate * g, rtol=1e-3, atol=1e-5)
    assert float((fast["encoder.logits"][0] - every["encoder.logits"]).detach().abs().max()) > 0


def test_the_outer_gradient_is_that_at_the_end_for_both() -> None:
    """First order: what the query loss gives at (w_J, θ_J)."""
    learner, e = t_nas(net(), n_out=3, inner_steps=2), episode(1)
    QueryLoss()(learner, e).backward()
    fast, _ = learner.adapt(e.support, e.target, e.query.x)
    fast = {n: p.detach().requires_grad_() for n, p in fast.items()}
    loss = e.target.loss(learner.predict((fast, ()), e.query.x), e.query.y).mean()
    (g,) = torch.autograd.grad(loss, [fast["encoder.logits"]])
    torch.testing.assert_close(learner.encoder.logits.grad, g[0], rtol=1e-3, atol=1e-6)


def test_without_logits_only_the_outer_loop_moves_them() -> None:
    learner, e = t_nas(net(), n_out=3, inner_steps=1, adapts_logits=False), episode()
    assert "encoder.logits" not in learner.fast_names
    QueryLoss()(learner, e).backward()
    assert float(learner.encoder.logits.grad.abs().max()) > 0


def test_reptile_pulls_both() -> None:
    learner, e = meta_nas(net(), n_out=3, inner_steps=2), episode()
    MetaStep(learner, Reptile())(e).backward()
    logits = learner.encoder.logits
    both = type(e.support)(
        torch.cat((e.support.x, e.query.x), 1), torch.cat((e.support.y, e.query.y), 1)
    )
    fast, _ = learner.adapt(both, e.target, e.query.x)
    torch.testing.assert_close(
        logits.grad, (logits - fast["encoder.logits"]).mean(0).detach(), rtol=1e-3, atol=1e-6
    )
    assert float(logits.grad.abs().max()) > 1e-3
