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
    keep_labels: bool = True,
    shrink: bool = False,
) -> tuple[Float[Tensor, "T C D"], Float[Tensor, "T 1 D"]]:
    """Prototypes after the queries were shifted onto the support and joined it, and the shift ξ =
    mean of the support − mean of the queries.

    A shifted query joins the class of the nearest prototype P_c by cosine; then μ_c is the mean
    over the support of c and those queries, weighted by w_i = softmax_c( ε cos(z_i, P_c) ).
    A class that nothing joins keeps P_c.

    Args:
        z, y: the support.
        queries: all of a task.
        n_classes: how many.
        sharpness: ε.
        keep_labels: False assigns the support anew too, by the nearest prototype.
        shrink: μ_c is the sum of w_i z_i over the *number* of its examples instead of over the sum
            of their weights; a class of unsure members gets a shorter vector.

    Paper: Liu, Song, Qin 2020, arXiv:1911.10713, equations 4 to 8.
    Differs: nothing by default; the code of LaplacianShot and of others after it has
        keep_labels=False and shrink=True.
    """
    shift = z.mean(1, keepdim=True) - queries.mean(1, keepdim=True)
    means = class_means(z, y, n_classes)
    moved = queries + shift
    every = torch.cat((z, moved), 1)
    near = cosine(every, means)
    label = near.argmax(-1)
    if keep_labels:
        label = torch.cat((y, label[:, y.shape[1] :]), 1)
    member = F.one_hot(label, n_classes)
    # [T N+Q C]
    weight = (sharpness * near).softmax(-1) * member
    size = (member if shrink else weight).sum(1).unsqueeze(-1)
    joined = weight.mT @ every / size.clamp_min(1e-12)
    return torch.where(member.sum(1).unsqueeze(-1) > 0, joined, means), shift
