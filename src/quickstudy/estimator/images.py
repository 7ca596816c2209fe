"""Things to vectors, as scikit-learn transformers."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from quickstudy.embedders import AbstractEmbedder, open_embedder


class ImageEncoder(TransformerMixin, BaseEstimator):
    """Pictures to vectors: files, or Pillow images. Needs no fitting to data; `fit` only opens the encoder.

    Args:
        encoder: what `quickstudy.embedders.open_embedder` takes: the folder of a trained run, or an embedder.
        invert: of drawings, for our own runs: turn dark ink on light paper to light on dark; None = as the run was trained.
        batch_size: pictures that are encoded at once.

    Attributes:
        embedder_: what encodes.
        key_: what tells this encoder from others: a hash of its weights and of how pictures are read.
        n_features_out_: length of a vector.
    """

    embedder_: AbstractEmbedder
    key_: str
    n_features_out_: int

    def __init__(self, encoder: Any, *, invert: bool | None = None, batch_size: int = 64) -> None:
        self.encoder, self.invert, self.batch_size = encoder, invert, batch_size

    def fit(self, X: Any = None, y: Any = None) -> Self:
        """Open the encoder.

        Raises:
            ConfigError, LoadError: as `quickstudy.embedders.open_embedder`.
        """
        self.embedder_ = open_embedder(self.encoder, kind="pictures", invert=self.invert)
        self.key_, self.n_features_out_ = self.embedder_.key, self.embedder_.dim
        return self

    def transform(self, X: Iterable[Any]) -> Float[NDArray[np.float32], "n D"]:
        """The vectors of pictures: paths or Pillow images.

        Raises:
            ImageError: for a file that is no picture, by name.
        """
        check_is_fitted(self, "embedder_")
        pictures, out = list(X), []
        for at in range(0, len(pictures), self.batch_size):
            read = [self.embedder_.read(Path(p)) if isinstance(p, str | Path) else p for p in pictures[at : at + self.batch_size]]
            out.append(self.embedder_.embed(read))
        return np.concatenate(out) if out else np.empty((0, self.n_features_out_), np.float32)
