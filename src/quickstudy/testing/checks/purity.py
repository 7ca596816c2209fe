"""Checks that learning a task leaves everything else as it was."""

import random

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from quickstudy.core.errors import ContractError
from quickstudy.testing.checks.requirements import contract_check, require_equal
from quickstudy.testing.checks.subject import Subject, adapt, named_tensors, state_shapes


@contract_check(
    "something kept on self by adapt, or a tensor changed in place; adapt returns what it learned "
    "and keeps nothing."
)
def check_adapt_is_pure(subject: Subject) -> None:
    """Learning a task changes neither the learner, nor its inputs, nor what was learned before."""
    learner, e = subject.learner, subject.episode()
    given, before = pytree.tree_map(torch.clone, e), named_tensors(learner)
    state = adapt(learner, e)
    first = learner.predict(state, e.query.x)
    adapt(learner, subject.episode(seed=1, n_shot=3))
    if not all(map(torch.equal, pytree.tree_leaves(e), pytree.tree_leaves(given))):
        raise ContractError(
            "expected the episode as it was, but its tensors were changed in place."
        )
    after = named_tensors(learner)
    changed = [
        name
        for name in sorted(before.keys() | after.keys())
        if not _same(before.get(name), after.get(name))
    ]
    if changed:
        raise ContractError(
            f"expected parameters and buffers as they were, but {', '.join(changed)} changed."
        )
    marked = [name for name, p in learner.named_parameters() if p.grad is not None]
    if marked:
        raise ContractError(
            f"expected no .grad before anyone called backward, but {', '.join(marked)} have one."
        )
    require_equal(
        learner.predict(state, e.query.x),
        first,
        "the answers from a state, before and after another task was learned",
    )
    require_equal(
        learner(e), first, "the answers to the same episode, the first and the second time"
    )


@contract_check(
    "torch.rand, numpy.random or a scikit-learn solver without random_state; draw from "
    "quickstudy.core.rng.generator(key) instead."
)
def check_seed_is_idempotent(subject: Subject) -> None:
    """In eval mode the same task has one answer, whatever the global generators' state, and they
    are left untouched.
    """
    e = subject.episode()
    states = torch.get_rng_state(), str(np.random.get_state()), random.getstate()  # noqa: NPY002
    first = subject.learner(e)
    now = torch.get_rng_state(), str(np.random.get_state())  # noqa: NPY002
    if not torch.equal(now[0], states[0]) or now[1] != states[1]:
        raise ContractError(
            "expected torch's and numpy's global generators to be left alone in eval mode, but one "
            "was drawn from."
        )
    # Of Python's own generator only the effect is judged: beartype, where it checks annotations,
    # draws from it too.
    try:
        random.seed(1)
        require_equal(
            subject.learner(e), first, "the answers with one global seed and with another"
        )
    finally:
        random.setstate(states[2])


@contract_check("a memory on self, or a state that collects the queries it has answered.")
def check_state_size_is_constant(subject: Subject) -> None:
    """A state has the same size however many tasks share its batch, were learned before, or queries
    were answered from it.

    It may grow with the support: a nearest neighbour keeps all of it.
    """
    learner, e = subject.learner, subject.episode()
    state = adapt(learner, e)
    size = state_shapes(state)
    for _ in range(3):
        learner.predict(state, e.query.x)
        if state_shapes(state) != size:
            raise ContractError(
                f"expected predict to leave the state's shapes, {size}, but they became "
                f"{state_shapes(state)}."
            )
    larger = subject.episode(n_tasks=subject.n_tasks + 2)
    for what, again in (
        ("after tasks had been learned and queries answered", e),
        ("in a larger batch", larger),
    ):
        came = state_shapes(adapt(learner, again))
        if came != size:
            raise ContractError(
                f"expected states of shapes {size} per task, but {what} they are {came}."
            )


def _same(a: Tensor | None, b: Tensor | None) -> bool:
    return a is not None and b is not None and torch.equal(a, b)
