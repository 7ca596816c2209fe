"""Pre-train, fine-tune, test: a cosine classifier that begins as the class means and is fine-tuned
on the support.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from quickstudy.algorithms.transfer.feature_head import FeatureHead
from quickstudy.core.encoder import AbstractEncoder
from quickstudy.core.errors import ConfigError, did_you_mean
from quickstudy.core.rng import generator
from quickstudy.functional.descent import (
    SGD,
    cross_entropy_slope,
    descended,
    entropy_slope,
    mean_cross_entropy,
    through_normalise,
)
from quickstudy.functional.prototypes import class_means

ENTROPIES = ("none", "support", "queries")


class CosineTuning(FeatureHead):
    """The third stage of three: an encoder was trained on many classes; the class means M are the
    start of a classifier; it is fine-tuned.

    p(· | x) = softmax_c( s · cos(w_c, z) + b_c ), W := M, the class means at length 1, b := 0; z as
    in `FeatureHead`

    min over W, b of the mean of CE over the support + λ · the mean of H(p(· | x)) over

    - "support": the support's vectors with noise on them (inductive);
    - "queries": the queries (transductive, and then it does not serve queries that come one at a
    time);
    - "none": nothing, λ = 0.

    With ``steps=0`` it is the cosine to the class means. Where every class has two examples or
    more, the number of steps, up to ``steps``, is the one whose classifiers, each fitted without
    one example, give these the least mean cross entropy.

    Shapes:
        support ``[T N *S]``, queries ``[T Q *S] -> [T Q C]``

    Args:
        encoder: f; train it by ``classify``, ``pairs`` or ``triplets``.
        steps: of gradient descent (momentum 0.9), at most.
        lr: its rate.
        scale: s.
        entropy: "none", "support" or "queries".
        weight: λ.
        noise: "support": length of the noise, as a part of the vectors' length.
        views: "support": so many noisy vectors of each example.
        early_stop: choose the number of steps by leaving out one at a time.
        transform: of the features, see `FeatureHead`.

    Example:
        >>> from quickstudy.core.types import Classes, Examples
        >>> from quickstudy.encoders import Identity
        >>> support = Examples.single(torch.eye(2), torch.tensor([0, 1]))
        >>> CosineTuning(Identity(2), steps=0).fit(support, Classes(2))(torch.tensor([[3.0, 0.0]]))
        tensor([[10.,  0.]])

    Raises:
        ConfigError: for an unknown entropy, or numbers out of range.
        TransductiveError: "queries", without them.

    Paper: Dhillon et al. 2020, arXiv:1909.02729, sections 3.1 and 3.2 (start and entropy); Chen et
        al. 2019, arXiv:1904.04232 (the cosine).
    Differs: features stay as they are; the augmented supports are vectors, not pictures.
    """

    def __init__(
        self,
        encoder: AbstractEncoder,
        *,
        steps: int = 50,
        lr: float = 0.01,
        scale: float = 10.0,
        entropy: str = "none",
        weight: float = 0.1,
        noise: float = 0.5,
        views: int = 5,
        early_stop: bool = True,
        transform: str = "cl2n",
    ) -> None:
        if entropy not in ENTROPIES:
            raise ConfigError(
                f"The entropy is taken over no '{entropy}'. {did_you_mean(entropy, ENTROPIES)}"
            )
        if steps < 0 or views < 1 or weight < 0 or noise < 0 or not lr > 0 or not scale > 0:
            raise ConfigError(
                "steps, weight and noise cannot be negative, views is at least 1, and lr and "
                f"scale are above 0, got steps={steps}, weight={weight}, "
                f"noise={noise}, views={views}, lr={lr} and scale={scale}."
            )
        promises: dict[str, Any] = {"exact_gradient": False, "order_free": entropy != "support"}
        super().__init__(
            encoder, transform=transform, needs_queries=entropy == "queries", **promises
        )
        self.steps = steps
        self.lr = lr
        self.scale = scale
        self.entropy = entropy
        self.weight = weight
        self.noise, self.views, self.early_stop = noise, views, early_stop

    def learn(self, z: Tensor, y: Tensor, n: int, queries: Tensor | None) -> tuple[Tensor, ...]:
        z = z.detach()
        others = (
            self._noisy(z)
            if self.entropy == "support"
            else None
            if queries is None
            else queries.detach()
        )
        member = F.one_hot(y, n).to(z.dtype)
        start = (F.normalize(class_means(z, y, n), dim=-1), z.new_zeros(len(z), n))
        if not self.steps:
            return start
        best = torch.full((len(z),), self.steps, device=z.device)
        tried = member.sum(1).amin(1) >= 2  # [T]
        if self.early_stop and bool(tried.any()):
            best = torch.where(tried, self._best_step(z, y, member, others), best)
        kept = [p.clone() for p in start]

        def keep(step: int, parameters: tuple[Tensor, ...]) -> None:
            for k, p in zip(kept, parameters, strict=True):
                k[best == step] = p[best == step]

        def slope(out: Tensor) -> Tensor:
            return cross_entropy_slope(out, member)

        self._descend(start, slope, z, others, keep)
        return tuple(kept)

    def answer(self, learned: tuple[Tensor, ...], z: Tensor) -> Float[Tensor, "T Q C"]:
        weight, bias = learned
        return (
            self.scale * F.normalize(z, dim=-1) @ F.normalize(weight, dim=-1).transpose(1, 2)
            + bias[:, None]
        )

    def _best_step(self, z: Tensor, y: Tensor, member: Tensor, others: Tensor | None) -> Tensor:
        """The number of steps with the least mean cross entropy of examples that were left out,
        ``[T]``.
        """
        t, n, d = z.shape
        # [T·N N], a row for each that is left out
        taken = 1 - torch.eye(n, dtype=z.dtype, device=z.device).repeat(t, 1)

        def each(a: Tensor) -> Tensor:
            return a[:, None].expand(-1, n, *a.shape[1:]).flatten(0, 1)

        every, target = each(z), each(member)
        means = class_means(every, target * taken[:, :, None], member.shape[2]).nan_to_num()
        left = z.reshape(t * n, 1, d)
        of_left = y.reshape(t * n, 1)
        shared = None if others is None else each(others)
        losses = list[Tensor]()

        def slope(out: Tensor) -> Tensor:
            return cross_entropy_slope(out, target) * (taken[:, :, None] * (n / (n - 1)))

        def note(_: int, parameters: tuple[Tensor, ...]) -> None:
            losses.append(
                mean_cross_entropy(self.answer(parameters, left), of_left).view(t, n).mean(1)
            )

        start = (F.normalize(means, dim=-1), z.new_zeros(t * n, member.shape[2]))
        self._descend(start, slope, every, shared, note)
        return torch.stack(losses).argmin(0)

    def _descend(
        self,
        start: tuple[Tensor, ...],
        slope: Callable[[Tensor], Tensor],
        z: Float[Tensor, "T N D"],
        others: Float[Tensor, "T Q D"] | None,
        seen: Callable[[int, tuple[Tensor, ...]], None],
    ) -> None:
        """Descend the loss of the support ``z``, which the ``slope`` of it for its scores stands
        for, and the entropy of ``others``.
        """
        every = F.normalize(z if others is None else torch.cat((z, others), 1), dim=-1)
        n = z.shape[1]

        def gradient(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
            unit = F.normalize(weight, dim=-1)
            out = torch.baddbmm(bias[:, None], every, unit.transpose(1, 2), alpha=self.scale)
            g = slope(out[:, :n])
            if others is not None:
                g = torch.cat((g, self.weight * entropy_slope(out[:, n:])), 1)
            return through_normalise(weight, self.scale * (g.transpose(1, 2) @ every)), g.sum(1)

        descended(start, [gradient] * self.steps, SGD(self.lr, momentum=0.9), seen=seen)

    def _noisy(self, z: Float[Tensor, "T N D"]) -> Float[Tensor, "T V·N D"]:
        """Every vector ``views`` times, with noise of the wanted length."""
        many = z.repeat(1, self.views, 1)
        drawn = torch.randn(
            many.shape[1:], generator=generator("cosine tuning", "noise"), dtype=torch.float32
        ).to(z)
        return many + self.noise * many.norm(dim=-1, keepdim=True) * F.normalize(drawn, dim=-1)
