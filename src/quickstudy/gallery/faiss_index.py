"""An approximate search over the vectors of a gallery, by faiss: in memory only, and what it finds
is computed again exactly.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Float

from quickstudy.core.errors import ConfigError
from quickstudy.gallery.index import AbstractIndex
from quickstudy.gallery.search import NO_MATCHES, SINGLE_PROBES, Ranked, better, nearest
from quickstudy.gallery.vectors import NO_OWNER, Integers, Vectors, VectorTable

SMALLEST = 20_000
"""Below so many vectors the exact search takes no longer."""
FETCHED = 400
TRAINED_ON = 20_000
BLOCK = 65_536


class FaissIndex(AbstractIndex):
    """Vectors in two bits per number, all of which are compared: product quantisation after a
    random rotation, in faiss's fast scan.

    The nearest `FETCHED` by these short codes are compared exactly. There are no cells, as there
    are in inverted lists, that a probe could search in vain, and no graph, which takes many minutes
    to build: what this search misses are owners whose codes are further than those of many others.

    It follows a table: new rows are appended, removed ones passed over; when the table is
    compacted, or has doubled, the index is built anew. Below `SMALLEST` vectors the search is
    exact.

    Raises:
        ConfigError: when faiss is not installed.

    Source: Jégou, Douze, Schmid 2011, Product quantization; André, Kermarrec, Le Scouarnec 2017,
        arXiv:1704.07355, for the fast scan.
    """

    def __init__(self) -> None:
        _faiss()
        self.forget()

    def forget(self) -> None:
        self._index: Any = None
        self._of: tuple[VectorTable, int] | None = None  # the table, and its generation
        self._trained = 0

    @property
    def nbytes(self) -> int:
        return 0 if self._index is None else self._index.ntotal * self._index.sa_code_size()

    def nearest(
        self,
        x: Float[Vectors, "P D"],
        k: int,
        table: VectorTable,
        *,
        without_row: Integers | None = None,
    ) -> list[Ranked]:
        if len(table) < SMALLEST:
            return nearest(x, table.vectors, table.owners, k, without_row=without_row)
        self._follow(table)
        out: list[Ranked] = []
        with _one_thread() if len(x) <= SINGLE_PROBES else contextlib.nullcontext():
            rows_by_probe = self._index.search(x, min(max(FETCHED, 40 * k), table.used))[1]
        for p, rows in enumerate(rows_by_probe):
            valid = (rows >= 0) & (table.owners[rows] != NO_OWNER)
            if without_row is not None:
                valid &= rows != without_row[p]
            near = table.vectors[rows[valid]]
            owners = table.owners[rows[valid]]
            candidates = np.arange(len(near))
            out.append(better(NO_MATCHES, x[p], near, owners, candidates, near @ x[p], k))
        # Where all that was fetched belongs to fewer owners than were asked for.
        short = np.asarray([p for p, (owners, _) in enumerate(out) if len(owners) < k], np.int64)
        if len(short):
            excluded = None if without_row is None else without_row[short]
            full = nearest(x[short], table.vectors, table.owners, k, without_row=excluded)
            for p, ranked in zip(short.tolist(), full, strict=True):
                out[p] = ranked
        return out

    def _follow(self, table: VectorTable) -> None:
        if self._of != (table, table.generation) or table.used > 2 * self._trained:
            self._build(table)
        for begin in range(self._index.ntotal, table.used, BLOCK):
            self._index.add(table.vectors[begin : begin + BLOCK])

    def _build(self, table: VectorTable) -> None:
        faiss, dim = _faiss(), table.dim
        wide = dim + dim % 2
        rotation = faiss.RandomRotationMatrix(dim, wide)
        rotation.init(1)
        index = faiss.IndexPreTransform(
            rotation, faiss.IndexPQFastScan(wide, wide // 2, 4, faiss.METRIC_INNER_PRODUCT)
        )
        some = np.random.default_rng(0).permutation(table.alive)[:TRAINED_ON]
        with _one_thread():
            index.train(table.vectors[some])
        self._index, self._of, self._trained = index, (table, table.generation), table.used


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Small pieces of work that several threads would share take longer with them, and thirty times
    as long where others use the processors too.
    """
    faiss = _faiss()
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _faiss() -> Any:
    try:
        import faiss
    except ModuleNotFoundError as error:
        raise ConfigError(
            "An approximate search needs faiss, which is not installed. Install it with: pip "
            "install 'quickstudy[index]'"
        ) from error
    return faiss
