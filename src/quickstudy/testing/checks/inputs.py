"""Checks of other inputs: features computed beforehand, unlabelled examples, padding."""

import math
from dataclasses import replace

import torch

from quickstudy.core.errors import ContractError
from quickstudy.core.learner import encoder_of
from quickstudy.core.types import Episode, Examples
from quickstudy.data.features import on_features
from quickstudy.testing.checks.requirements import contract_check, require_equal, require_scores
from quickstudy.testing.checks.subject import Subject, one_by_one, with_unlabelled


@contract_check(
    "something computed of the raw examples, or an encoder that is adapted to the task; set "
    "encodes_alone=False in the traits."
)
def check_features_serve_as_well(subject: Subject) -> None:
    """Features that were computed beforehand give the answers that the examples give."""
    learner, e = subject.learner, subject.episode()
    encoder = encoder_of(learner)
    seen = replace(
        e,
        support=replace(e.support, x=encoder(e.support.x)),
        query=replace(e.query, x=encoder(e.query.x)),
    )
    if encoder.is_independent:
        require_equal(
            on_features(learner)(seen),
            learner(e),
            "the answers to features computed beforehand and to the examples",
        )


@contract_check(
    "the unlabelled examples used without semi_supervised=True in the traits, or a learner that "
    "cannot do without them."
)
def check_unlabelled_is_what_was_promised(subject: Subject) -> None:
    """Unlabelled examples in the support are passed over, or, by a learner that is made for them,
    used where there are any.
    """
    learner, e = subject.learner, subject.episode()
    beside = with_unlabelled(e, subject, always=True)
    out = learner(beside)
    require_scores(e, out, "with unlabelled examples in the support")
    if learner.traits.semi_supervised:
        require_equal(
            out,
            one_by_one(learner, beside),
            "the answers with unlabelled examples in a batch of tasks and task by task",
        )
    else:
        require_equal(out, learner(e), "the answers with and without unlabelled examples")


@contract_check("forward or fit overridden; the core's take padding away before adapt and predict.")
def check_padding_is_invisible(subject: Subject) -> None:
    """Padded rows, whatever they hold, change no answer, and padded queries are answered by
    zeros.
    """
    learner, e = subject.learner, subject.episode()
    support, query = _among_garbage(e.support), _among_garbage(e.query)
    assert support.mask is not None
    assert query.mask is not None
    out = learner(Episode(support, query, e.target))
    alone = [
        learner(Episode(_real(e.support, t), _real(e.query, t), e.target))[0]
        for t in range(e.n_tasks)
    ]
    for t, expected in enumerate(alone):
        require_equal(
            out[t][query.mask[t]], expected, f"the answers to task {t} with and without padding"
        )
    if out[~query.mask].count_nonzero():
        raise ContractError(
            f"expected zeros for the {int((~query.mask).sum())} padded queries, but got other "
            "numbers."
        )
    if not learner.traits.transductive:
        predictor = learner.fit(Examples(support.x[:1], support.y[:1], support.mask[:1]), e.target)
        require_equal(
            predictor(e.query.x[0]),
            alone[0],
            "the answers of fit(support) with padding and of the learner without",
        )


def _real(examples: Examples, t: int) -> Examples:
    """Task ``t`` alone; every second task is one row short, so that not all have the same
    length.
    """
    n = examples.x.shape[1] - t % 2
    return Examples(examples.x[t : t + 1, :n], examples.y[t : t + 1, :n])


def _among_garbage(examples: Examples) -> Examples:
    """The rows of `_real`, in their order, at random places among rows of NaN."""
    T, N = examples.x.shape[:2]
    x = examples.x.new_full((T, N + 3, *examples.x.shape[2:]), math.nan)
    y = torch.zeros_like(examples.y[:, :1]).repeat(1, N + 3, *[1] * (examples.y.ndim - 2))
    mask = torch.zeros(T, N + 3, dtype=torch.bool, device=x.device)
    for t in range(T):
        real = _real(examples, t)
        places = torch.randperm(N + 3)[: real.x.shape[1]].sort().values.to(x.device)
        x[t, places], y[t, places], mask[t, places] = real.x[0], real.y[0], True
    return Examples(x, y, mask)
