"""The indexes that galleries may be opened with, by name."""

from quickstudy.core.errors import GalleryError, did_you_mean
from quickstudy.gallery.index import AbstractIndex, ExactIndex

INDEXES = ("exact", "approximate", "pgvector")


def index_named(index: str | AbstractIndex) -> AbstractIndex:
    """The index of that name, or the one given.

    Raises:
        GalleryError: when none is called so.
        ConfigError: when the package that it needs is not installed.
    """
    if isinstance(index, AbstractIndex):
        return index
    if index == "exact":
        return ExactIndex()
    if index == "approximate":
        from quickstudy.gallery.faiss_index import FaissIndex

        return FaissIndex()
    if index == "pgvector":
        from quickstudy.gallery.pgvector_index import PgvectorIndex

        return PgvectorIndex()
    raise GalleryError(f"There is no index '{index}'. {did_you_mean(index, INDEXES)}")
