"""A search in the PostgreSQL server by the extension pgvector, so that no process of ours holds the
vectors of a gallery.
"""

import contextlib
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from sqlalchemy import column, func, select, table, text
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError

from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import GalleryError, QuickstudyWarning
from quickstudy.gallery.checksums import checked_vectors
from quickstudy.gallery.database import raw
from quickstudy.gallery.index import AbstractIndex
from quickstudy.gallery.search import NO_MATCHES, Ranked, better, nearest, rounding_error
from quickstudy.gallery.tables import SERVER_VECTORS, TEMPLATE
from quickstudy.gallery.vectors import NO_OWNER, Integers, Vectors, VectorTable

BLOCK = 5_000
"""Rows that are read or written at once."""
SCANNED = 8
"""Up to so many probes are compared with everybody by the server; more of them by this process,
which reads the vectors block by block.
"""
MAX_DIM = 4_000
"""The longest vectors of half precision that fit on a page of the server."""
_HALF = 2.0**-10 + 2.0**-20
"""By how much a product of two unit vectors may be off when both are rounded to half precision."""
_PAUSE = 60.0
_LAST = select(func.coalesce(func.max(column("template")), 0)).select_from(table(SERVER_VECTORS))
_COLUMNS = "t.id, t.identity, t.vector, t.checksum"
# OFFSET 0 has all distances computed before they are sorted without the vectors.
_SCAN = text(
    f"SELECT {_COLUMNS}, near.distance FROM (SELECT * FROM (SELECT template, "
    f"embedding <#> CAST(:x AS halfvec) AS distance FROM {SERVER_VECTORS} "
    "WHERE identity <> :without AND template <> :without_id OFFSET 0) AS every "
    f"ORDER BY distance LIMIT :n) AS near JOIN {TEMPLATE.name} AS t ON t.id = near.template "
    "ORDER BY near.distance"
)


class ServerTable(VectorTable):
    """Owners and ids of the templates, read when they are first asked for; the vectors stay in the
    database.

    Args:
        dim: D, length of a vector.
        index: what reads them.
    """

    is_local = False

    def __init__(self, dim: int, index: "PgvectorIndex") -> None:
        super().__init__(0)
        self.size = dim
        self.is_read = False
        self._server = index

    def __len__(self) -> int:
        self._read()
        return super().__len__()

    @property
    def vectors(self) -> Float[Vectors, "rows D"]:
        """All rows, read for this once."""
        return self.take(np.arange(len(self.owners)))

    @property
    def owners(self) -> Int[Integers, " rows"]:
        self._read()
        return super().owners

    @property
    def ids(self) -> Int[Integers, " rows"]:
        self._read()
        return super().ids

    def take(self, rows: Int[Integers, " n"]) -> Float[Vectors, "n D"]:
        out = np.zeros((len(rows), self.size), np.float32)
        ids = self.ids[rows]
        for begin in range(0, len(rows), BLOCK):
            some = ids[begin : begin + BLOCK]
            found, x, _ = self._server.rows(TEMPLATE.c.id.in_(some.tolist()))
            at = np.searchsorted(found, some)
            at[at == len(found)] = 0
            here = found[at] == some if len(found) else np.zeros(len(some), bool)
            out[begin : begin + len(some)][here] = x[at[here]]
        return out

    def of(self, owner: int) -> Float[Vectors, "m D"]:
        return self._server.rows(TEMPLATE.c.identity == owner)[1]

    def _read(self) -> None:
        if self.is_read:
            return
        self.is_read = True
        ids, owners = self._server.ids()
        self.add(np.empty((len(ids), 0), np.float32), owners, ids)


class PgvectorIndex(AbstractIndex):
    """Vectors of half precision in the PostgreSQL server, all of which it compares.

    What may be among the nearest within the error of half precision is compared again, exactly,
    with the vectors of single precision that the gallery keeps: nobody is missed. Templates that
    are not in the server's table yet are compared as well, so whoever was enrolled a moment ago is
    found; a thread puts them there, of one process at a time. A process holds no vectors, so it
    answers as soon as it is started.

    There is no graph (HNSW): the templates of one identity lie near each other and far from all
    others, and to such islands hardly any link of a graph leads. docs/about/decisions.md has the
    numbers.
    """

    is_exact = True

    def __init__(self) -> None:
        self._dim = 0
        self._place = ""
        self._connection: Connection | None = None
        self._filling = threading.Lock()
        self._paused_until = 0.0

    # --- as an index

    def prepare(self, engine: Engine, place: str, dim: int) -> None:
        if engine.dialect.name != "postgresql":
            raise GalleryError(
                f"The index 'pgvector' is for galleries in PostgreSQL, and {place} is a file. Use "
                "'exact' or 'approximate', or move the gallery with `quickstudy gallery export` "
                "and `import`."
            )
        if dim > MAX_DIM:
            raise GalleryError(
                f"pgvector indexes vectors of up to {MAX_DIM} numbers, and those of {place} have "
                f"{dim}. Use the index 'exact' or 'approximate'."
            )
        self._place, self._dim = place, dim
        with engine.begin() as connection:
            if _exists(connection, SERVER_VECTORS):
                return
            try:
                connection.execute(text("CREATE EXTENSION IF NOT EXISTS vector"))
                connection.execute(
                    text(
                        f"CREATE TABLE IF NOT EXISTS {SERVER_VECTORS} (template integer PRIMARY "
                        f"KEY REFERENCES {TEMPLATE.name} (id) ON DELETE CASCADE, "
                        f"identity integer NOT NULL, embedding halfvec({dim}) NOT NULL)"
                    )
                )
                connection.execute(
                    text(f"ALTER TABLE {SERVER_VECTORS} ALTER embedding SET STORAGE PLAIN")
                )
            except DBAPIError as error:
                reason = str(error.orig).splitlines()[0]
                raise GalleryError(
                    f"{place} cannot be searched by pgvector: {reason}. Whoever runs the server "
                    "installs the extension (Debian: postgresql-NN-pgvector) and runs CREATE "
                    "EXTENSION vector; the index 'exact' needs neither."
                ) from error

    def new_table(self, dim: int) -> VectorTable:
        return ServerTable(dim, self)

    def follow(self, connection: Connection) -> None:
        self._connection = connection

    def nearest(
        self,
        x: Float[Vectors, "P D"],
        k: int,
        table: VectorTable,
        *,
        without_row: Integers | None = None,
    ) -> list[Ranked]:
        without = _ids(table, without_row, len(x))
        return self._all_scanned(x, k, without, np.full(len(x), NO_OWNER))

    def exact(
        self,
        x: Float[Vectors, "P D"],
        k: int,
        table: VectorTable,
        *,
        without_owner: Integers | None = None,
        without_row: Integers | None = None,
        above: Vectors | None = None,
    ) -> list[Ranked]:
        without = _ids(table, without_row, len(x))
        if len(x) > SCANNED:
            out = [NO_MATCHES] * len(x)
            self._compare(out, x, k, without, without_owner, after=0)
            return out
        owner = np.full(len(x), NO_OWNER) if without_owner is None else without_owner
        return self._all_scanned(x, k, without, owner)

    # --- rows

    def ids(self) -> tuple[Integers, Integers]:
        """The id and the owner of every template, by id."""
        query = select(TEMPLATE.c.id, TEMPLATE.c.identity).order_by(TEMPLATE.c.id)
        rows = np.asarray(self._asking().execute(query).all(), np.int64).reshape(-1, 2)
        return rows[:, 0].copy(), rows[:, 1].copy()

    def rows(self, where: Any) -> tuple[Integers, Vectors, Integers]:
        """Ids, vectors and owners of some templates, by id."""
        query = select(TEMPLATE.c.id, TEMPLATE.c.identity, TEMPLATE.c.vector, TEMPLATE.c.checksum)
        return self._checked(self._asking().execute(query.where(where).order_by("id")).all())

    def fill(self, engine: Engine) -> int:
        """Put the templates into the server's table that are not there yet; returns how many.
        Nothing is done where another process does it.

        Raises:
            psycopg.Error, sqlalchemy.exc.DBAPIError: where it may not be written.
        """
        from psycopg.errors import ForeignKeyViolation

        count = 0
        while True:
            try:
                # Each statement sees what others have changed by then; engines that are made of
                # others keep the isolation of those, whatever they ask for.
                with (
                    engine.connect().execution_options(
                        isolation_level="READ COMMITTED"
                    ) as connection,
                    connection.begin(),
                ):
                    key = {"key": SERVER_VECTORS}
                    lock = text("SELECT pg_try_advisory_xact_lock(hashtext(:key))")
                    if not connection.execute(lock, key).scalar():
                        return count
                    block = next(self._blocks(connection), None)
                    if block is None:
                        return count
                    _copy(connection, *block)
                    count += len(block[0])
            except ForeignKeyViolation:
                continue  # one of them was removed meanwhile

    # --- inside

    def _asking(self) -> Connection:
        assert self._connection is not None
        return self._connection

    def _checked(self, rows: Sequence[Any]) -> tuple[Integers, Vectors, Integers]:
        ids = np.asarray([row.id for row in rows], np.int64)
        owners = [row.identity for row in rows]
        if not rows:
            return ids, np.empty((0, self._dim), np.float32), ids
        vectors = checked_vectors(
            [row.vector for row in rows],
            [row.checksum for row in rows],
            owners,
            dim=self._dim,
            place=self._place,
        )
        return ids, vectors, np.asarray(owners, np.int64)

    def _ranked(self, x: Vectors, rows: Sequence[Any], k: int, *, without_id: int) -> Ranked:
        """The k owners nearest among some rows, with exact similarities."""
        ids, vectors, owners = self._checked([row for row in rows if row.id != without_id])
        return better(NO_MATCHES, x, vectors, owners, np.arange(len(ids)), vectors @ x, k)

    def _all_scanned(
        self, x: Vectors, k: int, without: Integers, without_owner: Integers
    ) -> list[Ranked]:
        pairs = zip(x, without_owner.tolist(), without.tolist(), strict=True)
        out = [self._scanned(probe, k, owner, id_) for probe, owner, id_ in pairs]
        self._with_new_rows(out, x, k, without, without_owner)
        return out

    def _scanned(self, x: Vectors, k: int, without_owner: int, without_id: int) -> Ranked:
        """The k owners nearest of all that the server has in half precision, exactly."""
        connection, n = self._asking(), 4 * k + 16
        error = _HALF + float(rounding_error(self._dim))
        values = {"x": _written(x), "without": without_owner, "without_id": without_id}
        while True:
            rows = connection.execute(_SCAN, {**values, "n": n}).all()
            ranked = self._ranked(x, rows, k, without_id=without_id)
            # What was not fetched is no nearer than the last that was, but for the rounding.
            is_full = len(ranked[0]) == k
            if len(rows) < n or (is_full and ranked[1][-1] > -rows[-1].distance + error):
                return ranked
            n *= 8

    def _with_new_rows(
        self,
        out: list[Ranked],
        x: Vectors,
        k: int,
        without: Integers,
        without_owner: Integers,
    ) -> None:
        """Compare also with the templates that the server's table does not have yet."""
        if self._compare(out, x, k, without, without_owner):
            self._fill_soon(self._asking().engine)

    def _compare(
        self,
        out: list[Ranked],
        x: Vectors,
        k: int,
        without: Integers,
        without_owner: Integers | None,
        *,
        after: int | None = None,
    ) -> bool:
        """Put what is nearer in some blocks into the ranks; whether there are any."""
        has_any = False
        for ids, vectors, owners in self._blocks(self._asking(), after=after):
            has_any = True
            at = np.searchsorted(ids, without)
            at[(at == len(ids)) | (ids[np.minimum(at, len(ids) - 1)] != without)] = -1
            ranked = nearest(x, vectors, owners, k, without_owner=without_owner, without_row=at)
            for p, some in enumerate(ranked):
                out[p] = _merged(out[p], some, k)
        return has_any

    def _blocks(
        self, connection: Connection, *, after: int | None = None
    ) -> Iterator[tuple[Integers, Vectors, Integers]]:
        """Templates after one; by default those that the server's table does not have yet."""
        query = select(TEMPLATE.c.id, TEMPLATE.c.identity, TEMPLATE.c.vector, TEMPLATE.c.checksum)
        while True:
            first = _LAST.scalar_subquery() if after is None else after
            some = query.where(TEMPLATE.c.id > first).order_by(TEMPLATE.c.id).limit(BLOCK)
            rows = connection.execute(some).all()
            if not rows:
                return
            yield self._checked(rows)
            after = rows[-1].id

    def _fill_soon(self, engine: Engine) -> None:
        """Have a thread put them into the table; after a failure not for a while."""
        if time.monotonic() < self._paused_until or not self._filling.acquire(blocking=False):
            return
        threading.Thread(
            target=self._fill_once, args=(engine,), name="quickstudy-pgvector", daemon=True
        ).start()

    def _fill_once(self, engine: Engine) -> None:
        from psycopg import Error

        try:
            self.fill(engine)
        except (Error, DBAPIError) as error:
            self._paused_until = time.monotonic() + _PAUSE
            reason = str(error.orig if isinstance(error, DBAPIError) else error).splitlines()[0]
            warnings.warn(
                f"New templates of {self._place} do not get into the table of pgvector: {reason}. "
                "They are found all the same, more slowly.",
                QuickstudyWarning,
                stacklevel=1,
            )
        finally:
            self._filling.release()


def _merged(one: Ranked, other: Ranked, k: int) -> Ranked:
    owners = np.concatenate([one[0], other[0]])
    similarity = np.concatenate([one[1], other[1]])
    order = np.lexsort((owners, -similarity))
    _, first = np.unique(owners[order], return_index=True)
    kept = order[np.sort(first)[:k]]
    return owners[kept], similarity[kept]


def _ids(table: VectorTable, rows: Integers | None, probes: int) -> Integers:
    """The id of the row that each probe passes over; 0 is of none."""
    return np.zeros(probes, np.int64) if rows is None else table.ids[rows]


def _written(x: Vectors) -> str:
    return f"[{','.join(map(str, x.tolist()))}]"


def _exists(connection: Connection, name: str) -> bool:
    return connection.execute(select(func.to_regclass(name))).scalar() is not None


def _copy(connection: Connection, ids: Integers, vectors: Vectors, owners: Integers) -> None:
    """Write rows in the binary format of COPY, where a halfvec is its length, two bytes that are
    not used, and its numbers.
    """
    dim = vectors.shape[1]
    fields: list[Any] = [("fields", ">i2"), ("id_bytes", ">i4"), ("id", ">i4")]
    fields += [("owner_bytes", ">i4"), ("owner", ">i4")]
    fields += [("bytes", ">i4"), ("dim", ">i2"), ("unused", ">i2"), ("x", ">f2", (dim,))]
    block: NDArray[Any] = np.zeros(len(ids), np.dtype(fields))
    block["fields"] = 3
    block["id_bytes"], block["id"] = 4, ids
    block["owner_bytes"], block["owner"] = 4, owners
    block["bytes"], block["dim"], block["x"] = 4 + 2 * dim, dim, vectors
    command = f"COPY {SERVER_VECTORS} (template, identity, embedding) FROM STDIN (FORMAT BINARY)"
    with contextlib.closing(raw(connection).cursor()) as cursor, cursor.copy(command) as copy:
        copy.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
        copy.write(block.tobytes())
        copy.write(b"\xff\xff")
