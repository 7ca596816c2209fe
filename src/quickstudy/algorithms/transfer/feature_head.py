"""The common form of learners on fixed features: encode, bring into form, learn, answer."""

import abc
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from quickstudy.core.encoder import AbstractEncoder, Context
from quickstudy.core.errors import ConfigError, TransductiveError, did_you_mean
from quickstudy.core.learner import AbstractLearner, Traits
from quickstudy.core.tasks import AbstractTasks
from quickstudy.core.types import Examples, Target

HeadState: TypeAlias = tuple[tuple[Tensor, ...], Context]
TRANSFORMS = ("cl2n", "l2n", "un")
EXAMPLES = 4096
"""So many training examples, at least, the mean feature is estimated from."""


class FeatureHead(AbstractLearner[HeadState]):
    """A learner on features f(x) that no task changes; subclasses give `learn` and `answer`.

    cl2n: z = (f − m) / |f − m|, m the mean of f over the training classes.  l2n: z = f / |f|.  un:
        z = f.

    Args:
        encoder: f.
        transform: "cl2n", "l2n" or "un" (Wang et al. 2019, arXiv:1911.04623, section 3.2).
        needs_queries: it learns from the queries too, all at once: a transductive learner.
        **promises: other traits than the usual.

    Attributes:
        mean: m, zero until `prepare` has seen training tasks; cl2n is then the same as l2n.

    Raises:
        ConfigError: for an unknown transform.
    """

    mean: Float[Tensor, " D"]

    def __init__(
        self,
        encoder: AbstractEncoder,
        *,
        transform: str,
        needs_queries: bool = False,
        **promises: Any,
    ) -> None:
        super().__init__()
        if transform not in TRANSFORMS:
            raise ConfigError(
                f"Features have no transform '{transform}'. {did_you_mean(transform, TRANSFORMS)}"
            )
        self.encoder, self.transform, self._needs_queries = encoder, transform, needs_queries
        self.register_buffer("mean", torch.zeros(encoder.out_dim))
        self.traits = Traits(
            encodes_alone=True, transductive=needs_queries or encoder.transductive, **promises
        )

    @abc.abstractmethod
    def learn(
        self,
        z: Float[Tensor, "T N D"],
        y: Int[Tensor, "T N"],
        n: int,
        queries: Float[Tensor, "T Q D"] | None,
    ) -> tuple[Tensor, ...]:
        """What is kept of each task's features; ``queries`` are given to those that need them."""

    @abc.abstractmethod
    def answer(
        self, learned: tuple[Tensor, ...], z: Float[Tensor, "T Q D"]
    ) -> Float[Tensor, "T Q C"]:
        """Scores of the queries."""

    def prepare(self, tasks: Callable[[], AbstractTasks]) -> None:
        """Estimate m from training tasks, if the transform is centred by it."""
        if self.transform != "cl2n":
            return
        total, n, i, stream = torch.zeros_like(self.mean, dtype=torch.float64), 0, 0, tasks()
        with torch.no_grad():
            while n < EXAMPLES:
                episode = stream.batch([i]).to(self.mean.device)
                z = self.encoder(torch.cat((episode.support.x, episode.query.x), 1))
                total, n, i = total + z.sum((0, 1), dtype=torch.float64), n + z.shape[1], i + 1
        self.mean.copy_(total / n)

    def adapt(self, support: Examples, target: Target, query_x: Tensor | None = None) -> HeadState:
        if self._needs_queries and query_x is None:
            raise TransductiveError(
                f"{type(self).__name__} learns from the queries of a task, but got none: "
                "adapt(support, target, query_x), or call learner(episode)."
            )
        z, context = self.encoder.read(support.x)
        queries = (
            self.formed(self.encoder(query_x, context))
            if self._needs_queries and query_x is not None
            else None
        )
        return self.learn(self.formed(z), support.y, target.width, queries), context

    def predict(self, state: HeadState, x: Tensor) -> Tensor:
        learned, context = state
        return self.answer(learned, self.formed(self.encoder(x, context)))

    def formed(self, z: Float[Tensor, "T N D"]) -> Float[Tensor, "T N D"]:
        """The encoder's features in the form that the learner works with."""
        return (
            z
            if self.transform == "un"
            else F.normalize(z - self.mean if self.transform == "cl2n" else z, dim=-1)
        )
