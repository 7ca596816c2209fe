"""People who are not enrolled, to calibrate by: what they must not be, and what they give."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy.engine import Connection

from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import GalleryError
from quickstudy.core.words import counted, percent
from quickstudy.gallery.calibration import realised_range, smallest_rate
from quickstudy.gallery.names import normal_name
from quickstudy.gallery.policy import BY_HAND, COHORT, LEAVE_ONE_OUT, NOT_CALIBRATED, Policy
from quickstudy.gallery.snapshot import Cohort, Snapshot
from quickstudy.gallery.vectors import SAME_PHOTO, Vectors
from quickstudy.metrics.thresholds import needed

NAMED = 10
"""A message names so many at most."""


@dataclass(frozen=True)
class Calibration:
    """What came of calibrating.

    Args:
        policy: that is in force now.
        persons: so many impostors it comes from: people of the cohort, or identities left out.
        range: between which false-accept rates this one calibration lies, in 95 of 100 cases; None
            where the thresholds were measured elsewhere.
        warnings: what looks wrong, in plain sentences.
    """

    policy: Policy
    persons: int
    range: tuple[float, float] | None
    warnings: tuple[str, ...]


def cohort_of(vectors: Vectors, persons: Sequence[Any] | NDArray[Any] | None) -> Cohort:
    """A cohort from vectors and who each is of; None = each of somebody else.

    Raises:
        GalleryError: when there is not one person for each vector.
    """
    if persons is None:
        return Cohort(vectors, np.arange(len(vectors)))
    labels = np.asarray(persons)
    if labels.shape != (len(vectors),):
        raise GalleryError(
            f"There are {counted(len(vectors), 'vector')} in the cohort, but the persons have "
            f"the shape "
            f"{labels.shape}. Say of each vector who it is of."
        )
    return Cohort(vectors, np.unique(labels, return_inverse=True)[1].astype(np.int64))


def refuse_enrolled(
    cohort: Cohort,
    persons: Sequence[Any] | NDArray[Any] | None,
    *,
    snapshot: Snapshot,
    connection: Connection,
    enrolled: dict[str, int],
) -> None:
    """Refuse a cohort that holds people who are enrolled: by their photos, or by their names.

    Args:
        cohort: given.
        persons: who each vector is of, as it was given.
        snapshot: who is there.
        connection: with a transaction that it follows.
        enrolled: the id of each name.

    Raises:
        GalleryError: with whom it found.
    """
    ranked = snapshot.index.exact(cohort.vectors, 1, snapshot.templates)
    same = {int(owner[0]) for owner, s in ranked if len(s) and s[0] >= SAME_PHOTO}
    if persons is not None:
        labels = {normal_name(label) for label in np.asarray(persons).tolist() if _is_name(label)}
        same |= {enrolled[label] for label in labels & enrolled.keys()}
    if same:
        names = sorted(snapshot.names(connection, same)[owner] for owner in same)
        raise GalleryError(
            f"The cohort holds people who are enrolled: {listed(names)}. A threshold from it would "
            "refuse them. Leave them out: a cohort is of people who are not enrolled."
        )


def cohort_warnings(
    cohort: Cohort, *, snapshot: Snapshot, connection: Connection
) -> tuple[str, ...]:
    """Whether people of the cohort look like identities as much as photos of one person look like
    each other.
    """
    own = _typical_own_similarity(snapshot)
    if own is None or not len(cohort):
        return ()
    ranked = snapshot.index.exact(cohort.vectors, 1, snapshot.templates)
    close = [
        (int(person), int(owner[0]))
        for person, (owner, s) in zip(cohort.persons, ranked, strict=True)
        if len(s) and s[0] >= own
    ]
    if not close:
        return ()
    persons = len({person for person, _ in close})
    identities = {identity for _, identity in close}
    names = sorted(snapshot.names(connection, identities)[identity] for identity in identities)
    return (
        f"{persons} of {len(np.unique(cohort.persons))} people of the cohort "
        f"{'looks' if persons == 1 else 'look'} like somebody enrolled as much as templates of one "
        f"person look like each other ({own:.3f}): like {listed(names)}. If they are the same "
        "people, leave them out and calibrate again; "
        "otherwise this encoder can hardly tell these people apart.",
    )


def enrolled_of_cohort(
    x: Vectors, identity: str, limit: float | None, *, snapshot: Snapshot, connection: Connection
) -> list[str]:
    """Whether somebody who is enrolled now is in the cohort that the thresholds come from, in a
    plain sentence: they are high enough to refuse the cohort.

    Args:
        x: the templates that are new, unit vectors ``[n D]``.
        identity: whose.
        limit: the similarity at which duplicates began before; None = those of the same photo.
        snapshot: who is there.
        connection: with a transaction that it follows.
    """
    if not len(x) or snapshot.policy.rule != COHORT:
        return []
    cohort = snapshot.cohort(connection).vectors
    nearest = float((x @ cohort.T).max())
    if nearest < min(SAME_PHOTO, SAME_PHOTO if limit is None else limit):
        return []
    return [
        f"{identity} looks like somebody of the cohort (similarity {nearest:.3f}), who was to be "
        f"refused, so that the threshold is {snapshot.policy.threshold:.3f} now and may refuse "
        "everybody. Leave them out of the cohort and calibrate again."
    ]


def calibration_of(policy: Policy, persons: int, warnings: tuple[str, ...]) -> Calibration:
    """What is to be said of a policy that comes from so many impostors."""
    left_out = policy.rule.startswith(LEAVE_ONE_OUT)
    spread = None
    if policy.promised is not None and (left_out or policy.rule == COHORT):
        spread = realised_range(persons, policy.promised, left_out=left_out)
    return Calibration(policy, persons, spread, warnings)


def promises(policy: Policy, identities: int) -> str:
    """What a gallery can promise, in a sentence."""
    if policy.rule == BY_HAND:
        return "The thresholds were set by hand; nothing is promised."
    smallest = smallest_rate(identities, left_out=True) if identities > 1 else 1.0
    wanted = policy.rate or 0.01
    need = (
        f"{100 * wanted:g} % takes {needed(wanted, left_out=True)}, or a cohort of "
        f"{counted(needed(wanted), 'person', 'people')} who are not enrolled"
    )
    if policy.rule == NOT_CALIBRATED:
        return (
            f"Not calibrated: with {counted(identities, 'identity', 'identities')} leaving one "
            f"out could promise "
            f"{percent(min(1.0, smallest), 0, up=True)}; {need}."
        )
    kept = f"At most {percent(policy.promised or 0, up=True)} of impostors are taken for somebody"
    if policy.rate is None or (policy.promised or 0) <= policy.rate + 1e-12:
        return f"{kept} (rule: {policy.rule})."
    there = counted(identities, "identity", "identities")
    return f"{kept} (rule: {policy.rule}), with {there}; {need}."


def listed(names: Sequence[str]) -> str:
    """Up to ten names, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _typical_own_similarity(snapshot: Snapshot) -> float | None:
    """How similar photos of one person are: the median over templates to the nearest other of the
    same identity; None where nobody has two.
    """
    table, values = snapshot.templates, list[float]()
    rows = table.by_owner()
    _, starts = np.unique(table.owners[rows], return_index=True)
    for some in np.split(rows, starts[1:])[:1000]:
        if len(some) > 1:
            x = table.take(some)
            similarity = x @ x.T
            np.fill_diagonal(similarity, -1)
            values += similarity.max(1).tolist()
    return float(np.median(values)) if values else None


def _is_name(label: Any) -> bool:
    return isinstance(label, str) and bool(label.strip())
