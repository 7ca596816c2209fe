"""Changes of a gallery, counted and logged, so that who knows it as of one change can follow to
another.
"""

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.engine import Connection

from quickstudy.gallery.policy import Policy
from quickstudy.gallery.store import ABOUT, AUDIT, CHANGE, FORMAT, POLICY

KEPT = 100_000
"""So many changes stay in the log; who is further behind reads everything."""


@dataclass(frozen=True)
class Change:
    """A change under way.

    Args:
        connection: with its transaction.
        number: the count of changes, with this one.
        token: of this change.
    """

    connection: Connection
    number: int
    token: int

    @classmethod
    def first(cls, connection: Connection, **about: Any) -> "Change":
        """What makes the gallery; the values are those of its one row."""
        made = cls(connection, 0, _token())
        connection.execute(
            insert(ABOUT).values(format=FORMAT, changes=made.number, token=made.token, **about)
        )
        return made._logged()

    @classmethod
    def next(cls, connection: Connection) -> "Change":
        """The one after what is there; see `lock`."""
        made = cls(
            connection, connection.execute(select(ABOUT.c.changes)).scalar_one() + 1, _token()
        )
        connection.execute(update(ABOUT).values(changes=made.number, token=made.token))
        connection.execute(delete(CHANGE).where(CHANGE.c.number < made.number - KEPT))
        return made._logged()

    def touches(self, identity: int) -> None:
        """Log that this identity comes, goes, or is another afterwards; `STRANGERS` stands for the
        cohort.
        """
        self.connection.execute(
            insert(CHANGE).values(number=self.number, token=self.token, identity=identity)
        )

    def note(self, action: str, identity: str | None, **more: Any) -> None:
        """A line in the audit log."""
        self.connection.execute(
            insert(AUDIT).values(
                {"time": utc_now(), "action": action, "identity": identity, "detail": "", **more}
            )
        )

    def puts(self, policy: Policy) -> int:
        """Put a policy in force; returns its version."""
        version = policy_of(self.connection)[0] + 1
        self.connection.execute(
            insert(POLICY).values(version=version, policy=policy.to_json(), created=utc_now())
        )
        self.note(
            "policy", None, detail=policy.to_json(), threshold=policy.threshold, policy=version
        )
        return version

    def _logged(self) -> "Change":
        self.connection.execute(insert(CHANGE).values(number=self.number, token=self.token))
        return self


def lock(connection: Connection) -> None:
    """Wait until nobody else changes the gallery; it stays so until the transaction ends. SQLite
    did that when the transaction began.
    """
    connection.execute(select(ABOUT.c.changes).with_for_update())


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
    if [number for number, _ in steps] != list(range(before[0], after[0] + 1)) or not {
        before,
        after,
    } <= steps.keys():
        return None
    return {r.identity for r in rows if r.identity is not None and r.number > before[0]}


def utc_now() -> datetime:
    """In UTC without saying so, as both databases keep it."""
    return datetime.now(UTC).replace(tzinfo=None)


def naive(moment: datetime | None) -> datetime | None:
    """A moment as `utc_now` has it."""
    return (
        moment
        if moment is None or moment.tzinfo is None
        else moment.astimezone(UTC).replace(tzinfo=None)
    )


def _token() -> int:
    return secrets.randbits(62)
