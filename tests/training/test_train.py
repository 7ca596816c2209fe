"""``train`` without ceremony."""

import sys
from dataclasses import replace
from pathlib import Path

import jaxtyping
import pytest
import torch
from torch import nn

from quickstudy.algorithms import MANN, ProtoNet, Siamese
from quickstudy.core.errors import ConfigError, TrainingError
from quickstudy.core.learner import AbstractLearner
from quickstudy.core.objective import Batch, MetaStep
from quickstudy.core.rng import seed_everything
from quickstudy.encoders import MLP, Identity
from quickstudy.evaluation import evaluate
from quickstudy.objectives import Online, Pairs, QueryLoss, default_objective
from quickstudy.training import Optimiser, Plan, train

sys.path.insert(0, str(Path(__file__).parent))

from test_loop import OPTIMISER, PLAN, same, step_of, tasks, weights


def learner() -> ProtoNet:
    seed_everything("test")
    return ProtoNet(MLP(5, widths=(16,)))


def parts(learner: AbstractLearner) -> list[torch.Tensor]:
    return [t.clone() for t in learner.state_dict().values()]


def test_a_plain_learner_trains_as_with_all_ceremony() -> None:
    plain, step = learner(), MetaStep(learner(), QueryLoss())
    result = train(plain, tasks(), steps=7, lr=0.01)
    train(step, tasks(), plan=Plan(steps=7), optimiser=Optimiser(lr=0.01))
    assert (result.finished, result.steps, result.tasks) == (True, 7, 7)
    assert same(parts(plain), parts(step.learner))
    assert not same(parts(plain), parts(learner()))
    assert not plain.training


def test_steps_and_rate_change_a_plan_and_an_optimiser_that_are_given() -> None:
    a, b = step_of(), step_of()
    plan = replace(PLAN, validate_every=0)
    train(a, tasks(), steps=5, lr=0.02, plan=plan, optimiser=OPTIMISER)
    train(b, tasks(), plan=replace(plan, steps=5), optimiser=replace(OPTIMISER, lr=0.02))
    assert same(weights(a), weights(b))


def test_validation_tasks_are_used_without_a_plan() -> None:
    seen = []
    own = learner()
    result = train(
        own,
        tasks(),
        steps=20,
        val_tasks=tasks(5),
        on_validation=lambda step, report: seen.append((step, report.mean)),
    )
    assert [step for step, _ in seen] == list(range(2, 21, 2))
    assert result.best_val == max(mean for _, mean in seen)
    assert evaluate(own, tasks(5), n_tasks=200).mean == result.best_val


def test_a_plan_works_as_it_is() -> None:
    assert (Plan().steps, Plan().validate_every) == (1000, 0)
    step = step_of()
    assert train(step, tasks(), steps=2, plan=Plan()).finished


@pytest.mark.parametrize(
    ("learner", "objective"),
    [
        (ProtoNet(Identity(4)), QueryLoss),
        (Siamese(Identity(4)), Pairs),
        (MANN(Identity(4), n_out=3), Online),
    ],
)
def test_the_default_objective_is_the_learners_own(
    learner: AbstractLearner, objective: type
) -> None:
    assert type(default_objective(learner)) is objective


def test_a_folder_may_be_given_as_text(tmp_path: Path) -> None:
    train(learner(), tasks(), steps=2, out=str(tmp_path / "run"))
    assert (tmp_path / "run" / "last.pt").exists()


def test_nothing_to_train() -> None:
    with pytest.raises(ConfigError, match="none of its 0 parameters requires a gradient"):
        train(ProtoNet(Identity(5)), tasks(), steps=1)
    frozen = learner()
    for p in frozen.parameters():
        p.requires_grad_(False)
    with pytest.raises(ConfigError, match=r"none of its 2 parameters.*requires_grad_"):
        train(frozen, tasks(), steps=1)


class Detached(QueryLoss):
    """The loss as a number."""

    def forward(self, learner: AbstractLearner, batch: Batch) -> torch.Tensor:
        return torch.tensor(super().forward(learner, batch).item())


def test_a_loss_that_depends_on_no_parameter_is_refused_in_words() -> None:
    with pytest.raises(TrainingError, match=r"depends on none .* \.item\(\)"):
        train(MetaStep(learner(), Detached()), tasks(), steps=1)


def test_parts_of_the_wrong_type_are_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    # Users have no type checks at run time.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    own = learner()
    with pytest.raises(ConfigError, match="Optimiser, which is built for each training"):
        train(own, tasks(), optimiser=torch.optim.Adam(own.parameters()))
    with pytest.raises(ConfigError, match="needs a learner"):
        train(nn.Linear(5, 2), tasks())
    with pytest.raises(ConfigError, match="plan must be a Plan"):
        train(own, tasks(), plan=10)


def test_a_plan_and_validation_tasks_belong_together() -> None:
    with pytest.raises(ConfigError, match="validates every 4 steps but there are no validation"):
        train(learner(), tasks(), plan=PLAN)
    with pytest.raises(ConfigError, match=r"never validates.*validate_every=2"):
        train(learner(), tasks(), plan=Plan(steps=20), val_tasks=tasks(5))
