"""Identities in the database."""

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

import numpy as np
from sqlalchemy import delete, insert, select
from sqlalchemy.engine import Connection
from sqlalchemy.sql import ColumnElement

from quickstudy.core.errors import GalleryError, did_you_mean
from quickstudy.gallery.audit import wipe_photos
from quickstudy.gallery.checksums import checksum
from quickstudy.gallery.moments import iso, utc_now
from quickstudy.gallery.names import normal_name
from quickstudy.gallery.tables import IDENTITY, TEMPLATE
from quickstudy.gallery.vectors import Vectors

LISTED = 1_000
"""An error names so many at most."""


@dataclass(frozen=True)
class Identity:
    """A row of the table of identities.

    Args:
        id: its number.
        name: as it is kept.
        pseudonym: what the audit log calls it.
        consent: what was agreed to, or None.
        retain_until: in UTC, or None.
        details: JSON.
    """

    id: int
    name: str
    pseudonym: str
    consent: str | None
    retain_until: datetime | None
    details: str


def new_pseudonym() -> str:
    """What the audit log calls an identity."""
    return f"identity-{secrets.token_hex(6)}"


def all_identities(connection: Connection) -> dict[int, dict[str, Any]]:
    """Everybody, in the order of their names, by id."""
    templates: dict[int, list[int]] = {}
    for t in connection.execute(select(TEMPLATE.c.id, TEMPLATE.c.identity).order_by(TEMPLATE.c.id)):
        templates.setdefault(t.identity, []).append(t.id)
    return {
        row.id: {
            "name": row.name,
            "templates": templates.get(row.id, []),
            "consent": row.consent,
            "retain_until": iso(row.retain_until),
            "details": json.loads(row.details),
            "created": iso(row.created),
        }
        for row in connection.execute(select(IDENTITY).order_by(IDENTITY.c.name))
    }


def all_about(connection: Connection, name: str) -> dict[str, Any]:
    """What is kept of one identity, with its vectors.

    Raises:
        GalleryError: when there is none of that name.
    """
    row = identity_named(connection, name)
    created = select(IDENTITY.c.created).where(IDENTITY.c.id == row.id)
    query = select(TEMPLATE).where(TEMPLATE.c.identity == row.id).order_by(TEMPLATE.c.id)
    return {
        "name": row.name,
        "pseudonym": row.pseudonym,
        "consent": row.consent,
        "retain_until": iso(row.retain_until),
        "details": json.loads(row.details),
        "created": iso(connection.execute(created).scalar_one()),
        "templates": [
            {
                "id": template.id,
                "created": iso(template.created),
                "vector": np.frombuffer(template.vector, np.float32).tolist(),
            }
            for template in connection.execute(query)
        ],
    }


def find_identities(connection: Connection, condition: ColumnElement[bool]) -> list[Identity]:
    """The identities that meet a condition on their table, by id."""
    query = select(*(IDENTITY.c[field.name] for field in fields(Identity)))
    rows = connection.execute(query.where(condition).order_by(IDENTITY.c.id)).all()
    return [Identity(*row) for row in rows]


def find_identity(connection: Connection, name: str) -> Identity | None:
    """The identity of that name, if there is one."""
    return next(iter(find_identities(connection, IDENTITY.c.name == name)), None)


def identity_named(connection: Connection, name: str) -> Identity:
    """The identity of a name.

    Raises:
        GalleryError: when there is none of that name.
    """
    normal = normal_name(name)
    identity = find_identity(connection, normal)
    if identity is None:
        names = connection.execute(select(IDENTITY.c.name).limit(LISTED + 1)).scalars().all()
        known = (
            did_you_mean(normal, names) if len(names) <= LISTED else "`identities` lists who is."
        )
        raise GalleryError(f"Nobody is called '{normal}' here. {known}")
    return identity


def insert_templates(connection: Connection, identity: int, vectors: Vectors) -> list[int]:
    """Put templates of an identity into the database; returns their ids."""
    now = utc_now()
    rows = [
        {
            "identity": identity,
            "vector": content,
            "checksum": checksum(content, identity),
            "created": now,
        }
        for content in (vector.tobytes() for vector in vectors)
    ]
    statement = insert(TEMPLATE).returning(TEMPLATE.c.id, sort_by_parameter_order=True)
    return list(connection.execute(statement, rows).scalars())


def delete_identities(connection: Connection, identities: Sequence[Identity]) -> list[bytes]:
    """Delete identities and their templates, and the names of their photos in the audit log.

    Returns:
        What was deleted, as bytes: it must be found nowhere any more.
    """
    deleted: list[bytes] = []
    for row in identities:
        vectors = select(TEMPLATE.c.vector).where(TEMPLATE.c.identity == row.id)
        deleted += connection.execute(vectors).scalars()
        texts = [row.name, row.consent, row.details if row.details != "{}" else None]
        deleted += [text.encode() for text in texts if text]
        connection.execute(delete(IDENTITY).where(IDENTITY.c.id == row.id))
    pseudonyms = [row.pseudonym for row in identities]
    wipe_photos(connection, subjects=pseudonyms, names=[row.name for row in identities])
    return deleted
