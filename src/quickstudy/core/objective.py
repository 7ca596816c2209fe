"""What meta-training minimises."""

import abc
from collections.abc import Mapping
from typing import Any, ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core.describe import Described
from quickstudy.core.learner import AbstractLearner
from quickstudy.core.types import Batch


class AbstractObjective(Described, nn.Module, abc.ABC):
    """A scalar to minimise, from a learner and a batch: the mean over its tasks.

    Most objectives take episodes; those of embeddings and sequences take labelled examples.

    Attributes:
        draws: whether it draws random numbers, which it takes from `quickstudy.core.rng.current`.
    """

    draws: ClassVar[bool] = False

    @abc.abstractmethod
    def forward(self, learner: AbstractLearner[Any], batch: Batch) -> Float[Tensor, ""]:
        """The mean loss over the batch's tasks. The batch has no padding."""

    def start_from(self, trained: AbstractLearner[Any], state: Mapping[str, Tensor]) -> None:
        """Take from an earlier training what the objective needs of it (a teacher, say); nothing,
        unless overridden.

        Called before the first step, and before the state of a checkpoint is loaded.

        Args:
            trained: the learner of that training.
            state: of its objective; empty where it was not kept.

        Raises:
            LoadError: when what is needed is not there.
        """


@final
class MetaStep(nn.Module):
    """Learner and objective as one module: batch in, loss out. It is what workers replicate and
    what is trained.
    """

    def __init__(self, learner: AbstractLearner[Any], objective: AbstractObjective) -> None:
        super().__init__()
        self.learner, self.objective = learner, objective

    def forward(self, batch: Batch) -> Float[Tensor, ""]:
        """The mean loss over the batch's tasks; padded tasks are taken one at a time without their
        padding.
        """
        if not batch.padded:
            return self.objective(self.learner, batch)
        return torch.stack(
            [self.objective(self.learner, batch.task(t)) for t in range(batch.n_tasks)]
        ).mean()
