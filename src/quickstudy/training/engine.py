"""The processes that train together: one alone, or those that ``torchrun`` started, on one machine
or many.

Several processes need the extra ``scale``::

    torchrun --nproc-per-node 2 -m quickstudy train RECIPE

Every step has the same tasks in the same pieces whatever the number of processes; process r of W
takes the pieces r, r + W, … and the sum of what they found makes the step, so that all hold the
same weights after it. The adapter to Hugging Face Accelerate is `Together`; it starts the process
group (gloo on CPUs, NCCL on GPUs), adds up over it, and ends it.
"""

import abc
import atexit
import functools
import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar, final

import torch
from torch import Tensor, nn

from quickstudy.core.errors import ConfigError, TrainingError

TIMEOUT = 300.0


class ProcessLostError(TrainingError):
    """Another process has ended, or has not answered in time. What this process holds is as before
    the messages were exchanged.
    """


@dataclass(frozen=True)
class Launch:
    """The place of this process among those that were launched together.

    Args:
        rank, size: its number among all of them, and how many they are.
        local_rank, local_size: the same on this machine alone.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1


def launch(environment: Mapping[str, str] | None = None) -> Launch:
    """The place of this process, from the variables that ``torchrun`` and ``accelerate launch``
    set. Without them it is alone.

    Raises:
        ConfigError: when WORLD_SIZE speaks of several processes but the other variables are
            missing.

    >>> launch(
    ...     {
    ...         "WORLD_SIZE": "4",
    ...         "RANK": "3",
    ...         "LOCAL_RANK": "1",
    ...         "LOCAL_WORLD_SIZE": "2",
    ...         "MASTER_ADDR": "a",
    ...         "MASTER_PORT": "1",
    ...     }
    ... )
    Launch(rank=3, size=4, local_rank=1, local_size=2)
    """
    env = os.environ if environment is None else environment
    size = int(env.get("WORLD_SIZE") or 1)
    if size < 2:
        return Launch()
    missing = [
        name for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT") if not env.get(name)
    ]
    if missing:
        raise ConfigError(
            f"WORLD_SIZE={size} says that {size} processes train together, but "
            f"{', '.join(missing)} is not set. Start them with "
            f"`torchrun --nproc-per-node {size} -m quickstudy train RECIPE`, or unset WORLD_SIZE "
            "to train in one process."
        )
    return Launch(
        int(env["RANK"]), size, int(env["LOCAL_RANK"]), int(env.get("LOCAL_WORLD_SIZE") or size)
    )


class AbstractEngine(abc.ABC):
    """The processes that train together, seen from one of them.

    Attributes:
        place: of this process among them.
    """

    place: Launch

    @abc.abstractmethod
    def total(self, own: Tensor) -> Tensor:
        """The sum of all processes' ``own``, the same to the bit in each of them. All must come
        here, with tensors of one shape.

        Raises:
            ProcessLostError: when one of them does not.
        """

    @final
    @property
    def is_main(self) -> bool:
        """Whether this process writes the files and shows the progress: one of them does."""
        return self.place.rank == 0

    @final
    @property
    def own(self) -> slice:
        """Which of a list of work is this process's: ``work[engine.own]``."""
        return slice(self.place.rank, None, self.place.size)

    @final
    def agree(self, what: str) -> None:
        """Wait until all processes are here, and check that all bring the same text.

        Raises:
            ConfigError: when they do not.
            ProcessLostError: when one of them does not come.
        """
        # 40 bits: the sum of thousands of them is exact.
        own = int.from_bytes(hashlib.blake2b(what.encode(), digest_size=5).digest(), "little")
        if int(self.total(torch.tensor(own))) != own * self.place.size:
            raise ConfigError(
                f"The {self.place.size} processes were not started alike: recipe, data or "
                "checkpoint differ. Start all of them with the same "
                "command and version, on several machines with an --out folder that all of them "
                "see."
            )

    @final
    def adopt(self, tensors: Sequence[Tensor]) -> None:
        """Overwrite the tensors by those of the main process, bit by bit."""
        if self.place.size == 1 or not tensors:
            return
        bits = torch.cat([t.detach().reshape(-1).view(torch.uint8) for t in tensors])
        adopted = self.total(bits if self.is_main else torch.zeros_like(bits))
        with torch.no_grad():
            for t, part in zip(
                tensors, adopted.split([t.numel() * t.element_size() for t in tensors]), strict=True
            ):
                t.copy_(part.clone().view(t.dtype).view(t.shape))


@final
class Alone(AbstractEngine):
    """One process, which agrees with itself."""

    def __init__(self) -> None:
        self.place = Launch()

    def total(self, own: Tensor) -> Tensor:
        return own


@final
class Together(AbstractEngine):
    """Several processes, joined by Hugging Face Accelerate. They are joined once: all engines of a
    process use the same process group, which ends with the process.

    Args:
        place: of this process, as `launch` found it.
        device: that it trains on; the CPU, or its own GPU.
        timeout: seconds after which a process that does not answer counts as lost.

    Raises:
        ConfigError: without the extra ``scale``, or for a device that has no process group.
        ProcessLostError: when not all processes come within ``timeout``.
    """

    _broken: ClassVar[bool] = (
        False  # the process group, which is one for all engines of this process
    )

    def __init__(self, place: Launch, device: torch.device, *, timeout: float = TIMEOUT) -> None:
        try:
            # Its functions have the process group that is there when they are imported as a default
            # argument, for ever. Imported later (by the
            # first optimiser), it would keep the group and its threads alive after `_end`, into the
            # end of the interpreter, which aborts.
            import torch.distributed.nn.functional
            from accelerate import Accelerator
            from accelerate.utils import InitProcessGroupKwargs
        except ImportError as error:
            raise ConfigError(
                f"{place.size} processes were started, but what joins them is not installed: pip "
                "install 'quickstudy[scale]'."
            ) from error
        if device.type not in ("cpu", "cuda"):
            raise ConfigError(
                f"Several processes train on CPUs or on CUDA GPUs, not on '{device.type}'. Use "
                "--device cpu, or one process."
            )
        if not timeout > 0:
            raise ConfigError(f"--timeout must be more than 0 seconds, got {timeout:g}.")
        self.place, self._device, self._timeout = place, device, timeout
        if not torch.distributed.is_initialized():
            # Not after each training: a group that is opened a second time finds the addresses of
            # the first in the store, and hangs.
            atexit.register(self._end)
        patience = timedelta(seconds=timeout)
        if device.type == "cpu":
            group = InitProcessGroupKwargs(timeout=patience)
        else:
            # NCCL raises in the waiting thread after the timeout, where without this it would kill
            # the process from a thread of its own.
            os.environ.setdefault("TORCH_NCCL_BLOCKING_WAIT", "1")
            group = InitProcessGroupKwargs(backend="cuda:nccl,cpu:gloo", timeout=patience)
        try:
            # Accelerate is asked for the process group and the reduction alone. It does not wrap
            # the module: gradients are taken with
            # autograd.grad in worker threads, which the hooks of DistributedDataParallel never see.
            self._accelerator = Accelerator(
                cpu=device.type == "cpu", mixed_precision="no", kwargs_handlers=[group]
            )
        except RuntimeError as error:
            raise self._noticed(error) from error

    def total(self, own: Tensor) -> Tensor:
        try:
            if own.is_cuda:
                # A roll call over gloo, which notices a lost process at once; NCCL would do so
                # after the timeout only.
                self._accelerator.reduce(torch.zeros(1), "sum")
            # It returns what it is given.
            return self._accelerator.reduce(own, "sum")  # pyright: ignore[reportReturnType]
        except RuntimeError as error:
            raise self._noticed(error) from error

    def _end(self) -> None:
        """End the process group; not where NCCL would wait for what is lost."""
        if torch.distributed.is_initialized() and not (
            Together._broken and self._device.type == "cuda"
        ):
            self._accelerator.end_training()

    def _noticed(self, error: RuntimeError) -> ProcessLostError:
        Together._broken = True
        cause = str(error).partition(". This is typically")[0].partition("\n")[0]
        return ProcessLostError(
            f"One of the {self.place.size} processes has ended, or has not answered within "
            f"{self._timeout:g} s ({cause})."
        )


def launched(device: torch.device, *, timeout: float = TIMEOUT) -> AbstractEngine:
    """The engine of the processes that were launched together.

    Args:
        device: that this process trains on.
        timeout: seconds after which a process that does not answer counts as lost.

    Raises:
        ConfigError, ProcessLostError: as `launch` and `Together`.
    """
    place = launch()
    return Alone() if place.size == 1 else Together(place, device, timeout=timeout)


@dataclass(frozen=True)
class StepResult:
    """What a process, or all of them, found in a step.

    Args:
        loss: the (share of the) mean loss over the step's tasks, [].
        gradient: of that loss, one tensor per parameter; None where the loss does not depend on it.
        stop: whether anybody asked to stop after this step.
    """

    loss: Tensor
    gradient: list[Tensor | None]
    stop: bool


@final
class Exchange:
    """Makes the processes' results of one step into the result of all, in one sum over one flat
    buffer: either all messages of a step arrive or none.

    Numbers that the step changed in the module's buffers travel with them. Floating ones (running
    statistics) become the mean over the processes, so after a step all processes hold the same; one
    process alone, which goes through the pieces one after another, ends with slightly different
    ones. Counters are added up.

    Args:
        engine: the processes.
        module: what is trained; the same in all of them.
    """

    def __init__(self, engine: AbstractEngine, module: nn.Module) -> None:
        self._engine, self._module = engine, module
        self._parameters = [p for p in module.parameters() if p.requires_grad]
        self._dtype = functools.reduce(
            torch.promote_types, {p.dtype for p in self._parameters}, torch.float32
        )
        self._before: dict[str, Tensor] = {}

    def begin(self) -> None:
        """Remember the buffers as they are before the step."""
        if self._engine.place.size > 1:
            self._before = {name: b.detach().clone() for name, b in self._buffers().items()}

    def total(self, own: StepResult) -> StepResult:
        """The result of all processes, the same in each.

        Raises:
            ProcessLostError: when one does not answer; the buffers are then as they were before the
                step.
        """
        if self._engine.place.size == 1:
            return own
        gradient = [
            torch.zeros_like(p) if g is None else g
            for g, p in zip(own.gradient, self._parameters, strict=True)
        ]
        marks = torch.tensor([float(own.stop), *(float(g is not None) for g in own.gradient)])
        buffers = self._buffers()
        parts = [own.loss, marks, *gradient, *(self._moved(name, b) for name, b in buffers.items())]
        flat = torch.cat(
            [part.detach().reshape(-1).to(own.loss.device, self._dtype) for part in parts]
        )
        try:
            loss, marks, *sums = self._engine.total(flat).split([part.numel() for part in parts])
        except ProcessLostError:
            self._put(buffers, self._before)
            raise
        stop, *found = marks.tolist()
        moved = zip(self._before.items(), sums[len(found) :], strict=True)
        self._put(
            buffers,
            {
                name: before + move.view(before.shape).to(before.dtype)
                for (name, before), move in moved
            },
        )
        gradients = zip(found, self._parameters, sums[: len(found)], strict=True)
        return StepResult(
            loss[0], [g.view(p.shape).to(p.dtype) if n else None for n, p, g in gradients], stop > 0
        )

    def _moved(self, name: str, buffer: Tensor) -> Tensor:
        """What this process adds to a buffer."""
        moved = buffer - self._before[name]
        return moved / self._engine.place.size if buffer.is_floating_point() else moved

    def _buffers(self) -> dict[str, Tensor]:
        return {name: b for name, b in self._module.named_buffers() if b.dtype != torch.bool}

    def _put(self, buffers: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, buffer in buffers.items():
                buffer.copy_(values[name])
