"""What turns examples into vectors."""

import abc
import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias

from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core.describe import Described
from quickstudy.core.errors import ConfigError, EpisodeError

Context: TypeAlias = tuple[Tensor, ...]

POLICIES: Final = ("batch", "running", "support", "per_task", "group", "none")
"""Where the statistics of an encoder's normalisation come from, see `quickstudy.encoders.norm`."""


class AbstractEncoder(Described, nn.Module, abc.ABC):
    """Examples to feature vectors, task by task: ``[T N *S] -> [T N D]``.

    The task axis is there because an encoder may depend on it: batch statistics belong to one task,
    and what an encoder learns of a support set (its `Context`: normalisation statistics, modulation
    weights) is used again on the queries.

    Attributes:
        out_dim: ``D``.
        norm: the normalisation policy, printed with every result: one of `POLICIES`.
        stacks: whether it also works when each of its parameters is replaced by a stack of them,
            one per task, ``[T ...]``.
            Gradient-based learners then adapt all tasks in one graph; otherwise they go through the
            tasks one by one.
        map_shape: channels, height and width of the feature map that the vector is, flattened; None
            where it is none.
        stages: the names of the modules that work one after another, for `between`; empty where
            there are none to tell apart.
        unit_images: whether its examples are images with values from 0 to 1, or normalised ones.
    """

    out_dim: int
    norm: str
    stacks: bool = False
    map_shape: tuple[int, int, int] | None = None
    stages: tuple[str, ...] = ()
    unit_images: bool = False
    _between: Callable[[int, Tensor], Tensor] | None = None

    wrong_part = (
        "A module of torch is wrapped: quickstudy.encoders.Wrapped(module, out_dim=...), where "
        "out_dim is the length of its vectors."
    )

    @abc.abstractmethod
    def forward(self, x: Float[Tensor, "T N *S"], context: Context = ()) -> Float[Tensor, "T N D"]:
        """Encode; ``context`` is what `read` gave for the same tasks' support."""

    def read(self, x: Float[Tensor, "T N *S"]) -> tuple[Float[Tensor, "T N D"], Context]:
        """Encode a support set and say what of it must be remembered for the queries (nothing,
        unless overridden).
        """
        return self(x), ()

    def prepare(self, x: Float[Tensor, "T N *S"]) -> Any:
        """What can be computed of the input once and reused at every inner step, whatever the
        weights; `forward` and `read` take it in its stead.

        The input itself, unless overridden; else a tree whose tensors all begin with the task axis.
        """
        return x

    def check_shape(self, x: Tensor, expected: tuple[int | None, ...]) -> None:
        """For encoders to call: refuse examples of another shape; None stands for any size.

        Raises:
            EpisodeError: with both shapes.
        """
        got = x.shape[2:]
        if got == expected:
            return
        if len(got) != len(expected) or any(
            e is not None and g != e for g, e in zip(got, expected, strict=True)
        ):
            wanted = ", ".join("any" if e is None else str(e) for e in expected)
            raise EpisodeError(
                f"{type(self).__name__} takes examples of the shape ({wanted}), got {tuple(got)}. "
                "Change the examples or build the encoder for them; a single query still needs its "
                "batch axis, x[None]."
            )

    @contextlib.contextmanager
    def between(self, fn: Callable[[int, Tensor], Tensor]) -> Iterator[None]:
        """While it lasts, ``fn(stage, features)`` is called behind every stage, from 1, and what it
        returns goes on in their place.

        ``features`` are ``[T N ...]``, as they leave the stage.
        """
        before, self._between = self._between, fn
        try:
            yield
        finally:
            self._between = before

    def passed(self, stage: int, features: Tensor) -> Tensor:
        """For encoders with stages: what `between` makes of the features behind a stage."""
        return features if self._between is None else self._between(stage, features)

    @property
    def fused(self) -> bool:
        """Whether on a CPU, in the mode it is in, nearly all of its work is done by
        `quickstudy.kernels`.
        """
        return False

    @property
    def remembers(self) -> bool:
        """Whether `read` gives a context that the queries need."""
        return self.norm == "support"

    @property
    def is_independent(self) -> bool:
        """Whether in eval mode an example has a vector of its own, whatever comes with it."""
        return not (self.transductive or self.remembers)

    @property
    def transductive(self) -> bool:
        """Whether the vector of one query depends on the other queries."""
        return self.norm == "batch"


def require_encoder(encoder: Any) -> AbstractEncoder:
    """The encoder, for builders that need one of its attributes before they build a learner.

    Raises:
        ConfigError: when it is something else.
    """
    if not isinstance(encoder, AbstractEncoder):
        raise ConfigError(
            f"An encoder of quickstudy is needed, got {type(encoder).__module__}."
            f"{type(encoder).__qualname__}. {AbstractEncoder.wrong_part}"
        )
    return encoder


# Images that were normalised by any published means and deviations stay below a quarter of this.
_LARGEST = 16.0


def check_image_range(learner: nn.Module, x: Tensor, name: str) -> None:
    """Refuse images with values from 0 to 255 where an encoder takes values from 0 to 1: its
    answers would be numbers like any others.

    Args:
        learner: whose encoders are asked what they take.
        x: examples, ``[T N *S]``.
        name: of the examples, for the message.

    Raises:
        EpisodeError: with the largest value.
    """
    if x.ndim != 5 or not x.numel():
        return
    largest = float(x.abs().max())
    if largest <= _LARGEST:
        return
    for module in learner.modules():
        if isinstance(module, AbstractEncoder) and module.unit_images:
            raise EpisodeError(
                f"{name} holds values up to {largest:.4g}, but {type(module).__name__} takes "
                f"images with values from 0 to 1. Divide values up to 255 by 255: {name} / 255."
            )
