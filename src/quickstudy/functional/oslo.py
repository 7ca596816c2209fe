"""Open-set likelihood optimisation: class vectors that learn from the queries, and less from those
that seem to belong to no class.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from quickstudy.functional.prototypes import class_means
from quickstudy.functional.similarity import cosine


def oslo(
    support: Float[Tensor, "T N D"],
    y: Int[Tensor, "T N"],
    query: Float[Tensor, "T Q D"],
    n_classes: int,
    *,
    steps: int = 2,
    inlier_temperature: float = 0.1,
    class_temperature: float = 0.1,
) -> tuple[Float[Tensor, "T Q C"], Float[Tensor, "T Q"]]:
    """Soft classes of each query, and how much it seems to belong to any of them. Every query's
    answer depends on all queries.

    From z = 1/C and μ = the class means of the support, ``steps`` times: ℓ_k = cos(x, μ_k);  ξ =
    σ(Σ_k z_k ℓ_k / λ_ξ);  z = softmax(ξ ℓ / λ_z); μ_k = the mean of the examples of class k, of
    weight 1, and the queries, of weight ξ z_k.

    Args:
        support: features of the examples; cosines tell most where they are centred.
        y: their classes.
        query: features.
        n_classes: C; every class has an example.
        steps: of the alternation.
        inlier_temperature: λ_ξ.
        class_temperature: λ_z.

    Returns:
        z, whose rows sum to 1, and ξ between 0 and 1, higher = more like one of the classes.

    >>> support, queries = (
    ...     torch.eye(3)[None, :2],
    ...     torch.tensor([[[0.9, 0.1, 0.0], [0.1, 0.8, 0.0], [-0.1, -0.1, 1.0]]]),
    ... )
    >>> z, xi = oslo(support, torch.tensor([[0, 1]]), queries, 2)
    >>> z.argmax(-1)[0, :2], xi.round(decimals=2)
    (tensor([0, 1]), tensor([[1.0000, 1.0000, 0.4200]]))

    Source: Boudiaf et al. 2023, arXiv:2301.08390, section 4.
    """
    means = oslo_means(
        support,
        y,
        query,
        n_classes,
        steps=steps,
        inlier_temperature=inlier_temperature,
        class_temperature=class_temperature,
    )
    z, odds = oslo_answers(
        query, means, inlier_temperature=inlier_temperature, class_temperature=class_temperature
    )
    return z, odds.sigmoid()


def oslo_means(
    support: Float[Tensor, "T N D"],
    y: Int[Tensor, "T N"],
    query: Float[Tensor, "T Q D"],
    n_classes: int,
    *,
    steps: int = 2,
    inlier_temperature: float = 0.1,
    class_temperature: float = 0.1,
) -> Float[Tensor, "T L C D"]:
    """The class vectors μ of each step of `oslo`, whose arguments these are: with them alone
    `oslo_answers` answers any query of the task.
    """
    member = F.one_hot(y, n_classes).to(support.dtype)  # [T N C]
    every = torch.cat((support, query), 1)  # [T N+Q D]
    means = [class_means(support, y, n_classes)]
    z = query.new_full((*query.shape[:2], n_classes), 1 / n_classes)
    for _ in range(steps - 1):
        z, odds = _step(query, means[-1], z, inlier_temperature, class_temperature)
        weight = torch.cat((member, odds.sigmoid().unsqueeze(-1) * z), 1)  # [T N+Q C]
        means.append(weight.mT @ every / weight.sum(1).unsqueeze(-1))
    return torch.stack(means, 1)


def oslo_answers(
    query: Float[Tensor, "T Q D"],
    means: Float[Tensor, "T L C D"],
    *,
    inlier_temperature: float = 0.1,
    class_temperature: float = 0.1,
) -> tuple[Float[Tensor, "T Q C"], Float[Tensor, "T Q"]]:
    """The z of queries, and the log-odds of their ξ, log(ξ / (1 − ξ)): each by itself, as the class
    vectors are given.

    The log-odds keep the order of queries whose ξ is 1 to the last digit.
    """
    z = query.new_full((*query.shape[:2], means.shape[2]), 1 / means.shape[2])
    odds = z[..., 0]
    for step in means.unbind(1):
        z, odds = _step(query, step, z, inlier_temperature, class_temperature)
    return z, odds


def centred(
    support: Float[Tensor, "T N D"], query: Float[Tensor, "T Q D"]
) -> tuple[Float[Tensor, "T N D"], Float[Tensor, "T Q D"], Float[Tensor, "T 1 D"]]:
    """Features less the mean of their task's examples and queries, of unit length; and that mean.

    >>> centred(torch.tensor([[[1.0, 5.0]]]), torch.tensor([[[3.0, 5.0]]]))[0]
    tensor([[[-1.,  0.]]])
    """
    mean = torch.cat((support, query), 1).mean(1, keepdim=True)
    return F.normalize(support - mean, dim=-1), F.normalize(query - mean, dim=-1), mean


def _step(
    query: Tensor, means: Tensor, z: Tensor, inlier_temperature: float, class_temperature: float
) -> tuple[Tensor, Tensor]:
    near = cosine(query, means)  # [T Q C]
    odds = (z * near).sum(-1) / inlier_temperature  # [T Q]
    return (odds.sigmoid().unsqueeze(-1) * near / class_temperature).softmax(-1), odds
