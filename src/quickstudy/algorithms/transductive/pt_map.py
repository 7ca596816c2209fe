"""PT-MAP: power transform, and class vectors by optimal transport."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from quickstudy.algorithms.transfer.feature_head import FeatureHead
from quickstudy.core.encoder import AbstractEncoder
from quickstudy.core.errors import ConfigError
from quickstudy.functional.prototypes import class_means
from quickstudy.functional.similarity import negative_squared_euclidean


class PTMAP(FeatureHead):
    """Queries are dealt out to the classes in *equal parts*, at the least transport cost, and class
    vectors follow.

    z = sgn(f) |f|^β, brought to length 1, less the mean over the support (for queries: over the
    queries), again to length 1

    P ∝ exp( −λ |z_q − μ_c|² ), by Sinkhorn's rule with rows that sum to 1 and columns to Q / C,
    until no row's sum changes by more than 1e-6

    μ_c ← (1 − α) μ_c + α ( Σ over the support of c of z_i + Σ_q P_qc z_q ) / ( n_c + Σ_q P_qc )

    **It takes for granted that every class has as many queries**: then it is the best of all by
    far, and where that is not so it can be worse than class means. The scores are log P of the
    batch that is asked.

    Shapes:
        support ``[T N *S]``, queries ``[T Q *S] -> [T Q C]``

    Args:
        encoder: f, whose features the paper takes to be positive (after a ReLU).
        power: β.
        sharpness: λ.
        steps: of the class vectors.
        rate: α.
        iterations: of Sinkhorn's rule, at most; a task stops when it has converged.

    Example:
        >>> from quickstudy.core.types import Classes, Episode, Examples
        >>> from quickstudy.encoders import Identity
        >>> support = Examples.single(torch.eye(2), torch.tensor([0, 1]))
        >>> queries = Examples.single(torch.tensor([[5.0, 1.0], [5.0, 4.0]]), torch.tensor([0, 1]))
        >>> PTMAP(Identity(2))(Episode(support, queries, Classes(2))).argmax(-1)
        tensor([[0, 1]])

    Raises:
        ConfigError: for numbers out of range.
        TransductiveError: without queries.

    Paper: Hu, Gripon, Pateux 2021, arXiv:2006.03806, equations 1 to 6.
    Differs: features of either sign; each task stops by itself, there the whole batch at once.
    """

    def __init__(
        self,
        encoder: AbstractEncoder,
        *,
        power: float = 0.5,
        sharpness: float = 10.0,
        steps: int = 20,
        rate: float = 0.2,
        iterations: int = 1000,
    ) -> None:
        super().__init__(encoder, transform="un", needs_queries=True)
        if not power > 0 or not sharpness > 0 or steps < 0 or not 0 < rate <= 1 or iterations < 1:
            raise ConfigError(
                "power and sharpness are above 0, steps not negative, rate in (0, 1] and "
                f"iterations at least 1, got {power}, {sharpness}, {steps}, "
                f"{rate} and {iterations}."
            )
        self.power = power
        self.sharpness = sharpness
        self.steps = steps
        self.rate = rate
        self.iterations = iterations

    def learn(self, z: Tensor, y: Tensor, n: int, queries: Tensor | None) -> tuple[Tensor, ...]:
        assert queries is not None
        raw = self._powered(queries)
        centre = raw.mean(1, keepdim=True)
        support, queries = self._centred(self._powered(z)), F.normalize(raw - centre, dim=-1)
        means = class_means(support, y, n)
        member = F.one_hot(y, n).to(z.dtype)
        every = torch.cat((support, queries), 1)
        for _ in range(self.steps):
            p = self._dealt_out(queries, means)
            means = means + self.rate * (
                class_means(every, torch.cat((member, p.exp()), 1), n) - means
            )
        return means, centre

    def answer(self, learned: tuple[Tensor, ...], z: Tensor) -> Float[Tensor, "T Q C"]:
        means, centre = learned
        return self._dealt_out(F.normalize(self._powered(z) - centre, dim=-1), means)

    def _dealt_out(
        self, z: Float[Tensor, "T Q D"], means: Float[Tensor, "T C D"]
    ) -> Float[Tensor, "T Q C"]:
        """Log P; the columns sum to Q / C exactly, the rows to 1 nearly."""
        log_p = self.sharpness * negative_squared_euclidean(z, means)
        share = math.log(z.shape[1] / means.shape[1])
        before = torch.full_like(log_p[..., 0], torch.inf)
        for _ in range(self.iterations):
            rows = log_p.logsumexp(2)
            # [T 1 1], a task that has converged stays as it is
            moving = ((rows.exp() - before).abs().amax(1) > 1e-6)[:, None, None]
            if not bool(moving.any()):
                break
            after = (log_p - rows[..., None]).log_softmax(1) + share
            log_p, before = torch.where(moving, after, log_p), rows.exp()
        return log_p

    def _powered(self, z: Tensor) -> Tensor:
        # A tiny number keeps the slope finite where a feature is zero.
        return F.normalize(torch.where(z < 0, -1.0, 1.0) * (z.abs() + 1e-6) ** self.power, dim=-1)

    def _centred(self, z: Tensor) -> Tensor:
        return F.normalize(z - z.mean(1, keepdim=True), dim=-1)
