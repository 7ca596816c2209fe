"""The four-block convolutional network of the few-shot literature."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core.encoder import AbstractEncoder, Context
from quickstudy.core.errors import ConfigError
from quickstudy.encoders.norm import Statistics, norm_named


class Conv4(AbstractEncoder):
    """Four times: 3×3 convolution, normalisation, ReLU, and the image halved. 28×28 gives 64 features, 84×84 gives 1600.

    The image is halved by 2×2 max-pooling, or, as in the published MAML code for Omniglot, by convolutions of stride 2 with the mean
    over the image at the end: always ``width`` features, at a quarter of the arithmetic.

    The convolutions have no bias: the normalisation that follows subtracts it (with ``norm="none"`` the norm's bias stands in).

    Shapes:
        ``[T N in_channels size size] -> [T N width·⌊size/16⌋²]``, with strides ``[T N width]``

    Args:
        in_channels: 1 for grey images, 3 for colour.
        width: filters per block (64; MAML on mini-ImageNet uses 32).
        size: height and width of the images, at least 16.
        norm: normalisation policy, see `quickstudy.encoders.norm`.
        norm_scale: whether the normalisation learns a scale (the published MAML code learns only its bias).
        downsample: "pool" or "stride".

    Example:
        >>> encoder = Conv4(size=28)
        >>> encoder(torch.zeros(2, 5, 1, 28, 28)).shape
        torch.Size([2, 5, 64])

    Paper: Vinyals et al. 2016, arXiv:1606.04080, section 4.1; Snell et al. 2017, arXiv:1703.05175, section 3; with strides Finn et al.
        2017, arXiv:1703.03400, section 5.2.
    """

    stacks = True

    def __init__(
        self,
        *,
        in_channels: int = 1,
        width: int = 64,
        size: int = 28,
        norm: str = "running",
        norm_scale: bool = True,
        downsample: str = "pool",
    ) -> None:
        super().__init__()
        if size < 16:
            raise ConfigError(f"Conv4 halves the image four times and needs size ≥ 16, got {size}. Enlarge the images.")
        if downsample not in ("pool", "stride"):
            raise ConfigError(f"Conv4 halves images by 'pool' or 'stride', not by '{downsample}'.")
        self.norm, self.in_channels, self.size, self.downsample = norm, in_channels, size, downsample
        self.out_dim = width * (size // 16) ** 2 if downsample == "pool" else width
        self.blocks = nn.ModuleList(_Block(width if i else in_channels, width, norm, norm_scale, downsample) for i in range(4))
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] - torch does not declare this form

    def forward(self, x: Float[Tensor, "T N C H W"], context: Context = ()) -> Float[Tensor, "T N D"]:
        for i, block in enumerate(self.blocks):
            x = block(x, context[i] if context else None)  # [T N C H/2 W/2]
        return self._vectors(x)

    def read(self, x: Float[Tensor, "T N C H W"]) -> tuple[Float[Tensor, "T N D"], Context]:
        context: list[Statistics] = []
        for block in self.blocks:
            assert isinstance(block, _Block)
            x, statistics = block.read(x)
            context += [] if statistics is None else [statistics]
        return self._vectors(x), tuple(context)

    def _vectors(self, x: Float[Tensor, "T N C H W"]) -> Float[Tensor, "T N D"]:
        return x.flatten(2) if self.downsample == "pool" else x.mean((3, 4))


class _Block(nn.Module):
    def __init__(self, channels_in: int, channels: int, norm: str, norm_scale: bool, downsample: str) -> None:
        super().__init__()
        self.pools = downsample == "pool"
        self.conv = nn.Conv2d(channels_in, channels, 3, stride=1 if self.pools else 2, padding=1, bias=False)
        self.norm = norm_named(norm, channels, scale=norm_scale)

    def forward(self, x: Tensor, statistics: Statistics | None) -> Tensor:
        return self._rectify(self.norm(self._convolve(x), statistics))

    def read(self, x: Tensor) -> tuple[Tensor, Statistics | None]:
        y, statistics = self.norm.read(self._convolve(x))
        return self._rectify(y), statistics

    def _convolve(self, x: Tensor) -> Tensor:
        images, stacked = self._flat(x).contiguous(memory_format=torch.channels_last), self._stacked
        weight = self.conv.weight.flatten(0, 1) if stacked else self.conv.weight
        y = F.conv2d(images, weight, stride=self.conv.stride, padding=1, groups=x.shape[0] if stacked else 1)
        return self._unflat(y, x.shape[0])

    def _rectify(self, x: Tensor) -> Tensor:
        """ReLU after pooling: the maximum of rectified values is the rectified maximum, on a quarter of the numbers."""
        flat = self._flat(x)
        return self._unflat(F.relu(F.max_pool2d(flat, 2) if self.pools else flat), x.shape[0])

    @property
    def _stacked(self) -> bool:
        """Whether each task has weights of its own, [T O I 3 3]."""
        return self.conv.weight.ndim == 5

    def _flat(self, x: Float[Tensor, "T N C H W"]) -> Float[Tensor, "B D H W"]:
        """Four axes for torch: tasks join the examples if they share weights, else the channels (as groups)."""
        return x.transpose(0, 1).flatten(1, 2) if self._stacked else x.flatten(0, 1)

    def _unflat(self, y: Float[Tensor, "B D H W"], n_tasks: int) -> Float[Tensor, "T N C H W"]:
        return y.unflatten(1, (n_tasks, -1)).transpose(0, 1) if self._stacked else y.unflatten(0, (n_tasks, -1))
