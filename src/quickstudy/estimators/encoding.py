"""How items (files, texts, rows of a table) become the vectors that a classifier was fitted to."""

import hashlib
import json
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import ConfigError, LoadError, QuickstudyError
from quickstudy.core.learner import AbstractLearner, encoder_of
from quickstudy.core.types import Examples, Target
from quickstudy.data import ImageFormat, can_be_encoded
from quickstudy.estimators.tables import Columns
from quickstudy.functional.normalise import normalise
from quickstudy.pretrained import AbstractPretrained, open_encoder
from quickstudy.pretrained.encoder import AbstractImagePretrained
from quickstudy.pretrained.graph import EncoderGraph
from quickstudy.pretrained.registry import entry_of

TABLE = "table"
KINDS = ("images", "audio", "text", TABLE)
NOUNS = {"images": "images", "audio": "recordings", "text": "texts", TABLE: "rows"}
"""What several items of each kind are called."""


@dataclass(frozen=True)
class Encoding:
    """What turns items into vectors.

    Args:
        kind: "images", "audio", "text", or "table", whose rows are vectors already.
        source: the encoder, as `quickstudy.pretrained.open_encoder` takes it; the run whose own
            learner is the head; of a table nothing.
        key: the encoder's key.
        invert: as given to the encoder.
        columns: of a table: the columns, in order; of texts: the one that holds them, where they
            came from a table.
        categories, optional: of a table, as of `quickstudy.estimators.tables.Columns`.
        mean, std: what rows are standardised by, number by number.
        image: where the head is a run's own learner: how it sees a picture, as
            `quickstudy.data.ImageFormat.to_json` writes it. The vector is then the pixels.
    """

    kind: str
    source: str = ""
    key: str = ""
    invert: bool | None = None
    columns: tuple[str, ...] = ()
    categories: tuple[tuple[str, ...], ...] = ()
    optional: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    image: dict[str, Any] | None = None

    def open(self, source: str | AbstractPretrained = "") -> AbstractPretrained:
        """The encoder.

        Args:
            source: where it lies now, or itself; empty = where it lay.

        Raises:
            ConfigError, DownloadError, LoadError: when what is given as ``source`` cannot be
                opened, as `quickstudy.pretrained.open_encoder`.
            LoadError: when it is not where it lay, or is another one now.
        """
        if self.image is not None:
            if source:
                raise ConfigError(
                    "The model was fitted with a run's own learner, which is in it with its "
                    f"encoder, so it needs no encoder from '{source}'. Leave encoder out (on the "
                    "command line --encoder)."
                )
            return PixelEncoder(ImageFormat.from_json(self.image), source=self.source)
        try:
            opened = open_encoder(
                source or self.source, kind=self.kind, invert=self.invert, trusted=bool(source)
            )
        except QuickstudyError as error:
            if source:
                raise
            raise LoadError(
                f"The encoder '{self.source}', which the classifier was fitted with, cannot be "
                f"opened: {error} "
                "Say where it is now (encoder, on the command line --encoder)."
            ) from error
        if opened.key != self.key:
            raise LoadError(
                f"The classifier was fitted to vectors of the encoder {self.key} "
                f"('{self.source}'), but '{opened.source}' is {opened.key} now: its weights, or "
                "its way of preparing items, have changed. Say where the old one is (encoder, on "
                "the command line --encoder), or fit again."
            )
        return opened

    def standardised(self, rows: Float[NDArray[np.float64], "n D"]) -> NDArray[np.float64]:
        """Rows of a table as the classifier sees them; what is missing (NaN) is the mean."""
        if not self.mean:
            return rows
        x = (rows - np.asarray(self.mean)) / np.asarray(self.std)
        return np.where(np.isnan(x), 0.0, x) if self.optional else x

    @property
    def table_columns(self) -> Columns:
        """Of a table: what a row is learned from."""
        return Columns(self.columns, self.categories, self.optional)

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain values, for `from_json`. The path of an encoder is made absolute,
        so that it holds in every working folder.
        """
        values = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }
        is_path = bool(self.source) and entry_of(self.source) is None and Path(self.source).exists()
        return {**values, "source": str(Path(self.source).absolute())} if is_path else values

    @classmethod
    def from_json(cls, values: dict[str, Any], *, dim: int) -> Self:
        """The encoding that `to_json` wrote, for a classifier of vectors of length ``dim``.

        Raises:
            ValueError, TypeError: when it cannot be.
        """
        given: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        }
        known = [tuple(of) for of in given.get("categories", ())]
        encoding = cls(**{**given, "categories": tuple(known)})
        texts = (encoding.source, encoding.key, *encoding.columns, *encoding.optional)
        texts = (*texts, *(text for of in encoding.categories for text in of))
        if encoding.kind not in KINDS or not all(isinstance(text, str) for text in texts):
            raise ValueError(f"nothing encodes {encoding.kind!r} by {encoding.source!r}")
        if encoding.kind == "text" and len(encoding.columns) > 1:
            raise ValueError(f"texts stand in one column, not in {len(encoding.columns)}")
        if (
            len(encoding.mean) != len(encoding.std)
            or not all(map(math.isfinite, (*encoding.mean, *encoding.std)))
            or not all(encoding.std)
        ):
            raise ValueError("the rows have no usable mean and deviation")
        if encoding.categories and len(encoding.categories) != len(encoding.columns):
            raise ValueError(
                f"categories of {len(encoding.categories)} columns do not go with "
                f"{len(encoding.columns)}"
            )
        numbers = encoding.table_columns.of_numbers if encoding.kind == TABLE else ()
        sizes = {len(numbers), len(encoding.mean)}
        if encoding.kind == TABLE and not sizes <= {0, dim}:
            raise ValueError(
                f"{len(encoding.columns)} columns and {len(encoding.mean)} means do not go with "
                f"vectors of length {dim}"
            )
        if encoding.image is not None:
            size = math.prod(ImageFormat.from_json(encoding.image).shape)
            if encoding.kind != "images" or size != dim:
                raise ValueError(f"images of {size} values do not go with vectors of length {dim}")
        return encoding


class PixelEncoder(AbstractImagePretrained):
    """Pictures to their pixels, 0 … 255, in one row each: for a run's own learner, whose network
    takes pictures.

    Args:
        format: how the run sees a picture.
        source: the run.
    """

    def __init__(self, format: ImageFormat, *, source: str) -> None:  # noqa: A002
        self.format = format
        self.source = source
        self.dim = math.prod(format.shape)
        text = json.dumps(format.to_json(), sort_keys=True)
        self.key = f"pixels-{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    def read(self, path: Path | bytes) -> Tensor:
        return self.format.read(path)

    def encode(self, items: Sequence[Any]) -> NDArray[np.float32]:
        pictures = [self.format.convert(p) if isinstance(p, Image.Image) else p for p in items]
        return torch.stack(pictures).flatten(1).float().numpy()

    def graph(self) -> EncoderGraph:
        about = {"way": "square", "polarity": "", **self.format.to_json()}
        return EncoderGraph(_Rows(), self.format.shape, about)


class _Rows(torch.nn.Module):
    def forward(self, pixels: Tensor) -> Tensor:
        return pixels.flatten(1).float()


class PixelLearner(AbstractLearner[Any]):
    """A run's own learner, which takes pictures, behind rows of pixels as `PixelEncoder` gives
    them.

    Args:
        learner: of pictures; inductive.
        shape: of a picture: channels, height, width.
        mean, std: of the channels, see `quickstudy.data.ImageFormat`.
    """

    def __init__(
        self,
        learner: AbstractLearner[Any],
        *,
        shape: tuple[int, int, int],
        mean: tuple[float, ...],
        std: tuple[float, ...],
    ) -> None:
        super().__init__()
        self.learner = learner
        self.shape = tuple(shape)
        self.mean = tuple(mean)
        self.std = tuple(std)
        self.traits = replace(learner.traits, encodes_alone=False)

    def adapt(
        self, support: Examples, target: Target, query_x: Float[Tensor, "T Q D"] | None = None
    ) -> Any:
        seen = None if query_x is None else self._pictures(query_x)
        pictures = replace(support, x=self._pictures(support.x))
        return self.learner.adapt(pictures, target, seen)

    def predict(self, state: Any, x: Float[Tensor, "T Q D"]) -> Float[Tensor, "T Q O"]:
        return self.learner.predict(state, self._pictures(x))

    def features(self, x: Float[NDArray[np.float64], "n D"]) -> Float[NDArray[np.float64], "n F"]:
        """What the learner compares pictures by: its encoder's features where it has such an
        encoder, else the pixels.
        """
        if not can_be_encoded(self.learner):
            return x
        rows = torch.from_numpy(np.ascontiguousarray(x)).float()
        encoder = encoder_of(self.learner)
        with torch.no_grad():
            parts = [encoder(self._pictures(some)[None])[0] for some in rows.split(256)]
        return torch.cat(parts).flatten(1).double().numpy()

    def _pictures(self, rows: Float[Tensor, "*B D"]) -> Float[Tensor, "*B C H W"]:
        return normalise(rows.unflatten(-1, self.shape) / 255, self.mean, self.std)


def encode_texts(
    encoder: AbstractPretrained,
    texts: Sequence[str],
    *,
    batch_size: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Float[NDArray[np.float32], "n D"], tuple[str, ...]]:
    """The vectors of texts, and what the encoder warned of."""
    parts: list[NDArray[np.float32]] = [np.empty((0, encoder.dim), np.float32)]
    notes: list[str] = []
    for start in range(0, len(texts), batch_size):
        some = list(texts[start : start + batch_size])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            parts.append(encoder.encode(some))
        notes += [str(warning.message) for warning in caught]
        if progress is not None:
            progress(start + len(some), len(texts))
    return np.concatenate(parts), tuple(dict.fromkeys(notes))
