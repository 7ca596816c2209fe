"""An encoder as one network from resized pixels to vectors, as it is exported."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from quickstudy.core.errors import ConfigError
from quickstudy.data import ImageFormat
from quickstudy.pretrained.preprocessing import Preprocessing


class FromPixels(nn.Module):
    """Bytes ``[n C H W]``, scaled and normalised, and what a network makes of them.

    Args:
        network: a module that is kept with this one.
        run: what is called with the normalised pixels; None = the network.
        scale, mean, std: as of `quickstudy.pretrained.preprocessing.Preprocessing`.
    """

    scale: Tensor
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        *,
        run: Callable[[Tensor], Tensor] | None = None,
        scale: float,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        super().__init__()
        self.network = network
        self._run = network if run is None else run
        for name, values in (("scale", [scale]), ("mean", mean), ("std", std)):
            tensor = torch.tensor(list(values), dtype=torch.float64)
            self.register_buffer(name, tensor.view(-1, 1, 1))

    def forward(self, pixels: UInt8[Tensor, "n C H W"]) -> Float[Tensor, "n *D"]:
        """The vectors, or those of the places."""
        x = (pixels.double() * self.scale - self.mean) / self.std
        return self._run(x.float())


@dataclass(frozen=True)
class EncoderGraph:
    """One network, and how a picture becomes its input.

    Args:
        network: bytes ``[n C H W]`` to vectors ``[n D]``.
        shape: C, H and W.
        preprocessing: plain values, which `quickstudy.runtime` reads.
        patches: bytes to the vectors of places ``[n h w D]``; None where it sees none.
    """

    network: nn.Module
    shape: tuple[int, int, int]
    preprocessing: dict[str, Any]
    patches: nn.Module | None = None


def graph_of_preprocessed(
    see: Preprocessing,
    network: nn.Module,
    *,
    source: str,
    at_least: int,
    vectors: Callable[[Tensor], Tensor] | None = None,
    patches: Callable[[Tensor], Tensor] | None = None,
) -> EncoderGraph:
    """The graph of an encoder whose pictures are prepared by `Preprocessing`.

    Args:
        see: how they are prepared.
        network: what holds the weights.
        source: the encoder, for the error.
        at_least: as of `quickstudy.data.read_picture`.
        vectors, patches: from normalised pixels; None = the network, and none.

    Raises:
        ConfigError: where pictures are resized in floating point.
    """
    if see.floats:
        raise ConfigError(
            f"'{source}' resizes images in floating point, but the graph takes bytes. Use an "
            "encoder that resizes bytes, such as photographs."
        )
    numbers: dict[str, Any] = {"scale": see.scale, "mean": see.mean, "std": see.std}
    return EncoderGraph(
        FromPixels(network, run=vectors, **numbers),
        (3, *see.size),
        {"way": "resize", "at_least": at_least, **see.to_json()},
        None if patches is None else FromPixels(network, run=patches, **numbers),
    )


def graph_of_square(
    image: ImageFormat,
    network: nn.Module,
    *,
    vectors: Callable[[Tensor], Tensor],
    patches: Callable[[Tensor], Tensor],
    polarity: str = "",
) -> EncoderGraph:
    """The graph of an encoder whose pictures are prepared by `quickstudy.data.ImageFormat`.

    Args:
        image: how they are prepared.
        network: what holds the weights.
        vectors, patches: from normalised pixels.
        polarity: "border" where drawings are turned to light ink on dark by their border.
    """
    numbers: dict[str, Any] = {"scale": 1 / 255, "mean": image.mean, "std": image.std}
    return EncoderGraph(
        FromPixels(network, run=vectors, **numbers),
        image.shape,
        {"way": "square", "polarity": polarity, **image.to_json()},
        FromPixels(network, run=patches, **numbers),
    )
