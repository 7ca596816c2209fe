"""Every algorithm keeps the contract."""

from collections.abc import Iterator

import pytest

from quickstudy.algorithms import ALGORITHMS, ProtoNet, maml
from quickstudy.encoders import MLP, Conv4
from quickstudy.testing import Subject, check_learner, toy_learner, yield_checks
from quickstudy.testing.checks import (
    check_any_way,
    check_exports,
    check_learns_a_separable_toy,
    check_shapes,
)
from quickstudy.testing.checks.contract import ONCE
from quickstudy.testing.checks.requirements import Check

# A plain LSTM has not learned the toy after thousands of steps: what its documentation says of it.
# Its own test has its oracle.
HOPELESS = {("lstm", check_learns_a_separable_toy)}

# Whether a learner learns is seen with the steps that it takes by default. Everything else that is
# promised of it holds for any number of steps, and is tried with fewer.
FEWER_STEPS = {
    "alpha_tim": {"steps": 8},
    "baseline": {"epochs": 8},
    "baseline_pp": {"epochs": 8},
    "cosine_tuning": {"steps": 6},
    "imaml": {"inner_steps": 8, "cg_steps": 3},
    "learned_optimiser": {"inner_steps": 4},
    "meta_lstm": {"inner_steps": 4},
    "meta_nas": {"inner_steps": 2, "test_steps": 4},
    "metal": {"inner_steps": 2},
    "pmf": {"steps": 4},
    "pt_map": {"steps": 5},
    "reptile": {"inner_steps": 2, "test_steps": 5},
    "tim": {"steps": 8},
    "transductive_tuning": {"steps": 5},
}

# Tried on one task and on three. Each other check compares a batch of tasks with every task alone,
# or looks at nothing that the number of tasks could change.
ON_ONE_TASK_TOO = {check_shapes, check_any_way}


def cases() -> Iterator[tuple[str, int, Check]]:
    """Each learner with each check that its traits call for."""
    exported = set()
    for name in ALGORITHMS:
        learner = toy_learner(name)
        for check in yield_checks(learner.traits):
            if (name, check) in HOPELESS:
                continue
            # What is exported is how a class predicts: once for all learners of that class.
            if check is check_exports and type(learner) in exported:
                continue
            if check is check_exports:
                exported.add(type(learner))
            if check not in ONCE:
                yield name, 3, check
            if check in ONCE or check in ON_ONE_TASK_TOO:
                yield name, 1, check


CASES = [
    pytest.param(*case, id=f"{case[0]}-T{case[1]}-{case[2].__name__.removeprefix('check_')}")
    for case in cases()
]


@pytest.mark.parametrize(("name", "n_tasks", "check"), CASES)
def test_algorithm_keeps_the_contract(name, n_tasks, check):
    options = {} if check is check_learns_a_separable_toy else FEWER_STEPS.get(name, {})
    check(Subject(toy_learner(name, **options), n_tasks=n_tasks, builder=ALGORITHMS[name]))


class OneByOne(MLP):
    stacks = False


def test_maml_on_an_encoder_that_does_not_stack_keeps_the_contract():
    check_learner(maml(OneByOne(6, widths=(8,)), n_out=4), n_tasks=(2,), builder=maml)


@pytest.mark.parametrize("norm", ["batch", "running", "support", "group"])
def test_protonet_on_images_keeps_the_contract(norm):
    check_learner(ProtoNet(Conv4(size=16, width=8, norm=norm)), shape=(1, 16, 16), n_tasks=(2,))


@pytest.mark.parametrize("norm", ["batch", "support", "group"])
def test_maml_on_images_keeps_the_contract(norm):
    learner = maml(Conv4(size=16, width=8, norm=norm), n_out=4, inner_lr=0.05, inner_steps=2)
    check_learner(learner, shape=(1, 16, 16), n_tasks=(2,), builder=maml)


def test_maml_with_running_statistics_keeps_the_contract_but_does_not_learn():
    # Running averages over the steps of an inner loop fit none of them: known to spoil MAML
    # (Bronskill et al. 2020, arXiv:2003.03284).
    learner = maml(Conv4(size=16, width=8, norm="running"), n_out=4, inner_lr=0.05, inner_steps=2)
    for check in yield_checks(learner.traits):
        if check is not check_learns_a_separable_toy:
            check(Subject(learner, shape=(1, 16, 16), n_tasks=2, builder=maml))
