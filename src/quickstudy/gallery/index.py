"""How the vectors of a gallery are searched: exactly, or by an index of one's own choice."""

import abc

from jaxtyping import Float

from quickstudy.gallery.search import Ranked, nearest
from quickstudy.gallery.vectors import Integers, Vectors, VectorTable


class AbstractIndex(abc.ABC):
    """A search over a table of vectors, which it follows: rows come at the end and go anywhere.

    What it returns has the exact similarity (`quickstudy.gallery.search.exact`), the nearest first;
    it may miss somebody, which `quickstudy.gallery.Gallery.recall` measures.

    Attributes:
        is_exact: nobody is ever missed.
    """

    is_exact: bool = False

    @abc.abstractmethod
    def nearest(
        self,
        x: Float[Vectors, "P D"],
        k: int,
        table: VectorTable,
        *,
        without_row: Integers | None = None,
    ) -> list[Ranked]:
        """The k owners nearest to each probe.

        Args:
            x: probes, unit vectors.
            k: how many owners, at least 1; there are fewer where there are no more.
            table: the vectors as they are now.
            without_row: a row for each probe that is passed over, ``[P]``.

        Returns:
            For each probe, its owners and their similarities.
        """

    @property
    def nbytes(self) -> int:
        """Bytes of what is kept beside the vectors."""
        return 0

    def forget(self) -> None:
        """Forget the table; the next search builds what it needs anew."""
        return


class ExactIndex(AbstractIndex):
    """Each probe is compared with every vector."""

    is_exact = True

    def nearest(
        self,
        x: Float[Vectors, "P D"],
        k: int,
        table: VectorTable,
        *,
        without_row: Integers | None = None,
    ) -> list[Ranked]:
        return nearest(x, table.vectors, table.owners, k, without_row=without_row)
