"""The last layer of a gradient-based learner, and how it starts on a new task."""

import abc
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core.describe import Described
from quickstudy.core.errors import ConfigError, TargetError, did_you_mean
from quickstudy.core.types import Classes, Examples, Reals, Target
from quickstudy.functional.prototypes import class_means
from quickstudy.inner.rules import Params


class AbstractHead(Described, nn.Module, abc.ABC):
    """Gives each task a linear layer to start from: ``weight [T O D]`` and ``bias [T O]``.

    Attributes:
        class_equivariant: whether it treats all classes alike.
        any_way: whether it serves any number of outputs.
        targets: the kinds of target it serves.
        reads: whether it must see the features of the support to start.
    """

    class_equivariant: ClassVar[bool]
    any_way: ClassVar[bool]
    targets: ClassVar[frozenset[type]]
    reads: ClassVar[bool] = False

    @abc.abstractmethod
    def begin(
        self, support: Examples, target: Target, z: Float[Tensor, "T N D"] | None = None
    ) -> Params:
        """``weight`` and ``bias`` for every task; where there is one task only, without the task
        axis.

        Args:
            support: the task's examples.
            target: what to answer.
            z: the features of the support, for a head that reads.

        Raises:
            TargetError: for a target that it cannot answer.
        """


class LinearHead(AbstractHead, nn.Linear):
    """A linear layer, one row per output, all of them learned by the outer loop.

    Args:
        in_dim: features.
        out_dim: outputs: classes, or the dimension of a regression target.
        init: "uniform" as `torch.nn.Linear` starts, or "zeros": every class is equally likely
            before the first step.
    """

    class_equivariant, any_way, targets = False, False, frozenset({Classes, Reals})
    weight: Tensor
    bias: Tensor

    def __init__(self, in_dim: int, out_dim: int, *, init: str = "uniform") -> None:
        super().__init__(in_dim, out_dim)
        if init not in ("uniform", "zeros"):
            raise ConfigError(
                f"No start is called '{init}'. {did_you_mean(init, ('uniform', 'zeros'))}"
            )
        self.out_dim = out_dim
        if init == "zeros":
            nn.init.zeros_(self.weight)
            nn.init.zeros_(self.bias)

    def begin(self, support: Examples, target: Target, z: Tensor | None = None) -> Params:
        if target.width != self.out_dim:
            raise TargetError(
                f"This learner's head has {self.out_dim} outputs but the task has {target.width}. "
                "Gradient-based learners keep the way they were "
                f"trained at: use {self.out_dim}-way tasks, train with n_out={target.width}, or "
                "take a learner that serves any number of classes "
                "(protonet, unicorn_maml, proto_maml)."
            )
        n_tasks, named = support.n_tasks, {"weight": self.weight, "bias": self.bias}
        return named if n_tasks == 1 else {n: p.expand(n_tasks, *p.shape) for n, p in named.items()}


class RepeatedHead(AbstractHead):
    """One row with which every class starts, so that any number of classes can: zeros.

    Which row it is makes no difference: what all classes have in common cancels in the softmax,
        before the inner steps, in their
    gradients, and after them. So there is nothing to learn in it.

    Args:
        in_dim: features.
    """

    class_equivariant, any_way, targets = True, True, frozenset({Classes})

    def __init__(self, in_dim: int) -> None:
        super().__init__()
        self.in_dim = in_dim
        self.register_buffer("zero", torch.zeros(()), persistent=False)

    def begin(self, support: Examples, target: Target, z: Tensor | None = None) -> Params:
        tasks = [support.n_tasks] if support.n_tasks > 1 else []
        zero = torch.as_tensor(self.zero)
        return {
            "weight": zero.repeat(*tasks, target.width, self.in_dim),
            "bias": zero.repeat(*tasks, target.width),
        }


class PrototypeHead(AbstractHead):
    """Starts as the nearest-prototype classifier: w_c = 2 p_c and b_c = −|p_c|², p_c the mean
    feature of class c.
    """

    class_equivariant, any_way, targets, reads = True, True, frozenset({Classes}), True

    def begin(self, support: Examples, target: Target, z: Tensor | None = None) -> Params:
        assert z is not None
        p = class_means(z, support.y, target.width)  # [T C D]
        start = {"weight": 2 * p, "bias": -p.square().sum(-1)}
        return start if support.n_tasks > 1 else {n: s[0] for n, s in start.items()}
