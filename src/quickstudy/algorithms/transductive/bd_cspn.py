"""BD-CSPN: prototypes rectified by the queries, after the shift between support and queries was
taken out.
"""

from torch import Tensor

from quickstudy.algorithms.transfer.feature_head import FeatureHead
from quickstudy.core.encoder import AbstractEncoder
from quickstudy.core.errors import ConfigError
from quickstudy.functional.rectified import rectified
from quickstudy.functional.similarity import cosine, negative_squared_euclidean


class BDCSPN(FeatureHead):
    """Queries are shifted onto the support, join the classes they look like, and the classes are
    averaged again.

    score(c | x) = s · cos(z + ξ, μ_c), with ξ and μ of `quickstudy.functional.rectified.rectified`;
    as other people's code has it, −|z − μ_c|²

    Shapes:
        support ``[T N *S]``, queries ``[T Q *S] -> [T Q C]``

    Args:
        encoder: f.
        scale: s, and the sharpness ε of the weights.
        transform: of the features, see `FeatureHead`.
        as_others: the computation of the code that others publish under this name: the support is
            assigned anew, prototypes are divided by counts, and queries are compared unshifted, by
            distance.

    Example:
        >>> import torch
        >>> from quickstudy.core.types import Classes, Episode, Examples
        >>> from quickstudy.encoders import Identity
        >>> support = Examples.single(torch.eye(2), torch.tensor([0, 1]))
        >>> queries = Examples.single(torch.tensor([[5.0, 1.0], [1.0, 2.0]]), torch.tensor([0, 1]))
        >>> BDCSPN(Identity(2))(Episode(support, queries, Classes(2))).argmax(-1)
        tensor([[0, 1]])

    Raises:
        ConfigError: when scale is not above 0.
        TransductiveError: without queries.

    Paper: Liu, Song, Qin 2020, arXiv:1911.10713, section 3.
    Differs: all queries join, not the surest; one round.
    """

    def __init__(
        self,
        encoder: AbstractEncoder,
        *,
        scale: float = 10.0,
        transform: str = "cl2n",
        as_others: bool = False,
    ) -> None:
        super().__init__(encoder, transform=transform, needs_queries=True)
        if not scale > 0:
            raise ConfigError(f"scale must be above 0, got {scale}.")
        self.scale, self.as_others = scale, as_others

    def learn(self, z: Tensor, y: Tensor, n: int, queries: Tensor | None) -> tuple[Tensor, ...]:
        assert queries is not None
        other = self.as_others
        return rectified(
            z, y, queries, n, sharpness=self.scale, keep_labels=not other, shrink=other
        )

    def answer(self, learned: tuple[Tensor, ...], z: Tensor) -> Tensor:
        means, shift = learned
        if self.as_others:
            return negative_squared_euclidean(z, means)
        return self.scale * cosine(z + shift, means)
