"""Where to draw the lines of a gallery: for a false-accept rate, from what impostors score."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from quickstudy.core.errors import ConfigError
from quickstudy.core.words import percent
from quickstudy.gallery.impostors import ImpostorScores
from quickstudy.gallery.policy import LEAVE_ONE_OUT, MEASURED, Policy
from quickstudy.metrics.thresholds import conformal_threshold, needed
from quickstudy.pretrained.measured import MeasuredThresholds

LARGEST_PROMISE = 0.2
"""A gallery that could only promise a larger false-accept rate is not calibrated by itself."""
_REVIEW, _DUPLICATE = 10, 100
_CONTRADICTED = 0.01


def smallest_rate(persons: int, *, left_out: bool) -> float:
    """The smallest false-accept rate that so many impostors can promise.

    Identities that are left out one by one take twice as many as a cohort: somebody new brings as
    many pairs that could be too near as each identity has already, and none of these was seen.

    >>> smallest_rate(99, left_out=False), smallest_rate(99, left_out=True)
    (0.01, 0.02)
    """
    return (2 if left_out else 1) / (persons + 1)


def calibrated(policy: Policy, scores: ImpostorScores, rate: float, *, strict: bool) -> Policy:
    """The policy with the thresholds for a false-accept rate, by what impostors score.

    Args:
        policy: what else it says stays.
        scores: of the impostors.
        rate: that is wanted.
        strict: refuse where it cannot be promised; otherwise the smallest rate that can be is
            promised, up to `LARGEST_PROMISE`.

    Raises:
        ConfigError: for a rate outside of (0, 1), and where too few impostors are known, with the
            number that is needed.
    """
    left_out = scores.rule.startswith(LEAVE_ONE_OUT)
    persons = len(np.unique(scores.persons))
    smallest = smallest_rate(persons, left_out=left_out)
    promised = max(rate, smallest)
    if not 0 < rate < 1:
        raise ConfigError(f"The false-accept rate must lie between 0 and 1, got {rate}.")
    if (strict and smallest > rate + 1e-12) or (
        not strict and promised > max(rate, LARGEST_PROMISE)
    ):
        who = "identities that are left out one by one" if left_out else "people in the cohort"
        count = needed(rate, left_out=left_out)
        raise ConfigError(
            f"A false-accept rate of {100 * rate:g} % takes at least {count} {who}, but there are "
            f"{persons}, which can promise {percent(smallest, 1, up=True)}. "
            + (
                f"Enrol more, give a cohort of {needed(rate)} people who are not enrolled, or ask "
                "for a larger rate."
                if left_out
                else "Give a cohort of more, or ask for a larger rate."
            )
        )

    def quantile(r: float) -> float | None:
        if r < smallest - 1e-12:
            return None
        return conformal_threshold(scores.similarity, r, groups=scores.persons, left_out=left_out)

    top = float(scores.similarity.max())
    return _with_lines(policy, rate, promised, scores.rule, quantile, top)


def from_measured(
    policy: Policy, measured: MeasuredThresholds, templates: int, rate: float
) -> Policy | None:
    """The policy with thresholds that were measured with the encoder; None where these reach to no
    rate below `LARGEST_PROMISE`.

    An impostor who is compared with n templates resembles one of them with a probability of at most
    n times that of one comparison.

    Args:
        policy: what else it says stays.
        measured: with the encoder.
        templates: how many there are.
        rate: that is wanted.
    """
    if not templates:
        return None
    promised = max(rate, measured.false_match_rates[-1] * templates)
    if promised > max(rate, LARGEST_PROMISE):
        return None

    def quantile(r: float) -> float | None:
        return measured.threshold(r / templates)

    return _with_lines(policy, rate, promised, MEASURED, quantile, measured.thresholds[-1])


def contradicts(scores: ImpostorScores, policy: Policy) -> bool:
    """Whether more impostors get in than the policy promises, by more than chance explains."""
    from scipy.stats import binom

    if policy.threshold is None or policy.promised is None:
        return False
    persons, of = np.unique(scores.persons, return_inverse=True)
    accepted = np.zeros(len(persons))
    np.maximum.at(accepted, of, scores.similarity > policy.threshold)
    per_person = len(scores.persons) / len(persons)
    expected = min(policy.promised * per_person, 1.0)
    return bool(binom.sf(accepted.sum() - 1, len(persons), expected) < _CONTRADICTED)


def realised_range(persons: int, rate: float, *, left_out: bool = False) -> tuple[float, float]:
    """Between which false-accept rates a single calibration lies, in 95 of 100 cases: a threshold
    that keeps a rate on average is a little too low or too high each time.

    Args:
        persons: so many impostors.
        rate: that is promised.
        left_out: whether they are identities that are left out.

    >>> low, high = realised_range(99, 0.01)
    >>> round(100 * low, 2), round(100 * high, 2)
    (0.03, 3.66)

    Source: Vovk 2012, arXiv:1209.2673, proposition 2.
    """
    from scipy.stats import beta

    allowed = math.floor(rate * (persons + 1) + 1e-9) - (1 if left_out else 0)
    allowed = max(allowed, 1)
    spread = beta(allowed, persons + 1 - allowed)
    return float(spread.ppf(0.025)), float(spread.ppf(0.975))


def _with_lines(
    policy: Policy,
    rate: float,
    promised: float,
    rule: str,
    quantile: Callable[[float], float | None],
    top: float,
) -> Policy:
    threshold = quantile(promised)
    if threshold is None:
        raise ConfigError(f"A false-accept rate of {100 * promised:g} % cannot be promised.")
    # Beyond all that impostors are known to score: half-way to the same photo.
    highest = max(top, threshold)
    duplicate = quantile(promised / _DUPLICATE)
    if duplicate is None:
        duplicate = highest + (1 - highest) / 2
    review = quantile(promised / _REVIEW)
    if review is None:
        review = (threshold + duplicate) / 2
    review_from = quantile(min(_REVIEW * promised, 0.5))
    review = min(max(review, threshold), 1.0)
    return dataclasses.replace(
        policy,
        threshold=threshold,
        review_from=threshold if review_from is None else min(review_from, threshold),
        review=review,
        duplicate=min(max(duplicate, review), 1.0),
        rate=rate,
        promised=promised,
        rule=rule,
    )


def not_calibrated(policy: Policy) -> Policy:
    """The policy without thresholds, which will follow as soon as anything can be promised."""
    return Policy(score=policy.score, rate=policy.rate)
