"""What an edge of a searched cell may do: feature maps to feature maps of the same shape."""

import abc
from collections.abc import Callable

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.encoders.norm import AbstractNorm, norm_named


class Memory:
    """The statistics of normalisations in the order in which they are met: those of a support that
    was read before, or those that are being read.
    """

    def __init__(self, known: tuple[Tensor, ...] = (), *, reads: bool = False) -> None:
        self.known, self.reads, self.seen = list(known), reads, list[Tensor]()

    def normalise(self, norm: AbstractNorm, x: Float[Tensor, "T N C H W"]) -> Tensor:
        """By what is known of the support, if anything is."""
        if self.known:
            return norm(x, self.known.pop(0))
        if not self.reads:
            return norm(x)
        x, statistics = norm.read(x)
        self.seen += [] if statistics is None else [statistics]
        return x


class AbstractOperation(nn.Module, abc.ABC):
    """One candidate."""

    @abc.abstractmethod
    def forward(self, x: Float[Tensor, "T N C H W"], memory: Memory) -> Float[Tensor, "T N C H W"]:
        """The same shape."""


class Convolution(AbstractOperation):
    """ReLU, 3×3 convolution, normalisation."""

    def __init__(self, channels: int, norm: str, *, dilation: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            channels, channels, 3, padding=dilation, dilation=dilation, bias=False
        )
        self.norm = norm_named(norm, channels)

    def forward(self, x: Tensor, memory: Memory) -> Tensor:
        return memory.normalise(
            self.norm, self.conv(F.relu(x.flatten(0, 1))).unflatten(0, x.shape[:2])
        )


class Separable(AbstractOperation):
    """ReLU, 5×5 convolution of each channel by itself, 1×1 convolution, normalisation."""

    def __init__(self, channels: int, norm: str) -> None:
        super().__init__()
        self.depth = nn.Conv2d(channels, channels, 5, padding=2, groups=channels, bias=False)
        self.point = nn.Conv2d(channels, channels, 1, bias=False)
        self.norm = norm_named(norm, channels)

    def forward(self, x: Tensor, memory: Memory) -> Tensor:
        return memory.normalise(
            self.norm, self.point(self.depth(F.relu(x.flatten(0, 1)))).unflatten(0, x.shape[:2])
        )


class Pooling(AbstractOperation):
    """The maximum or the mean of 3×3 pixels, normalised."""

    def __init__(self, channels: int, norm: str, *, largest: bool) -> None:
        super().__init__()
        self.largest, self.norm = largest, norm_named(norm, channels, scale=False, shift=False)

    def forward(self, x: Tensor, memory: Memory) -> Tensor:
        flat = x.flatten(0, 1)
        pooled = (
            F.max_pool2d(flat, 3, 1, 1)
            if self.largest
            else F.avg_pool2d(flat, 3, 1, 1, count_include_pad=False)
        )
        return memory.normalise(self.norm, pooled.unflatten(0, x.shape[:2]))


class Skip(AbstractOperation):
    """Nothing changes."""

    def forward(self, x: Tensor, memory: Memory) -> Tensor:
        return x


class Zero(AbstractOperation):
    """Nothing passes: an edge that is not there."""

    def forward(self, x: Tensor, memory: Memory) -> Tensor:
        return x * 0.0


OPERATIONS: dict[str, Callable[[int, str], AbstractOperation]] = {
    "conv3x3": lambda channels, norm: Convolution(channels, norm),
    "dilated3x3": lambda channels, norm: Convolution(channels, norm, dilation=2),
    "separable5x5": lambda channels, norm: Separable(channels, norm),
    "max_pool3x3": lambda channels, norm: Pooling(channels, norm, largest=True),
    "avg_pool3x3": lambda channels, norm: Pooling(channels, norm, largest=False),
    "identity": lambda channels, norm: Skip(),
    "zero": lambda channels, norm: Zero(),
}
"""By name; a searched cell has no edge with ``zero``."""
