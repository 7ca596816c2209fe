"""LaplacianShot: near queries get like labels."""

import torch
from jaxtyping import Float
from torch import Tensor

from quickstudy.algorithms.transfer.feature_head import FeatureHead
from quickstudy.core.encoder import AbstractEncoder
from quickstudy.core.errors import ConfigError
from quickstudy.functional.rectified import rectified
from quickstudy.functional.similarity import negative_squared_euclidean


class LaplacianShot(FeatureHead):
    """Queries are labelled by the nearest class vector, and at the same time like their neighbours
    among the queries.

    y_q ← softmax_c( −|z_q + ξ − μ_c|² + λ Σ_p w(q, p) y_pc ), from y_q = softmax_c( −|z_q + ξ −
    μ_c|² ), with w(q, p) = 1 if p is among the k nearest others of q

    ξ and μ are those of `quickstudy.functional.rectified.rectified`, μ as the authors' code has
    them with ``shrink``. The scores are the log y of
    the last round, so they depend on all queries of the batch that is asked.

    Shapes:
        support ``[T N *S]``, queries ``[T Q *S] -> [T Q C]``

    Args:
        encoder: f.
        smoothness: λ; the paper chooses it between 0.1 and 1.5 on validation classes; so was ours,
            on those of miniImageNet.
        neighbours: k; the authors' code counts the query itself, so that its 3 is 2 here.
        rounds: of the update, at most; a task whose energy changes by less than 1e-6 of it stops.
        shrink: the support is assigned anew and the vectors of unsure classes are shorter, as in
            the authors' code; False keeps the labels and takes weighted means.
        transform: of the features, see `FeatureHead`.

    Example:
        >>> from quickstudy.core.types import Classes, Episode, Examples
        >>> from quickstudy.encoders import Identity
        >>> support = Examples.single(torch.eye(2), torch.tensor([0, 1]))
        >>> queries = Examples.single(torch.tensor([[5.0, 1.0], [1.0, 2.0]]), torch.tensor([0, 1]))
        >>> LaplacianShot(Identity(2))(Episode(support, queries, Classes(2))).argmax(-1)
        tensor([[0, 1]])

    Raises:
        ConfigError: for numbers out of range.
        TransductiveError: without queries.

    Paper: Ziko, Dolz, Granger, Ben Ayed 2020, arXiv:2006.15486, equations 1 and 8.
    Differs: nothing.
    """

    def __init__(
        self,
        encoder: AbstractEncoder,
        *,
        smoothness: float = 0.5,
        neighbours: int = 3,
        rounds: int = 20,
        transform: str = "cl2n",
        shrink: bool = True,
    ) -> None:
        super().__init__(encoder, transform=transform, needs_queries=True)
        if smoothness < 0 or neighbours < 1 or rounds < 0:
            raise ConfigError(
                "smoothness and rounds cannot be negative and neighbours is at least 1, got "
                f"{smoothness}, {rounds} and {neighbours}."
            )
        self.smoothness, self.neighbours, self.rounds = smoothness, neighbours, rounds
        self.shrink = shrink

    def learn(self, z: Tensor, y: Tensor, n: int, queries: Tensor | None) -> tuple[Tensor, ...]:
        assert queries is not None
        return rectified(
            z, y, queries, n, sharpness=10.0, keep_labels=not self.shrink, shrink=self.shrink
        )

    def answer(self, learned: tuple[Tensor, ...], z: Tensor) -> Float[Tensor, "T Q C"]:
        means, shift = learned
        near = negative_squared_euclidean(z + shift, means)
        pull, scores = self.smoothness * self._affinity(z), near
        before, moving = torch.zeros(()), torch.ones(len(z), dtype=torch.bool, device=z.device)
        for i in range(self.rounds):
            if not bool(moving.any()):
                break
            # [T 1 1], a task that has converged stays as it is
            scores = torch.where(moving[:, None, None], near + pull @ scores.softmax(-1), scores)
            y = scores.softmax(-1)
            energy = (y * (scores.log_softmax(-1) - near - pull @ y)).sum((1, 2)).detach()
            if i > 1:
                moving = moving & ((energy - before).abs() > 1e-6 * before.abs())
            before = energy
        return scores.log_softmax(-1)

    def _affinity(self, z: Float[Tensor, "T Q D"]) -> Float[Tensor, "T Q Q"]:
        """w(q, p): 1 for the k nearest others."""
        alone = torch.eye(z.shape[1], dtype=torch.bool, device=z.device)
        near = negative_squared_euclidean(z, z).masked_fill(alone, -torch.inf)
        k = min(self.neighbours, z.shape[1] - 1)
        return torch.zeros_like(near).scatter(2, near.topk(k, 2).indices, 1.0)
