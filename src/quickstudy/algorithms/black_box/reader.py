"""Learners that read examples with a recurrent network."""

import abc
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils import _pytree as pytree

from quickstudy.core.encoder import AbstractEncoder, Context
from quickstudy.core.errors import ConfigError, TargetError
from quickstudy.core.learner import Traits
from quickstudy.core.online import AbstractOnline
from quickstudy.core.types import Examples, Target

ReadState: TypeAlias = tuple[Any, Float[Tensor, "T C"], Context]


class SequenceReader(AbstractOnline[ReadState]):
    """Reads (f(x_t), y_{t−1}) for t = 1, 2, …: an example and the label of the one before. What it
    has learned of a task is its memory.

    In an N-way K-shot task it reads the support in its order; each query is then the next example,
    and comes with the support's last label. Subclasses give the memory at the start and one step.

    Features are first brought to mean 0 and deviation 1, each example over its own dimensions: an
    encoder that ends in a ReLU gives all examples a large part in common, which hides from a
    recurrent network and from cosines what they differ in.

    Args:
        encoder: f.
        n_out: classes; a label is one-hot among them.
        normalise: False leaves features as they are: for vectors of a few dimensions, which have
            nothing to spare.

    Raises:
        ConfigError: for fewer than two classes.
        TargetError: for tasks of another number of classes.
    """

    def __init__(self, encoder: AbstractEncoder, *, n_out: int, normalise: bool = True) -> None:
        super().__init__()
        if n_out < 2:
            raise ConfigError(f"n_out must be at least 2, got {n_out}.")
        self.encoder, self.n_out, self.normalise = encoder, n_out, normalise
        self.traits = Traits(
            transductive=encoder.transductive,
            order_free=False,
            class_equivariant=False,
            any_way=False,
            encodes_alone=True,
            black_box=True,
        )

    @abc.abstractmethod
    def blank(self, n_tasks: int, like: Tensor) -> Any:
        """The memory of each task before anything was read: a tree of tensors, tasks first, new at
        every call.
        """

    @abc.abstractmethod
    def step(self, memory: Any, token: Float[Tensor, "T I"]) -> tuple[Float[Tensor, "T C"], Any]:
        """The answer to one token, f(x) beside the last label, and the memory after it."""

    def adapt(self, support: Examples, target: Target, query_x: Tensor | None = None) -> ReadState:
        z, context = self.encoder.read(support.x)
        labels = self._one_hot(support.y, target.width, z)
        _, memory = self._read(self._even(z), labels)
        return memory, labels[:, -1], context

    def predict(self, state: ReadState, x: Float[Tensor, "T Q *S"]) -> Float[Tensor, "T Q C"]:
        memory, last, context = state
        z = self._even(self.encoder(x, context))
        n = z.shape[1]
        # each query continues from what was read
        every = pytree.tree_map(lambda m: m.repeat_interleave(n, 0), memory)
        token = torch.cat((z.flatten(0, 1), last.repeat_interleave(n, 0)), 1)
        return self.step(every, token)[0].unflatten(0, (-1, n))

    def online(
        self, x: Float[Tensor, "T L *S"], y: Int[Tensor, "T L"], n: int
    ) -> Float[Tensor, "T L C"]:
        z = self._even(self.encoder(x))
        return self._read(z, self._one_hot(y, n, z))[0]

    def _read(
        self, z: Float[Tensor, "T L D"], labels: Float[Tensor, "T L C"]
    ) -> tuple[Float[Tensor, "T L C"], Any]:
        # the label of an example comes with the next one
        late = torch.cat((torch.zeros_like(labels[:, :1]), labels[:, :-1]), 1)
        tokens = torch.cat((z, late), 2)
        memory, out = self.blank(len(z), z), []
        for t in range(z.shape[1]):
            answer, memory = self.step(memory, tokens[:, t])
            out.append(answer)
        return torch.stack(out, 1), memory

    def _even(self, z: Float[Tensor, "T N D"]) -> Float[Tensor, "T N D"]:
        return F.layer_norm(z, z.shape[-1:]) if self.normalise else z

    def _one_hot(self, y: Int[Tensor, "T N"], n: int, like: Tensor) -> Float[Tensor, "T N C"]:
        if n != self.n_out:
            raise TargetError(
                f"{type(self).__name__} reads labels of {self.n_out} classes but the task has {n}. "
                f"Use {self.n_out}-way tasks, or train with n_out={n}."
            )
        return F.one_hot(y, n).to(like.dtype)
