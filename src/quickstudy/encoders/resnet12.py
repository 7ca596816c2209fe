"""The residual network of the few-shot literature."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core.encoder import AbstractEncoder, Context
from quickstudy.core.errors import ConfigError
from quickstudy.encoders.drop_block import DropBlock
from quickstudy.encoders.norm import AbstractNorm, norm_named
from quickstudy.kernels.convolution import convolve

_SLOPE = 0.1


class ResNet12(AbstractEncoder):
    """Four residual blocks of three 3×3 convolutions, each block halving the image; 12.4 million
    weights.

    block(x) = drop( pool( lrelu( n(c(lrelu(n(c(lrelu(n(c(x)))))))) + n(c₁ₓ₁(x)) ) ) ), with a slope
    of 0.1; dropout behind the first two blocks, `DropBlock` behind the others.

    Shapes:
        ``[T N in_channels size size] -> [T N widths[-1]]``, without ``pool`` ``[T N
        widths[-1]·⌊size/16⌋²]``

    Args:
        in_channels: 1 for grey images, 3 for colour.
        size: height and width of the images, at least 16.
        widths: channels of the blocks; also usual is 64, 128, 256, 512 (8 million weights).
        norm: normalisation policy, see `quickstudy.encoders.norm`.
        pool: whether the vector is the mean over the map; MetaOptNet takes the whole map.
        drop: the share of the features that training drops behind each block.
        block: side of the squares that DropBlock drops.
        drop_warm_up: outer steps in which the share in squares grows to ``drop``.

    Raises:
        ConfigError: for images that are too small, or other than four widths.

    Example:
        >>> encoder = ResNet12(size=32, widths=(4, 8, 8, 16))
        >>> encoder(torch.zeros(2, 5, 3, 32, 32)).shape
        torch.Size([2, 5, 16])

    Paper: Lee, Maji, Ravichandran, Soatto 2019, arXiv:1904.03758, section 4.1, and its code.
    """

    stages = tuple(f"blocks.{i}" for i in range(4))
    unit_images = True

    def __init__(
        self,
        *,
        in_channels: int = 3,
        size: int = 84,
        widths: Sequence[int] = (64, 160, 320, 640),
        norm: str = "running",
        pool: bool = True,
        drop: float = 0.1,
        block: int = 5,
        drop_warm_up: int = 40_000,
    ) -> None:
        super().__init__()
        if size < 16:
            raise ConfigError(
                f"ResNet12 halves the image four times and needs size ≥ 16, got {size}. Enlarge "
                "the images."
            )
        if len(widths) != 4 or min(widths) < 1:
            raise ConfigError(
                f"ResNet12 has four blocks and takes four widths, got {tuple(widths)}."
            )
        self.norm, self.pool = norm, pool
        # With the mean over places, pictures of other sizes have vectors of the same length.
        self._takes = (in_channels, None, None) if pool else (in_channels, size, size)
        side = size // 16
        self.map_shape = None if pool else (widths[-1], side, side)
        self.out_dim = widths[-1] if pool else widths[-1] * side**2
        drops = [
            DropBlock(drop, block=1 if i < 2 else block, warm_up=0 if i < 2 else drop_warm_up)
            for i in range(4)
        ]
        self.blocks = nn.ModuleList(
            _Block(i, o, norm, d)
            for i, o, d in zip((in_channels, *widths[:3]), widths, drops, strict=True)
        )
        # torch does not declare this form.
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def forward(
        self, x: Float[Tensor, "T N C H W"], context: Context = ()
    ) -> Float[Tensor, "T N D"]:
        return self._encoded(x, list(context) or None)[0]

    def read(self, x: Float[Tensor, "T N C H W"]) -> tuple[Float[Tensor, "T N D"], Context]:
        z, statistics = self._encoded(x, None)
        return z, tuple(statistics) if self.remembers else ()

    def _encoded(self, x: Tensor, known: list[Tensor] | None) -> tuple[Tensor, list[Tensor]]:
        self.check_shape(x, self._takes)
        seen: list[Tensor] = []
        for i, block in enumerate(self.blocks):
            assert isinstance(block, _Block)
            x, statistics = block(x, known[4 * i : 4 * i + 4] if known else None)
            x = self.passed(i + 1, x)
            seen += statistics
        return x.mean((3, 4)) if self.pool else x.flatten(2), seen


class _Block(nn.Module):
    """Returns the features, and the statistics of its four normalisations where the policy keeps
    those of the support.
    """

    def __init__(self, channels_in: int, channels: int, norm: str, drop: DropBlock) -> None:
        super().__init__()
        convs = [
            nn.Conv2d(channels if i else channels_in, channels, 3, padding=1, bias=False)
            for i in range(3)
        ]
        self.convs = nn.ModuleList(convs)
        self.shortcut = nn.Conv2d(channels_in, channels, 1, bias=False)
        self.norms = nn.ModuleList(norm_named(norm, channels) for _ in range(4))
        self.drop = drop
        for conv in (*convs, self.shortcut):
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="leaky_relu")

    def forward(
        self, x: Float[Tensor, "T N I H W"], known: list[Tensor] | None
    ) -> tuple[Tensor, list[Tensor]]:
        seen: list[Tensor] = []

        def normalised(i: int, z: Tensor) -> Tensor:
            z, norm = z.unflatten(0, x.shape[:2]), self.norms[i]
            assert isinstance(norm, AbstractNorm)
            if known:
                return norm(z, known[i])
            z, statistics = norm.read(z)
            seen.extend([] if statistics is None else [statistics])
            return z

        y = x
        for i, conv in enumerate(self.convs):
            assert isinstance(conv, nn.Conv2d)
            y = normalised(i, convolve(y.flatten(0, 1), conv.weight))
            y = F.leaky_relu(y, _SLOPE) if i < 2 else y
        y = F.leaky_relu(y + normalised(3, self.shortcut(x.flatten(0, 1))), _SLOPE)
        return self.drop(F.max_pool2d(y.flatten(0, 1), 2)).unflatten(0, x.shape[:2]), seen
