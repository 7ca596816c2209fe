"""Class vectors put right by the queries."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from quickstudy.functional.prototypes import class_means
from quickstudy.functional.similarity import cosine


def rectified(
    z: Float[Tensor, "T N D"],
    y: Int[Tensor, "T N"],
    queries: Float[Tensor, "T Q D"],
    n_classes: int,
    *,
    sharpness: float,
) -> tuple[Float[Tensor, "T C D"], Float[Tensor, "T 1 D"]]:
    """Prototypes after the queries were shifted onto the support and joined it, and the shift ξ =
    mean of the support − mean of the queries.

    A shifted query joins the class of the nearest prototype P_c by cosine; then μ_c is the mean
    over the support of c and those queries, weighted by w_i = softmax_c( ε cos(z_i, P_c) ).

    Args:
        z, y: the support.
        queries: all of a task.
        n_classes: how many.
        sharpness: ε.

    Paper: Liu, Song, Qin 2020, arXiv:1911.10713, equations 4 to 8.
    """
    shift = z.mean(1, keepdim=True) - queries.mean(1, keepdim=True)
    means = class_means(z, y, n_classes)
    moved = queries + shift
    every = torch.cat((z, moved), 1)
    label = torch.cat((y, cosine(moved, means).argmax(-1)), 1)
    # [T N+Q C]
    weight = (sharpness * cosine(every, means)).softmax(-1) * F.one_hot(label, n_classes)
    return class_means(every, weight, n_classes), shift
