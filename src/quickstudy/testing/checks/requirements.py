"""What the checks require, with errors that say what was expected and what came."""

import functools
from collections.abc import Callable
from typing import TypeAlias, TypeVar

import torch
from torch import Tensor

from quickstudy.core.errors import ContractError
from quickstudy.core.types import Episode
from quickstudy.testing.checks.subject import AbstractSubject, Subject

TOLERANCE = 2e-4
"""Of the largest number compared: float32 sums in another order, through a few gradient steps."""
COARSE = 1e-2
"""Between precisions and devices, where a ReLU or a maximum may fall to the other side in an inner
step.
"""

Checked = TypeVar("Checked", bound=AbstractSubject)
Check: TypeAlias = Callable[[Subject], None]


def contract_check(
    usual_cause: str,
) -> Callable[[Callable[[Checked], None]], Callable[[Checked], None]]:
    """Run the body on a copy in eval mode, leave the global generators alone, and let every failure
    say the same things.
    """

    def wrap(body: Callable[[Checked], None]) -> Callable[[Checked], None]:
        @functools.wraps(body)
        def check(subject: Checked) -> None:
            who, name = type(subject.part).__name__, body.__name__.removeprefix("check_")
            try:
                with torch.random.fork_rng(range(torch.cuda.device_count())), torch.enable_grad():
                    torch.manual_seed(0)
                    body(subject.copied())
            except Exception as error:
                came = (
                    str(error)
                    if isinstance(error, ContractError)
                    else f"the {subject.kind} raised {type(error).__name__}: {str(error)[:1000]}"
                )
                where = f"{who} fails the check '{name}' at n_tasks={subject.n_tasks}"
                raise ContractError(f"{where}: {came}\nUsual cause: {usual_cause}") from error

        return check

    return wrap


def require_scores(e: Episode, out: Tensor, when: str) -> None:
    """Raise unless ``out`` are finite scores of the episode's queries."""
    expected = (*e.query.x.shape[:2], e.target.width)
    if out.shape != expected:
        raise ContractError(
            f"{when}, expected scores of shape [T Q O] = {expected}, but got {tuple(out.shape)}."
        )
    if not out.isfinite().all():
        raise ContractError(
            f"{when}, expected finite scores, but {int((~out.isfinite()).sum())} of {out.numel()} "
            "are not."
        )


def require_equal(
    came: Tensor, expected: Tensor, what: str, *, tolerance: float = TOLERANCE
) -> None:
    """Raise unless equal up to ``tolerance`` times the largest finite number expected."""
    if came.shape != expected.shape:
        raise ContractError(
            f"expected {what} to have one shape, but they have {tuple(came.shape)} and "
            f"{tuple(expected.shape)}."
        )
    came, expected = came.detach(), expected.detach()
    finite = expected[expected.isfinite()]
    size = float(finite.abs().max()) if finite.numel() else 0.0
    if not torch.isclose(came, expected, rtol=0.0, atol=tolerance * size).all():
        gap = float((came - expected).abs().max())
        raise ContractError(
            f"expected {what} to be equal, but they differ by up to {gap:.3g}, where the largest "
            f"number is {size:.3g}."
        )
