"""Transactions on a gallery, and the snapshot that follows them."""

import contextlib
import os
import warnings
from collections.abc import Iterator, Sequence

from sqlalchemy import text
from sqlalchemy.engine import Connection, Engine, RootTransaction
from sqlalchemy.exc import DBAPIError

from quickstudy.core.errors import ConfigError, GalleryError, QuickstudyWarning
from quickstudy.gallery.audit import AuditEntry, append, login_name
from quickstudy.gallery.audit_queue import AuditQueue
from quickstudy.gallery.changes import Change, lock, policy_of
from quickstudy.gallery.database import explained, is_writable, reading, writing
from quickstudy.gallery.location import Location
from quickstudy.gallery.maintenance import checkpoint
from quickstudy.gallery.snapshot import Cohort, Snapshot
from quickstudy.gallery.tables import SERVER_VECTORS, TABLES

_UNKNOWN = "It is unknown whether the change was made: look with `identities` before trying again."
_ATTEMPTS = 3


class Access:
    """How a gallery is read and changed.

    A transaction begins before the snapshot is held, and a change ends while it is: so threads of
    one process never wait for each other in a ring, and nobody sees in memory what is not in the
    database.

    Args:
        engine: connections to the database.
        location: where it is.
        snapshot: what this process knows.
        operator: who changes and asks; empty = who runs the process.
    """

    def __init__(
        self, engine: Engine, *, location: Location, snapshot: Snapshot, operator: str = ""
    ) -> None:
        self.engine = engine
        self.location = location
        self.snapshot = snapshot
        self.operator = operator or login_name()
        self._reader, self._writer = reading(engine), writing(engine)
        self._questions = AuditQueue(self._append, place=location.shown)
        self._warned = False

    def close(self) -> None:
        """Write what waits, and give back the connections; they are made anew when needed."""
        self.flush()
        self.engine.dispose()

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """One moment of the gallery."""
        before = self._stamp()
        with explained(self.location, outcome=""), self._reader.begin() as connection:
            yield connection
        if before is not None and before != self._stamp():
            self.snapshot.forget()
            raise GalleryError(
                f"{self.location.shown} was changed while it was read by a process that may not "
                "write there. Ask again."
            )

    @contextlib.contextmanager
    def looking(self) -> Iterator[Connection]:
        """One moment of the gallery, with the snapshot held and in step."""
        with self.reading() as connection, self.snapshot.held():
            self.snapshot.follow(connection)
            yield connection

    def prepare(
        self, *, compares: bool = False, rate: float | None = None, cohort: Cohort | None = None
    ) -> None:
        """Read and compare before a change what it will need, so that little is left to do while
        others wait.
        """
        with self.reading() as connection, self.snapshot.held():
            rate = policy_of(connection)[1].rate if rate is None else rate
            if compares or rate is not None:
                self.snapshot.follow(connection)
            if rate is not None:
                with contextlib.suppress(ConfigError, GalleryError):  # the change itself will say
                    self.snapshot.calibrated(connection, rate, strict=False, cohort=cohort)

    @contextlib.contextmanager
    def changing(self, *, compares: bool = False) -> Iterator[Change]:
        """A transaction that nobody else's overlaps; ``compares`` has the snapshot in step with
        what was there before it.
        """
        self.flush()
        with explained(self.location), self._writer.connect() as connection:
            transaction = connection.begin()
            try:
                lock(connection)
                with self.snapshot.held():
                    if compares:
                        self.snapshot.follow(connection)
                    change = Change.next(connection, operator=self.operator)
                    yield change
                    # while the snapshot is held, as what it knows of this change is true from here
                    # on only
                    self._commit(transaction, change)
            except BaseException:
                if transaction.is_active:
                    with contextlib.suppress(DBAPIError):
                        transaction.rollback()
                raise
        made = explained(self.location, outcome="The change was made.")
        with made, self.engine.connect() as connection:
            checkpoint(connection)

    def keep_rate(self, change: Change) -> None:
        """After a change of who is there: the thresholds for the same false-accept rate, or for
        what can be promised now.
        """
        if policy_of(change.connection)[1].rate is None:
            return
        self.snapshot.follow(change.connection, uncommitted=True)
        policy = self.snapshot.followed(change.connection)
        if policy != self.snapshot.policy:
            self.snapshot.agree(change.put(policy), policy)

    @property
    def is_writable(self) -> bool:
        """Whether changes can be made."""
        return is_writable(self.location)

    def record(self, entries: Sequence[AuditEntry]) -> None:
        """Entries of questions in the audit log, soon; whoever may not write leaves none."""
        if is_writable(self.location):
            self._questions.put(entries)
        elif not self._warned:
            self._warned = True
            warnings.warn(
                f"{self.location.shown} cannot be written, so questions leave no entry in its "
                "audit log.",
                QuickstudyWarning,
                stacklevel=3,
            )

    def flush(self) -> None:
        """Wait until the entries of questions are written."""
        self._questions.flush()

    def erase(self) -> None:
        """Drop the gallery's tables, and no others."""
        self.flush()
        with explained(self.location), self._writer.begin() as connection:
            connection.execute(text(f"DROP TABLE IF EXISTS {SERVER_VECTORS}"))
            TABLES.drop_all(connection)
        self.snapshot.forget()

    def _append(self, entries: Sequence[AuditEntry]) -> None:
        with explained(self.location), self._writer.begin() as connection:
            append(connection, entries, operator=self.operator)

    def _commit(self, transaction: RootTransaction, change: Change) -> None:
        """End the transaction; where the connection broke, look whether it was made."""
        try:
            transaction.commit()
        except DBAPIError as error:
            if not _may_be_made(error):
                raise
            is_made = self._is_made(change)
            if is_made is None:
                with explained(self.location, outcome=_UNKNOWN):
                    raise
            if not is_made:
                raise

    def _is_made(self, change: Change) -> bool | None:
        """Whether a change is in the gallery; None where that cannot be found out."""
        for _ in range(_ATTEMPTS):
            with contextlib.suppress(DBAPIError), self._reader.begin() as connection:
                return change.is_kept(connection)
        return None

    def _stamp(self) -> tuple[int, int] | None:
        """What shows that a file was written, where SQLite is told that it is not."""
        path = self.location.path
        if path is None or is_writable(self.location):
            return None
        status = os.stat(path)
        return status.st_mtime_ns, status.st_size


def _may_be_made(error: DBAPIError) -> bool:
    """Whether a commit that failed could have been made all the same."""
    text = str(error.orig)
    return error.connection_invalidated or "I/O" in text or "connection" in text.lower()
