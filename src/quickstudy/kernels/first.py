"""The first convolution and its fused block, on images of one channel: what depends on the images
alone is computed once.
"""

from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from quickstudy.core.recording import recordable
from quickstudy.core.types import tensor_dataclass
from quickstudy.kernels.backends import chosen
from quickstudy.kernels.block import channels_first, pixels_first
from quickstudy.kernels.last import last_derivative


@tensor_dataclass()
class Images:
    """Images of one channel with what a 3×3 convolution can reuse of them at each step: all of it
    has the task axis in front.

    Args:
        x: the images themselves.
        padded, gram, sums: what `gram` gives of each task, for `first_block`.
        columns: the columns of the convolution, for one matrix product instead.
    """

    x: Float[Tensor, "T N 1 H W"]
    padded: Float[Tensor, "T N P R"] | None = None
    gram: Float[Tensor, "T 9 9"] | None = None
    sums: Float[Tensor, "T 9"] | None = None
    columns: Float[Tensor, "T N h w 9"] | None = None

    @property
    def shape(self) -> torch.Size:
        """That of the images."""
        return self.x.shape

    def joined(self) -> "Images":
        """The images of all tasks as those of one."""
        assert self.padded is not None
        assert self.gram is not None
        assert self.sums is not None
        return Images(
            self.x.flatten(0, 1)[None],
            self.padded.flatten(0, 1)[None],
            self.gram.sum(0)[None],
            self.sums.sum(0)[None],
        )


def prepared(
    x: Float[Tensor, "T N C H W"], *, stride: int, pools: bool, measures: bool
) -> Tensor | Images:
    """What of the images a first convolution and its block can reuse; the images as they are where
    nothing pays.

    Args:
        stride: of the convolution.
        pools: whether the block pools, so that the fused operation can serve it.
        measures: whether it normalises by the images' own statistics.

    That is for images of several channels (*measured*: the columns of three channels cost more than
    they save), images that need a gradient, and plain operations.
    """
    how = chosen(x)
    if x.shape[2] != 1 or x.requires_grad or how == "plain":
        return x
    if pools and how == "numba" and not measures:
        return Images(x, F.pad(x[:, :, 0], (1, 1, 1, 1)).contiguous())
    if pools and how == "numba":
        padded, g, s = zip(*(gram(images) for images in x[:, :, 0]), strict=True)
        return Images(x, torch.stack(padded), torch.stack(g), torch.stack(s))
    # [T N h w 9]
    columns = F.pad(x[:, :, 0], (1, 1, 1, 1)).unfold(2, 3, stride).unfold(3, 3, stride).flatten(4)
    return Images(x, columns=columns)


def gram(
    x: Float[Tensor, "N H W"],
) -> tuple[Float[Tensor, "N P R"], Float[Tensor, "9 9"], Float[Tensor, " 9"]]:
    """The images padded with zeros, and of the columns X of their 3×3 convolution the Gram matrix
    XᵀX and the sums Xᵀ1, in double.

    >>> gram(torch.ones(1, 4, 4))[2]  # 16 pixels, of which 4 or 7 see the border at a given tap
    tensor([ 9., 12.,  9., 12., 16., 12.,  9., 12.,  9.], dtype=torch.float64)
    """
    padded = F.pad(x.detach(), (1, 1, 1, 1)).contiguous()
    return (padded, *_gram(padded))


def first_block(
    images: Images,
    t: int,
    weight: Float[Tensor, "C 1 3 3"],
    gamma: Float[Tensor, " C"] | None,
    beta: Float[Tensor, " C"] | None,
    eps: float,
) -> tuple[Float[Tensor, "N C h w"], Float[Tensor, " C"], Float[Tensor, " C"]]:
    """As `norm_relu_pool` of the 3×3 convolution of task t's images, without storing the
    convolution's output.

    The images, prepared with their Gram matrix, get no gradient. Needs numba.
    """
    assert images.padded is not None
    assert images.gram is not None
    assert images.sums is not None
    scale = weight.new_ones(len(weight)) if gamma is None else gamma.contiguous()
    shift = weight.new_zeros(len(weight)) if beta is None else beta.contiguous()
    fixed = images.padded[t], images.gram[t], images.sums[t]
    return cast("tuple[Tensor, Tensor, Tensor]", _First.apply(weight, scale, shift, eps, *fixed))


def first_answer(
    padded: Float[Tensor, "N P R"],
    weight: Float[Tensor, "C 1 3 3"],
    shift: Float[Tensor, " C"] | None,
) -> Float[Tensor, "N C h w"]:
    """ReLU of the largest of each 2×2 window of the convolution, plus the shift. Takes no gradient.
    Needs numba.
    """
    after = weight.new_zeros(weight.shape[0]) if shift is None else shift.contiguous()
    return channels_first(_answer(padded, _by_tap(weight), after))


class _First(torch.autograd.Function):
    """The weight ``[C 1 3 3]``, γ and β to y ``[N C h w]``, μ and r; the kernels take the weight as
    ``[9 C]`` and images as ``[N h w C]``.
    """

    @staticmethod
    def forward(
        ctx: Any,
        weight: Tensor,
        gamma: Tensor,
        beta: Tensor,
        eps: float,
        x: Tensor,
        g: Tensor,
        s: Tensor,
    ) -> tuple[Tensor, ...]:
        y, p, winner, mean, rstd = _forward(x, g, s, _by_tap(weight), gamma, beta, eps)
        ctx.save_for_backward(weight, gamma, x, g, s, y, p, winner, mean, rstd)
        mean, rstd = mean.clone(), rstd.clone()
        ctx.mark_non_differentiable(mean, rstd)
        return channels_first(y), mean, rstd

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return (*_FirstBackward.apply(grads[0], *ctx.saved_tensors), None, None, None, None)


class _FirstBackward(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, dy: Tensor, weight: Tensor, gamma: Tensor, *fixed: Tensor
    ) -> tuple[Tensor, ...]:
        x, g, s, *rest = fixed
        won, dw, dgamma, dbeta = _backward(pixels_first(dy), x, g, s, _by_tap(weight), gamma, *rest)
        ctx.save_for_backward(dy, weight, gamma, *fixed, won, dgamma, dbeta)
        return dw.t().reshape(weight.shape), dgamma, dbeta

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        dy, weight, gamma, x, g, s, y, *rest = ctx.saved_tensors

        def twice(
            g_dw: Tensor,
            g_dgamma: Tensor,
            g_dbeta: Tensor,
            dy: Tensor,
            weight: Tensor,
            gamma: Tensor,
        ) -> Any:
            above = _by_tap(g_dw), g_dgamma.contiguous(), g_dbeta.contiguous()
            h_dy, h_w, h_gamma = _double_backward(*above, x, g, s, _by_tap(weight), gamma, y, *rest)
            return channels_first(h_dy), h_w.t().reshape(weight.shape), h_gamma

        return (*last_derivative(twice, *grads, dy, weight, gamma), *(None for _ in range(8)))


def _by_tap(weight: Tensor) -> Tensor:
    """``[C 1 3 3]`` to ``[9 C]``."""
    return weight.reshape(len(weight), 9).t().contiguous()


@recordable
def _gram(padded: Tensor) -> tuple[Tensor, Tensor]:
    from quickstudy.kernels import first_compiled
    from quickstudy.kernels.compiled import arrays

    g, s = torch.empty(9, 9, dtype=torch.float64), torch.empty(9, dtype=torch.float64)
    first_compiled.gram(*arrays(padded, g, s))
    return g, s


@recordable
def _answer(padded: Tensor, w: Tensor, shift: Tensor) -> Tensor:
    from quickstudy.kernels import first_compiled
    from quickstudy.kernels.compiled import arrays

    y = _pooled(padded, w)
    first_compiled.answer(*arrays(padded, w, shift, y))
    return y


@recordable
def _forward(
    x: Tensor, g: Tensor, s: Tensor, w: Tensor, gamma: Tensor, beta: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """y, p, the winners, μ and r."""
    from quickstudy.kernels import first_compiled
    from quickstudy.kernels.compiled import arrays

    y = _pooled(x, w)
    p, winner = torch.empty_like(y), y.new_empty(y.shape, dtype=torch.uint8)
    mean, rstd = torch.empty_like(gamma), torch.empty_like(gamma)
    first_compiled.forward(*arrays(x, g, s, w, gamma, beta, y, p, winner, mean, rstd), eps)
    return y, p, winner, mean, rstd


@recordable
def _backward(
    dy: Tensor,
    x: Tensor,
    g: Tensor,
    s: Tensor,
    w: Tensor,
    gamma: Tensor,
    y: Tensor,
    p: Tensor,
    winner: Tensor,
    mean: Tensor,
    rstd: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Σ x·u over the winners, dw, dγ and dβ."""
    from quickstudy.kernels import first_compiled
    from quickstudy.kernels.compiled import arrays

    won, dw = torch.empty_like(w), torch.empty_like(w)
    dgamma, dbeta = torch.empty_like(gamma), torch.empty_like(gamma)
    first_compiled.backward(
        *arrays(dy, x, g, s, w, gamma, y, p, winner, mean, rstd, won, dw, dgamma, dbeta)
    )
    return won, dw, dgamma, dbeta


@recordable
def _double_backward(
    g_dw: Tensor,
    g_dgamma: Tensor,
    g_dbeta: Tensor,
    x: Tensor,
    g: Tensor,
    s: Tensor,
    w: Tensor,
    gamma: Tensor,
    y: Tensor,
    p: Tensor,
    winner: Tensor,
    mean: Tensor,
    rstd: Tensor,
    won: Tensor,
    dgamma: Tensor,
    dbeta: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients for dy, w and γ."""
    from quickstudy.kernels import first_compiled
    from quickstudy.kernels.compiled import arrays

    h_dy, h_w, h_gamma = torch.empty_like(y), torch.empty_like(w), torch.empty_like(gamma)
    given = g_dw, g_dgamma, g_dbeta, x, g, s, w, gamma, y, p, winner, mean, rstd, won
    first_compiled.double_backward(*arrays(*given, dgamma, dbeta, h_dy, h_w, h_gamma))
    return h_dy, h_w, h_gamma


def _pooled(padded: Tensor, w: Tensor) -> Tensor:
    """Memory for the block's output ``[N h w C]``."""
    n, height, width = padded.shape
    return padded.new_empty(n, (height - 2) // 2, (width - 2) // 2, w.shape[1])
