"""What flows between the parts: examples, episodes and the two kinds of target.

Axis letters, here and everywhere: ``T`` tasks, ``N`` support examples, ``Q`` queries, ``C``
classes, ``K`` shots, ``D`` features, ``O`` outputs, ``L`` inner steps, ``*S`` the shape of one
example.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Self, TypeAlias, TypeVar, dataclass_transform

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.utils import _pytree as pytree

from quickstudy.core.errors import EpisodeError

_C = TypeVar("_C", bound=type)


@dataclass_transform(frozen_default=True)
def tensor_dataclass(*, static: tuple[str, ...] = ()) -> Callable[[_C], _C]:
    """A frozen dataclass that vmap, torch.export and ``tree_map`` see through; ``static`` fields
    ride along.

    A field that is ``None`` is no leaf, so ``tree_map`` never meets one.
    """

    def wrap(cls: _C) -> _C:
        made = dataclass(frozen=True)(cls)
        live = [f.name for f in fields(made) if f.name not in static]

        def flatten(obj: Any) -> tuple[list[Any], Any]:
            here = tuple(name for name in live if getattr(obj, name) is not None)
            return [getattr(obj, n) for n in here], (here, tuple(getattr(obj, n) for n in static))

        def unflatten(leaves: Any, context: Any) -> Any:
            here, riding = context
            # Not through __init__: what passes here (a vmap or export tracer, a None) is not ours
            # to judge.
            obj = object.__new__(made)
            for name in live:
                object.__setattr__(obj, name, None)
            for name, value in (*zip(here, leaves, strict=True), *zip(static, riding, strict=True)):
                object.__setattr__(obj, name, value)
            return obj

        pytree.register_pytree_node(made, flatten, unflatten)
        return made

    return wrap


@dataclass(frozen=True)
class Classes:
    """A classification target: ``n`` classes, labels 0 … n−1.

    >>> Classes(2).loss(torch.tensor([[[9.0, 0.0], [0.0, 9.0]]]), torch.tensor([[0, 1]])).round(
    ...     decimals=4
    ... )
    tensor([1.0000e-04])
    """

    n: int

    def __post_init__(self) -> None:
        if self.n < 1:
            raise EpisodeError(f"Classes(n): n must be at least 1, got {self.n}.")

    @property
    def width(self) -> int:
        """How many outputs a learner gives per query."""
        return self.n

    def loss(
        self, out: Float[Tensor, "T Q O"], y: Int[Tensor, "T Q"] | Float[Tensor, "T Q O"]
    ) -> Float[Tensor, " T"]:
        """Mean cross entropy of each task; ``y`` may also be soft labels, a distribution over the
        classes.
        """
        return (
            F.cross_entropy(out.flatten(0, 1), y.flatten(0, 1), reduction="none")
            .view(y.shape[:2])
            .mean(1)
        )

    def score(self, out: Float[Tensor, "T Q O"], y: Int[Tensor, "T Q"]) -> Float[Tensor, " T"]:
        """Accuracy of each task, between 0 and 1."""
        return (out.argmax(-1) == y).double().mean(1)


@dataclass(frozen=True)
class Reals:
    """A regression target: ``dim`` real numbers per example."""

    dim: int

    def __post_init__(self) -> None:
        if self.dim < 1:
            raise EpisodeError(f"Reals(dim): dim must be at least 1, got {self.dim}.")

    @property
    def width(self) -> int:
        """How many outputs a learner gives per query."""
        return self.dim

    def loss(self, out: Float[Tensor, "T Q O"], y: Float[Tensor, "T Q O"]) -> Float[Tensor, " T"]:
        """Mean squared error of each task."""
        return F.mse_loss(out, y, reduction="none").mean((1, 2))

    def score(self, out: Float[Tensor, "T Q O"], y: Float[Tensor, "T Q O"]) -> Float[Tensor, " T"]:
        """Minus the mean squared error of each task: higher is better, as with accuracy."""
        return -self.loss(out, y)


Target: TypeAlias = Classes | Reals


@tensor_dataclass()
class Examples:
    """A labelled set per task.

    Args:
        x: the examples.
        y: class indices (or, in training, soft labels: a distribution over the classes), or real
            vectors.
        mask: False where a row is padding. Learners never see padding: the core removes it before
            `adapt` and `predict`.
        unlabelled: of a support set, further examples whose label is not told; learners that are
            not made for them pass them over.
    """

    x: Float[Tensor, "T N *S"]
    y: Int[Tensor, "T N"] | Float[Tensor, "T N O"]
    mask: Bool[Tensor, "T N"] | None = None
    unlabelled: Float[Tensor, "T U *S"] | None = None

    @classmethod
    def single(cls, x: Float[Tensor, "N *S"], y: Int[Tensor, " N"] | Float[Tensor, "N O"]) -> Self:
        """One task's examples, given without the task axis.

        >>> Examples.single(torch.zeros(3, 4), torch.tensor([0, 1, 1])).x.shape
        torch.Size([1, 3, 4])
        """
        return cls(x[None], y[None])

    @property
    def n_tasks(self) -> int:
        """The length of the task axis."""
        return self.x.shape[0]

    @property
    def padded(self) -> bool:
        """Whether any row is padding."""
        return self.mask is not None

    def task(self, t: int) -> "Examples":
        """Task ``t`` alone, with a task axis of length 1 and its padding removed."""
        keep = slice(None) if self.mask is None else self.mask[t]
        unlabelled = None if self.unlabelled is None else self.unlabelled[t : t + 1]
        return Examples(self.x[t, keep][None], self.y[t, keep][None], unlabelled=unlabelled)

    def to(self, device: torch.device | str) -> "Examples":
        """The same examples on another device."""
        return pytree.tree_map(lambda leaf: leaf.to(device, non_blocking=True), self)

    def check(self, where: str) -> None:
        """Refuse tensors that do not fit together, saying which.

        Raises:
            EpisodeError: when the task and example axes of x, y and mask differ, or there is no
                example.
        """
        if self.x.ndim < 2 or self.y.ndim < 2:
            raise EpisodeError(
                f"{where}: x and y need a task axis and an example axis, [T N ...], but have "
                "shapes "
                f"{tuple(self.x.shape)} and {tuple(self.y.shape)}. For one task use "
                "Examples.single(x, y)."
            )
        if self.x.shape[:2] != self.y.shape[:2]:
            raise EpisodeError(
                f"{where}: x has {tuple(self.x.shape[:2])} tasks × examples but y has "
                f"{tuple(self.y.shape[:2])}. Give one label per example."
            )
        if self.mask is not None and self.mask.shape != self.x.shape[:2]:
            raise EpisodeError(
                f"{where}: mask has shape {tuple(self.mask.shape)} but must be "
                f"{tuple(self.x.shape[:2])}, one flag per example."
            )
        if self.unlabelled is not None and (
            self.unlabelled.shape[:1] + self.unlabelled.shape[2:]
        ) != (self.x.shape[:1] + self.x.shape[2:]):
            raise EpisodeError(
                f"{where}: the unlabelled examples have shape {tuple(self.unlabelled.shape)} "
                f"beside x of {tuple(self.x.shape)}. Tasks and examples must be alike."
            )
        if 0 in self.x.shape[:2]:
            raise EpisodeError(
                f"{where}: {self.x.shape[0]} tasks of {self.x.shape[1]} examples; at least one of "
                "each is needed."
            )


@tensor_dataclass(static=("target",))
class Episode:
    """A batch of ``T`` tasks: learn from ``support``, be judged on ``query``.

    Args:
        support, query: the examples.
        target: what is to be told of them.
        classes: which of the data's classes the task's classes are, ``[T C]``, for objectives that
            classify among all of them; None where that is not known.
    """

    support: Examples
    query: Examples
    target: Target
    classes: Int[Tensor, "T C"] | None = None

    @property
    def n_tasks(self) -> int:
        """The length of the task axis."""
        return self.support.n_tasks

    def task(self, t: int) -> "Episode":
        """Task ``t`` alone, with a task axis of length 1 and its padding removed."""
        return Episode(
            self.support.task(t),
            self.query.task(t),
            self.target,
            None if self.classes is None else self.classes[t : t + 1],
        )

    def to(self, device: torch.device | str) -> "Episode":
        """The same episode on another device."""
        classes = None if self.classes is None else self.classes.to(device, non_blocking=True)
        return Episode(self.support.to(device), self.query.to(device), self.target, classes)

    @property
    def padded(self) -> bool:
        """Whether any row is padding."""
        return self.support.padded or self.query.padded


Batch: TypeAlias = Episode | Examples
"""What one step of training learns from: tasks, or labelled examples as they are (pairs, sequences,
ordinary classification).
"""
