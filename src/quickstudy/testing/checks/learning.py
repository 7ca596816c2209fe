"""The check that easy tasks are learned."""

import copy
from typing import Any

import torch

from quickstudy.core.errors import ContractError
from quickstudy.core.learner import AbstractLearner
from quickstudy.core.types import Classes, Episode
from quickstudy.objectives.query_loss import QueryLoss
from quickstudy.testing.checks.requirements import contract_check
from quickstudy.testing.checks.subject import Subject

META_STEPS = 60
META_RATE = 1e-2
BLACK_BOX_STEPS = 800
BLACK_BOX_RATE = 1e-3
_STEPS_PER_MARK = 10
_BLACK_BOX_STEPS_PER_MARK = 40


@contract_check(
    "answers that ignore the support, a wrong sign (scores are higher = closer), or an inner rate "
    "that is far too small or too large."
)
def check_learns_a_separable_toy(subject: Subject) -> None:
    """Tasks that are easy are learned: half-way from chance to perfect, and half the error of an
    answer that ignores the support.

    A learner that cannot do it with its parameters as they are gets a short meta-training; a black
    box a longer and gentler one.
    """
    if subject.learner.traits.black_box:
        steps, rate, steps_per_mark = BLACK_BOX_STEPS, BLACK_BOX_RATE, _BLACK_BOX_STEPS_PER_MARK
    else:
        steps, rate, steps_per_mark = META_STEPS, META_RATE, _STEPS_PER_MARK
    for target in subject.targets:
        learner = copy.deepcopy(subject.learner)
        exam = subject.episode(n_tasks=8, n_shot=5, target=target, seed=10_000)
        reached = _mark(learner, exam)
        needed = 0.5 + 0.5 / subject.n_way if isinstance(target, Classes) else 0.5
        learned = [p for p in learner.parameters() if p.requires_grad]
        optimiser = torch.optim.Adam(learned, lr=rate) if learned else None
        for step in range(steps):
            if reached >= needed or optimiser is None:
                break
            learner.train()
            loss = QueryLoss()(
                learner, subject.episode(n_tasks=4, n_shot=5, target=target, seed=step)
            )
            if not loss.requires_grad:
                break
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            if step % steps_per_mark == steps_per_mark - 1:
                reached = _mark(learner.eval(), exam)
        if reached < needed:
            kind = "accuracy" if isinstance(target, Classes) else "explained share of the variance"
            raise ContractError(
                f"for {target}, expected an {kind} of at least {needed:.3g} on an easy toy, but "
                f"got {reached:.3g}."
            )


def _mark(learner: AbstractLearner[Any], exam: Episode) -> float:
    """Accuracy, or the share of the squared numbers that the answers explain: 0 for an answer that
    ignores the support.
    """
    with torch.no_grad():
        out = learner(exam)
    score = exam.target.score(out, exam.query.y).mean()
    return float(
        score if isinstance(exam.target, Classes) else 1 + score / exam.query.y.square().mean()
    )
