"""What turns an item (an image, a text, a recording) into a vector, whoever trained it."""

import abc
import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import ConfigError
from quickstudy.pretrained.graph import EncoderGraph
from quickstudy.pretrained.measured import MeasuredThresholds


class AbstractPretrained(abc.ABC):
    """Items to vectors. A vector depends on its item alone, not on what is encoded beside it.

    Attributes:
        kind: what it takes: "images" (Pillow images), "text" (texts) or "audio"
            (`quickstudy.data.Recording`).
        source: what `open_encoder` opened, so that it can be opened again.
        key: what tells it from others: a hash of its weights and of how items are prepared.
            Vectors of different keys cannot be compared.
        dim: length of a vector.
        notes: what a user must know before trusting it, in plain sentences.
        measured: thresholds that were measured on stated data, which a gallery of it starts with;
            None where there are none.
    """

    kind: ClassVar[str]
    source: str
    key: str
    dim: int
    notes: tuple[str, ...] = ()
    measured: MeasuredThresholds | None = None
    no_graph: ClassVar[str] = "it is not one network from pixels to vectors."
    """Why `graph` refuses, in one sentence."""

    @abc.abstractmethod
    def read(self, path: Path | bytes) -> Any:
        """The item in a file, or in its content, ready for `encode`. Called from several threads
        at once.

        Raises:
            DataError: when it cannot be read, by name, with what to do.
        """

    @abc.abstractmethod
    def encode(self, items: Sequence[Any]) -> Float[NDArray[np.float32], "n D"]:
        """The vectors of a batch of items; it is never empty."""

    def graph(self) -> EncoderGraph:
        """It as one network from resized pixels to vectors, as `quickstudy.export` writes it.

        Raises:
            ConfigError: when it cannot be one.
        """
        raise ConfigError(
            f"The encoder '{self.source}' of {self.kind} cannot be exported: {self.no_graph} Fit "
            "with an encoder that can: symbols, photographs, a trained run, a vision model of the "
            "hub or of timm."
        )


class AbstractImagePretrained(AbstractPretrained):
    """One of pictures; those that know where on a picture a feature was found also give
    `patches`.
    """

    kind = "images"

    def patches(self, items: Sequence[Any]) -> Float[NDArray[np.float32], "n H W D"]:
        """Vectors of the places of each picture, on a grid; what defects are looked for with.

        Raises:
            ConfigError: when it sees a picture as a whole only.
        """
        raise ConfigError(
            f"'{self.source}' gives one vector per image and none of its places. Use a trained "
            "run with a Conv4, or a vision model of the hub."
        )


class FunctionEncoder(AbstractImagePretrained):
    """Any function of Pillow images as an encoder.

    Args:
        function: a list of Pillow images to vectors ``[n D]``.
        key: names the function and its version: vectors of another key will be refused.
        dim: D.
        read: what opens a file.
    """

    def __init__(
        self,
        function: Callable[[list[Any]], Any],
        *,
        key: str,
        dim: int,
        read: Callable[[Any], Any],
    ) -> None:
        self.function, self.key, self.dim, self.source, self._read = function, key, dim, key, read

    def read(self, path: Path | bytes) -> Any:
        return self._read(path)

    def encode(self, items: Sequence[Any]) -> NDArray[np.float32]:
        out = np.asarray(self.function(list(items)), dtype=np.float32)
        if out.shape != (len(items), self.dim):
            raise ConfigError(
                f"The encoder '{self.key}' gave shape {out.shape} for {len(items)} images, not "
                f"({len(items)}, {self.dim})."
            )
        return out


def hash_of(*parts: Any, files: Iterable[Path] = ()) -> str:
    """Sixteen hexadecimal digits that name weights and settings: of the values as they print, of
    tensors (numpy) and files as they are.

    >>> hash_of("a", 1) != hash_of("a", 2)
    True
    """
    digest = hashlib.sha256()
    for part in parts:
        digest.update(
            np.ascontiguousarray(part).tobytes()
            if isinstance(part, np.ndarray)
            else repr(part).encode()
        )
    for file in files:
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:16]
