"""Learners that move a whole encoder for every task."""

import abc
import copy
from typing import Any, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import functional_call
from torch.utils import _pytree as pytree

from quickstudy.core.encoder import AbstractEncoder
from quickstudy.core.errors import ConfigError, TransductiveError
from quickstudy.core.learner import AbstractLearner, Traits
from quickstudy.core.modes import in_mode
from quickstudy.core.types import Examples, Target

TunedState: TypeAlias = tuple[dict[str, Tensor], tuple[Tensor, ...]]


class EncoderTuner(AbstractLearner[TunedState]):
    """A copy of the encoder is fine-tuned for every task, one after the other, by Adam; what a task
    learns is its weights and a head.

    Subclasses give the start of the head, the loss, what is kept of the head, and the scores. The
    encoder is in eval mode meanwhile: its running statistics stay. Gradients reach the encoder as
        in first-order MAML: as if its weights had only been shifted.

    Args:
        encoder: f; its policy of normalisation may not be one that remembers the support.
        steps: of Adam; 0 = the encoder stays, as it does in training.
        lr: its rate.
        needs_queries: it learns from the queries too, all at once.
        order_free: as in `Traits`.

    Raises:
        ConfigError: for numbers out of range, or an encoder that normalises by the support.
    """

    def __init__(
        self,
        encoder: AbstractEncoder,
        *,
        steps: int,
        lr: float,
        needs_queries: bool = False,
        order_free: bool = True,
    ) -> None:
        super().__init__()
        if steps < 0 or not lr > 0:
            raise ConfigError(
                f"steps cannot be negative and lr must be above 0, got {steps} and {lr}."
            )
        if encoder.remembers:
            raise ConfigError(
                "An encoder that normalises by the support is not fine-tuned. Use norm=running, "
                "group or none."
            )
        self.encoder, self.steps, self.lr, self._needs_queries = encoder, steps, lr, needs_queries
        self.traits = Traits(
            transductive=needs_queries or encoder.transductive,
            order_free=order_free,
            exact_gradient=False,
        )

    @abc.abstractmethod
    def start(self, z: Float[Tensor, "T N D"], y: Tensor, n: int) -> tuple[Tensor, ...]:
        """The head before the first step, or without steps, from the support's features."""

    @abc.abstractmethod
    def loss(
        self,
        encode: AbstractEncoder,
        head: tuple[Tensor, ...],
        support: Examples,
        n: int,
        queries: Tensor | None,
        step: int,
    ) -> Tensor:
        """What a step lowers, of one task."""

    @abc.abstractmethod
    def scores(self, head: tuple[Tensor, ...], z: Float[Tensor, "T Q D"]) -> Float[Tensor, "T Q C"]:
        """Scores of the queries."""

    def keep(
        self, encode: AbstractEncoder, head: tuple[Tensor, ...], support: Examples, n: int
    ) -> tuple[Tensor, ...]:
        """What is kept of the head when the last step is done: itself."""
        return head

    def adapt(self, support: Examples, target: Target, query_x: Tensor | None = None) -> TunedState:
        if self._needs_queries and query_x is None:
            raise TransductiveError(
                f"{type(self).__name__} learns from the queries of a task, but got none: "
                "adapt(support, target, query_x), or call learner(episode)."
            )
        if self.training or not self.steps:
            return {}, self.start(self.encoder(support.x), support.y, target.width)
        tuned: list[Any] = []
        for t in range(support.n_tasks):
            queries = query_x[t : t + 1] if self._needs_queries and query_x is not None else None
            tuned.append(self._tuned(support.task(t), target.width, queries))
        return pytree.tree_map(lambda *parts: torch.stack(parts), *tuned)

    def predict(self, state: TunedState, x: Tensor) -> Tensor:
        weights, head = state
        if not weights:
            return self.scores(head, self.encoder(x))
        z = [
            functional_call(self.encoder, {n: w[t] for n, w in weights.items()}, (x[t : t + 1],))
            for t in range(len(x))
        ]
        return self.scores(head, torch.cat(z))

    def _tuned(self, support: Examples, n: int, queries: Tensor | None) -> TunedState:
        own = copy.deepcopy(self.encoder).requires_grad_()
        with in_mode(own, training=False), torch.enable_grad():
            with torch.no_grad():
                head = tuple(h.clone() for h in self.start(own(support.x), support.y, n))
            head = tuple(h.requires_grad_() for h in head)
            learned = [*own.parameters(), *head]
            adam = torch.optim.Adam(learned, lr=self.lr)
            for step in range(self.steps):
                adam.zero_grad()
                loss = self.loss(own, head, support, n, queries, step)
                if not loss.requires_grad:  # an encoder without weights
                    break
                loss.backward(inputs=learned)
                adam.step()
            with torch.no_grad():
                kept = self.keep(own, tuple(h.detach() for h in head), support, n)
        moved = dict(own.named_parameters())
        return {
            name: p + (moved[name] - p).detach() for name, p in self.encoder.named_parameters()
        }, tuple(h[0] for h in kept)
