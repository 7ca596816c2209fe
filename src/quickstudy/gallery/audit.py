"""The audit log of a gallery: who asked or changed what, without names and vectors, in a chain of
hashes that shows whether it was tampered with.
"""

import getpass
import hashlib
import json
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.engine import Connection

from quickstudy.core.words import counted
from quickstudy.gallery.moments import iso, utc_now
from quickstudy.gallery.tables import AUDIT, AUDIT_CHAIN, IDENTITY

START = "0" * 64
"""What stands for the hash of an entry before the first."""
_CHUNK = 10_000


@dataclass(frozen=True)
class AuditEntry:
    """What an entry says, beside its time and who made it.

    Args:
        action: enrol, remove, rename, merge, expire, policy, identify, verify, import, export,
            backup or prune.
        subject: the pseudonym of an identity.
        similarity, threshold: of a decision.
        policy: version of the policy that is in force.
        detail: more, in words.
        photo: name of the file that it was about, without its folder.
    """

    action: str
    subject: str | None = None
    similarity: float | None = None
    threshold: float | None = None
    policy: int | None = None
    detail: str = ""
    photo: str | None = None


@dataclass(frozen=True)
class AuditCheck:
    """What the chain of hashes shows.

    Args:
        entries: how many there are.
        first, last: their ids.
        head: the hash of the last entry. Whoever notes it elsewhere can tell later whether what
            came before was changed, even by somebody who made the chain anew.
        problems: what is wrong, in plain sentences; empty where nothing is.
    """

    entries: int
    first: int
    last: int
    head: str
    problems: tuple[str, ...]


def login_name() -> str:
    """Who runs this process; empty where the system does not say."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""


def start_chain(connection: Connection) -> None:
    """The chain of a new gallery."""
    connection.execute(
        insert(AUDIT_CHAIN).values(first=1, first_hash=START, last=0, last_hash=START)
    )


def append(connection: Connection, entries: Iterable[AuditEntry], *, operator: str) -> None:
    """Put entries at the end of the chain, in a transaction that writes."""
    chain = connection.execute(select(AUDIT_CHAIN).with_for_update()).one()
    number, before = chain.last, chain.last_hash
    rows = []
    for entry in entries:
        number += 1
        salt = None if entry.photo is None else secrets.token_hex(16)
        row = {
            "id": number,
            "time": utc_now(),
            "action": entry.action,
            "subject": entry.subject,
            "similarity": entry.similarity,
            "threshold": entry.threshold,
            "policy": entry.policy,
            "operator": operator,
            "detail": entry.detail,
            "photo": entry.photo,
            "salt": salt,
            "photo_hash": _photo_hash(entry.photo, salt),
        }
        before = _hash(before, row)
        rows.append({**row, "hash": before})
    if rows:
        connection.execute(insert(AUDIT), rows)
        connection.execute(update(AUDIT_CHAIN).values(last=number, last_hash=before))


def last_entries(
    connection: Connection, count: int, *, subject: str | None = None
) -> list[dict[str, Any]]:
    """The last entries, the newest last, of one pseudonym or of all; an identity has its name as
    long as it is enrolled, and its pseudonym afterwards.
    """
    query = (
        select(AUDIT, IDENTITY.c.name)
        .join(IDENTITY, IDENTITY.c.pseudonym == AUDIT.c.subject, isouter=True)
        .order_by(AUDIT.c.id.desc())
        .limit(count)
    )
    if subject is not None:
        query = query.where(AUDIT.c.subject == subject)
    rows = connection.execute(query).all()
    return [
        {
            "id": row.id,
            "time": iso(row.time),
            "action": row.action,
            "identity": row.name or row.subject,
            "similarity": row.similarity,
            "threshold": row.threshold,
            "policy": row.policy,
            "operator": row.operator,
            "photo": row.photo,
            "detail": row.detail,
        }
        for row in reversed(rows)
    ]


def check_chain(connection: Connection, *, head: str = "") -> AuditCheck:
    """Whether the entries are those that were written, in their order, none missing.

    Args:
        connection: with a transaction.
        head: the head of an earlier check, which must still be in the chain; empty = none.
    """
    chain = connection.execute(select(AUDIT_CHAIN)).one()
    before, expected = chain.first_hash, chain.first
    problems, count, has_head = list[str](), 0, head in ("", before)
    query = select(AUDIT).order_by(AUDIT.c.id).execution_options(yield_per=_CHUNK)
    for row in connection.execute(query):
        count += 1
        if row.id != expected:
            problems.append(f"Entries are missing or were added before entry {row.id}.")
        elif row.hash != _hash(before, row._asdict()):
            problems.append(f"Entry {row.id} or one before it was changed.")
        elif row.photo is not None and row.photo_hash != _photo_hash(row.photo, row.salt):
            problems.append(f"The name of the photo of entry {row.id} was changed.")
        before, expected = row.hash, row.id + 1
        has_head = has_head or head == before
    if expected != chain.last + 1 or before != chain.last_hash:
        problems.append(
            f"The log ends with entry {expected - 1}, but {chain.last} was the last one written."
        )
    if not has_head:
        problems.append(
            f"The log no longer holds the entry with the hash {head}: it was pruned, or written "
            "anew."
        )
    return AuditCheck(count, chain.first, chain.last, chain.last_hash, tuple(problems[:20]))


def wipe_photos(
    connection: Connection, *, subjects: Sequence[str] = (), names: Sequence[str] = ()
) -> None:
    """Wipe the names of photos that are of identities, given by their pseudonyms, or that hold a
    name. The chain holds their hashes only, and stays whole.
    """
    conditions = [AUDIT.c.subject == subject for subject in subjects]
    conditions += [AUDIT.c.photo.icontains(name, autoescape=True) for name in names]
    for condition in conditions:
        statement = update(AUDIT).where(AUDIT.c.photo.is_not(None), condition)
        connection.execute(statement.values(photo=None, salt=None))


def prune(connection: Connection, before: datetime, *, operator: str) -> int:
    """Delete the entries before a kept moment; returns how many. The chain then begins with the
    hash of the last of them, and an entry says so.
    """
    chain = connection.execute(select(AUDIT_CHAIN).with_for_update()).one()
    newer = select(AUDIT.c.id).where(AUDIT.c.time >= before).order_by(AUDIT.c.id).limit(1)
    first = connection.execute(newer).scalar() or chain.last + 1
    if first <= chain.first:
        return 0
    last = connection.execute(select(AUDIT.c.hash).where(AUDIT.c.id == first - 1)).scalar()
    count = connection.execute(delete(AUDIT).where(AUDIT.c.id < first)).rowcount
    connection.execute(update(AUDIT_CHAIN).values(first=first, first_hash=last or chain.last_hash))
    detail = f"{counted(count, 'entry', 'entries')} before {iso(before)}, up to number {first - 1}"
    append(connection, [AuditEntry("prune", detail=detail)], operator=operator)
    return count


def _photo_hash(photo: str | None, salt: str | None) -> str:
    return "" if photo is None else hashlib.sha256(f"{salt}{photo}".encode()).hexdigest()


def _hash(before: str, row: dict[str, Any]) -> str:
    values = [
        row["id"],
        row["time"].isoformat(),
        row["action"],
        row["subject"],
        row["similarity"],
        row["threshold"],
        row["policy"],
        row["operator"],
        row["detail"],
        row["photo_hash"],
    ]
    return hashlib.sha256(f"{before}{json.dumps(values)}".encode()).hexdigest()
