"""Class means."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def class_means(z: Float[Tensor, "T N D"], y: Int[Tensor, "T N"], n_classes: int) -> Float[Tensor, "T C D"]:
    """The mean vector of each class; shots may differ from class to class. A class without examples is NaN.

    >>> class_means(torch.tensor([[[1.0], [3.0], [5.0]]]), torch.tensor([[0, 0, 1]]), 2)
    tensor([[[2.],
             [5.]]])
    """
    member = F.one_hot(y, n_classes).to(z.dtype)  # [T N C]
    return torch.einsum("tnc,tnd->tcd", member, z) / member.sum(1).unsqueeze(-1)
