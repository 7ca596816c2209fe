"""TIM and α-TIM: class vectors that make the answers to the queries sure and varied."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from quickstudy.algorithms.transfer.feature_head import FeatureHead
from quickstudy.core.encoder import AbstractEncoder
from quickstudy.core.errors import ConfigError
from quickstudy.functional.descent import Adam, descended, through_softmax
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

        def slope(p: Tensor, log_p: Tensor) -> Tensor:
            spread = p.mean(1, keepdim=True).clamp_min(torch.finfo(p.dtype).tiny).log()
            return (spread - self.conditional_weight * log_p) / p.shape[1]

        return _moved(self, self.support_weight, slope, z, y, n, queries)

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
        power, factor = self.alpha - 1, self.alpha / (self.alpha - 1)

        def slope(p: Tensor, log_p: Tensor) -> Tensor:
            spread = p.mean(1, keepdim=True).pow(power)
            return (spread - p.pow(power)) * (factor / p.shape[1])

        return _moved(self, 1.0, slope, z, y, n, queries)

    def answer(self, learned: tuple[Tensor, ...], z: Tensor) -> Float[Tensor, "T Q C"]:
        return self.temperature / 2 * negative_squared_euclidean(z, learned[0])


def _moved(
    learner: TIM | AlphaTIM,
    support_weight: float,
    slope: Callable[[Tensor, Tensor], Tensor],
    z: Tensor,
    y: Tensor,
    n: int,
    queries: Tensor,
) -> tuple[Tensor, ...]:
    """The class vectors W after all steps, on ``support_weight`` · CE(support) and a loss of the
    queries, which the ``slope`` of it for their probabilities stands for.

    Scores are taken as τ (z·w − |w|²/2), as what they have in common does not change the
    probabilities. With G the gradient for them, that for W is τ (Gᵀ z − Σ G ∘ w).
    """
    support = z.detach()
    every = torch.cat((support, queries.detach()), 1)  # [T N+Q D]
    target = F.one_hot(y, n).to(z.dtype)
    n_support = z.shape[1]
    weight = support_weight / n_support

    def gradient(w: Tensor) -> tuple[Tensor]:
        half = w.square().sum(-1)[:, None] * (-learner.temperature / 2)
        out = torch.baddbmm(half, every, w.transpose(1, 2), alpha=learner.temperature)
        log_p = out.log_softmax(-1)
        p = log_p.exp()
        of_support = (p[:, :n_support] - target) * weight
        known, log_known = p[:, n_support:], log_p[:, n_support:]
        of_queries = through_softmax(known, slope(known, log_known))
        g = torch.cat((of_support, of_queries), 1)
        pull = w * g.sum(1)[:, :, None]
        return (
            torch.baddbmm(
                pull,
                g.transpose(1, 2),
                every,
                beta=-learner.temperature,
                alpha=learner.temperature,
            ),
        )

    return descended((class_means(support, y, n),), [gradient] * learner.steps, Adam(learner.lr))


def _check(steps: int, lr: float, temperature: float, *weights: Any) -> None:
    if steps < 0 or not lr > 0 or not temperature > 0 or any(w < 0 for w in weights):
        raise ConfigError(
            "steps and weights cannot be negative, lr and temperature must be above 0, got "
            f"{steps}, {weights}, {lr} and {temperature}."
        )
