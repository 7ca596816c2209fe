"""Identities in the database."""

import json
from typing import Any

from sqlalchemy import select
from sqlalchemy.engine import Connection

from quickstudy.core.errors import GalleryError, did_you_mean
from quickstudy.gallery.store import IDENTITY, TEMPLATE

LISTED = 1_000
"""An error names so many at most."""


def people_of(connection: Connection) -> dict[int, dict[str, Any]]:
    """Everybody, in the order of their names, by number."""
    templates: dict[int, list[int]] = {}
    for t in connection.execute(select(TEMPLATE.c.id, TEMPLATE.c.identity).order_by(TEMPLATE.c.id)):
        templates.setdefault(t.identity, []).append(t.id)
    return {
        r.id: {
            "name": r.name,
            "templates": templates.get(r.id, []),
            "consent": r.consent,
            "retain_until": r.retain_until.isoformat() if r.retain_until else None,
            "details": json.loads(r.details),
            "created": r.created.isoformat(),
        }
        for r in connection.execute(select(IDENTITY).order_by(IDENTITY.c.name))
    }


def owner_of(connection: Connection, identity: str) -> int:
    """The number of an identity.

    Raises:
        GalleryError: when there is none of that name.
    """
    row = connection.execute(select(IDENTITY.c.id).where(IDENTITY.c.name == identity)).first()
    if row is None:
        names = connection.execute(select(IDENTITY.c.name).limit(LISTED + 1)).scalars().all()
        known = (
            did_you_mean(identity, names) if len(names) <= LISTED else "`identities` lists who is."
        )
        raise GalleryError(f"Nobody is called '{identity}' here. {known}")
    return row.id
