"""What to check before somebody is enrolled."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from sqlalchemy.engine import Connection

from quickstudy.core.errors import GalleryError
from quickstudy.gallery.snapshot import Snapshot
from quickstudy.gallery.vectors import SAME_PHOTO, Integers, Vectors

_UNRELATED = 0.25
"""Photos of one person that are no more alike than this are not, whatever the encoder."""


class DuplicateError(GalleryError):
    """Somebody to be enrolled looks like another identity: a question to a person.

    Args:
        message: for people.
        identity: who was to be enrolled.
        other: whom a photo looks like.
        similarity: how much.
    """

    def __init__(self, message: str, *, identity: str, other: str, similarity: float) -> None:
        super().__init__(message)
        self.identity = identity
        self.other = other
        self.similarity = similarity


def checked_photos(
    x: Float[Vectors, "n D"],
    labels: list[str],
    identity: str,
    owner: int | None,
    *,
    snapshot: Snapshot,
    connection: Connection,
    force: bool,
    skip_unlike: bool,
) -> tuple[Int[Integers, " m"], list[str]]:
    """Which photos are to be enrolled, and what looks wrong, in plain sentences.

    Args:
        x: of the photos, unit vectors.
        labels: what each photo is called in messages.
        identity: whom they are said to be of.
        owner: its id, if it is there already.
        snapshot: who is there.
        connection: with the transaction that the snapshot follows.
        force: let pass what looks like somebody else.
        skip_unlike: leave out photos that are unlike the others of the person.

    Raises:
        DuplicateError: when one looks like another identity, unless forced.
        GalleryError: when no photo is left.
    """
    chosen = new_photos(x, owner, snapshot)
    if not len(chosen):
        return chosen, []
    names = [labels[i] for i in chosen.tolist()]
    warnings = _duplicates(
        x[chosen], names, identity, owner, snapshot=snapshot, connection=connection, force=force
    )
    unlike = _unlike(x[chosen], names, identity, owner, snapshot=snapshot)
    if skip_unlike and unlike:
        kept = [i for i in range(len(chosen)) if i not in unlike]
        if not kept:
            raise GalleryError(
                f"{identity} was not enrolled, as none of them is like the others. {unlike[0]}"
            )
        chosen = chosen[kept]
        warnings += [f"{text} It was left out." for text in unlike.values()]
    else:
        warnings += unlike.values()
    if len(chosen) == 1 and owner is None:
        warnings.append(
            f"{identity} has one template. A second one, from another day, would make recognition "
            "surer."
        )
    return chosen, warnings


def new_photos(
    x: Float[Vectors, "n D"], owner: int | None, snapshot: Snapshot
) -> Int[Integers, " m"]:
    """Which photos are neither enrolled for this identity already, nor twice among themselves."""
    own = snapshot.templates.of(owner) if owner is not None else x[:0]
    known = np.zeros(len(x), bool) if not len(own) else (x @ own.T).max(1) >= SAME_PHOTO
    earlier = np.tril(x @ x.T, -1).max(1, initial=-1) >= SAME_PHOTO
    return np.flatnonzero(~known & ~earlier)


def _duplicates(
    x: Vectors,
    labels: list[str],
    identity: str,
    owner: int | None,
    *,
    snapshot: Snapshot,
    connection: Connection,
    force: bool,
) -> list[str]:
    """Whether a photo looks like another identity: so much that it is a question to a person, or
    that it would have been a certain answer.
    """
    others = snapshot.nearest_other(x, owner)
    similarity = [float(s[0]) if len(s) else -2.0 for _, s in others]
    photo = int(np.argmax(similarity))
    near, limit = similarity[photo], snapshot.policy.duplicate
    is_duplicate = near >= SAME_PHOTO if limit is None else near > min(limit, SAME_PHOTO)
    policy = snapshot.policy
    certain = policy.threshold if policy.review is None else policy.review
    own = snapshot.templates.of(owner) if owner is not None else x[:0]
    is_taken = certain is not None and near > max(certain, (own @ x[photo]).max(initial=-1))
    if not is_duplicate and not is_taken:
        return []
    other = int(others[photo][0][0])
    name = snapshot.names(connection, [other])[other]
    if not is_duplicate:
        return [
            f"{labels[photo]} of {identity} would have been taken for {name} (similarity "
            f"{near:.3f}, certain above {certain:.3f}). If they are one, keep one of the two names."
        ]
    why = f"duplicates begin at {limit:.3f}" if limit is not None else "it is the same one"
    text = f"{labels[photo]} of {identity} looks like {name} (similarity {near:.3f}, {why})"
    if not force:
        raise DuplicateError(
            f"{text}. Check who it is; enrol it anyway with force (on the command line: --force).",
            identity=identity,
            other=name,
            similarity=near,
        )
    return [f"{text}; enrolled because it was forced."]


def _unlike(
    x: Vectors, labels: Sequence[str], identity: str, owner: int | None, *, snapshot: Snapshot
) -> dict[int, str]:
    """Which photos are unlike the others of the person.

    Each is compared with the templates that are there and with the other new ones. Unlike is what
    is not above the threshold; where the gallery is not calibrated, what is nearer to somebody else
    than to every other photo of the person, or less than half as similar as these are to each
    other.
    """
    own = snapshot.templates.of(owner) if owner is not None else x[:0]
    every = np.concatenate([own, x])
    if len(every) == 1:
        return {}
    similarity = every @ every.T
    np.fill_diagonal(similarity, -1)
    nearest_own = similarity.max(1)  # of each photo to another one of the person
    nearest_other = [float(s[0]) if len(s) else -1.0 for _, s in snapshot.nearest_other(x, owner)]
    threshold, result = snapshot.policy.threshold, dict[int, str]()
    for i in range(len(x)):
        s = float(nearest_own[len(own) + i])
        if threshold is None:
            others = np.delete(nearest_own, len(own) + i)
            limit = max(_UNRELATED, float(np.median(others)) / 2, nearest_other[i])
            expected = f"expected above {limit:.2f}"
        else:
            limit, expected = threshold, f"accepted above {threshold:.2f}"
        if s <= limit:
            result[i] = (
                f"{labels[i]} is unlike the others of {identity} (similarity {s:.2f}, "
                f"{expected}). Check that it is the same one, and how it was taken."
            )
    return result
