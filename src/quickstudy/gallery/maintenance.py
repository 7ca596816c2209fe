"""What keeps the files of a gallery whole and clean: checkpoints, deletion down to the last byte,
backups while it is used.
"""

import mmap
import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import inspect, select
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError

from quickstudy.core.errors import GalleryError
from quickstudy.gallery.database import PATIENCE, explained, raw
from quickstudy.gallery.location import Location
from quickstudy.gallery.moments import shown
from quickstudy.gallery.tables import AUDIT, COHORT, COPY, IDENTITY, SERVER_VECTORS, TEMPLATE

SMALL = 256 * 2**20
"""Files of up to so many bytes are written anew at each deletion; in larger ones deleted content is
overwritten, and the file is written anew only where that left something.
"""
_WAIT_FOR_READERS = 3


class Deletion(tuple[str, ...]):
    """The names of who was removed, and what is left of them.

    Args:
        names: who was removed.
        remains: where something of them still is and until when, in plain sentences; empty where
            nothing is.
        warnings: what looks wrong with who got their templates, in plain sentences; see
            `VectorGallery.merge`.
    """

    remains: tuple[str, ...]
    warnings: tuple[str, ...]

    def __new__(
        cls, names: Sequence[str], remains: Sequence[str], warnings: Sequence[str] = ()
    ) -> "Deletion":
        deletion = super().__new__(cls, names)
        deletion.remains = tuple(remains)
        deletion.warnings = tuple(warnings)
        return deletion

    @property
    def names(self) -> tuple[str, ...]:
        """Who was removed."""
        return tuple(self)


def checkpoint(connection: Connection, *, patience: float = 0) -> bool:
    """Move what was written into the file of a SQLite gallery, so that the file alone is whole.
    False where others are reading what was there before; they are not waited for.

    Args:
        connection: outside of a transaction.
        patience: seconds to wait for those who read.
    """
    if connection.dialect.name != "sqlite":
        return True
    return _checkpoint(raw(connection), patience)


def _checkpoint(connection: sqlite3.Connection, patience: float) -> bool:
    connection.execute(f"PRAGMA busy_timeout={int(1000 * patience)}")
    try:
        busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    except sqlite3.OperationalError:
        return False
    finally:
        connection.execute(f"PRAGMA busy_timeout={1000 * PATIENCE}")
    return not busy


def purge(
    engine: Engine, location: Location, deleted: Sequence[bytes], *, always: bool = False
) -> tuple[str, ...]:
    """Have deleted content gone from the files, also from where it was before it moved.

    Args:
        engine: connections to the database.
        location: where it is.
        deleted: what must not be there any more: vectors, names and consents as bytes.
        always: write everything anew, however large it is.

    Returns:
        What remains and until when, in plain sentences.
    """
    if engine.dialect.name == "postgresql":
        return _purge_postgres(engine, location, always=always)
    path = location.path
    assert path is not None
    unclean = explained(location, outcome="What was removed may still be in the file.")
    with unclean, engine.connect() as wrapped:
        connection = raw(wrapped)
        is_clean = _checkpoint(connection, _WAIT_FOR_READERS)
        is_small = path.stat().st_size <= SMALL
        if is_small or always or _holds(path, deleted):
            if is_small:
                connection.execute("PRAGMA temp_store=MEMORY")  # nothing in temporary files
            connection.execute("VACUUM")
            is_clean = _checkpoint(connection, _WAIT_FOR_READERS)
    if is_clean:
        return ()
    return (
        f"{path}-wal still holds what was removed, as another process is reading the gallery. It "
        "goes with the next change after that has ended, or with `quickstudy gallery purge`.",
    )


def _purge_postgres(engine: Engine, location: Location, *, always: bool) -> tuple[str, ...]:
    """Write the tables that hold personal data anew; in large ones that is left for later."""
    server = (
        "The write-ahead log of the PostgreSQL server, its archive, replicas and backups keep what "
        "was removed until they are recycled: ask who runs it.",
    )
    try:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            names = [table.name for table in (IDENTITY, TEMPLATE, COHORT, AUDIT)]
            names += [SERVER_VECTORS]
            names = [name for name in names if inspect(connection).has_table(name)]
            if not always and _postgres_bytes(connection, names) > SMALL:
                return (
                    "The pages of the tables hold what was removed until PostgreSQL uses them "
                    "again: `quickstudy gallery purge` writes the tables anew, which takes a while "
                    "and lets nobody read meanwhile.",
                    *server,
                )
            connection.exec_driver_sql(f"SET lock_timeout = '{_WAIT_FOR_READERS}s'")
            for name in names:
                connection.exec_driver_sql(f"VACUUM (FULL) {name}")
            connection.exec_driver_sql("SET lock_timeout = DEFAULT")
            if _may_checkpoint(connection):
                connection.exec_driver_sql("CHECKPOINT")
    except DBAPIError as error:
        reason = location.masked(str(error.orig)).splitlines()[0]
        return (
            "The tables still hold what was removed, as they could not be written anew "
            f"({reason}): run `quickstudy gallery purge` when nobody else reads the gallery.",
            *server,
        )
    return server


def _postgres_bytes(connection: Connection, tables: Sequence[str]) -> int:
    sizes = (f"SELECT pg_total_relation_size('{name}')" for name in tables)
    return sum(connection.exec_driver_sql(query).scalar_one() for query in sizes)


def _may_checkpoint(connection: Connection) -> bool:
    query = "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"
    return bool(connection.exec_driver_sql(query).scalar())


def _holds(path: Path, needles: Sequence[bytes]) -> bool:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return any(content.find(needle) >= 0 for needle in needles if needle)


def copies(connection: Connection) -> tuple[str, ...]:
    """The exports and backups that were written and are still there, in plain sentences."""
    rows = connection.execute(select(COPY).order_by(COPY.c.id)).all()
    return tuple(
        f"The {row.kind} {row.path} of {shown(row.created)} was written before and still holds "
        "what it held: delete it, or write it anew."
        for row in rows
        if Path(row.path).exists()
    )


def backup(engine: Engine, location: Location, target: Path) -> None:
    """Copy a SQLite gallery to a new file, as of one moment, while it may be used.

    Raises:
        GalleryError: when the target exists or cannot be written, and for other databases.
    """
    if location.path is None:
        raise GalleryError(
            f"{location.shown} is backed up by its server: use pg_dump, or `quickstudy gallery "
            "export`."
        )
    try:
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError as error:
        raise GalleryError(
            f"{target} exists already; it is left alone. Choose another name."
        ) from error
    except OSError as error:
        raise GalleryError(f"{target} cannot be written: {error.strerror}.") from error
    try:
        uri = f"file:{quote(str(target))}?mode=rw"
        with (
            explained(location),
            engine.connect() as connection,
            closing(sqlite3.connect(uri, uri=True)) as copy,
        ):
            raw(connection).backup(copy)
            copy.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except BaseException:
        target.unlink(missing_ok=True)
        raise
