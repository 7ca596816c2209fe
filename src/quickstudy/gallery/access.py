"""Transactions on a gallery, and the memory that follows them."""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from sqlalchemy import insert
from sqlalchemy.engine import Connection, Engine

from quickstudy.core.errors import ConfigError, GalleryError
from quickstudy.gallery.changes import Change, lock, policy_of, utc_now
from quickstudy.gallery.exact_search import Vectors
from quickstudy.gallery.policy import Decision
from quickstudy.gallery.snapshot import Memory
from quickstudy.gallery.store import AUDIT, TABLES, explained, reading, writing


class Access:
    """How a gallery is read and changed.

    A transaction begins before the memory is held, and a change ends while it is: so threads of one
    process never wait for each other in a ring, and nobody sees in memory what is not in the
    database.

    Args:
        engine: connections to the database.
        place: for messages.
        memory: what this process knows.
    """

    def __init__(self, engine: Engine, *, place: str, memory: Memory) -> None:
        self.engine, self.place, self.memory = engine, place, memory
        self._reader, self._writer = reading(engine), writing(engine)

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """One moment of the gallery."""
        with explained(self.place), self._reader.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def looking(self) -> Iterator[Connection]:
        """One moment of the gallery, with the memory held and in step."""
        with self.reading() as connection, self.memory.held():
            self.memory.follow(connection)
            yield connection

    def prepare(
        self, *, compares: bool = False, rate: float | None = None, cohort: Vectors | None = None
    ) -> None:
        """Read and compare before a change what it will need, so that little is left to do while
        others wait.
        """
        with self.reading() as connection, self.memory.held():
            rate = policy_of(connection)[1].rate if rate is None else rate
            if compares or rate is not None:
                self.memory.follow(connection)
            if rate is not None:
                with contextlib.suppress(ConfigError, GalleryError):  # the change itself will tell
                    self.memory.compare(connection, rate, cohort)

    @contextlib.contextmanager
    def changing(self, *, compares: bool = False) -> Iterator[Change]:
        """A transaction that nobody else's overlaps; ``compares`` has the memory in step with what
        was there before it.
        """
        with (
            explained(self.place),
            self._writer.connect() as connection,
            connection.begin() as transaction,
        ):
            lock(connection)
            with self.memory.held():
                if compares:
                    self.memory.follow(connection)
                yield Change.next(connection)
                # while the memory is held, as what it knows of this change is true from here on
                # only
                transaction.commit()

    def keep_rate(self, change: Change) -> None:
        """After a change of who is there: the threshold for the same false-accept rate, as long as
        there is enough to choose it by.
        """
        policy = policy_of(change.connection)[1]
        if policy.rate is None:
            return
        self.memory.follow(change.connection, uncommitted=True)
        with contextlib.suppress(ConfigError, GalleryError):
            threshold, rule = self.memory.threshold(change.connection, policy.rate)
            if threshold != policy.threshold:
                chosen = dataclasses.replace(
                    policy, threshold=threshold, review=threshold, rule=rule
                )
                self.memory.agree(change.puts(chosen), chosen)

    def record(self, action: str, decisions: Sequence[Decision]) -> None:
        """A line in the audit log for each decision."""
        rows = [
            {
                "time": utc_now(),
                "action": action,
                "identity": d.identity,
                "similarity": d.similarity if np.isfinite(d.similarity) else None,
                "threshold": d.threshold,
                "policy": d.policy,
                "detail": "" if d.certain else "uncertain",
            }
            for d in decisions
        ]
        if rows:
            with explained(self.place), self._writer.begin() as connection:
                connection.execute(insert(AUDIT), rows)

    def erase(self) -> None:
        """Drop the tables, and on SQLite overwrite what they were."""
        with explained(self.place), self._writer.begin() as connection:
            TABLES.drop_all(connection)
        self.memory.forget()
        if self.engine.dialect.name == "sqlite":
            with explained(self.place), self.engine.connect() as connection:
                raw: Any = connection.connection.dbapi_connection
                raw.execute("VACUUM")
                raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
