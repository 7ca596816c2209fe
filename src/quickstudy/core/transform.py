"""What may be done to training tasks before a learner sees them."""

import abc

import torch

from quickstudy.core.describe import Described
from quickstudy.core.types import Episode


class AbstractTransform(Described, abc.ABC):
    """Episode to episode. All randomness comes from the generator, so a step of training can be
    repeated exactly.
    """

    @abc.abstractmethod
    def __call__(self, episode: Episode, generator: torch.Generator) -> Episode:
        """A changed copy of the episode."""
