"""Recorded steps: the gradients of the step itself, or an error."""

import pytest
import torch

from quickstudy.core.compiled import CompiledGradient
from quickstudy.core.errors import TrainingError
from quickstudy.core.objective import MetaStep
from quickstudy.core.playback import call
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


def test_operations_that_are_played_back_take_the_arguments_of_the_recorded_ones() -> None:
    a, b = torch.arange(6.0).reshape(2, 3), torch.ones(2, 3)
    of_tasks, aten = torch.arange(12.0).reshape(1, 3, 4), torch.ops.aten
    for operation, *arguments in (
        (aten.abs.default, -a),
        (aten.add.Tensor, a, b),
        (aten.add.Tensor, a, 2),
        (aten.addmm.default, torch.ones(2), a, a.T),
        (aten.baddbmm.default, torch.ones(1, 1, 1), of_tasks, of_tasks.mT),
        (aten.bmm.default, of_tasks, of_tasks.mT),
        (aten.cat.default, [a, b], 1),
        (aten.clamp.default, a, 1, 2),
        (aten.clamp.default, a, None, 2),
        (aten.clamp_min.default, a, 1),
        (aten.div.Scalar, a, 3),
        (aten.div.Tensor, a, b),
        (aten.exp.default, a),
        (aten.log.default, b),
        (aten.mean.default, a),
        (aten.mean.dim, a, [0, 1], True),
        (aten.mm.default, a, a.T),
        (aten.mul.Scalar, a, 0.5),
        (aten.mul.Tensor, a, b),
        (aten.neg.default, a),
        (aten.permute.default, of_tasks, [2, 0, 1]),
        (aten.pow.Scalar, 2, a),
        (aten.pow.Tensor_Scalar, a, 2),
        (aten.pow.Tensor_Tensor, a, b),
        (aten.relu.default, a - 2),
        (aten.rsqrt.default, b),
        (aten.select.int, a, 1, -1),
        (aten.sigmoid.default, a),
        (aten.squeeze.default, of_tasks),
        (aten.squeeze.dim, of_tasks, 0),
        (aten.squeeze.dims, of_tasks, [0]),
        (aten.stack.default, [a, b], 1),
        (aten.sub.Tensor, a, b),
        (aten.sum.default, a),
        (aten.sum.dim_IntList, a, [0], True),
        (aten.sum.dim_IntList, a, None),
        (aten.t.default, a),
        (aten.tanh.default, a),
        (aten.transpose.int, of_tasks, 0, -1),
        (aten.unsqueeze.default, a, 0),
        (aten.expand.default, of_tasks, [2, -1, 4]),
        (aten.view.default, a, [3, 2]),
        (aten.view.dtype, a, torch.int32),
    ):
        found, wanted = call(operation)(*arguments), operation(*arguments)
        assert torch.equal(found, wanted)
        assert found.stride() == wanted.stride()
    for operation, arguments, named in (
        (aten.add.Tensor, (a, b), {"alpha": 2}),
        (aten.sub.Tensor, (a, b), {"alpha": 2}),
        (aten.sum.default, (a,), {"dtype": torch.float64}),
        (aten.mean.dim, (a, [0]), {"dtype": torch.float64}),
        (aten.div.Tensor_mode, (a, b), {"rounding_mode": "floor"}),
        (aten.addmm.default, (torch.ones(2), a, a.T), {"beta": 2, "alpha": 3}),
        (aten.baddbmm.default, (torch.ones(1, 1, 1), of_tasks, of_tasks.mT), {"beta": 0}),
    ):
        assert torch.equal(call(operation)(*arguments, **named), operation(*arguments, **named))
    assert torch.equal(call(aten.mul.out)(a, b, out=torch.zeros(2, 3)), a)
