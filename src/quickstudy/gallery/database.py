"""Connections that lose nothing, to SQLite or PostgreSQL, by SQLAlchemy; their errors in words."""

import contextlib
import os
import sqlite3
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from sqlalchemy import create_engine, event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool, QueuePool

from quickstudy.core.errors import GalleryError
from quickstudy.gallery.location import Location

PATIENCE = 30
"""Seconds to wait for other writers."""
_ROOM = 64 * 1024
UNCHANGED = "Nothing was changed."


def engine_for(location: Location) -> Engine:
    """Connections to a database that is there.

    Those to a file that may not be written only read; they are made anew for each transaction.

    Raises:
        GalleryError: when the driver is not installed.
    """
    if location.path is not None:
        writable = is_writable(location)
        engine = create_engine(
            "sqlite://",
            creator=lambda: _connect(location),
            poolclass=QueuePool if writable else NullPool,
        )
        event.listen(engine, "begin", _begin)
        return engine
    try:
        return create_engine(location.url, pool_pre_ping=True)
    except ModuleNotFoundError as error:
        raise GalleryError(
            f"PostgreSQL needs the package {error.name}: pip install 'psycopg[binary]'."
        ) from error


def is_writable(location: Location) -> bool:
    """Whether changes can be made there; of a server only it knows."""
    path = location.path
    if path is None:
        return True
    return os.access(path, os.W_OK) and os.access(path.parent, os.W_OK) and _has_room(location)


def _has_room(location: Location) -> bool:
    """Whether the disk of a file takes what SQLite writes beside it as soon as it may write, even
    to read.
    """
    if location.path is None or sys.platform == "win32":
        return True
    try:
        disk = os.statvfs(location.path.parent)
    except OSError:
        return True
    if not disk.f_blocks:  # some network disks do not say
        return True
    free = disk.f_bfree if os.geteuid() == 0 else disk.f_bavail
    return free * disk.f_frsize >= _ROOM


def reading(engine: Engine) -> Engine:
    """Connections whose transactions see one moment of the gallery, however many questions they
    ask.
    """
    # SQLite's do so by themselves. Those that write must see what came before them instead, and
    # have locked out everybody else.
    return (
        engine.execution_options(isolation_level="REPEATABLE READ")
        if engine.dialect.name == "postgresql"
        else engine
    )


def writing(engine: Engine) -> Engine:
    """Connections whose transactions wait for their turn to write."""
    return engine.execution_options(writes=True)


@contextlib.contextmanager
def explained(location: Location, *, outcome: str = UNCHANGED) -> Iterator[None]:
    """The database's errors in words that help.

    Args:
        location: where.
        outcome: what is true of the gallery where something fails.

    Raises:
        GalleryError: for each error of the database.
    """
    try:
        yield
    except DBAPIError as error:
        raise GalleryError(_explanation(location, str(error.orig), outcome)) from error
    except sqlite3.Error as error:
        raise GalleryError(_explanation(location, str(error), outcome)) from error


def _explanation(location: Location, text: str, outcome: str) -> str:
    text, place = location.masked(text).strip().rstrip("."), location.shown
    is_full = "disk is full" in text or "No space left" in text
    if is_full or ("readonly" in text and not _has_room(location)):
        return f"The disk of {place} is full. {outcome} Make room and try again."
    if "readonly" in text or "unable to open" in text or "ermission denied" in text:
        return (
            f"{place} cannot be opened or written: {text}. Check the folder and its permissions. "
            f"{outcome}"
        )
    if "malformed" in text or "not a database" in text or "disk image" in text:
        return f"{place} is damaged: {text}. Restore it from a backup or an export."
    if "locked" in text:
        return (
            f"Another process has been writing to {place} for {PATIENCE} seconds. Try again. "
            f"{outcome}"
        )
    if "disk I/O error" in text:
        return (
            f"The disk of {place} cannot be read or written, as when it is full: {text}. Look at "
            f"the room that is left on it. {outcome}".rstrip()
        )
    return f"The database at {place} says: {text}. {outcome}".rstrip()


def _connect(location: Location) -> sqlite3.Connection:
    path = str(location.path)
    if is_writable(location):
        options = "mode=rw"
    elif os.path.exists(f"{path}-wal"):
        options = "mode=ro"
    else:
        options = "mode=ro&immutable=1"  # or SQLite would have to write a file beside it
    connection = sqlite3.connect(
        f"file:{quote(path)}?{options}", uri=True, timeout=PATIENCE, check_same_thread=False
    )
    connection.isolation_level = None  # or sqlite3 would begin transactions of its own accord
    for pragma in ("synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def _begin(connection: Connection) -> None:
    # A transaction that reads first and writes later could be refused half-way; one that will write
    # waits for its turn at once.
    connection.exec_driver_sql(
        "BEGIN IMMEDIATE" if connection.get_execution_options().get("writes") else "BEGIN"
    )


def raw(connection: Connection) -> Any:
    """The driver's own connection."""
    return connection.connection.dbapi_connection
