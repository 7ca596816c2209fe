"""TIM and α-TIM: class vectors that make the answers to the queries sure and varied."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from quickstudy.algorithms.transfer.feature_head import FeatureHead
from quickstudy.core.encoder import AbstractEncoder
from quickstudy.core.errors import ConfigError
from quickstudy.functional.descent import descended, mean_cross_entropy, mean_entropy
from quickstudy.functional.prototypes import class_means
from quickstudy.functional.similarity import negative_squared_euclidean


class TIM(FeatureHead):
    """The mutual information of queries and labels is made large: every query shall be sure of its
    class, and all classes shall be used.

    p(c | x) = softmax_c( −τ/2 |z − w_c|² );  min over W of λ CE(support) − H(mean over the queries
    of p) + α mean of H(p), by Adam from the class means

    The middle term draws the labels towards equal parts: like `PTMAP`, though less strictly, it
        counts on balanced queries; see `AlphaTIM`.

    Shapes:
        support ``[T N *S]``, queries ``[T Q *S] -> [T Q C]``

    Args:
        encoder: f.
        steps: of Adam.
        lr: its rate.
        temperature: τ.
        support_weight, conditional_weight: λ and α.
        transform: of the features, see `FeatureHead`.

    Example:
        >>> from quickstudy.core.types import Classes, Episode, Examples
        >>> from quickstudy.encoders import Identity
        >>> support = Examples.single(torch.eye(2), torch.tensor([0, 1]))
        >>> queries = Examples.single(torch.tensor([[5.0, 1.0], [1.0, 2.0]]), torch.tensor([0, 1]))
        >>> TIM(Identity(2))(Episode(support, queries, Classes(2))).argmax(-1)
        tensor([[0, 1]])

    Raises:
        ConfigError: for numbers out of range.
        TransductiveError: without queries.

    Paper: Boudiaf et al. 2020, arXiv:2008.11297, equations 1 to 3 (TIM-GD).
    Differs: a larger rate over fewer steps (the paper: 1e-4 over 1,000).
    """

    def __init__(
        self,
        encoder: AbstractEncoder,
        *,
        steps: int = 100,
        lr: float = 1e-3,
        temperature: float = 15.0,
        support_weight: float = 0.1,
        conditional_weight: float = 0.1,
        transform: str = "cl2n",
    ) -> None:
        super().__init__(encoder, transform=transform, needs_queries=True, exact_gradient=False)
        _check(steps, lr, temperature, support_weight, conditional_weight)
        self.steps, self.lr, self.temperature = steps, lr, temperature
        self.support_weight, self.conditional_weight = support_weight, conditional_weight

    def learn(self, z: Tensor, y: Tensor, n: int, queries: Tensor | None) -> tuple[Tensor, ...]:
        assert queries is not None

        def loss(labels: Tensor, out: Tensor) -> Tensor:
            spread = mean_entropy(out.softmax(-1).mean(1, keepdim=True).log())
            return (
                self.support_weight * labels - spread + self.conditional_weight * mean_entropy(out)
            )

        return _moved(self, loss, z, y, n, queries)

    def answer(self, learned: tuple[Tensor, ...], z: Tensor) -> Float[Tensor, "T Q C"]:
        return self.temperature / 2 * negative_squared_euclidean(z, learned[0])


class AlphaTIM(FeatureHead):
    """As `TIM`, with Tsallis' entropies, which let the labels be uneven.

    H_α(p) = ( 1 − Σ_c p_c^α ) / ( α − 1 );  min over W of CE(support) − H_α(mean over the queries
    of p) + mean of H_α(p)

    Shapes:
        support ``[T N *S]``, queries ``[T Q *S] -> [T Q C]``

    Args:
        encoder: f.
        alpha: α, above 1. The paper takes 2 for one shot and 7 for five.
        steps: of Adam.
        lr: its rate.
        temperature: τ.
        transform: of the features, see `FeatureHead`.

    Example:
        >>> from quickstudy.core.types import Classes, Episode, Examples
        >>> from quickstudy.encoders import Identity
        >>> support = Examples.single(torch.eye(2), torch.tensor([0, 1]))
        >>> queries = Examples.single(torch.tensor([[5.0, 1.0], [1.0, 2.0]]), torch.tensor([0, 1]))
        >>> AlphaTIM(Identity(2))(Episode(support, queries, Classes(2))).argmax(-1)
        tensor([[0, 1]])

    Raises:
        ConfigError: for numbers out of range.
        TransductiveError: without queries.

    Paper: Veilleux, Boudiaf, Piantanida, Ben Ayed 2021, arXiv:2204.11181, equations 6 to 8.
    Differs: as `TIM`; the support's cross entropy is the usual one.
    """

    def __init__(
        self,
        encoder: AbstractEncoder,
        *,
        alpha: float = 2.0,
        steps: int = 100,
        lr: float = 1e-3,
        temperature: float = 15.0,
        transform: str = "cl2n",
    ) -> None:
        super().__init__(encoder, transform=transform, needs_queries=True, exact_gradient=False)
        _check(steps, lr, temperature)
        if not alpha > 1:
            raise ConfigError(
                f"alpha must be above 1, got {alpha}. For Shannon's entropy, which is its limit, "
                "take tim."
            )
        self.alpha, self.steps, self.lr, self.temperature = alpha, steps, lr, temperature

    def learn(self, z: Tensor, y: Tensor, n: int, queries: Tensor | None) -> tuple[Tensor, ...]:
        assert queries is not None

        def entropy(p: Float[Tensor, "T Q C"]) -> Float[Tensor, " T"]:
            return ((1 - p.pow(self.alpha).sum(-1)) / (self.alpha - 1)).mean(1)

        def loss(labels: Tensor, out: Tensor) -> Tensor:
            p = out.softmax(-1)
            return labels - entropy(p.mean(1, keepdim=True)) + entropy(p)

        return _moved(self, loss, z, y, n, queries)

    def answer(self, learned: tuple[Tensor, ...], z: Tensor) -> Float[Tensor, "T Q C"]:
        return self.temperature / 2 * negative_squared_euclidean(z, learned[0])


def _moved(
    learner: TIM | AlphaTIM,
    loss: Callable[[Tensor, Tensor], Tensor],
    z: Tensor,
    y: Tensor,
    n: int,
    queries: Tensor,
) -> tuple[Tensor, ...]:
    support, others = z.detach(), queries.detach()

    def of(*weights: Tensor) -> Float[Tensor, " T"]:
        return loss(
            mean_cross_entropy(learner.answer(weights, support), y), learner.answer(weights, others)
        )

    return descended(
        (class_means(support, y, n),),
        [of] * learner.steps,
        lambda p: torch.optim.Adam(p, lr=learner.lr),
    )


def _check(steps: int, lr: float, temperature: float, *weights: Any) -> None:
    if steps < 0 or not lr > 0 or not temperature > 0 or any(w < 0 for w in weights):
        raise ConfigError(
            "steps and weights cannot be negative, lr and temperature must be above 0, got "
            f"{steps}, {weights}, {lr} and {temperature}."
        )
