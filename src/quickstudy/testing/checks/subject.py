"""What is checked, and on which toy tasks."""

import abc
import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self, TypeVar

import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from quickstudy.core.encoder import AbstractEncoder
from quickstudy.core.learner import AbstractLearner
from quickstudy.core.rng import generator
from quickstudy.core.types import Classes, Episode, Examples, Reals, Target
from quickstudy.testing.toy import toy_episode

Inputs = TypeVar("Inputs")


class AbstractSubject(abc.ABC):
    """A part of quickstudy that keeps a contract, and what it is checked on.

    Attributes:
        kind: what errors call it.
        n_tasks: ``T``.
    """

    kind: ClassVar[str]
    n_tasks: int

    @property
    @abc.abstractmethod
    def part(self) -> nn.Module:
        """What is checked."""

    @abc.abstractmethod
    def copied(self) -> Self:
        """The same subject around a copy in eval mode."""


@dataclass(frozen=True)
class Subject(AbstractSubject):
    """A learner that is checked, and on what.

    Args:
        learner: a check works on its own copy, in eval mode.
        shape: of one example.
        n_way: classes per task, or numbers per answer of a regression. A learner of fixed width
            must have been built for it.
        n_tasks: ``T``.
        builder: where the learner's documentation is: the function that made it, or its class if
            None.
    """

    kind: ClassVar[str] = "learner"

    learner: AbstractLearner[Any]
    shape: tuple[int, ...] = (6,)
    n_way: int = 4
    n_tasks: int = 3
    builder: Callable[..., Any] | None = None

    @property
    def part(self) -> nn.Module:
        return self.learner

    def copied(self) -> Self:
        return replace(self, learner=copy.deepcopy(self.learner).eval())

    @property
    def targets(self) -> tuple[Target, ...]:
        """One target of each kind that the learner serves."""
        return tuple(
            kind(self.n_way) for kind in (Classes, Reals) if kind in self.learner.traits.targets
        )

    def episode(self, **changes: Any) -> Episode:
        """A `toy_episode` that fits the learner's data type and device; ``changes`` are its
        arguments.
        """
        target = changes.get("target", self.targets[0])
        given = {
            "n_tasks": self.n_tasks,
            "n_way": self.n_way,
            "shape": self.shape,
            **changes,
            "target": target,
        }
        return like(self.learner, toy_episode(**given))


@dataclass(frozen=True)
class EncoderSubject(AbstractSubject):
    """An encoder that is checked, and on what.

    Args:
        encoder: a check works on its own copy, in eval mode.
        shape: of one example.
        n_tasks: ``T``.
        n_examples: ``N``.
        modules: what `quickstudy.load` is given for an encoder that wraps a module.
    """

    kind: ClassVar[str] = "encoder"

    encoder: AbstractEncoder
    shape: tuple[int, ...] = (6,)
    n_tasks: int = 3
    n_examples: int = 5
    modules: Mapping[str, Any] = field(default_factory=dict)

    @property
    def part(self) -> nn.Module:
        return self.encoder

    def copied(self) -> Self:
        return replace(self, encoder=copy.deepcopy(self.encoder).eval())

    def examples(self, *, seed: int = 0) -> Tensor:
        """Random examples ``[T N *S]``; task ``t`` depends on the seed and ``t`` alone."""
        size = (self.n_examples, *self.shape)
        tasks = [
            torch.randn(size, generator=generator("encoder", seed, t)) for t in range(self.n_tasks)
        ]
        return like(self.encoder, torch.stack(tasks))


def adapt(learner: AbstractLearner[Any], e: Episode) -> Any:
    """What the learner learns of the episode's support."""
    return learner.adapt(e.support, e.target, e.query.x if learner.traits.transductive else None)


def one_by_one(learner: AbstractLearner[Any], e: Episode) -> Tensor:
    """The answers when each task is learned by itself."""
    return torch.cat([learner(e.task(t)) for t in range(e.n_tasks)])


def renamed_both_ways(learner: AbstractLearner[Any], e: Episode) -> tuple[Tensor, Tensor]:
    """Scores with the classes renamed, put back in the old order, and scores with the old names."""
    names = permutations(e.n_tasks, e.target.width, e.support.x.device)
    support = Examples(e.support.x, names.gather(1, e.support.y))
    out = learner(Episode(support, e.query, e.target))
    return out.gather(2, names[:, None].expand_as(out)), learner(e)


def permutations(n_tasks: int, n: int, device: torch.device) -> Int[Tensor, "T N"]:
    """A random order of ``n`` for each task."""
    return torch.stack([torch.randperm(n) for _ in range(n_tasks)]).to(device)


def like(part: nn.Module, inputs: Inputs) -> Inputs:
    """Tensors, or a tree of them, in the data type and on the device of a module."""
    held = next(
        (t for t in (*part.parameters(), *part.buffers()) if t.is_floating_point()), torch.empty(0)
    )
    return pytree.tree_map(
        lambda leaf: leaf.to(held.device, held.dtype if leaf.is_floating_point() else leaf.dtype),
        inputs,
    )


def with_unlabelled(e: Episode, subject: Subject, *, always: bool = False) -> Episode:
    """The episode with unlabelled examples in its support, where the learner has parameters that
    only those reach.
    """
    if not (always or subject.learner.traits.semi_supervised):
        return e
    return replace(
        e, support=replace(e.support, unlabelled=subject.episode(n_tasks=e.n_tasks, seed=1).query.x)
    )


def named_tensors(part: nn.Module) -> dict[str, Tensor]:
    """Copies of all parameters and buffers."""
    return {
        name: t.detach().clone() for name, t in (*part.named_parameters(), *part.named_buffers())
    }


def state_shapes(state: Any) -> list[tuple[int, ...]]:
    """The shapes of a state's tensors, per task."""
    return [tuple(leaf.shape[1:]) for leaf in pytree.tree_leaves(state)]
