"""The four-block convolutional network of the few-shot literature."""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core.encoder import AbstractEncoder, Context
from quickstudy.core.errors import ConfigError
from quickstudy.encoders.norm import EPS, Statistics, SupportNorm, every_task, norm_named
from quickstudy.kernels.backends import chosen
from quickstudy.kernels.block import norm_relu_pool
from quickstudy.kernels.colour import colour_block
from quickstudy.kernels.convolution import convolve, has_kernels
from quickstudy.kernels.first import Images, first_answer, first_block, prepared


class Conv4(AbstractEncoder):
    """Four times: 3×3 convolution, normalisation, ReLU, and the image halved. 28×28 gives 64
    features, 84×84 gives 1600.

    The image is halved by 2×2 max-pooling, or, as in the published MAML code for Omniglot, by
    convolutions of stride 2 with the mean
    over the image at the end: always ``width`` features, at a quarter of the arithmetic.

    The convolutions have no bias: the normalisation that follows subtracts it (with ``norm="none"``
        the norm's bias stands in).

    Shapes:
        ``[T N in_channels size size] -> [T N width·⌊size/2^pooled⌋²]``, with strides ``[T N
        width]``

    Args:
        in_channels: 1 for grey images, 3 for colour.
        width: filters per block (64; MAML on mini-ImageNet uses 32).
        size: height and width of the images, at least 16.
        norm: normalisation policy, see `quickstudy.encoders.norm`.
        norm_scale: whether the normalisation learns a scale (the published MAML code learns only
            its bias).
        downsample: "pool" or "stride".
        pooled: how many of the blocks halve the image, the first ones; with "pool" only. Relation
            networks keep the image in the last two.

    Attributes:
        map_shape: channels, height and width of what the vectors were before they were flattened.

    Example:
        >>> encoder = Conv4(size=28)
        >>> encoder(torch.zeros(2, 5, 1, 28, 28)).shape
        torch.Size([2, 5, 64])

    Paper: Vinyals et al. 2016, arXiv:1606.04080, section 4.1; Snell et al. 2017, arXiv:1703.05175,
        section 3; with strides Finn et al.
        2017, arXiv:1703.03400, section 5.2.
    """

    stacks = True
    stages = tuple(f"blocks.{i}" for i in range(4))
    unit_images = True

    def __init__(
        self,
        *,
        in_channels: int = 1,
        width: int = 64,
        size: int = 28,
        norm: str = "running",
        norm_scale: bool = True,
        downsample: str = "pool",
        pooled: int = 4,
    ) -> None:
        super().__init__()
        if size < 16:
            raise ConfigError(
                f"Conv4 halves the image four times and needs size ≥ 16, got {size}. Enlarge the "
                "images."
            )
        if not 1 <= pooled <= 4 or (pooled < 4 and downsample != "pool"):
            raise ConfigError(
                "1 to 4 blocks halve the image, and fewer than 4 only by 'pool', got "
                f"pooled={pooled} and '{downsample}'."
            )
        if downsample not in ("pool", "stride"):
            raise ConfigError(f"Conv4 halves images by 'pool' or 'stride', not by '{downsample}'.")
        self.norm = norm
        self.in_channels = in_channels
        self.size = size
        self.downsample = downsample
        side = size // 2**pooled if downsample == "pool" else 1
        self.map_shape, self.out_dim = (width, side, side), width * side**2
        how = [downsample if i < pooled else "keep" for i in range(4)]
        self.blocks = nn.ModuleList(
            _Block(width if i else in_channels, width, norm, norm_scale, how[i]) for i in range(4)
        )
        # torch does not declare this form.
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def forward(
        self, x: Float[Tensor, "T N C H W"] | Images, context: Context = ()
    ) -> Float[Tensor, "T N D"]:
        y: Any = self._prepared(x, context)
        for i, block in enumerate(self.blocks):
            y = self.passed(i + 1, block(y, context[i] if context else None))  # [T N C H/2 W/2]
        return self._vectors(y)

    def read(
        self, x: Float[Tensor, "T N C H W"] | Images
    ) -> tuple[Float[Tensor, "T N D"], Context]:
        context: list[Statistics] = []
        y: Any = self._prepared(x, ())
        for i, block in enumerate(self.blocks):
            assert isinstance(block, _Block)
            y, statistics = block.read(y)
            y = self.passed(i + 1, y)
            context += [] if statistics is None else [statistics]
        return self._vectors(y), tuple(context)

    def prepare(self, x: Float[Tensor, "T N C H W"]) -> Any:
        return self._prepared(x, ())

    @property
    def fused(self) -> bool:
        return all(b.fused for b in self.blocks if isinstance(b, _Block))

    def _prepared(self, x: Tensor | Images, context: Context) -> Tensor | Images:
        first = self.blocks[0]
        assert isinstance(first, _Block)
        if isinstance(x, Images):
            return x
        # The mean over places, which strides end with, is there for pictures of any size.
        side = self.size if self.downsample == "pool" else None
        self.check_shape(x, (self.in_channels, side, side))
        return first.prepare(x, context[0] if context else None)

    def _vectors(self, x: Float[Tensor, "T N C H W"]) -> Float[Tensor, "T N D"]:
        return x.flatten(2) if self.downsample == "pool" else x.mean((3, 4))


class _Block(nn.Module):
    """3×3 convolution, normalisation, ReLU and, unless the convolution has strides or the image is
    kept, 2×2 max-pooling.

    The convolution's weight is ``[O I 3 3]``, or a stack of them, one per task: ``[T O I 3 3]``.
    There is one plain form for every case, and a
    fast one for most: with fixed statistics the normalisation is part of the convolution, with
        those of the batch it is fused with what follows.
    """

    def __init__(
        self, channels_in: int, channels: int, norm: str, norm_scale: bool, downsample: str
    ) -> None:
        super().__init__()
        self.pools = downsample == "pool"
        self.conv = nn.Conv2d(
            channels_in,
            channels,
            3,
            stride=2 if downsample == "stride" else 1,
            padding=1,
            bias=False,
        )
        self.norm = norm_named(norm, channels, scale=norm_scale)

    @property
    def fused(self) -> bool:
        """Whether `quickstudy.kernels` do all of it."""
        weight = self.conv.weight
        return (
            self.pools
            and not isinstance(self.norm, SupportNorm)  # the queries pool by torch
            and self.norm.measures(None) in ("task", "batch")
            and chosen(weight) == "numba"
            and (weight.shape[1] in (1, 3) or has_kernels(weight))
        )

    def prepare(self, x: Tensor, statistics: Statistics | None) -> Tensor | Images:
        """What of the images this block, as the first one, can reuse at every inner step."""
        return prepared(
            x,
            stride=1 if self.pools else 2,
            pools=self.pools,
            measures=self.norm.measures(statistics) != "fixed",
        )

    def forward(self, x: Tensor | Images, statistics: Statistics | None) -> Tensor:
        measures = self.norm.measures(statistics)
        if measures == "fixed":
            scale, shift = (_of_one(p, x) for p in self.norm.affine(statistics))
            if scale is None or (scale.ndim == 2) == self._stacked:
                return self._folded(x, scale, shift)
        elif (
            self.pools
            and chosen(self.conv.weight) != "plain"
            and (measures == "task" or (measures == "batch" and not self._stacked))
        ):
            return self._fused(x, together=measures == "batch")
        return self._rectify(self.norm(self._convolve(x, self.conv.weight), statistics))

    def read(self, x: Tensor | Images) -> tuple[Tensor, Statistics | None]:
        if not isinstance(self.norm, SupportNorm):
            return self(x, None), None
        y, statistics = self.norm.read(self._convolve(x, self.conv.weight))
        return self._rectify(y), statistics

    def _folded(self, x: Tensor | Images, scale: Tensor | None, shift: Tensor | None) -> Tensor:
        """A normalisation by fixed numbers scales the weights and shifts the maxima."""
        weight = (
            self.conv.weight if scale is None else self.conv.weight * scale[..., None, None, None]
        )
        learns = torch.is_grad_enabled() and (
            weight.requires_grad or (shift is not None and shift.requires_grad)
        )
        if isinstance(x, Images) and x.padded is not None and not learns:
            return torch.stack(
                [
                    first_answer(image, _of(weight, t, 4), _of(shift, t, 1))
                    for t, image in enumerate(x.padded)
                ]
            )
        z = self._convolve(x, weight)
        pooled = F.max_pool2d(z.flatten(0, 1), 2).unflatten(0, z.shape[:2]) if self.pools else z
        return F.relu(
            pooled if shift is None else pooled + shift.unflatten(-1, (-1, 1, 1)).unsqueeze(-4)
        )

    def _fused(self, x: Tensor | Images, *, together: bool) -> Tensor:
        """Normalised by the statistics of each task, or of all together; the image of the
        normalisation is not stored.
        """
        weight = self.conv.weight
        gamma = self.norm.weight
        beta = self.norm.bias
        n_tasks = x.shape[0]
        joined = together or (n_tasks == 1 and not self._stacked)
        if isinstance(x, Images) and x.gram is not None:
            images = x.joined() if together else x
            out = [
                first_block(images, t, _of(weight, t, 4), _of(gamma, t, 1), _of(beta, t, 1), EPS)
                for t in range(images.shape[0])
            ]
        elif isinstance(x, Tensor) and not x.requires_grad and chosen(x) == "numba":
            batches = [x.flatten(0, 1)] if joined else x.unbind(0)
            out = [
                colour_block(image, _of(weight, t, 4), _of(gamma, t, 1), _of(beta, t, 1), EPS)
                for t, image in enumerate(batches)
            ]
        elif joined:
            out = [norm_relu_pool(self._convolve_shared(x, weight), gamma, beta, EPS)]
        elif self._stacked and not isinstance(
            x, Images
        ):  # the tasks are groups of channels already
            wide = self._convolve(x, weight).transpose(0, 1).flatten(1, 2)  # [N T·C H W]
            y, mean, rstd = norm_relu_pool(
                wide, every_task(gamma, n_tasks), every_task(beta, n_tasks), EPS
            )
            self._saw([mean], [rstd], n_tasks, x)
            return y.unflatten(1, (n_tasks, -1)).transpose(0, 1)
        else:
            z = self._convolve(x, weight)  # [T N C H W]
            out = [
                norm_relu_pool(image, _of(gamma, t, 1), _of(beta, t, 1), EPS)
                for t, image in enumerate(z.unbind(0))
            ]
        self._saw(
            [mean for _, mean, _ in out],
            [rstd for _, _, rstd in out],
            1 if together else n_tasks,
            x,
        )
        return (
            out[0][0].unflatten(0, (n_tasks, -1))
            if len(out) == 1
            else torch.stack([y for y, _, _ in out])
        )

    def _saw(
        self, mean: list[Tensor], rstd: list[Tensor], n_batches: int, x: Tensor | Images
    ) -> None:
        """Show the normalisation the statistics of each batch in turn, if it keeps any."""
        if not self.norm.keeps:
            return
        means, variances = (
            torch.stack(s).detach().reshape(n_batches, -1)
            for s in (mean, [r.detach() ** -2 - EPS for r in rstd])
        )
        count = x.shape[0] * x.shape[1] * x.shape[3] * x.shape[4] // n_batches
        for m, variance in zip(means, variances, strict=True):
            self.norm.saw(m, variance, count)

    def _convolve(self, x: Tensor | Images, weight: Tensor) -> Float[Tensor, "T N C h w"]:
        if not self._stacked:
            return self._convolve_shared(x, weight).unflatten(0, x.shape[:2])
        if isinstance(x, Images) and x.columns is not None:
            # [T N·h·w C]
            z = torch.matmul(x.columns.flatten(1, 3), weight.flatten(-3).transpose(-1, -2))
            return z.unflatten(1, x.columns.shape[1:4]).permute(0, 1, 4, 2, 3)
        images = x.x if isinstance(x, Images) else x
        # A group of channels for each task:
        # [N T·C H W]
        wide = images.transpose(0, 1).flatten(1, 2).contiguous(memory_format=torch.channels_last)
        z = convolve(wide, weight.flatten(0, 1), stride=self.conv.stride[0], groups=images.shape[0])
        return z.unflatten(1, (images.shape[0], -1)).transpose(0, 1)

    def _convolve_shared(self, x: Tensor | Images, weight: Tensor) -> Float[Tensor, "B C h w"]:
        """One weight for all tasks, whose images come in one row."""
        if isinstance(x, Images) and x.columns is not None:
            return torch.matmul(x.columns.flatten(0, 1), weight.flatten(1).t()).permute(0, 3, 1, 2)
        images = (
            (x.x if isinstance(x, Images) else x)
            .flatten(0, 1)
            .contiguous(memory_format=torch.channels_last)
        )
        return convolve(images, weight, stride=self.conv.stride[0])

    def _rectify(self, z: Float[Tensor, "T N C H W"]) -> Tensor:
        """ReLU after pooling: the maximum of rectified values is the rectified maximum, on a
        quarter of the numbers.
        """
        if not self.pools:
            return F.relu(z)
        if self._stacked:  # pooling the channels of all tasks at once spares a copy
            return (
                F.relu(F.max_pool2d(z.transpose(0, 1).flatten(1, 2), 2))
                .unflatten(1, (z.shape[0], -1))
                .transpose(0, 1)
            )
        return F.relu(F.max_pool2d(z.flatten(0, 1), 2)).unflatten(0, z.shape[:2])

    @property
    def _stacked(self) -> bool:
        """Whether each task has weights of its own, [T O I 3 3]."""
        return self.conv.weight.ndim == 5


def _of(p: Tensor | None, t: int, ndim: int) -> Any:
    """A parameter of task ``t``: its own, if there is a stack of them."""
    return p if p is None or p.ndim == ndim else p[t]


def _of_one(p: Tensor | None, x: Tensor | Images) -> Tensor | None:
    """What belongs to the only task as if it belonged to all."""
    return p[0] if p is not None and p.ndim == 2 and x.shape[0] == 1 else p
