"""What takes part in a benchmark: quickstudy itself, and its peers."""

import contextlib
import importlib.util
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeAlias, TypeVar

import torch

from quickstudy.bench.textbook import Textbook, textbook
from quickstudy.bench.workloads import Task, Workload
from quickstudy.core.errors import ConfigError

Result: TypeAlias = Mapping[str, Any]
"""What a step computes: the outer gradient by parameter name, or ``answers`` [T Q O]. Any array
that numpy can read.
"""
Step: TypeAlias = Callable[[], Result]
"""One step of a workload, done again at every call."""
C = TypeVar("C")


@dataclass(frozen=True)
class Job:
    """One entry's own copy of a workload's network and tasks. A context: what the entry opened is
    closed at its end.
    """

    workload: Workload
    model: Textbook
    tasks: Task
    device: torch.device
    _opened: contextlib.ExitStack = field(default_factory=contextlib.ExitStack, repr=False)

    @classmethod
    def of(
        cls,
        workload: Workload,
        device: torch.device,
        *,
        dtype: torch.dtype = torch.float32,
        seed: int = 1,
    ) -> Self:
        """The same numbers for every entry."""
        return cls(
            workload,
            textbook(workload).to(device, dtype),
            workload.tasks(seed=seed).to(device, dtype),
            device,
        )

    def opened(self, context: contextlib.AbstractContextManager[C]) -> C:
        """Enter a context that lasts as long as the job."""
        return self._opened.enter_context(context)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._opened.close()


@dataclass(frozen=True)
class Entry:
    """Something that can do the workloads.

    Args:
        name: as on the command line and in the results.
        summary: one line for people.
        make: a step of a job. Imports of optional packages, and whatever is done once, happen here.
        serves: the workloads it can do, and sensibly does, on a device.
        package: an optional package that it needs.
        extra: the extra of quickstudy that installs it.
        squared: whether its ProtoNet scores by the squared distance.
        is_torch: whether it runs on PyTorch.
        program: a program that it needs beside.
        compiled: whether a compiler makes one program of the whole step; such entries are compared
            with their like.
        keeps_memory: whether its process keeps freed memory, see `quickstudy.core.malloc`.
    """

    name: str
    summary: str
    make: Callable[[Job], Step] = field(repr=False)
    serves: Callable[[Workload, torch.device], bool] = field(repr=False)
    package: str = ""
    extra: str = ""
    squared: bool = True
    is_torch: bool = True
    program: str = ""
    compiled: bool = False
    keeps_memory: bool = False

    @property
    def missing(self) -> str:
        """What keeps it from running here, and what to do; empty if nothing does."""
        if self.package and importlib.util.find_spec(self.package) is None:
            return (
                f"'{self.name}' needs the package {self.package}, which is not installed. "
                f"Install it with: pip install 'quickstudy[{self.extra}]'"
            )
        if self.program and shutil.which(self.program) is None:
            return (
                f"'{self.name}' needs {self.program} on the PATH at run time, and there is "
                f"none. Install it, or leave '{self.name}' out."
            )
        return ""

    def step(self, job: Job) -> Step:
        """A step of the job.

        Raises:
            ConfigError: where something that it needs is not installed, saying how to get it.
        """
        if self.missing:
            raise ConfigError(self.missing)
        return self.make(job)

    def own(self, workload: Workload) -> Workload:
        """The workload with this entry's way of scoring."""
        return workload if self.squared else workload.changed(squared=False)
