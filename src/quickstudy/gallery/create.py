"""Where a gallery is made and found again."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import insert, inspect, select, update
from sqlalchemy.engine import Engine

from quickstudy.core.errors import GalleryError
from quickstudy.gallery.changes import Change, utc_now
from quickstudy.gallery.policy import Policy
from quickstudy.gallery.store import (
    ABOUT,
    CHANGE,
    FORMAT,
    POLICY,
    TABLES,
    engine_for,
    explained,
    writing,
)


@dataclass(frozen=True)
class About:
    """What does not change of a gallery.

    Args:
        encoder: what makes its vectors.
        dim: their length.
        source: what opens that encoder again, or empty.
    """

    encoder: str
    dim: int
    source: str


def make(
    place: str, about: About, policy: Policy, *, then: Callable[[Change], None] | None = None
) -> Engine:
    """A new gallery's database, with what ``then`` puts into it before anybody sees it."""
    if about.dim < 1 or not about.encoder:
        raise GalleryError(
            "A gallery needs the name of its encoder and a dimension of at least 1, got "
            f"'{about.encoder}' and {about.dim}."
        )
    with explained(place), _first(place) as engine, writing(engine).begin() as connection:
        if inspect(connection).has_table(ABOUT.name):
            raise GalleryError(
                f"{place} holds a gallery already. Open it, or choose another name; nothing was "
                "changed."
            )
        TABLES.create_all(connection)
        change = Change.first(connection, encoder=about.encoder, dim=about.dim, source=about.source)
        connection.execute(
            insert(POLICY).values(version=1, policy=policy.to_json(), created=utc_now())
        )
        if then is not None:
            then(change)
    return engine


def find(place: str, *, encoder: str = "") -> tuple[Engine, About]:
    """The database of a gallery that is there, which may be of an older format; an encoder that is
    not its own is refused.
    """
    if "://" not in place and not Path(place).is_file():
        raise GalleryError(
            f"There is no gallery at {place}. Make one with `quickstudy gallery create`."
        )
    with explained(place), _first(place) as engine:
        with engine.connect() as connection:
            if not inspect(connection).has_table(ABOUT.name):
                raise GalleryError(
                    f"{place} is a database without a gallery. Make one with `quickstudy gallery "
                    "create`."
                )
            row = connection.execute(select(ABOUT.c.format, ABOUT.c.encoder, ABOUT.c.dim)).one()
        if row.format not in (1, FORMAT):
            raise GalleryError(
                f"{place} is of format {row.format}, and this version reads {FORMAT}. Install the "
                "version that made it."
            )
        if encoder and encoder != row.encoder:
            raise GalleryError(
                f"{place} holds templates of the encoder '{row.encoder}', not of '{encoder}': "
                "their vectors cannot be compared. "
                "Use that encoder, or enrol everybody anew in another gallery."
            )
        if row.format == 1:
            _bring_up_to_date(engine)
        with engine.connect() as connection:
            source = connection.execute(select(ABOUT.c.source)).scalar_one()
    return engine, About(row.encoder, row.dim, source)


def _bring_up_to_date(engine: Engine) -> None:
    """Give a gallery of format 1, which had no source and no log of changes, the tables of
    today.
    """
    with writing(engine).begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(
                f"LOCK TABLE {ABOUT.name}"
            )  # another process may be about to do the same
        if connection.execute(select(ABOUT.c.format)).scalar_one() != 1:
            return
        connection.exec_driver_sql(
            f"ALTER TABLE {ABOUT.name} ADD COLUMN source TEXT NOT NULL DEFAULT ''"
        )
        connection.exec_driver_sql(
            f"ALTER TABLE {ABOUT.name} ADD COLUMN token BIGINT NOT NULL DEFAULT 0"
        )
        CHANGE.create(connection)
        connection.execute(update(ABOUT).values(format=FORMAT))
        Change.next(connection)


@contextlib.contextmanager
def _first(place: str) -> Iterator[Engine]:
    """Connections that are given back where the gallery turns out to be none."""
    engine = engine_for(place)
    try:
        yield engine
    except BaseException:
        engine.dispose()
        raise
