"""Logits with a margin: the true class is made harder than the others, so that features of a class
draw together.

All take the cosines of features and class weights, ``cos = x̂ · Ŵ``, and return logits for the
cross entropy.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def arcface(
    cos: Float[Tensor, "B C"], y: Int[Tensor, " B"], *, scale: float = 64.0, margin: float = 0.5
) -> Float[Tensor, "B C"]:
    """s·cos(θ_y + m) for the true class and s·cos θ_c for the others; where θ_y + m is beyond π,
    s·(cos θ_y − m·sin m) goes on falling.

    Args:
        cos: cosines of B features with C class weights.
        y: the true classes.
        scale: s.
        margin: m, in radians.

    >>> arcface(torch.tensor([[0.5, 0.0]]), torch.tensor([0]), scale=1.0, margin=math.pi / 6).round(
    ...     decimals=4
    ... )
    tensor([[0., 0.]])

    Paper: Deng et al. 2019, arXiv:1801.07698, equation 3.
    """
    own = cos.gather(1, y[:, None]).clamp(-1 + 1e-7, 1 - 1e-7)  # at ±1 the angle has no gradient
    shifted = own * math.cos(margin) - (1 - own * own).sqrt() * math.sin(margin)
    past = own <= math.cos(math.pi - margin)
    return scale * cos.scatter(
        1, y[:, None], torch.where(past, own - margin * math.sin(margin), shifted)
    )


def cosface(
    cos: Float[Tensor, "B C"], y: Int[Tensor, " B"], *, scale: float = 64.0, margin: float = 0.35
) -> Float[Tensor, "B C"]:
    """s·(cos θ_y − m) for the true class and s·cos θ_c for the others; also called AM-Softmax.

    >>> cosface(torch.tensor([[0.5, 0.0]]), torch.tensor([0]), scale=10.0, margin=0.25)
    tensor([[2.5000, 0.0000]])

    Paper: Wang et al. 2018, arXiv:1801.09414, equation 4; Wang et al. 2018, arXiv:1801.05599.
    """
    return scale * (cos - margin * F.one_hot(y, cos.shape[1]).to(cos))


def sphereface(
    cos: Float[Tensor, "B C"],
    y: Int[Tensor, " B"],
    length: Float[Tensor, " B"],
    *,
    margin: int = 4,
    blend: float = 0.0,
) -> Float[Tensor, "B C"]:
    """|x|·ψ(θ_y) for the true class and |x|·cos θ_c for the others, ψ(θ) = (−1)^k cos(mθ) − 2k for
    θ in [kπ/m, (k+1)π/m].

    Args:
        cos: cosines of B features with C class weights.
        y: the true classes.
        length: |x|, the features' lengths.
        margin: m, a whole number.
        blend: λ: the true class gets (λ·cos θ_y + ψ(θ_y)) / (1 + λ); large in the beginning, so
            that training does not stall.

    >>> sphereface(torch.tensor([[0.0, 1.0]]), torch.tensor([0]), torch.tensor([2.0]), margin=2)
    tensor([[-2.,  2.]])

    Paper: Liu et al. 2017, arXiv:1704.08063, equations 6 and 7; the blend as in the authors' code.
    """
    own = cos.gather(1, y[:, None]).clamp(-1 + 1e-7, 1 - 1e-7)
    angle = own.acos()
    k = (margin * angle.detach() / math.pi).floor()
    harder = (1 - 2 * (k % 2)) * (margin * angle).cos() - 2 * k
    return length[:, None] * cos.scatter(1, y[:, None], (blend * own + harder) / (1 + blend))
