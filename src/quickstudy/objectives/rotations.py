"""Which way is up, as a task beside the task."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quickstudy.core.errors import ConfigError
from quickstudy.core.learner import AbstractLearner, encoder_of
from quickstudy.core.objective import AbstractObjective
from quickstudy.core.types import Batch, Episode
from quickstudy.functional.views import quarter_turns


class Rotations(AbstractObjective):
    """The loss on the queries, and beside it a classifier that must tell by how many quarter turns
    an image was rotated.

    L = L_Q + weight · mean over r = 0 … 3 of CE( W f(rot_r(x)), r ), over the supports' and
    queries' images, each turned all four ways

    Needs no labels of its own; with ``episodes=False`` the rotations alone are learned (RotNet).
    Not for data where turned images are classes of their own, as in Omniglot with ``rotations``.

    Args:
        dim: length of the encoder's features.
        weight: of the second loss.
        episodes: whether to take the loss on the queries too.

    Raises:
        ConfigError: for numbers out of range; in training, for a learner without an encoder of its
            own, or examples that are no square images.

    Example:
        >>> from quickstudy.algorithms import ProtoNet
        >>> from quickstudy.encoders import Conv4
        >>> from quickstudy.testing import toy_episode
        >>> Rotations(dim=4)(ProtoNet(Conv4(width=4)), toy_episode(shape=(1, 28, 28))).shape
        torch.Size([])

    Paper: Gidaris, Bursuc, Komodakis, Pérez, Cord 2019, arXiv:1906.05186, equation 5; Gidaris,
        Singh, Komodakis 2018, arXiv:1803.07728.
    """

    def __init__(self, *, dim: int, weight: float = 1.0, episodes: bool = True) -> None:
        super().__init__()
        if dim < 1 or weight <= 0:
            raise ConfigError(f"dim is at least 1 and weight positive, got {dim} and {weight}.")
        self.head, self.weight, self.episodes = nn.Linear(dim, 4), weight, episodes

    def forward(self, learner: AbstractLearner[Any], batch: Batch) -> Tensor:
        if not isinstance(batch, Episode):
            raise ConfigError(
                "rotations needs episodes, with support and queries, but got labelled examples. "
                "Train on episodes."
            )
        x = torch.cat((batch.support.x, batch.query.x), 1)
        if x.ndim != 5 or x.shape[3] != x.shape[4]:
            raise ConfigError(
                "rotations turns square images, but an example has the shape "
                f"{tuple(x.shape[2:])}. Take query_loss."
            )
        turns = torch.arange(4, device=x.device).repeat_interleave(x.shape[1])
        z = encoder_of(learner)(quarter_turns(x, 1))
        if z.shape[2] != self.head.in_features:
            raise ConfigError(
                f"The encoder gives {z.shape[2]} features, but rotations was made for "
                f"dim={self.head.in_features}. Set objective.dim={z.shape[2]}."
            )
        aside = self.weight * F.cross_entropy(self.head(z).flatten(0, 1), turns.repeat(len(x)))
        return (
            aside + batch.target.loss(learner(batch), batch.query.y).mean()
            if self.episodes
            else aside
        )
