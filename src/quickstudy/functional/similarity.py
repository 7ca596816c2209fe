"""Similarities between queries and references, higher = closer."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from quickstudy.core.errors import ConfigError, did_you_mean
from quickstudy.kernels.precision import at_least_single

Similarity = Callable[[Tensor, Tensor], Tensor]


@at_least_single
def negative_squared_euclidean(
    q: Float[Tensor, "T Q D"], r: Float[Tensor, "T R D"]
) -> Float[Tensor, "T Q R"]:
    """−|q − r|², expanded so that it is one matrix product (never above zero).

    >>> negative_squared_euclidean(torch.tensor([[[0.0, 0.0]]]), torch.tensor([[[3.0, 4.0]]]))
    tensor([[[-25.]]])
    """
    cross = torch.einsum("tqd,trd->tqr", q, r)
    norms = q.square().sum(-1)[:, :, None] + r.square().sum(-1)[:, None, :]  # [T Q R]
    return -(norms - 2 * cross).clamp_min(0)


@at_least_single
def cosine(q: Float[Tensor, "T Q D"], r: Float[Tensor, "T R D"]) -> Float[Tensor, "T Q R"]:
    """q·r / |q||r|, between −1 and 1."""
    return torch.einsum("tqd,trd->tqr", F.normalize(q, dim=-1), F.normalize(r, dim=-1))


@at_least_single
def dot(q: Float[Tensor, "T Q D"], r: Float[Tensor, "T R D"]) -> Float[Tensor, "T Q R"]:
    """q·r."""
    return torch.einsum("tqd,trd->tqr", q, r)


SIMILARITIES: dict[str, Similarity] = {
    "euclidean": negative_squared_euclidean,
    "cosine": cosine,
    "dot": dot,
}


def similarity_named(name: str) -> Similarity:
    """The similarity called ``name``: euclidean (negative, squared), cosine or dot."""
    if name not in SIMILARITIES:
        raise ConfigError(f"No similarity is called '{name}'. {did_you_mean(name, SIMILARITIES)}")
    return SIMILARITIES[name]
