"""Whether the device waits for its tasks: what drawing, augmenting and moving them takes of a
training step.
"""

import statistics
from dataclasses import dataclass

import torch

from quickstudy.augment import Affine
from quickstudy.bench.timing import interleaved
from quickstudy.bench.workloads import Workload
from quickstudy.data import ClassDataset, ClassIndex, Episodes

WORKLOADS_MEASURED = ("W1", "W6-60way")
_CLASSES, _PER_CLASS = 1000, 20


@dataclass(frozen=True)
class Shares:
    """Median seconds of the parts of a training step; ``learning`` is the gradient, all else comes
    before it.
    """

    drawing: float
    augmentation: float
    transfer: float
    learning: float

    @property
    def waiting(self) -> float:
        """The part of a step in which nothing is learned, between 0 and 1."""
        before = self.drawing + self.augmentation + self.transfer
        return before / (before + self.learning)


def shares(workload: Workload, device: torch.device, *, rounds: int, learning: float) -> Shares:
    """The parts of a step whose tasks come from uint8 images in memory, in the number of
    Omniglot's.

    Args:
        workload: its tasks are drawn.
        device: where they go.
        rounds: counted rounds behind each median.
        learning: seconds of the step itself, as they were measured in a process like that of a
            training.
    """
    g = torch.Generator().manual_seed(0)
    n = _CLASSES * _PER_CLASS
    x = torch.randint(
        256, (n, workload.channels, workload.size, workload.size), dtype=torch.uint8, generator=g
    )
    index = ClassIndex([i // _PER_CLASS for i in range(n)], [str(c) for c in range(_CLASSES)])
    stream, affine = Episodes(ClassDataset("noise", "all", x, index), workload.setting), Affine()
    numbers = range(workload.n_tasks)
    drawn = stream.batch(numbers)
    steps = {
        "drawing": lambda: {"x": stream.batch(numbers).support.x},
        "augmentation": lambda: {"x": affine(drawn, torch.Generator().manual_seed(0)).support.x},
        "transfer": lambda: {"x": drawn.to(device).support.x},
    }
    taken = interleaved(steps, rounds=rounds, device=device)
    return Shares(
        **{name: statistics.median(seconds) for name, seconds in taken.items()}, learning=learning
    )
