"""Identities that resemble each other, and two that become one."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import select, update
from sqlalchemy.engine import Connection

from quickstudy.core.errors import GalleryError
from quickstudy.core.words import counted
from quickstudy.gallery.audit import AuditEntry
from quickstudy.gallery.changes import Change
from quickstudy.gallery.enrolment import new_photos
from quickstudy.gallery.identities import (
    Identity,
    delete_identities,
    find_identities,
    identity_named,
    insert_templates,
)
from quickstudy.gallery.impostors import sample_rows
from quickstudy.gallery.snapshot import Snapshot
from quickstudy.gallery.tables import AUDIT, IDENTITY
from quickstudy.gallery.vectors import Vectors

_OTHERS = 3  # that each template is nearest to
MOST_COMPARED = 2_000
"""Of a larger gallery so many templates are compared with all others."""


class OnePhotoError(GalleryError):
    """Two identities were enrolled from one photo, so they are two people."""


@dataclass(frozen=True)
class LookAlikes:
    """Two identities that resemble each other.

    Args:
        names: of both, the one with more templates first.
        similarity: of their nearest templates.
        is_confused: whether one would be taken for the other at the threshold that is in force.
        photo: the name of a photo from which both were enrolled; None = there is none.
    """

    names: tuple[str, str]
    similarity: float
    is_confused: bool
    photo: str | None


def look_alikes(connection: Connection, snapshot: Snapshot, most: int) -> list[LookAlikes]:
    """The pairs of identities that are nearest to each other, the nearest first."""
    table = snapshot.templates
    alive = table.alive
    owners = table.owners[alive]
    rows = alive[sample_rows(owners, table.ids[alive], MOST_COMPARED, MOST_COMPARED)]
    mine = table.owners[rows]
    ranked = snapshot.index.exact(table.take(rows), _OTHERS, table, without_owner=mine)
    pairs: dict[tuple[int, int], float] = {}
    for owner, (others, similarities) in zip(mine.tolist(), ranked, strict=True):
        for other, similarity in zip(others.tolist(), similarities.tolist(), strict=True):
            pair = (min(owner, other), max(owner, other))
            pairs[pair] = max(similarity, pairs.get(pair, -2.0))
    nearest_pairs = sorted(pairs, key=lambda pair: -pairs[pair])[:most]
    ids = {identity for pair in nearest_pairs for identity in pair}
    people = {row.id: row for row in find_identities(connection, IDENTITY.c.id.in_(ids))}
    numbers, counts = np.unique(owners, return_counts=True)
    size = dict(zip(numbers.tolist(), counts.tolist(), strict=True))
    threshold = snapshot.policy.threshold
    result = []
    for pair in nearest_pairs:
        first, second = sorted(pair, key=lambda identity: -size[identity])
        photo = common_photo(connection, people[first], people[second])
        names = (people[first].name, people[second].name)
        is_confused = threshold is not None and pairs[pair] > threshold
        result.append(LookAlikes(names, pairs[pair], is_confused, photo))
    return result


def common_photo(connection: Connection, first: Identity, second: Identity) -> str | None:
    """The name of a photo from which both were enrolled, if there is one."""
    photos = [_photos(connection, one) for one in (first, second)]
    return min(set(photos[0]) & set(photos[1]), default=None)


@dataclass(frozen=True)
class Merged:
    """What came of making two identities one.

    Args:
        name: that went.
        into: the one that stayed.
        templates: that it brought, unit vectors ``[n D]``.
        deleted: what must be found nowhere any more.
    """

    name: str
    into: str
    templates: Vectors
    deleted: list[bytes]


def merge(change: Change, snapshot: Snapshot, identity: str, into: str, *, force: bool) -> Merged:
    """Give the templates of one identity to another, and forget its name.

    Raises:
        OnePhotoError: when both were enrolled from one photo, unless forced.
        GalleryError: when there is none of a name, or both are the same.
    """
    connection = change.connection
    row, target = identity_named(connection, identity), identity_named(connection, into)
    if row.id == target.id:
        raise GalleryError(f"{row.name} cannot be merged with itself. Give two names.")
    photo = common_photo(connection, row, target)
    if photo is not None and not force:
        raise OnePhotoError(
            f"{row.name} and {target.name} were both enrolled from {photo}, so they are two "
            "people, and they are not merged. If only the names of the files are the same, use "
            "force."
        )
    x = snapshot.templates.of(row.id).copy()
    some = x[new_photos(x, target.id, snapshot)]
    photos = _photos(connection, row)
    vectors = {one.tobytes() for one in x}
    deleted = [b for b in delete_identities(connection, [row]) if b not in vectors]
    if len(some):
        insert_templates(connection, target.id, some)
    dates = [date for date in (row.retain_until, target.retain_until) if date is not None]
    values = {
        "consent": target.consent if target.consent is not None else row.consent,
        "retain_until": min(dates, default=None),
    }
    kept = (values["consent"] or "").encode()
    connection.execute(update(IDENTITY).where(IDENTITY.c.id == target.id).values(**values))
    change.touches(row.id)
    change.touches(target.id)
    detail = counted(len(some), "template")
    names: Sequence[str | None] = photos or [None]
    change.note(
        *(AuditEntry("merge", target.pseudonym, detail=detail, photo=name) for name in names)
    )
    return Merged(row.name, target.name, x, [b for b in deleted if b != kept])


def _photos(connection: Connection, identity: Identity) -> list[str]:
    """The names of the photos that an identity was enrolled from, as the audit log has them."""
    query = select(AUDIT.c.photo).distinct()
    query = query.where(AUDIT.c.subject == identity.pseudonym, AUDIT.c.photo.is_not(None))
    query = query.where(AUDIT.c.action.in_(("enrol", "merge"))).order_by(AUDIT.c.photo)
    return list(connection.execute(query).scalars())
