"""Pictures to vectors, as a scikit-learn transformer."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from PIL import Image
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from quickstudy.core.encoder import AbstractEncoder
from quickstudy.core.errors import ConfigError, LoadError
from quickstudy.core.learner import AbstractLearner
from quickstudy.data import ImageFormat
from quickstudy.recipes import learner_json, load

_ALONE = ("running", "group", "none")  # what encodes a picture without looking at others


class ImageEncoder(TransformerMixin, BaseEstimator):
    """The encoder of a trained run, for pictures: files, or Pillow images. Needs no fitting to data; `fit` only reads the run.

    Args:
        run: the folder that `quickstudy train` wrote.
        invert: turn dark ink on light paper to light on dark; None = as the run was trained.
        batch_size: pictures that are encoded at once.

    Attributes:
        key_: what tells this encoder from others: a hash of its weights and of how pictures are read.
        n_features_out_: length of a vector.
    """

    encoder_: AbstractEncoder
    format_: ImageFormat
    key_: str
    n_features_out_: int

    def __init__(self, run: Any, *, invert: bool | None = None, batch_size: int = 64) -> None:
        self.run, self.invert, self.batch_size = run, invert, batch_size

    def fit(self, X: Any = None, y: Any = None) -> Self:
        """Read the run.

        Raises:
            LoadError: when it was not trained on pictures.
            ConfigError: when its encoder needs several pictures at once (normalisation by the batch or the support).
        """
        folder = Path(self.run)
        learner = load(folder)
        if not isinstance(learner, AbstractLearner):
            raise LoadError(f"{folder} holds a fitted model, not a trained run. Give the folder that `quickstudy train` wrote.")
        image = learner_json(folder)["extra"].get("image")
        encoders = [m for m in learner.children() if isinstance(m, AbstractEncoder)]
        if not image or len(encoders) != 1:
            raise LoadError(
                f"{folder} has no encoder of pictures of its own. Use a run of a metric learner on pictures, e.g. omniglot-protonet."
            )
        if encoders[0].norm not in _ALONE:
            raise ConfigError(
                f"The encoder of {folder} normalises by the {encoders[0].norm}, so one picture has no vector of its own. Train with "
                f"encoder.norm={_ALONE[0]} or {_ALONE[1]}."
            )
        self.encoder_ = encoders[0].eval()
        self.format_ = ImageFormat.from_json(image if self.invert is None else {**image, "invert": self.invert})
        digest = hashlib.sha256(repr(sorted(self.format_.to_json().items())).encode())
        for name, tensor in self.encoder_.state_dict().items():
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        self.key_, self.n_features_out_ = digest.hexdigest()[:16], self.encoder_.out_dim
        return self

    def transform(self, X: Iterable[Any]) -> Float[NDArray[np.float32], "n D"]:
        """The vectors of pictures: paths or Pillow images.

        Raises:
            ImageError: for a file that is no picture, by name.
        """
        check_is_fitted(self, "encoder_")
        pictures, out = list(X), []
        for at in range(0, len(pictures), self.batch_size):
            read = [
                self.format_.convert(p) if isinstance(p, Image.Image) else self.format_.read(p) for p in pictures[at : at + self.batch_size]
            ]
            with torch.no_grad():
                out.append(self.encoder_(self.format_.normalise(torch.stack(read))[None])[0].numpy())
        return np.concatenate(out) if out else np.empty((0, self.n_features_out_), np.float32)
