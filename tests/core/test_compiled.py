"""Recorded steps: the gradients of the step itself, or an error."""

import pytest
import torch

from quickstudy.core.compiled import CompiledGradient
from quickstudy.core.errors import TrainingError
from quickstudy.core.objective import MetaStep
from quickstudy.core.types import Episode
from quickstudy.objectives import QueryLoss
from quickstudy.testing import toy_episode, toy_learner


def step_of(name: str) -> MetaStep:
    return MetaStep(toy_learner(name), QueryLoss()).train()


@pytest.mark.parametrize("name", ["maml", "protonet", "matching", "r2d2", "semi_soft", "snail"])
def test_a_recorded_step_has_the_gradient_of_the_step_on_other_tasks(name: str) -> None:
    step = step_of(name)
    recorded = CompiledGradient(step, how="trace")
    parameters = [p for p in step.parameters() if p.requires_grad]
    for seed in (1, 2):
        episode = toy_episode(n_tasks=1, seed=seed)
        loss, found = recorded(step, episode)
        expected = step(episode)
        gradient = torch.autograd.grad(expected, parameters, allow_unused=True)
        assert torch.equal(loss, expected)
        assert [g is None for g in found] == [g is None for g in gradient]
        for ours, theirs in zip(found, gradient, strict=True):
            assert ours is None or theirs is None or torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("metaoptnet", "data-dependent"),
        ("linear_probe", "numbers from elsewhere"),  # its solver is not torch's
        ("hallucinator", "random generator"),
        ("matching_fce", ""),  # torch's LSTM does not play back
    ],
)
def test_what_would_not_be_the_same_on_other_tasks_is_not_recorded(name: str, reason: str) -> None:
    step = step_of(name)
    with pytest.raises(TrainingError, match=f"This step cannot be compiled.*{reason}"):
        CompiledGradient(step, how="trace")(step, toy_episode(n_tasks=1))


class Noisy(MetaStep):
    """Draws from torch's generator."""

    def forward(self, batch):
        return super().forward(batch) + torch.rand(()) * next(self.parameters()).sum()


def test_what_is_drawn_when_a_step_is_recorded_is_what_the_step_draws() -> None:
    step = Noisy(toy_learner("protonet"), QueryLoss()).train()
    recorded = CompiledGradient(step, how="trace")
    for seed in (1, 1, 2):
        episode = toy_episode(n_tasks=1, seed=seed)
        torch.manual_seed(seed)
        loss, _ = recorded(step, episode)
        torch.manual_seed(seed)
        assert torch.equal(loss, step(episode))


class Turning(torch.nn.Module):
    """Turns the axes of its weight there and back, and there and on."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.arange(8.0).reshape(2, 2, 2))

    def forward(self, batch: Episode) -> torch.Tensor:
        there = self.weight.permute(1, 2, 0)
        views = (
            there.permute(2, 0, 1),
            there.permute(1, 2, 0),
            self.weight.transpose(0, 2).transpose(2, 0),
            self.weight.transpose(0, 1).transpose(-1, 1),
            self.weight.transpose(0, -1).permute(2, 1, 0),
            self.weight[0].t().t(),
            self.weight[1].t().transpose(0, 1).t(),
        )
        return torch.stack([(view.exp().cumsum(0) ** 2).sum() for view in views]).sum()


def test_views_that_undo_each_other_leave_the_others_as_they_are() -> None:
    step, episode = Turning(), toy_episode(n_tasks=1)
    recorded = CompiledGradient(step, how="trace")
    loss, (found,) = recorded(step, episode)
    expected = step(episode)
    assert torch.equal(loss, expected)
    assert found is not None
    assert torch.equal(found, torch.autograd.grad(expected, step.weight)[0])
