import pytest
import torch

from quickstudy.algorithms import maml
from quickstudy.core.clock import Clock, has_clock
from quickstudy.core.compiled import CompiledGradient
from quickstudy.core.errors import TrainingError
from quickstudy.core.learner import AbstractLearner
from quickstudy.core.objective import AbstractObjective, MetaStep
from quickstudy.core.setting import Setting
from quickstudy.data import Sinusoid
from quickstudy.encoders import MLP
from quickstudy.training import Optimiser, Plan, train


class Watching(AbstractObjective):
    def __init__(self) -> None:
        super().__init__()
        self.clock, self.seen = Clock(), list[int]()

    def forward(self, learner: AbstractLearner, batch):
        self.seen.append(self.clock.now)
        return batch.target.loss(learner(batch), batch.query.y).mean()


def step_of() -> MetaStep:
    return MetaStep(maml(MLP(1, widths=(4,)), n_out=1, inner_lr=0.01, inner_steps=1), Watching())


def test_training_sets_the_clock_before_every_step():
    step, tasks = step_of(), Sinusoid().tasks("train", Setting(0, 5, 5))
    train(
        step,
        tasks,
        plan=Plan(steps=3, tasks_per_step=2, chunk=2, validate_every=0),
        optimiser=Optimiser(),
    )
    assert step.objective.seen == [0, 1, 2]
    assert step.objective.clock.now == 2


def test_a_step_that_changes_with_time_is_not_compiled():
    assert has_clock(step_of())
    with pytest.raises(TrainingError, match="cannot change in the course of training"):
        CompiledGradient(step_of(), how="trace")


def test_the_clock_is_a_buffer_that_copies_can_share():
    clock = Clock()
    assert dict(clock.named_buffers())["steps"].dtype is torch.int64
