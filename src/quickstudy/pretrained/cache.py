"""Vectors kept on disk, so that no file is encoded twice."""

import os
import re
import sqlite3
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import numpy as np
from jaxtyping import Float

from quickstudy.core.arrays import NDArray
from quickstudy.core.disk import as_path
from quickstudy.data.locations import cache_folder
from quickstudy.pretrained.encoder import hash_of

_T = TypeVar("_T")
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
# Some builds of SQLite take no more values in one question.
_AT_ONCE = 500
_PATIENCE = 30.0
# What a vector takes beside its numbers: the hash of its file, the checksum, and SQLite's own.
_BESIDE = 100
LARGEST = 2_000_000_000
"""Bytes that one encoder's vectors may fill."""


class FeatureCache:
    """The vectors of one encoder on disk, by the content of the files they were made of. A file
    that was moved or renamed is still known.

    One SQLite file per encoder, in which several processes may read and write at a time. A cache
    only saves time, so it never stops the work: where it cannot be read or written (a full disk, a
        folder that is read-only), everything is encoded anew; a damaged one is set aside and begun
        anew.
    What happened is told in ``notes``. Where the vectors fill more than ``largest``, those that
    were put in first are let go.

    Args:
        folder: where the file lies; it is made when needed. Must not be a network disk that several
            machines write to.
        key: of the encoder, see `AbstractPretrained`.
        dim: D, length of a vector.
        largest: bytes that the vectors may fill.

    Attributes:
        notes: what went wrong with it, once each, in plain sentences.

    Example:
        >>> import hashlib, tempfile
        >>> with (
        ...     tempfile.TemporaryDirectory() as folder,
        ...     FeatureCache(folder, key="0123456789abcdef", dim=2) as cache,
        ... ):
        ...     one, other = (
        ...         hashlib.sha256(b"one file").digest(),
        ...         hashlib.sha256(b"another").digest(),
        ...     )
        ...     cache.put({one: np.array([0.5, 2.0], dtype=np.float32)})
        ...     known = cache.get([one, other])
        >>> known[one], other in known
        (array([0.5, 2. ], dtype=float32), False)
    """

    def __init__(self, folder: str | Path, *, key: str, dim: int, largest: int = LARGEST) -> None:
        self.key, self.dim, self.notes = key, dim, list[str]()
        self._most = max(1, largest // (4 * dim + _BESIDE))
        # Hashed where the key is somebody's own name: it need not be a file name, and some disks
        # take capital and small letters for the same.
        named = key if re.fullmatch(r"[0-9a-f]{8,64}", key) else hash_of(key)
        self.file = as_path(folder, "cache").expanduser() / f"{named}-{dim}.sqlite"
        self._lock = threading.Lock()
        self._reads = self._writes = True
        self._connection: sqlite3.Connection | None = None
        self._opened: int | None = None

    def get(self, contents: Iterable[bytes]) -> dict[bytes, Float[NDArray[np.float32], " D"]]:
        """The vectors that are known, exactly as they were put in, by the SHA-256 of the file that
        they were made of.
        """
        asked = list(contents)
        known: dict[bytes, NDArray[np.float32]] = {}
        for at in range(0, len(asked), _AT_ONCE):
            some = asked[at : at + _AT_ONCE]
            question = (
                "SELECT content, vector, checksum FROM feature WHERE content IN "
                f"({', '.join('?' * len(some))})"
            )
            rows = self._tried(
                lambda c, q=question, s=some: c.execute(q, s).fetchall(), otherwise=[], writes=False
            )
            for content, vector, checksum in rows:
                # SQLite notices damage of its own pages, not of what stands in them.
                if len(vector) == 4 * self.dim and zlib.crc32(vector) == checksum:
                    known[content] = np.frombuffer(vector, dtype="<f4").astype(
                        np.float32, copy=False
                    )
        return known

    def put(self, vectors: Mapping[bytes, Float[NDArray[np.float32], " D"]]) -> None:
        """Keep the vectors of these contents, all or none."""
        if not vectors:
            return
        blobs = (
            (content, np.ascontiguousarray(v, dtype="<f4").tobytes())
            for content, v in vectors.items()
        )
        rows = [(content, blob, zlib.crc32(blob)) for content, blob in blobs]

        def insert(connection: sqlite3.Connection) -> None:
            with connection:
                connection.executemany("INSERT OR REPLACE INTO feature VALUES (?, ?, ?)", rows)
                # Row numbers grow as vectors are put in; the oldest have the smallest.
                connection.execute(
                    "DELETE FROM feature WHERE rowid <= (SELECT max(rowid) FROM feature) - ?",
                    (self._most,),
                )

        self._tried(insert, otherwise=None, writes=True)

    def count(self) -> int:
        """How many vectors it holds."""
        return self._tried(
            lambda c: c.execute("SELECT count(*) FROM feature").fetchone()[0],
            otherwise=0,
            writes=False,
        )

    def close(self) -> None:
        """Let go of the file; nothing is found or kept afterwards."""
        with self._lock:
            self._reads = self._writes = False
            if self._connection is not None:
                with suppress(sqlite3.Error):
                    self._connection.close()
            self._connection = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _tried(
        self, work: Callable[[sqlite3.Connection], _T], *, otherwise: _T, writes: bool
    ) -> _T:
        with self._lock:
            if not (self._writes if writes else self._reads):
                return otherwise
            try:
                if self._connection is None:
                    self._connection = self._connected()
                return work(self._connection)
            except (sqlite3.Error, OSError) as error:
                try:
                    if getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED:
                        self._set_aside()
                        return otherwise
                except OSError as failed:
                    error = failed
                self._note(
                    f"The feature cache {self.file} cannot be {'written' if writes else 'read'} "
                    f"({error}), so "
                    f"{'new vectors are not kept' if writes else 'everything is encoded anew'}."
                )
                # What can still be read on a full disk is worth having.
                self._writes = False
                self._reads = self._reads and writes
                return otherwise

    def _connected(self) -> sqlite3.Connection:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        # SQLite does not wait by itself while another process makes the same file.
        for pause in (0.01, 0.1, 1.0, None):
            self._opened = _which(self.file)
            connection = sqlite3.connect(self.file, timeout=_PATIENCE, check_same_thread=False)
            try:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=NORMAL")
                with connection:
                    connection.execute(
                        "CREATE TABLE IF NOT EXISTS feature (content BLOB PRIMARY KEY, vector BLOB "
                        "NOT NULL, checksum INTEGER NOT NULL)"
                    )
                self._opened = _which(self.file)
                return connection
            except sqlite3.Error as error:
                connection.close()
                if (
                    pause is None
                    or getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_BUSY
                ):
                    raise
                time.sleep(pause)
        raise AssertionError("unreachable")

    def _set_aside(self) -> None:
        """Begin anew, unless another process has done so."""
        mine = self._connection
        self._connection = None
        if mine is not None:
            with suppress(sqlite3.Error):
                mine.close()
        if _which(self.file) != self._opened:
            return
        aside = self.file.with_name(f"{self.file.name}.damaged")
        os.replace(self.file, aside)
        for end in ("-wal", "-shm"):
            Path(f"{self.file}{end}").unlink(missing_ok=True)
        self._note(
            f"The feature cache {self.file} was damaged. It is now called {aside.name} and may be "
            "deleted; a new one was begun."
        )

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def feature_folder() -> Path:
    """Where a cache lies that nobody gave another place."""
    return cache_folder() / "features"


def _which(file: Path) -> int | None:
    """What tells a file from another of its name."""
    try:
        return file.stat().st_ino
    except FileNotFoundError:
        return None
