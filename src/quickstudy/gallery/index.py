"""How the vectors of a gallery are searched: exactly, or by an index of one's own choice."""

import abc

from jaxtyping import Float
from sqlalchemy.engine import Connection, Engine

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
        """As `nearest`, but nobody is missed: each probe is compared with every vector.

        Args:
            x, k, table, without_row: as of `nearest`.
            without_owner: an owner for each probe that is passed over, ``[P]``.
            above: a similarity for each probe, ``[P]``; what is not above it may be left out.
        """
        return nearest(
            x,
            table.vectors,
            table.owners,
            k,
            without_owner=without_owner,
            without_row=without_row,
            above=above,
        )

    def prepare(self, engine: Engine, place: str, dim: int) -> None:
        """Make what it needs in the database of a gallery that is opened.

        Args:
            engine: connections to it.
            place: where it is, for messages.
            dim: D, length of a vector.

        Raises:
            GalleryError: when it cannot be used there.
        """
        return

    def new_table(self, dim: int) -> VectorTable:
        """An empty table of vectors of length D, as this index searches them."""
        return VectorTable(dim)

    def follow(self, connection: Connection) -> None:
        """From now on it is asked within this transaction."""
        return

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
