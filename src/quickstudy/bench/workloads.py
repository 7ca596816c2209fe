"""What is timed: the workloads by which few-shot libraries can be compared, as sizes and as
tasks.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from quickstudy.core.errors import ConfigError, did_you_mean
from quickstudy.core.setting import Setting
from quickstudy.core.types import Classes, Episode, Examples, Reals, Target

_ALGORITHMS = ("maml", "fomaml", "anil", "protonet")
_NOISE = 0.5  # of an image around its class's prototype, whose pixels have variance 1


class Task(NamedTuple):
    """One task, or several of them with a leading task axis: what is learned from, and what is
    asked.
    """

    support_x: Tensor
    support_y: Tensor
    query_x: Tensor
    query_y: Tensor

    def to(self, device: torch.device, dtype: torch.dtype) -> "Task":
        """The same numbers elsewhere; labels stay integers."""
        return Task(*(t.to(device, dtype if t.is_floating_point() else t.dtype) for t in self))

    def each(self) -> Iterator["Task"]:
        """The tasks one by one, without the task axis."""
        return (Task(*one) for one in zip(*self, strict=True))


@dataclass(frozen=True)
class Workload:
    """One size of one kind of work.

    Args:
        name: as on the command line and in the results.
        summary: one line for people.
        algorithm: maml, fomaml, anil or protonet.
        setting: the size of a task; n_way 0 is regression of a sinusoid by a small MLP, all else
            images for Conv4.
        n_tasks: tasks per step.
        channels, size: of the images.
        width: filters of Conv4, or units of the MLP.
        inner_lr, inner_steps: of the inner loop; 0 steps for protonet.
        trains: a training step with its outer gradient; if False, adapting and answering without
            one.
        squared: protonet scores by minus the squared distance, as in the paper; if False, by minus
            the distance.

    >>> (w := WORKLOADS["W1"].setting).n_way, w.n_shot, w.n_query, WORKLOADS["W1"].n_tasks
    (5, 1, 15, 8)
    """

    name: str
    summary: str
    algorithm: str
    setting: Setting
    n_tasks: int
    channels: int = 1
    size: int = 28
    width: int = 64
    inner_lr: float = 0.1
    inner_steps: int = 0
    trains: bool = True
    squared: bool = True

    def __post_init__(self) -> None:
        if self.algorithm not in _ALGORITHMS:
            raise ConfigError(
                f"No workload runs '{self.algorithm}'. {did_you_mean(self.algorithm, _ALGORITHMS)}"
            )
        if self.n_tasks < 1:
            raise ConfigError(
                f"A step of {self.name} needs at least 1 task, got n_tasks={self.n_tasks}."
            )

    @property
    def regression(self) -> bool:
        """Whether the targets are real numbers."""
        return self.setting.n_way == 0

    @property
    def target(self) -> Target:
        """What a task asks for."""
        return Reals(1) if self.regression else Classes(self.setting.n_way)

    @property
    def has_inner_loop(self) -> bool:
        """Whether tasks are learned by gradient steps."""
        return self.algorithm != "protonet"

    @property
    def task_numel(self) -> int:
        """Numbers in the support and the queries of one task."""
        s = self.setting
        return (
            (s.n_shot + s.n_query)
            * max(1, s.n_way)
            * (1 if self.regression else self.channels * self.size**2)
        )

    def tasks(self, *, seed: int = 1) -> Task:
        """The step's tasks: sinusoids, or noise around one random prototype per class."""
        g, s, n = torch.Generator().manual_seed(seed), self.setting, self.n_tasks
        if self.regression:
            amplitude = 0.1 + 4.9 * torch.rand(n, 1, 1, generator=g)
            phase = math.pi * torch.rand(n, 1, 1, generator=g)
            x = 10 * torch.rand(n, s.n_shot + s.n_query, 1, generator=g) - 5
            y = amplitude * torch.sin(x + phase)
            return Task(x[:, : s.n_shot], y[:, : s.n_shot], x[:, s.n_shot :], y[:, s.n_shot :])
        prototypes = torch.randn(n, s.n_way, 1, self.channels, self.size, self.size, generator=g)

        def examples(per_class: int) -> tuple[Tensor, Tensor]:
            noise = torch.randn(
                n, s.n_way, per_class, self.channels, self.size, self.size, generator=g
            )
            y = torch.arange(s.n_way).repeat_interleave(per_class).expand(n, -1).contiguous()
            return (prototypes + _NOISE * noise).flatten(1, 2), y

        return Task(*examples(s.n_shot), *examples(s.n_query))

    def episode(self, tasks: Task) -> Episode:
        """The tasks as quickstudy takes them."""
        return Episode(
            Examples(tasks.support_x, tasks.support_y),
            Examples(tasks.query_x, tasks.query_y),
            self.target,
        )

    def changed(self, **changes: Any) -> Self:
        """The same workload in another size."""
        return dataclasses.replace(self, **changes)

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, about: Mapping[str, Any]) -> Self:
        """What `to_json` was given."""
        return cls(**{**about, "setting": Setting(**about["setting"])})


_W1 = Workload(
    "W1",
    "MAML step, 5-way 1-shot, 28×28, 5 inner steps, second order",
    "maml",
    Setting(5, 1, 15),
    n_tasks=8,
    inner_steps=5,
)
_W8 = _W1.changed(
    name="W8-maml",
    summary="MAML adapts one 5-way 5-shot task in 10 steps and answers 75 queries",
    setting=Setting(5, 5, 15),
    n_tasks=1,
    inner_steps=10,
    trains=False,
)
_W8_PROTONET = _W8.changed(
    name="W8-protonet",
    summary="ProtoNet adapts to one 5-way 5-shot task and answers 75 queries",
    algorithm="protonet",
    inner_steps=0,
)
_MINI = {"channels": 3, "size": 84, "width": 32, "inner_lr": 0.01}
_W6 = Workload(
    "W6-60way",
    "ProtoNet step, 60-way 1-shot 5 queries, 28×28",
    "protonet",
    Setting(60, 1, 5),
    n_tasks=1,
)

WORKLOADS: dict[str, Workload] = {
    w.name: w
    for w in (
        _W1,
        _W1.changed(name="W1s1", summary="the same with 1 inner step", inner_steps=1),
        _W1.changed(
            name="W2",
            summary="MAML step, 20-way 1-shot, 28×28, 5 inner steps, second order",
            setting=Setting(20, 1, 15),
            n_tasks=4,
        ),
        _W1.changed(
            name="W3", summary="first-order MAML step, otherwise as W1", algorithm="fomaml"
        ),
        _W1.changed(name="W4", summary="ANIL step, otherwise as W1", algorithm="anil"),
        _W1.changed(
            name="W5",
            summary="MAML step, 5-way 1-shot, 84×84×3, 32 filters, 5 inner steps, second order",
            n_tasks=4,
            **_MINI,
        ),
        _W6,
        _W6.changed(
            name="W6-5way",
            summary="ProtoNet step, 8 episodes of 5-way 1-shot 15 queries, 28×28",
            setting=Setting(5, 1, 15),
            n_tasks=8,
        ),
        _W6.changed(
            name="W6-84",
            summary="ProtoNet step, 5-way 5-shot 15 queries, 84×84×3",
            setting=Setting(5, 5, 15),
            channels=3,
            size=84,
        ),
        Workload(
            "W7",
            "MAML step on sinusoids, MLP 1-40-40-1, 10 shots, 1 inner step, second order",
            "maml",
            Setting(0, 10, 10),
            n_tasks=25,
            width=40,
            inner_lr=0.01,
            inner_steps=1,
        ),
        _W8,
        _W8_PROTONET,
        _W8.changed(name="W8-mini-maml", summary="W8-maml at 84×84×3 with 32 filters", **_MINI),
        _W8_PROTONET.changed(
            name="W8-mini-protonet",
            summary="W8-protonet at 84×84×3 with 64 filters",
            channels=3,
            size=84,
        ),
    )
}


def workload_named(name: str) -> Workload:
    """The workload of this name.

    Raises:
        ConfigError: for any other name, with the nearest spelling.
    """
    if name not in WORKLOADS:
        raise ConfigError(f"No workload is called '{name}'. {did_you_mean(name, WORKLOADS)}")
    return WORKLOADS[name]
