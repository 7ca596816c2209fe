"""Where a gallery is made and opened again."""

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sqlalchemy import insert, inspect, select
from sqlalchemy.engine import Connection, Engine

from quickstudy.core.errors import ConfigError, GalleryError
from quickstudy.gallery.audit import login_name, start_chain
from quickstudy.gallery.changes import Change
from quickstudy.gallery.database import engine_for, explained, raw, writing
from quickstudy.gallery.location import Location
from quickstudy.gallery.maintenance import checkpoint
from quickstudy.gallery.moments import utc_now
from quickstudy.gallery.policy import Policy
from quickstudy.gallery.tables import FORMAT, GALLERY, POLICY, TABLES
from quickstudy.pretrained.measured import MeasuredThresholds
from quickstudy.pretrained.registry import KINDS

_OLDER = "gallery"
_OLDER_COLUMNS = {"format", "encoder", "dim", "changes"}


@dataclass(frozen=True)
class Description:
    """What does not change of a gallery.

    Args:
        encoder: the key of what makes its vectors.
        dim: their length.
        kind: of what: "images", "text" or "audio".
        source: what opens that encoder again, or empty.
        measured: thresholds that were measured with it, or None.

    Raises:
        GalleryError: for values that make no sense.
    """

    encoder: str
    dim: int
    kind: str = "images"
    source: str = ""
    measured: MeasuredThresholds | None = None

    def __post_init__(self) -> None:
        is_dim = isinstance(self.dim, int) and not isinstance(self.dim, bool) and self.dim >= 1
        if not is_dim or not isinstance(self.encoder, str) or not self.encoder:
            raise GalleryError(
                "A gallery needs the name of its encoder and a dimension of at least 1, got "
                f"{self.encoder!r} and {self.dim!r}."
            )
        if self.kind not in KINDS or not isinstance(self.source, str):
            raise GalleryError(
                f"A gallery is of {', '.join(KINDS)}, and its source is a text; got {self.kind!r} "
                f"and {self.source!r}."
            )


def make(
    location: Location,
    description: Description,
    policy: Policy,
    *,
    operator: str = "",
    then: Callable[[Change], None] | None = None,
) -> Engine:
    """A new gallery's database, with what ``then`` puts into it before anybody sees it.

    Raises:
        GalleryError: when there is a gallery already, or it cannot be written.
    """
    measured = description.measured
    with _new_file(location), explained(location), _disposed(location) as engine:
        with writing(engine).begin() as connection:
            _check_free(connection, location)
            TABLES.create_all(connection, checkfirst=False)
            start_chain(connection)
            change = Change.first(
                connection,
                operator=operator or login_name(),
                encoder=description.encoder,
                dim=description.dim,
                kind=description.kind,
                source=description.source,
                measured="" if measured is None else json.dumps(measured.to_json()),
            )
            connection.execute(
                insert(POLICY).values(version=1, policy=policy.to_json(), created=utc_now())
            )
            if then is not None:
                then(change)
        if location.path is not None:
            with engine.connect() as connection:
                raw(connection).execute("PRAGMA journal_mode=WAL")
                checkpoint(connection)
    return engine


def find(location: Location, *, encoder: str = "") -> tuple[Engine, Description]:
    """The database of a gallery that is there; an encoder that is not its own is refused.

    Raises:
        GalleryError: when there is none, or it cannot be read.
    """
    if location.path is not None and not location.path.is_file():
        raise GalleryError(
            f"There is no gallery at {location.shown}. Make one with `quickstudy gallery create`."
        )
    with explained(location, outcome=""), _disposed(location) as engine:
        with engine.connect() as connection:
            if not inspect(connection).has_table(GALLERY.name):
                raise GalleryError(_no_gallery(connection, location))
            format_ = connection.execute(select(GALLERY.c.format)).scalar_one()
            if format_ != FORMAT:
                raise GalleryError(
                    f"{location.shown} is of format {format_}, and this version reads {FORMAT}. "
                    "Install the version that made it."
                )
            row = connection.execute(select(GALLERY)).one()
        if encoder and encoder != row.encoder:
            raise GalleryError(
                f"{location.shown} holds templates of the encoder '{row.encoder}', not of "
                f"'{encoder}': their vectors cannot be compared. Use that encoder, or enrol "
                "everybody anew in another gallery."
            )
    try:
        measured = MeasuredThresholds.from_json(json.loads(row.measured)) if row.measured else None
    except (ValueError, KeyError, TypeError, ConfigError) as error:
        raise GalleryError(
            f"{location.shown} is damaged: the thresholds measured with its encoder cannot be "
            f"read ({error})."
        ) from error
    return engine, Description(row.encoder, row.dim, row.kind, row.source, measured)


def _no_gallery(connection: Connection, location: Location) -> str:
    tables = inspect(connection)
    columns = tables.get_columns(_OLDER) if tables.has_table(_OLDER) else []
    if {column["name"] for column in columns} >= _OLDER_COLUMNS:
        return (
            f"{location.shown} was made by an older version of quickstudy, which this one does not "
            "read. Write an export with that version (`quickstudy gallery export`), and make a new "
            "gallery of it with this one (`quickstudy gallery import`)."
        )
    return (
        f"{location.shown} is a database without a gallery. Make one with `quickstudy gallery "
        "create`."
    )


def _check_free(connection: Connection, location: Location) -> None:
    """Refuse where a gallery is, or where somebody's tables have the names of ours."""
    present = set(inspect(connection).get_table_names())
    if GALLERY.name in present:
        raise GalleryError(
            f"{location.shown} holds a gallery already. Open it, or choose another name; nothing "
            "was changed."
        )
    taken = sorted(present & set(TABLES.tables))
    if taken:
        raise GalleryError(
            f"{location.shown} has tables that are called like those of a gallery, but has no "
            f"gallery: {', '.join(taken)}. Choose another name; nothing was changed."
        )


@contextlib.contextmanager
def _new_file(location: Location) -> Iterator[None]:
    """A new file that others cannot read, which goes again where no gallery comes of it."""
    path = location.path
    if path is None or path.exists():
        yield
        return
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except OSError as error:
        raise GalleryError(
            f"{location.shown} cannot be written: {error.strerror}. Check the folder and its "
            "permissions; nothing was changed."
        ) from error
    try:
        yield
    except BaseException:
        for ending in ("", "-wal", "-shm", "-journal"):
            path.with_name(path.name + ending).unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def _disposed(location: Location) -> Iterator[Engine]:
    """Connections that are given back where the gallery turns out to be none."""
    engine = engine_for(location)
    try:
        yield engine
    except BaseException:
        engine.dispose()
        raise
