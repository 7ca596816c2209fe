"""SimCLR: two views of an image belong together, among all views of a batch."""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core.errors import ConfigError, EpisodeError
from quickstudy.core.learner import AbstractLearner, encoder_of
from quickstudy.core.objective import AbstractObjective
from quickstudy.core.types import Batch, Episode


class SimCLR(AbstractObjective):
    """The normalised temperature-scaled cross entropy (NT-Xent) of views: for each, the other view
    of its image among all other views of the task.

    −log( exp(cos(z_i, z_j)/τ) / Σ_{k≠i} exp(cos(z_i, z_k)/τ) ), the mean over all ordered pairs (i,
    j) of views of one image

    Takes the tasks of the transform `contrastive`, with one view of each image in the support and
    one among the queries.

    Args:
        temperature: τ.
        dim: length of the encoder's vectors, for the projection.
        projection: z = W₂ relu(W₁ f(x)) of this length; 0 = the encoder's vectors themselves. It is
            dropped after training.

    Raises:
        ConfigError: for numbers out of range.
        EpisodeError: in training, for tasks of another form.

    Paper: Chen, Kornblith, Norouzi, Hinton 2020, arXiv:2002.05709, equation 1.
    """

    def __init__(self, *, temperature: float = 0.5, dim: int = 0, projection: int = 0) -> None:
        super().__init__()
        if not temperature > 0 or projection < 0 or (projection and dim < 1):
            raise ConfigError(
                "temperature must be above 0, and a projection needs the encoder's dim, got "
                f"{temperature}, dim={dim} and projection={projection}."
            )
        self.temperature = temperature
        self.project = (
            nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, projection))
            if projection
            else nn.Identity()
        )

    def forward(self, learner: AbstractLearner[Any], batch: Batch) -> Tensor:
        if (
            not isinstance(batch, Episode)
            or batch.support.y.shape != batch.query.y.shape
            or not _alike(batch)
        ):
            raise EpisodeError(
                "simclr takes two views of each image. Train with the transform 'contrastive', "
                "support=1 and queries=1, on unlabelled data."
            )
        z = self.project(encoder_of(learner)(torch.cat((batch.support.x, batch.query.x), 1)))
        return nt_xent(z, temperature=self.temperature)


def nt_xent(z: Float[Tensor, "T M D"], *, temperature: float) -> Float[Tensor, ""]:
    """The loss of views, of which the second half are those of the first in the same order.

    >>> nt_xent(torch.eye(2).repeat(1, 2, 1), temperature=1.0)  # −log( e / (e + 1 + 1) )
    tensor(0.5514)
    """
    m = z.shape[1]
    unit = F.normalize(z.float(), dim=2)
    near = unit @ unit.transpose(1, 2) / temperature  # [T M M]
    near = near.masked_fill(torch.eye(m, dtype=torch.bool, device=z.device), -torch.inf)
    other = torch.arange(m, device=z.device).roll(m // 2).expand(len(z), m)
    return F.cross_entropy(near.flatten(0, 1), other.flatten())


def _alike(batch: Episode) -> bool:
    return (
        bool((batch.support.y == batch.query.y).all())
        and batch.target.width == batch.support.y.shape[1]
    )
