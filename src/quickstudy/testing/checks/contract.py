"""The contract that every learner keeps, as code. Needs no test runner."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from quickstudy.core.learner import AbstractLearner, Traits, check_is_learner
from quickstudy.core.types import Classes
from quickstudy.testing.checks.form import (
    check_has_docstring,
    check_rejects_wrong_targets,
    check_shapes,
)
from quickstudy.testing.checks.gradients import (
    check_gradient_is_exact,
    check_gradient_reaches_every_parameter,
    check_works_without_grad_mode,
)
from quickstudy.testing.checks.inputs import (
    check_features_serve_as_well,
    check_padding_is_invisible,
    check_unlabelled_is_what_was_promised,
)
from quickstudy.testing.checks.invariance import (
    check_any_way,
    check_classes_are_equivariant,
    check_queries_do_not_leak,
    check_support_order_is_free,
    check_tasks_do_not_leak,
    check_unbalanced_shots,
)
from quickstudy.testing.checks.learning import check_learns_a_separable_toy
from quickstudy.testing.checks.precision import check_dtype_and_device_are_kept
from quickstudy.testing.checks.purity import (
    check_adapt_is_pure,
    check_seed_is_idempotent,
    check_state_size_is_constant,
)
from quickstudy.testing.checks.requirements import Check
from quickstudy.testing.checks.saving import check_exports, check_predictor_round_trip
from quickstudy.testing.checks.subject import Subject


def check_learner(
    learner: AbstractLearner[Any],
    *,
    shape: tuple[int, ...] = (6,),
    n_way: int = 4,
    n_tasks: Sequence[int] = (1, 3),
    builder: Callable[..., Any] | None = None,
) -> None:
    """Run every check that the learner's traits call for, simplest first. The learner is left as it
    was.

    Args:
        learner: yours. Parameters at their random start are fine.
        shape: of one example.
        n_way: classes per task, or numbers per answer of a regression. A learner of fixed width
            must have been built for it.
        n_tasks: the lengths of the task axis to try.
        builder: where the learner's documentation is: the function that made it, or its class if
            None.

    Raises:
        ConfigError: for what is no learner.
        ContractError: at the first check that fails: which, what was expected, what came, and the
            usual cause.

    Example:
        >>> from quickstudy.testing import check_learner, toy_learner
        >>> check_learner(toy_learner("protonet"))
    """
    check_is_learner(learner, "check_learner")
    for i, n in enumerate(n_tasks):
        subject = Subject(learner, shape=shape, n_way=n_way, n_tasks=n, builder=builder)
        for check in yield_checks(learner.traits):
            if i == 0 or check not in ONCE:
                check(subject)


def yield_checks(traits: Traits) -> Iterator[Check]:
    """The checks that these promises call for, simplest first, and what is missing in the
    documentation last. Each takes a `Subject`.
    """
    yield check_shapes
    yield check_rejects_wrong_targets
    yield check_adapt_is_pure
    yield check_seed_is_idempotent
    yield check_state_size_is_constant
    yield check_tasks_do_not_leak
    if not traits.transductive:
        yield check_queries_do_not_leak
    if traits.order_free:
        yield check_support_order_is_free
    if Classes in traits.targets:
        yield check_unbalanced_shots
    if Classes in traits.targets and traits.class_equivariant:
        yield check_classes_are_equivariant
    if traits.any_way:
        yield check_any_way
    if traits.encodes_alone:
        yield check_features_serve_as_well
    yield check_unlabelled_is_what_was_promised
    yield check_padding_is_invisible
    yield check_works_without_grad_mode
    yield check_dtype_and_device_are_kept
    yield check_gradient_reaches_every_parameter
    if traits.exact_gradient:
        yield check_gradient_is_exact
    if not traits.transductive:
        yield check_predictor_round_trip
    if not traits.transductive and traits.exportable:
        yield check_exports
    yield check_learns_a_separable_toy
    yield check_has_docstring


ONCE = frozenset(
    {
        check_has_docstring,
        check_rejects_wrong_targets,
        check_gradient_reaches_every_parameter,
        check_gradient_is_exact,
        check_predictor_round_trip,
        check_exports,
        check_learns_a_separable_toy,
    }
)
"""Checks that choose their number of tasks themselves, so that one `Subject` per learner is
enough.
"""
