"""The four-block convolutional network of the few-shot literature."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core.encoder import AbstractEncoder, Context
from quickstudy.core.errors import ConfigError
from quickstudy.encoders.norm import Statistics, norm_named


class Conv4(AbstractEncoder):
    """Four times: 3×3 convolution, normalisation, ReLU, 2×2 max-pooling. 28×28 gives 64 features, 84×84 gives 1600.

    The convolutions have no bias: the normalisation that follows subtracts it (with ``norm="none"`` the norm's bias stands in).

    Shapes:
        ``[T N in_channels size size] -> [T N width·(size/16)²]``

    Args:
        in_channels: 1 for grey images, 3 for colour.
        width: filters per block (64; MAML on mini-ImageNet uses 32).
        size: height and width of the images, at least 16.
        norm: normalisation policy, see `quickstudy.encoders.norm`.
        norm_scale: whether the normalisation learns a scale (the published MAML code learns only its bias).

    Example:
        >>> import torch
        >>> encoder = Conv4(size=28)
        >>> encoder(torch.zeros(2, 5, 1, 28, 28)).shape
        torch.Size([2, 5, 64])

    Paper: Vinyals et al. 2016, arXiv:1606.04080, section 4.1; Snell et al. 2017, arXiv:1703.05175, section 3.
    """

    def __init__(self, *, in_channels: int = 1, width: int = 64, size: int = 28, norm: str = "running", norm_scale: bool = True) -> None:
        super().__init__()
        if size < 16:
            raise ConfigError(f"Conv4 halves the image four times and needs size ≥ 16, got {size}. Enlarge the images.")
        self.norm, self.in_channels, self.size = norm, in_channels, size
        self.out_dim = width * (size // 16) ** 2
        self.blocks = nn.ModuleList(_Block(width if i else in_channels, width, norm, norm_scale) for i in range(4))

    def forward(self, x: Float[Tensor, "T N C H W"], context: Context = ()) -> Float[Tensor, "T N D"]:
        for i, block in enumerate(self.blocks):
            x = block(x, context[i] if context else None)  # [T N C H/2 W/2]
        return x.flatten(2)

    def read(self, x: Float[Tensor, "T N C H W"]) -> tuple[Float[Tensor, "T N D"], Context]:
        context: list[Statistics] = []
        for block in self.blocks:
            assert isinstance(block, _Block)
            x, statistics = block.read(x)
            context += [] if statistics is None else [statistics]
        return x.flatten(2), tuple(context)


class _Block(nn.Module):
    def __init__(self, channels_in: int, channels: int, norm: str, norm_scale: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels, 3, padding=1, bias=False)
        self.norm = norm_named(norm, channels, scale=norm_scale)

    def forward(self, x: Tensor, statistics: Statistics | None) -> Tensor:
        return self._rectify_and_pool(self.norm(self._convolve(x), statistics))

    def read(self, x: Tensor) -> tuple[Tensor, Statistics | None]:
        y, statistics = self.norm.read(self._convolve(x))
        return self._rectify_and_pool(y), statistics

    def _convolve(self, x: Tensor) -> Tensor:
        return self.conv(x.flatten(0, 1)).unflatten(0, x.shape[:2])

    def _rectify_and_pool(self, x: Tensor) -> Tensor:
        return F.max_pool2d(F.relu(x.flatten(0, 1)), 2).unflatten(0, x.shape[:2])
