"""DropBlock: dropout for feature maps, in squares."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core.batching import OrderDependent
from quickstudy.core.clock import Clock
from quickstudy.core.errors import ConfigError


class DropBlock(nn.Module, OrderDependent):
    """In training, sets squares of a feature map to 0 and scales up what stays, channel by channel.
    With ``block=1`` it is dropout.

    Centres of squares are drawn with probability  γ = (rate / block²) · H·W / ((H − block + 1)(W −
    block + 1)),  so that about ``rate`` of the map is dropped: a little less, as squares may
    overlap.

    Shapes:
        ``[B C H W] -> [B C H W]``; on a map smaller than the square the square is the whole map.

    Args:
        rate: the share that is dropped.
        block: side of a square.
        warm_up: outer steps in which the rate grows from 0.

    Raises:
        ConfigError: for numbers out of range.

    Example:
        >>> DropBlock(0.1)(torch.ones(2, 3, 9, 9)).shape
        torch.Size([2, 3, 9, 9])

    Paper: Ghiasi, Lin, Le 2018, arXiv:1810.12890, algorithm 1; the growing rate section 3.1.
    """

    def __init__(self, rate: float, *, block: int = 5, warm_up: int = 0) -> None:
        super().__init__()
        if not 0 <= rate < 1 or block < 1 or warm_up < 0:
            raise ConfigError(
                f"rate lies in [0, 1), block is at least 1 and warm_up not negative, got {rate}, "
                f"{block} and {warm_up}."
            )
        self.rate, self.block, self.warm_up = rate, block, warm_up
        self.clock = Clock()

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        rate = self.rate * min(1.0, self.clock.now / self.warm_up) if self.warm_up else self.rate
        if not self.training or not rate:
            return x
        h, w = x.shape[2:]
        block = min(self.block, h, w)
        gamma = rate / block**2 * h * w / ((h - block + 1) * (w - block + 1))
        corner = (
            torch.rand(*x.shape[:2], h - block + 1, w - block + 1, device=x.device) < gamma
        ).to(x.dtype)
        kept = 1 - F.max_pool2d(F.pad(corner, [block - 1] * 4), block, stride=1)
        return x * kept * (kept.numel() / kept.sum().clamp(min=1.0))
