"""The objective whose gradient is Reptile's update."""

import pytest
import torch

from quickstudy.algorithms import maml, proto_maml, reptile
from quickstudy.core.errors import ConfigError
from quickstudy.core.types import Episode, Examples
from quickstudy.encoders import MLP, Conv4
from quickstudy.objectives import Reptile
from quickstudy.testing import toy_episode


def double(e: Episode) -> Episode:
    return Episode(
        Examples(e.support.x.double() / 3, e.support.y),
        Examples(e.query.x.double() / 3, e.query.y),
        e.target,
    )


def joined(e: Episode) -> Examples:
    return Examples(torch.cat((e.support.x, e.query.x), 1), torch.cat((e.support.y, e.query.y), 1))


def ends(learner, e):
    """Where learning each task leads, [T ...]; one task after another."""
    with torch.no_grad():
        of_each = [learner.adapt(joined(e.task(t)), e.target)[0] for t in range(e.n_tasks)]
    return {n: torch.cat([fast[n] for fast in of_each]) for n in learner.fast_names}


@pytest.mark.parametrize("n_tasks", [1, 3])
@pytest.mark.parametrize("shape", [(6,), (1, 16, 16)], ids=str)
def test_its_gradient_is_the_way_back_from_the_mean_of_the_ends(shape, n_tasks):
    encoder = MLP(6, widths=(8,)) if len(shape) == 1 else Conv4(size=16, width=4, norm="batch")
    learner = reptile(encoder, n_out=4, inner_lr=0.01, inner_steps=3).double()
    e = double(toy_episode(n_tasks=n_tasks, shape=shape))
    named, after = dict(learner.named_parameters()), ends(learner, e)
    loss = Reptile()(learner, e)
    distances = sum((named[n] - after[n]).square().sum() for n in after)
    torch.testing.assert_close(loss, 0.5 * distances / n_tasks, rtol=1e-10, atol=0)
    for name, g in zip(named, torch.autograd.grad(loss, list(named.values())), strict=True):
        expected = named[name].detach() - after[name].mean(0)
        assert expected.norm() > 0
        torch.testing.assert_close(g, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("n_tasks", [1, 3])
def test_a_step_of_sgd_goes_the_share_of_the_way_that_its_rate_says(n_tasks):
    learner = reptile(MLP(6, widths=(8,)), n_out=4, inner_lr=0.01, inner_steps=3).double()
    e = double(toy_episode(n_tasks=n_tasks))
    rate = 0.25
    before, after = {n: p.detach().clone() for n, p in learner.named_parameters()}, ends(learner, e)
    optimiser = torch.optim.SGD(learner.parameters(), lr=rate, momentum=0.0)
    Reptile()(learner, e).backward()
    optimiser.step()
    for name, p in learner.named_parameters():
        torch.testing.assert_close(
            p.detach(),
            before[name] + rate * (after[name].mean(0) - before[name]),
            rtol=1e-12,
            atol=1e-14,
        )


def test_queries_are_examples_like_the_others():
    learner = reptile(MLP(6, widths=(8,)), n_out=4, inner_steps=2).double()
    e = double(toy_episode())
    swapped = Episode(e.query, e.support, e.target)
    torch.testing.assert_close(Reptile()(learner, e), Reptile()(learner, swapped))
    fewer = Episode(e.support, Examples(e.query.x[:, :1], e.query.y[:, :1]), e.target)
    assert not torch.allclose(Reptile()(learner, e), Reptile()(learner, fewer))


def test_without_inner_steps_nothing_pulls():
    assert Reptile()(maml(MLP(6), n_out=4, inner_steps=0), toy_episode()).item() == 0


def test_what_is_not_adapted_is_not_pulled():
    learner = maml(Conv4(size=16, width=4, norm="batch"), n_out=4, inner_steps=1)
    Reptile()(learner, toy_episode(shape=(1, 16, 16))).backward()
    assert all(
        (p.grad is not None) == (n in learner.fast_names) for n, p in learner.named_parameters()
    )


def test_no_graph_is_kept_of_the_way_there():
    """The end is a constant: the loss is quadratic in the start, so its gradient grows with the
    distance alone.
    """
    learner = maml(MLP(6, widths=(8,)), n_out=4, inner_lr=0.1, inner_steps=2).double()
    e = double(toy_episode(n_tasks=1))
    (g,) = torch.autograd.grad(Reptile()(learner, e), learner.head.weight, create_graph=True)
    (second,) = torch.autograd.grad(g.sum(), learner.head.weight)
    assert torch.equal(second, torch.ones_like(second))


def test_a_head_that_starts_from_the_support_can_be_pulled_too():
    learner, e = proto_maml(MLP(6, widths=(8,)), inner_steps=2).double(), double(toy_episode())
    assert all(
        g.norm() > 0 for g in torch.autograd.grad(Reptile()(learner, e), list(learner.parameters()))
    )


def test_labelled_examples_are_refused():
    with pytest.raises(ConfigError, match="pull needs episodes, but got labelled examples"):
        Reptile()(maml(MLP(6), n_out=4), toy_episode().support)
