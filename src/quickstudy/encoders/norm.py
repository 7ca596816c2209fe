"""Batch normalisation with its policy said aloud: the main hidden difference between papers
(methods: T-BN, E-BN, S-BN).

========= =================================================================== ===============
policy    statistics come from                                                transductive
========= =================================================================== ===============
batch     the examples encoded together with this one, task by task           yes
running   training, as running averages (in training: the batch)              no
support   the task's support set, kept for its queries                        no
per_task  training, as running averages (in training: each task's examples)   no
group     the example itself (group norm, 8 groups or fewer)                  no
none      nothing is normalised                                               no
========= =================================================================== ===============
"""

import abc
import math
from typing import TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core.batching import OrderDependent
from quickstudy.core.errors import ConfigError, did_you_mean

EPS = 1e-5
MOMENTUM = 0.1
Statistics: TypeAlias = Float[Tensor, "T 2 C"]  # mean and variance of each channel


class AbstractNorm(nn.Module, abc.ABC):
    """Normalises feature maps channel by channel, then scales by ``weight`` (unless ``scale`` is
    False) and adds ``bias``.

    Both may be replaced by a stack of them, one per task: ``[T C]``.
    """

    weight: nn.Parameter | None
    bias: nn.Parameter | None
    keeps: bool = False  # running averages, of what `saw` tells

    def __init__(self, channels: int, *, scale: bool = True, shift: bool = True) -> None:
        super().__init__()
        self.channels = channels
        self.register_parameter("weight", nn.Parameter(torch.ones(channels)) if scale else None)
        self.register_parameter("bias", nn.Parameter(torch.zeros(channels)) if shift else None)

    @abc.abstractmethod
    def forward(
        self, x: Float[Tensor, "T N C H W"], statistics: Statistics | None = None
    ) -> Float[Tensor, "T N C H W"]:
        """Normalise; ``statistics`` are what `read` gave for the same tasks' support."""

    def read(
        self, x: Float[Tensor, "T N C H W"]
    ) -> tuple[Float[Tensor, "T N C H W"], Statistics | None]:
        """Normalise a support set; also what of it the queries need (None, unless overridden)."""
        return self(x), None

    def measures(self, statistics: Statistics | None) -> str:
        """Whose mean and variance `forward` takes: each "task"'s, the whole "batch"'s, those of
        neither ("fixed"), or "other".
        """
        return "other"

    def affine(self, statistics: Statistics | None) -> tuple[Tensor | None, Tensor | None]:
        """With fixed statistics: what the layer multiplies by and what it then adds, ``[C]`` or
        ``[T C]`` each; None is 1 and 0.
        """
        raise NotImplementedError

    def saw(self, mean: Float[Tensor, " C"], var: Float[Tensor, " C"], count: int) -> None:
        """Take note of the statistics of a batch of ``count`` pixels that was normalised elsewhere
        (by a fused operation).
        """


class BatchNorm(AbstractNorm):
    """Statistics of the examples at hand, for each task its own."""

    def forward(self, x: Tensor, statistics: Statistics | None = None) -> Tensor:
        return _normalise_tasks(x, self.weight, self.bias)

    def measures(self, statistics: Statistics | None) -> str:
        return "task"


class RunningNorm(AbstractNorm):
    """Running averages, as `torch.nn.BatchNorm2d`; in training the statistics of all examples of
    all tasks at hand.
    """

    keeps = True

    def __init__(self, channels: int, *, scale: bool = True, shift: bool = True) -> None:
        super().__init__(channels, scale=scale, shift=shift)
        self.norm = nn.BatchNorm2d(channels, eps=EPS, momentum=MOMENTUM, affine=False)

    def forward(self, x: Tensor, statistics: Statistics | None = None) -> Tensor:
        if _stacked(self.weight, self.bias):
            return _scale_and_shift(
                self.norm(x.flatten(0, 1)).view(x.shape), self.weight, self.bias
            )
        if self.training:
            self.norm.num_batches_tracked.add_(1)  # type: ignore[union-attr]
        mean, var = self.norm.running_mean, self.norm.running_var
        return F.batch_norm(
            x.flatten(0, 1), mean, var, self.weight, self.bias, self.training, MOMENTUM, EPS
        ).view(x.shape)

    def measures(self, statistics: Statistics | None) -> str:
        return "batch" if self.training else "fixed"

    def affine(self, statistics: Statistics | None) -> tuple[Tensor | None, Tensor | None]:
        assert isinstance(self.norm.running_mean, Tensor)
        assert isinstance(self.norm.running_var, Tensor)
        return _affine(self.norm.running_mean, self.norm.running_var, self.weight, self.bias)

    def saw(self, mean: Tensor, var: Tensor, count: int) -> None:
        assert isinstance(self.norm.running_mean, Tensor)
        assert isinstance(self.norm.running_var, Tensor)
        self.norm.num_batches_tracked.add_(1)  # type: ignore[union-attr]
        self.norm.running_mean.lerp_(mean.detach(), MOMENTUM)
        self.norm.running_var.lerp_(var.detach() * (count / (count - 1)), MOMENTUM)


class SupportNorm(AbstractNorm):
    """Statistics of the task's support, for the support and the queries alike."""

    def forward(self, x: Tensor, statistics: Statistics | None = None) -> Tensor:
        if statistics is None:
            return _normalise_tasks(x, self.weight, self.bias)
        mean, var = statistics[:, :, None, :, None, None].unbind(1)  # [T 1 C 1 1]
        return _scale_and_shift((x - mean) * torch.rsqrt(var + EPS), self.weight, self.bias)

    def read(self, x: Tensor) -> tuple[Tensor, Statistics]:
        statistics = statistics_of(x)
        return self(x, statistics), statistics

    def measures(self, statistics: Statistics | None) -> str:
        return "task" if statistics is None else "fixed"

    def affine(self, statistics: Statistics | None) -> tuple[Tensor | None, Tensor | None]:
        assert statistics is not None
        return _affine(statistics[:, 0], statistics[:, 1], self.weight, self.bias)


class TaskRunningNorm(AbstractNorm, OrderDependent):
    """Statistics of the examples at hand, for each task its own, in training; in evaluation their
    running averages over the tasks, which take one step for each task, in their order.

    ``mean`` and ``var`` may be replaced, for instance by those of one inner step; they are changed
    in place.
    """

    keeps = True
    mean: Tensor
    var: Tensor

    def __init__(self, channels: int, *, scale: bool = True, shift: bool = True) -> None:
        super().__init__(channels, scale=scale, shift=shift)
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("var", torch.ones(channels))

    def forward(self, x: Tensor, statistics: Statistics | None = None) -> Tensor:
        if not self.training:
            scale, shift = self.affine(None)
            return _scale_and_shift(x, scale, shift)
        y = _normalise_tasks(x, self.weight, self.bias)
        var, mean = torch.var_mean(x.detach(), (1, 3, 4), correction=0)  # [T C]
        for m, v in zip(mean, var, strict=True):
            self.saw(m, v, x.shape[1] * x.shape[3] * x.shape[4])
        return y

    def measures(self, statistics: Statistics | None) -> str:
        return "task" if self.training else "fixed"

    def affine(self, statistics: Statistics | None) -> tuple[Tensor | None, Tensor | None]:
        return _affine(self.mean, self.var, self.weight, self.bias)

    def saw(self, mean: Tensor, var: Tensor, count: int) -> None:
        self.mean.lerp_(mean.detach().to(self.mean), MOMENTUM)
        self.var.lerp_(var.detach().to(self.var) * (count / (count - 1)), MOMENTUM)


class GroupNorm(AbstractNorm):
    """Statistics of each example alone, over groups of channels (at most 8)."""

    def forward(self, x: Tensor, statistics: Statistics | None = None) -> Tensor:
        return _scale_and_shift(
            F.group_norm(x.flatten(0, 1), math.gcd(8, self.channels), eps=EPS).view(x.shape),
            self.weight,
            self.bias,
        )


class NoNorm(AbstractNorm):
    """Adds the bias only."""

    def forward(self, x: Tensor, statistics: Statistics | None = None) -> Tensor:
        return _scale_and_shift(x, self.weight, self.bias)

    def measures(self, statistics: Statistics | None) -> str:
        return "fixed"

    def affine(self, statistics: Statistics | None) -> tuple[Tensor | None, Tensor | None]:
        return self.weight, self.bias


NORMS: dict[str, type[AbstractNorm]] = {
    "batch": BatchNorm,
    "running": RunningNorm,
    "support": SupportNorm,
    "per_task": TaskRunningNorm,
    "group": GroupNorm,
    "none": NoNorm,
}


def norm_named(
    policy: str, channels: int, *, scale: bool = True, shift: bool = True
) -> AbstractNorm:
    """The normalisation layer of a policy: batch, running, support, per_task, group or none.

    Raises:
        ConfigError: for any other policy.
    """
    if policy not in NORMS:
        raise ConfigError(
            f"No normalisation policy is called '{policy}'. {did_you_mean(policy, NORMS)}"
        )
    return NORMS[policy](channels, scale=scale and policy != "none", shift=shift)


def statistics_of(x: Float[Tensor, "T N C H W"]) -> Statistics:
    """Mean and variance of each task's channels."""
    var, mean = torch.var_mean(x, (1, 3, 4), correction=0)  # [T C]
    return torch.stack((mean, var), 1)


def _affine(
    mean: Tensor, var: Tensor, weight: Tensor | None, bias: Tensor | None
) -> tuple[Tensor, Tensor]:
    scale = torch.rsqrt(var + EPS) if weight is None else torch.rsqrt(var + EPS) * weight
    return scale, -mean * scale if bias is None else bias - mean * scale


def _normalise_tasks(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """Batch norm of each task by itself: the tasks become channels, so that one call serves them
    all.
    """
    t, n, c, h, w = x.shape
    wide = x.transpose(0, 1).reshape(n, t * c, h, w)
    y = F.batch_norm(wide, None, None, every_task(weight, t), every_task(bias, t), True, 0.0, EPS)
    return y.view(n, t, c, h, w).transpose(0, 1)


def every_task(p: Tensor | None, t: int) -> Tensor | None:
    """One value per task and channel, [T·C], of a parameter [C] or a stack of them [T C]."""
    return None if p is None else p.expand(t, -1).reshape(-1)


def _stacked(*parameters: Tensor | None) -> bool:
    return any(p is not None and p.ndim == 2 for p in parameters)


def _scale_and_shift(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    x = x if weight is None else x * weight.unflatten(-1, (-1, 1, 1)).unsqueeze(-4)
    return x if bias is None else x + bias.unflatten(-1, (-1, 1, 1)).unsqueeze(-4)
