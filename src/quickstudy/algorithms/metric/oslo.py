"""Open-set likelihood optimisation (OSLO)."""

from typing import TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from quickstudy.core.encoder import AbstractEncoder, Context
from quickstudy.core.errors import ConfigError, TransductiveError
from quickstudy.core.learner import AbstractLearner, Traits
from quickstudy.core.types import Examples, Target
from quickstudy.functional.oslo import centred, oslo_answers, oslo_means

OsloState: TypeAlias = tuple[Float[Tensor, "T L C D"], Float[Tensor, "T 1 D"], Context]


class OSLO(AbstractLearner[OsloState]):
    """Class vectors learn from the queries too, and less from those that seem to be unknown. All
    queries are needed at once.

    The alternation of `quickstudy.functional.oslo.oslo` on features less their mean over the task,
    of unit length. The scores are the log of its soft classes z, shifted so that their softmax is z
    and the highest of them is the log-odds of the inlierness ξ, the score by which unknowns are
    rejected:
    score(c | x) = log z_c − max log z + log(ξ / (1 − ξ))

    It needs no training: ``quickstudy eval RUN --as oslo --unknown 5``.

    Shapes:
        support ``[T N *S]``, queries ``[T Q *S] -> [T Q C]``

    Args:
        encoder: f.
        steps: of the alternation.
        inlier_temperature: λ_ξ.
        class_temperature: λ_z.

    Example:
        >>> from quickstudy.core.types import Classes, Episode
        >>> from quickstudy.encoders import Identity
        >>> support = Examples.single(torch.eye(3)[:2], torch.tensor([0, 1]))
        >>> queries = Examples.single(
        ...     torch.tensor([[1.0, 0.1, 0.0], [0.0, 1.0, 0.1], [0.0, 0.0, 1.0]]),
        ...     torch.tensor([0, 1, 2]),
        ... )
        >>> OSLO(Identity(3))(Episode(support, queries, Classes(2))).amax(-1).sigmoid().round(
        ...     decimals=2
        ... )
        tensor([[1.0000, 1.0000, 0.0400]])

    Paper: Boudiaf et al. 2023, arXiv:2301.08390, section 4.
    Differs: temperatures and steps chosen here, on validation classes of Omniglot and miniImageNet.
    """

    def __init__(
        self,
        encoder: AbstractEncoder,
        *,
        steps: int = 2,
        inlier_temperature: float = 0.1,
        class_temperature: float = 0.1,
    ) -> None:
        super().__init__()
        if steps < 1 or not inlier_temperature > 0 or not class_temperature > 0:
            raise ConfigError(
                f"steps must be at least 1 and the temperatures above 0, got steps={steps}, "
                f"inlier_temperature={inlier_temperature} and "
                f"class_temperature={class_temperature}."
            )
        self.encoder, self.steps = encoder, steps
        self.inlier_temperature, self.class_temperature = inlier_temperature, class_temperature
        self.traits = Traits(encodes_alone=True, transductive=True)

    def adapt(self, support: Examples, target: Target, query_x: Tensor | None = None) -> OsloState:
        if query_x is None:
            raise TransductiveError(
                "OSLO learns from the queries of a task, but got none: adapt(support, target, "
                "query_x), or call learner(episode)."
            )
        z, context = self.encoder.read(support.x)
        known, queries, mean = centred(z, self.encoder(query_x, context))
        temperatures = {
            "inlier_temperature": self.inlier_temperature,
            "class_temperature": self.class_temperature,
        }
        return (
            oslo_means(known, support.y, queries, target.width, steps=self.steps, **temperatures),
            mean,
            context,
        )

    def predict(self, state: OsloState, x: Tensor) -> Tensor:
        means, mean, context = state
        queries = F.normalize(self.encoder(x, context) - mean, dim=-1)
        z, odds = oslo_answers(
            queries,
            means,
            inlier_temperature=self.inlier_temperature,
            class_temperature=self.class_temperature,
        )
        log_z = z.clamp_min(torch.finfo(z.dtype).tiny).log()
        return log_z - log_z.amax(-1, keepdim=True) + odds.unsqueeze(-1)  # [T Q C]
