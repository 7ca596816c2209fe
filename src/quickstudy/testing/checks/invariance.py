"""Checks of what an answer must not depend on: other tasks, other queries, order and names."""

import torch

from quickstudy.core.types import Classes, Episode, Examples, Reals
from quickstudy.testing.checks.requirements import contract_check, require_equal, require_scores
from quickstudy.testing.checks.subject import (
    Subject,
    adapt,
    one_by_one,
    permutations,
    renamed_both_ways,
)


@contract_check(
    "statistics over all tasks at once (batch norm on flattened tasks), or a reshape that mixes "
    "tasks and examples."
)
def check_tasks_do_not_leak(subject: Subject) -> None:
    """A batch of tasks gives what each task alone gives."""
    for target in subject.targets:
        e = subject.episode(target=target, n_tasks=subject.n_tasks + 1)
        require_equal(
            subject.learner(e),
            one_by_one(subject.learner, e),
            f"for {target}, the answers in a batch of tasks and task by task",
        )


@contract_check(
    "statistics over the queries (batch norm, centring); set transductive=True in the traits, or "
    "take them from the support."
)
def check_queries_do_not_leak(subject: Subject) -> None:
    """The answer to a query does not depend on the other queries."""
    e = subject.episode()
    state = adapt(subject.learner, e)
    alone = [
        subject.learner.predict(state, e.query.x[:, i : i + 1]) for i in range(e.query.x.shape[1])
    ]
    require_equal(
        subject.learner.predict(state, e.query.x),
        torch.cat(alone, 1),
        "the answers to queries together and one by one",
    )


@contract_check(
    "a recurrent network over the support, or only its first examples used; set order_free=False "
    "in the traits if that is the method."
)
def check_support_order_is_free(subject: Subject) -> None:
    """The order of the support does not matter."""
    e = subject.episode()
    order = permutations(*e.support.y.shape[:2], device=e.support.x.device)
    tasks = torch.arange(e.n_tasks, device=order.device)[:, None]
    shuffled = Episode(
        Examples(e.support.x[tasks, order], e.support.y[tasks, order]), e.query, e.target
    )
    require_equal(
        subject.learner(shuffled),
        subject.learner(e),
        "the answers with the support in another order",
    )


@contract_check(
    "a reshape to [C K], which needs equal shots and sorted labels; use "
    "functional.prototypes.class_means or a one-hot product."
)
def check_unbalanced_shots(subject: Subject) -> None:
    """Shots may differ from class to class, and the classes with more of them from task to task."""
    learner, n = subject.learner, subject.n_way
    for last in (
        3,
        4,
    ):  # with 3 the total is that of two shots each, so that a wrong reshape goes through
        e = subject.episode(
            n_tasks=subject.n_tasks + 1, n_shot=(1, *[2] * (n - 2), last), target=Classes(n)
        )
        out = learner(e)
        require_scores(e, out, f"with 1 to {last} shots a class")
        require_equal(
            out,
            one_by_one(learner, e),
            f"with 1 to {last} shots a class, the answers in a batch of tasks and task by task",
        )
        if learner.traits.class_equivariant:
            require_equal(
                *renamed_both_ways(learner, e),
                f"with 1 to {last} shots a class, the answers with the classes renamed",
            )


@contract_check(
    "a bias per class index, or labels used as numbers; set class_equivariant=False in the traits "
    "if classes have fixed outputs."
)
def check_classes_are_equivariant(subject: Subject) -> None:
    """Renaming the classes renames the outputs and changes nothing else."""
    require_equal(
        *renamed_both_ways(subject.learner, subject.episode(target=Classes(subject.n_way))),
        "the answers with the classes renamed",
    )


@contract_check(
    "a number of classes fixed at construction; set any_way=False in the traits and refuse other "
    "widths with a TargetError."
)
def check_any_way(subject: Subject) -> None:
    """One learner serves 2, 5 and 7 classes, or numbers per answer."""
    for target in (
        kind(n)
        for kind in (Classes, Reals)
        if kind in subject.learner.traits.targets
        for n in (2, 5, 7)
    ):
        e = subject.episode(n_way=target.width, target=target)
        require_scores(e, subject.learner(e), f"for {target}")
