"""How alike two representations of the same examples are."""

from jaxtyping import Float
from torch import Tensor


def linear_cka(x: Float[Tensor, "N D"], y: Float[Tensor, "N E"]) -> Float[Tensor, ""]:
    """Linear centred kernel alignment, between 0 and 1; turning or scaling all features changes
    nothing.

    CKA = |Yᵀ X|² / (|Xᵀ X| |Yᵀ Y|), Frobenius norms of centred features.

    >>> import torch
    >>> x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 1.0]])
    >>> round(float(linear_cka(x, 3 * x.flip(1))), 4)
    1.0

    Paper: Kornblith, Norouzi, Lee, Hinton 2019, arXiv:1905.00414, equation 3 with the linear
        kernel.
    """
    x, y = x - x.mean(0), y - y.mean(0)
    k, l = x @ x.T, y @ y.T  # [N N]: the same norms, with few examples cheaper
    return (k * l).sum() / (k.norm() * l.norm()).clamp(min=1e-12)
