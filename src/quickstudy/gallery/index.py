"""An approximate search over the vectors of a gallery, by faiss: in memory only, and what it finds
is computed again exactly.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Float

from quickstudy.core.errors import ConfigError
from quickstudy.gallery.exact_search import (
    ALONE,
    NOBODY,
    NONE,
    Matrix,
    Ranked,
    Vectors,
    Whole,
    better,
)

FEWEST = 20_000
"""Below so many vectors the exact search takes no longer."""
FETCHED = 400
TRAINED_ON = 20_000
BLOCK = 65_536


class Index:
    """Vectors in two bits per number, all of which are looked at: product quantisation after a
    random rotation, in faiss's fast scan.

    The nearest `FETCHED` by these short codes are compared exactly. There are no cells, as there
    are in inverted lists, that a probe could look into in vain, and no graph, which takes many
    minutes to build: what this search misses are owners whose codes are further than those of many
        others.

    It follows a matrix: new rows are appended, forgotten ones passed over; when the matrix closes
        up, or has doubled, the index is built anew.

    Raises:
        ConfigError: when faiss is not installed.

    Source: Jégou, Douze, Schmid 2011, Product quantization; André, Kermarrec, Le Scouarnec 2017,
        arXiv:1704.07355, for the fast scan.
    """

    def __init__(self) -> None:
        _faiss()
        self.forget()

    def forget(self) -> None:
        """Build anew when asked next."""
        self._index: Any = None
        self._of: tuple[Matrix, int] | None = None  # the matrix, and its generation
        self._trained = 0

    @property
    def nbytes(self) -> int:
        """Bytes of the codes."""
        return 0 if self._index is None else self._index.ntotal * self._index.sa_code_size()

    def serves(self, matrix: Matrix) -> bool:
        """Whether a matrix is large enough to be worth it."""
        return len(matrix) >= FEWEST

    def follow(self, matrix: Matrix) -> None:
        """Bring the index in step with a matrix; at the first time this builds it."""
        if self._of != (matrix, matrix.generation) or matrix.used > 2 * self._trained:
            self._build(matrix)
        for begin in range(self._index.ntotal, matrix.used, BLOCK):
            self._index.add(matrix.vectors[begin : begin + BLOCK])

    def nearest(
        self, x: Float[Vectors, "P D"], k: int, matrix: Matrix, *, but: Whole | None = None
    ) -> list[Ranked]:
        """As `quickstudy.gallery.exact_search.nearest`, but may miss some; who is found has the
        exact similarity.
        """
        self.follow(matrix)
        out: list[Ranked] = []
        with _one_thread() if len(x) <= ALONE else contextlib.nullcontext():
            found = self._index.search(x, min(max(FETCHED, 40 * k), matrix.used))[1]
        for p, rows in enumerate(found):
            here = (rows >= 0) & (matrix.owners[rows] != NOBODY)
            if but is not None:
                here &= rows != but[p]
            near = matrix.vectors[rows[here]]
            out.append(
                better(
                    NONE,
                    x[p],
                    near,
                    matrix.owners[rows[here]],
                    np.arange(len(near)),
                    near @ x[p],
                    k,
                )
            )
        few = np.asarray(
            [p for p, (owners, _) in enumerate(out) if len(owners) < k], np.int64
        )  # all that was near belongs to fewer
        if len(few):
            for p, ranked in zip(
                few.tolist(),
                matrix.nearest(x[few], k, but=None if but is None else but[few]),
                strict=True,
            ):
                out[p] = ranked
        return out

    def _build(self, matrix: Matrix) -> None:
        faiss, dim = _faiss(), matrix.dim
        wide = dim + dim % 2
        rotation = faiss.RandomRotationMatrix(dim, wide)
        rotation.init(1)
        index = faiss.IndexPreTransform(
            rotation, faiss.IndexPQFastScan(wide, wide // 2, 4, faiss.METRIC_INNER_PRODUCT)
        )
        alive = np.flatnonzero(matrix.owners != NOBODY)
        some = alive[np.random.default_rng(0).permutation(len(alive))[:TRAINED_ON]]
        with _one_thread():
            index.train(matrix.vectors[some])
        self._index, self._of, self._trained = index, (matrix, matrix.generation), matrix.used


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
