"""Prototypes refined by soft k-means over the queries."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from quickstudy.algorithms.transfer.feature_head import FeatureHead
from quickstudy.core.encoder import AbstractEncoder
from quickstudy.core.errors import ConfigError
from quickstudy.functional.prototypes import class_means
from quickstudy.functional.similarity import negative_squared_euclidean


class SoftKMeans(FeatureHead):
    """Class means move towards the queries that seem to be theirs.

    p_uc = softmax_c( −s |z_u − μ_c|² );  μ_c ← ( Σ over the support of c of z_i + Σ_u p_uc z_u ) /
    ( n_c + Σ_u p_uc )

    score(c | x) = −s |z − μ_c|²

    The most careful of the heads that look at the queries: it says nothing of how many queries a
        class has.

    Shapes:
        support ``[T N *S]``, queries ``[T Q *S] -> [T Q C]``

    Args:
        encoder: f.
        steps: of the alternation; 0 = class means.
        scale: s.
        transform: of the features, see `FeatureHead`.

    Example:
        >>> from quickstudy.core.types import Classes, Episode, Examples
        >>> from quickstudy.encoders import Identity
        >>> support = Examples.single(torch.tensor([[0.0], [4.0]]), torch.tensor([0, 1]))
        >>> queries = Examples.single(torch.tensor([[2.5], [6.0]]), torch.tensor([0, 1]))
        >>> learner = SoftKMeans(Identity(1), transform="un", scale=1.0)
        >>> learner(Episode(support, queries, Classes(2))).argmax(-1)
        tensor([[1, 1]])

    Raises:
        ConfigError: for numbers out of range.
        TransductiveError: without queries.

    Paper: Ren et al. 2018, arXiv:1803.00676, equations 2 and 3, with the queries in the place of
        unlabelled examples.
    Differs: features of length 1, with a scale.
    """

    def __init__(
        self,
        encoder: AbstractEncoder,
        *,
        steps: int = 5,
        scale: float = 10.0,
        transform: str = "cl2n",
    ) -> None:
        super().__init__(encoder, transform=transform, needs_queries=True)
        if steps < 0 or not scale > 0:
            raise ConfigError(
                f"steps cannot be negative and scale must be above 0, got {steps} and {scale}."
            )
        self.steps, self.scale = steps, scale

    def learn(
        self, z: Tensor, y: Tensor, n: int, queries: Tensor | None
    ) -> tuple[Float[Tensor, "T C D"]]:
        assert queries is not None
        means = class_means(z, y, n)
        every = torch.cat((z, queries), 1)
        member = F.one_hot(y, n).to(z.dtype)
        for _ in range(self.steps):
            means = class_means(
                every, torch.cat((member, self.answer((means,), queries).softmax(-1)), 1), n
            )
        return (means,)

    def answer(self, learned: tuple[Tensor, ...], z: Tensor) -> Tensor:
        return self.scale * negative_squared_euclidean(z, learned[0])
