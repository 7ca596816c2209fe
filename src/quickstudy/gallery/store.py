"""The tables of a gallery, and connections that lose nothing: SQLite (one file) or PostgreSQL, by
SQLAlchemy.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    event,
)
from sqlalchemy.engine import Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, NoSuchModuleError

from quickstudy.core.errors import GalleryError

FORMAT = 2
STRANGERS = 0
"""What the log says in place of an identity when the cohort was changed; identities are numbered
from 1.
"""

TABLES = MetaData()

# One row. Every change locks it first, so writers queue, and counts up `changes`, so readers see
# that what they know is old. `token` is drawn anew at
# every change: two histories that part, as after a restored backup, have other tokens at the same
# count.
ABOUT = Table(
    "gallery",
    TABLES,
    Column("format", Integer, nullable=False),
    Column("encoder", Text, nullable=False),
    Column("dim", Integer, nullable=False),
    Column("changes", Integer, nullable=False),
    Column("source", Text, nullable=False),
    Column("token", BigInteger, nullable=False),
)
# What each change touched: one row with the change alone, and one per identity. Who knows the
# gallery as of some change reads those identities again.
CHANGE = Table(
    "change",
    TABLES,
    Column("id", Integer, primary_key=True),
    Column("number", Integer, nullable=False, index=True),
    Column("token", BigInteger, nullable=False),
    Column("identity", Integer),
)
IDENTITY = Table(
    "identity",
    TABLES,
    Column("id", Integer, primary_key=True),
    Column("name", String(500), nullable=False, unique=True),
    Column("consent", Text),
    Column("retain_until", DateTime),
    Column("details", Text, nullable=False),
    Column("created", DateTime, nullable=False),
)
TEMPLATE = Table(
    "template",
    TABLES,
    Column("id", Integer, primary_key=True),
    Column(
        "identity",
        Integer,
        ForeignKey("identity.id", ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    Column("vector", LargeBinary, nullable=False),
    Column("created", DateTime, nullable=False),
)
COHORT = Table(
    "cohort",
    TABLES,
    Column("id", Integer, primary_key=True),
    Column("vector", LargeBinary, nullable=False),
)
POLICY = Table(
    "policy",
    TABLES,
    Column("version", Integer, primary_key=True),
    Column("policy", Text, nullable=False),
    Column("created", DateTime, nullable=False),
)
AUDIT = Table(
    "audit",
    TABLES,
    Column("id", Integer, primary_key=True),
    Column("time", DateTime, nullable=False),
    Column("action", String(20), nullable=False),
    Column("identity", String(500)),
    Column("similarity", Float),
    Column("threshold", Float),
    Column("policy", Integer),
    Column("detail", Text, nullable=False),
)


def engine_for(place: str | Path) -> Engine:
    """Connections to the database at a path (SQLite) or a URL.

    Raises:
        GalleryError: for a URL that SQLAlchemy cannot use.
    """
    text = str(place)
    if "://" not in text:
        text = f"sqlite:///{Path(text).absolute()}"
    try:
        url = make_url(text)
        if url.get_backend_name() == "postgresql" and url.drivername == "postgresql":
            url = url.set(drivername="postgresql+psycopg")
        engine = create_engine(url, pool_pre_ping=url.get_backend_name() != "sqlite")
    except (ArgumentError, NoSuchModuleError) as error:
        raise GalleryError(
            f"'{text}' is no database that can be used: {error}. Give a file name, or "
            "postgresql://user@host/name."
        ) from error
    except ModuleNotFoundError as error:
        raise GalleryError(
            f"PostgreSQL needs the package {error.name}: pip install 'psycopg[binary]'."
        ) from error
    if url.get_backend_name() == "sqlite":
        event.listen(engine, "connect", _lose_nothing)
        event.listen(engine, "begin", _begin)
    return engine


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
def explained(place: str) -> Iterator[None]:
    """The database's errors in words that help."""
    try:
        yield
    except DatabaseError as error:
        said = str(error.orig)
        if "disk is full" in said or "No space left" in said:
            raise GalleryError(
                f"The disk of {place} is full. Nothing was changed; make room and try again."
            ) from error
        if "readonly" in said or "unable to open" in said or "Permission denied" in said:
            raise GalleryError(
                f"{place} cannot be written: {said}. Check the folder and its permissions; nothing "
                "was changed."
            ) from error
        if "malformed" in said or "not a database" in said or "disk image" in said:
            raise GalleryError(
                f"{place} is damaged: {said}. Restore it from a backup or an export."
            ) from error
        raise GalleryError(f"The database at {place} says: {said}. Nothing was changed.") from error


def _lose_nothing(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # or sqlite3 would begin transactions of its own accord
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "busy_timeout=30000",
        "secure_delete=ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    # A transaction that reads first and writes later could be refused half-way; one that will write
    # waits for its turn at once.
    connection.exec_driver_sql(
        "BEGIN IMMEDIATE" if connection.get_execution_options().get("writes") else "BEGIN"
    )
