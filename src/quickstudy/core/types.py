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

from quickstudy.core.arguments import as_tensor, examples_tensor
from quickstudy.core.errors import EpisodeError, TargetError
from quickstudy.core.scalars import whole

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
        object.__setattr__(self, "n", whole(self.n, "Classes(n): n", least=1, error=EpisodeError))

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
        _check_alike(out, y, self, soft=True)
        return (
            F.cross_entropy(out.flatten(0, 1), y.flatten(0, 1), reduction="none")
            .view(y.shape[:2])
            .mean(1)
        )

    def score(self, out: Float[Tensor, "T Q O"], y: Int[Tensor, "T Q"]) -> Float[Tensor, " T"]:
        """Accuracy of each task, between 0 and 1."""
        _check_alike(out, y, self)
        return (out.argmax(-1) == y).double().mean(1)


@dataclass(frozen=True)
class Reals:
    """A regression target: ``dim`` real numbers per example."""

    dim: int

    def __post_init__(self) -> None:
        dim = whole(self.dim, "Reals(dim): dim", least=1, error=EpisodeError)
        object.__setattr__(self, "dim", dim)

    @property
    def width(self) -> int:
        """How many outputs a learner gives per query."""
        return self.dim

    def loss(self, out: Float[Tensor, "T Q O"], y: Float[Tensor, "T Q O"]) -> Float[Tensor, " T"]:
        """Mean squared error of each task."""
        _check_alike(out, y, self)
        return F.mse_loss(out, y, reduction="none").mean((1, 2))

    def score(self, out: Float[Tensor, "T Q O"], y: Float[Tensor, "T Q O"]) -> Float[Tensor, " T"]:
        """Minus the mean squared error of each task: higher is better, as with accuracy."""
        return -self.loss(out, y)


Target: TypeAlias = Classes | Reals


def _check_alike(out: Tensor, y: Tensor, target: Target, *, soft: bool = False) -> None:
    """Refuse right answers that torch would broadcast against the given ones."""
    numbers = (*out.shape[:2], target.width)
    expected = out.shape[:2] if isinstance(target, Classes) else numbers
    if (y.shape != expected and not (soft and y.shape == numbers)) or out.shape != numbers:
        raise EpisodeError(
            f"For {target}, answers have the shape {numbers} and y {tuple(expected)}, but they "
            f"have {tuple(out.shape)} and {tuple(y.shape)}."
        )


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

    def __post_init__(self) -> None:
        x, y = examples_tensor(self.x, "x"), as_tensor(self.y, "y")
        if x is not self.x:
            object.__setattr__(self, "x", x)
        if not y.is_floating_point() and y.dtype is not torch.long:
            y = _as_labels(y)
        if y is not self.y:
            object.__setattr__(self, "y", y)
        if self.mask is not None:
            mask = as_tensor(self.mask, "mask")
            if mask.dtype is not torch.bool:
                raise EpisodeError(f"mask has the type {mask.dtype}, but holds True and False.")
            object.__setattr__(self, "mask", mask)
        if self.unlabelled is not None:
            unlabelled = examples_tensor(self.unlabelled, "unlabelled")
            object.__setattr__(self, "unlabelled", unlabelled)
        self.check("examples")

    @classmethod
    def single(cls, x: Float[Tensor, "N *S"], y: Int[Tensor, " N"] | Float[Tensor, "N O"]) -> Self:
        """One task's examples, given without the task axis.

        >>> Examples.single(torch.zeros(3, 4), torch.tensor([0, 1, 1])).x.shape
        torch.Size([1, 3, 4])
        """
        return cls(as_tensor(x, "x")[None], as_tensor(y, "y")[None])

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

    def fitting(self, target: Target, where: str) -> "Examples":
        """The same examples with y as the target needs it: one number per example may come without
        an axis of its own.

        Raises:
            EpisodeError: when y is something else than the target.
            TargetError: when the target is none.
        """
        if isinstance(target, Reals):
            if not self.y.is_floating_point():
                raise EpisodeError(
                    f"{where}: for {target}, y must be floating-point numbers, but has the type "
                    f"{self.y.dtype}. Convert it: y.float()."
                )
            y = self.y[..., None] if self.y.ndim == 2 and target.dim == 1 else self.y
            if y.shape != (*self.x.shape[:2], target.dim):
                raise EpisodeError(
                    f"{where}: for {target}, y must have {target.dim} numbers for each example, "
                    f"{(*self.x.shape[:2], target.dim)}, but has the shape {tuple(self.y.shape)}."
                )
            return self if y is self.y else Examples(self.x, y, self.mask, self.unlabelled)
        if not isinstance(target, Classes):
            raise TargetError(f"A target is Classes(n) or Reals(dim), got {target!r}.")
        is_soft = self.y.is_floating_point()
        expected = (*self.x.shape[:2], target.n) if is_soft else self.x.shape[:2]
        if self.y.shape != expected:
            raise EpisodeError(
                f"{where}: class labels must be integers 0 … {target.n - 1}, one per example, but "
                f"y has dtype {self.y.dtype} and the shape {tuple(self.y.shape)}. Convert it with "
                "y.long()."
            )
        return self

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


def _as_labels(y: Tensor) -> Tensor:
    if y.is_complex():
        raise EpisodeError(f"y has the type {y.dtype}. Give class numbers, or real numbers.")
    return y.long()


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

    def __post_init__(self) -> None:
        for name, part in (("support", self.support), ("query", self.query)):
            if not isinstance(part, Examples):
                raise EpisodeError(f"{name} must be Examples(x, y), got {type(part).__qualname__}.")
            fitting = part.fitting(self.target, name)
            if fitting is not part:
                object.__setattr__(self, name, fitting)
        if self.support.n_tasks != self.query.n_tasks:
            raise EpisodeError(
                f"The support holds {self.support.n_tasks} tasks but the query "
                f"{self.query.n_tasks}. Give each task its support and its queries."
            )

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
