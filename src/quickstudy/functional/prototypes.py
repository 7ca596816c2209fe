"""Class means."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from quickstudy.kernels.precision import at_least_single


@at_least_single
def class_means(
    z: Float[Tensor, "T N D"], y: Int[Tensor, "T N"] | Float[Tensor, "T N C"], n_classes: int
) -> Float[Tensor, "T C D"]:
    """The mean vector of each class; shots may differ from class to class. A class without examples
    is NaN.

    Soft labels, ``[T N C]``, are weights of the examples.

    >>> class_means(torch.tensor([[[1.0], [3.0], [5.0]]]), torch.tensor([[0, 0, 1]]), 2)
    tensor([[[2.],
             [5.]]])
    """
    member = (F.one_hot(y, n_classes) if y.ndim == 2 else y).to(z.dtype)  # [T N C]
    return torch.einsum("tnc,tnd->tcd", member, z) / member.sum(1).unsqueeze(-1)
