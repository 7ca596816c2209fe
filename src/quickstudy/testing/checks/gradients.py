"""Checks of gradients: where there are none, that they reach everything, that they are exact."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from quickstudy.core.errors import ContractError
from quickstudy.core.learner import AbstractLearner
from quickstudy.core.types import Episode
from quickstudy.objectives.query_loss import QueryLoss
from quickstudy.testing.checks.requirements import contract_check, require_equal
from quickstudy.testing.checks.subject import Subject, adapt, with_unlabelled


@contract_check(
    "torch.autograd.grad inside adapt without torch.enable_grad(), or a result that is not "
    "detached when gradients are off."
)
def check_works_without_grad_mode(subject: Subject) -> None:
    """Without gradients the answers are the same and carry no graph; a state also answers in
    inference mode.
    """
    learner, e = subject.learner, subject.episode()
    expected = learner(e)
    with torch.no_grad():
        state = adapt(learner, e)
        out = learner.predict(state, e.query.x)
    if out.requires_grad or any(leaf.requires_grad for leaf in pytree.tree_leaves(state)):
        raise ContractError(
            "under torch.no_grad() expected a state and scores without a graph, but they require "
            "gradients."
        )
    require_equal(out, expected, "the answers with and without torch.no_grad()")
    with torch.inference_mode():
        require_equal(
            learner.predict(state, e.query.x),
            expected,
            "the answers with and without torch.inference_mode()",
        )


@contract_check(
    "a parameter that no answer depends on, or a .detach(), .data or argmax on the way; remove or "
    "freeze what is not learned."
)
def check_gradient_reaches_every_parameter(subject: Subject) -> None:
    """The query loss has a finite gradient for every parameter that is to be learned.

    It may be exactly zero at the start, behind a layer that starts at zero, but not after a few
    steps of training too.
    """
    learner = subject.learner
    episodes = [
        with_unlabelled(subject.episode(target=target, n_tasks=subject.n_tasks + 1), subject)
        for target in subject.targets
    ]
    unreached = {name for name, p in learner.named_parameters() if p.requires_grad}
    if not unreached:
        return
    optimiser = torch.optim.Adam(learner.parameters(), lr=1e-2)
    for _ in range(3):
        optimiser.zero_grad()
        loss = torch.stack([QueryLoss()(learner, e) for e in episodes]).sum()
        if not loss.requires_grad:
            break
        loss.backward()
        gradients = {name: p.grad for name, p in learner.named_parameters() if p.grad is not None}
        broken = [name for name, g in gradients.items() if not g.isfinite().all()]
        if broken:
            raise ContractError(
                f"expected finite gradients of the query loss, but those of {', '.join(broken)} "
                "are not."
            )
        unreached -= {name for name, g in gradients.items() if g.count_nonzero()}
        optimiser.step()
    if unreached:
        names = ", ".join(sorted(unreached))
        raise ContractError(
            f"expected a gradient of the query loss for every parameter, but {names} got none, or "
            "only zeros."
        )


@contract_check(
    "a detached inner step (say exact_gradient=False for a first-order method), a .float() on the "
    "way, or backward through torch.func.vmap "
    "of inner gradients with an affine normalisation, which is silently wrong: loop over tasks, or "
    "apply scale and shift outside the norm."
)
def check_gradient_is_exact(subject: Subject) -> None:
    """In float64, the gradient of the query loss agrees with finite differences, for each parameter
    along a random direction.
    """
    learner = subject.learner.double()
    subject = replace(subject, learner=learner)
    e = with_unlabelled(subject.episode(n_tasks=subject.n_tasks + 1), subject)
    named = [(name, p) for name, p in learner.named_parameters() if p.requires_grad]
    if not named:
        return
    gradients = torch.autograd.grad(
        QueryLoss()(learner, e), [p for _, p in named], allow_unused=True
    )
    for (name, p), gradient in zip(named, gradients, strict=True):
        direction = torch.randn_like(p)
        direction /= direction.norm()
        promised = 0.0 if gradient is None else float((gradient * direction).sum())
        # A kink of ReLU or max-pooling inside a wide difference is rarely inside a narrow one too;
        # a wide one forgives a rough solver.
        for width in (1e-6, 1e-8, 1e-4):
            measured = _slope(learner, e, p, direction, width)
            if abs(measured - promised) <= 1e-4 * max(abs(measured), abs(promised)) + 1e-7:
                break
        else:
            raise ContractError(
                f"expected the derivative of the query loss along a direction of {name} to be "
                f"{measured:.6g}, as finite differences "
                f"measure it, but backward gives {promised:.6g}."
            )


def _slope(
    learner: AbstractLearner[Any], e: Episode, p: Tensor, direction: Tensor, width: float
) -> float:
    """Central difference of the query loss for parameter ``p`` along ``direction``."""
    home, losses = p.detach().clone(), []
    for sign in (1, -1):
        with torch.no_grad():
            p.copy_(home + sign * width * direction)
        losses.append(float(QueryLoss()(learner, e).detach()))
    with torch.no_grad():
        p.copy_(home)
    return (losses[0] - losses[1]) / (2 * width)
