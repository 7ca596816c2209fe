"""Changes of a gallery, counted and logged, so that whoever knows it as of one change can follow to
another.
"""

import secrets
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.engine import Connection

from quickstudy.gallery.audit import AuditEntry, append
from quickstudy.gallery.moments import utc_now
from quickstudy.gallery.policy import Policy
from quickstudy.gallery.tables import CHANGE, FORMAT, GALLERY, POLICY

LOG_LENGTH = 100_000
"""So many changes stay in the log; who is further behind reads everything."""


@dataclass(frozen=True)
class Change:
    """A change under way.

    Args:
        connection: with its transaction.
        number: the count of changes, with this one.
        token: of this change.
        operator: who makes it.
    """

    connection: Connection
    number: int
    token: int
    operator: str

    @classmethod
    def first(cls, connection: Connection, *, operator: str, **values: Any) -> "Change":
        """The one that makes the gallery; the values are those of its one row."""
        change = cls(connection, 0, _token(), operator)
        connection.execute(
            insert(GALLERY).values(
                format=FORMAT, changes=change.number, token=change.token, **values
            )
        )
        return change._logged()

    @classmethod
    def next(cls, connection: Connection, *, operator: str) -> "Change":
        """The one after what is there; see `lock`."""
        number = connection.execute(select(GALLERY.c.changes)).scalar_one() + 1
        change = cls(connection, number, _token(), operator)
        connection.execute(update(GALLERY).values(changes=number, token=change.token))
        connection.execute(delete(CHANGE).where(CHANGE.c.number < number - LOG_LENGTH))
        return change._logged()

    def touches(self, identity: int) -> None:
        """Log that this identity comes, goes, or is another afterwards; `COHORT_ID` stands for the
        cohort.
        """
        self.connection.execute(
            insert(CHANGE).values(number=self.number, token=self.token, identity=identity)
        )

    def note(self, *entries: AuditEntry) -> None:
        """Entries in the audit log."""
        append(self.connection, entries, operator=self.operator)

    def put(self, policy: Policy) -> int:
        """Put a policy in force; returns its version."""
        version = policy_of(self.connection)[0] + 1
        self.connection.execute(
            insert(POLICY).values(version=version, policy=policy.to_json(), created=utc_now())
        )
        entry = AuditEntry("policy", detail=policy.to_json(), policy=version)
        self.note(replace(entry, threshold=policy.threshold))
        return version

    def is_kept(self, connection: Connection) -> bool:
        """Whether the gallery that another transaction sees has this change."""
        query = select(CHANGE.c.id).where(CHANGE.c.number == self.number)
        return connection.execute(query.where(CHANGE.c.token == self.token)).first() is not None

    def _logged(self) -> "Change":
        self.connection.execute(insert(CHANGE).values(number=self.number, token=self.token))
        return self


def lock(connection: Connection) -> None:
    """Wait until nobody else changes the gallery; it stays so until the transaction ends. SQLite
    did that when the transaction began.
    """
    connection.execute(select(GALLERY.c.changes).with_for_update())


def policy_of(connection: Connection) -> tuple[int, Policy]:
    """The policy in force, after its version."""
    row = connection.execute(select(POLICY).order_by(POLICY.c.version.desc()).limit(1)).one()
    return row.version, Policy.from_json(row.policy)


def touched(
    connection: Connection, before: tuple[int, int], after: tuple[int, int]
) -> set[int] | None:
    """The identities touched between two changes, each given by number and token; None where the
    log does not lead from one to the other.
    """
    query = select(CHANGE.c.number, CHANGE.c.token, CHANGE.c.identity).where(
        CHANGE.c.number >= before[0]
    )
    rows = connection.execute(query.order_by(CHANGE.c.number)).all()
    steps = dict.fromkeys((r.number, r.token) for r in rows)
    numbers = [number for number, _ in steps]
    if numbers != list(range(before[0], after[0] + 1)) or not {before, after} <= steps.keys():
        return None
    return {r.identity for r in rows if r.identity is not None and r.number > before[0]}


def _token() -> int:
    return secrets.randbits(62)
