"""Whether two entries compute the same: times are only compared where they do."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from quickstudy.bench.entry import Entry, Job, Result
from quickstudy.bench.peers.plain import PLAIN
from quickstudy.bench.workloads import Workload

_SMALL_RATE = 0.01  # at larger rates single precision itself is off by 1e-3


@dataclass(frozen=True)
class Error:
    """Relative errors over a few tasks. In single precision a unit, or a maximum, that stands
    within rounding of its kink may fall to the other side in one task or another, which is no
    mistake: judge by the median, beside that of the plain loop in single precision.
    """

    median: float
    worst: float


class Reference:
    """The outer gradients (or answers) of single tasks by a plain loop in float64, computed once
    for all who are compared with them.

    Args:
        workload: what is done; the check takes its own number of tasks, and a small inner rate.
        device: where.
        seeds: of the tasks, one each.
    """

    def __init__(
        self, workload: Workload, device: torch.device, *, seeds: Sequence[int] = (1, 2, 3)
    ) -> None:
        self._workload = workload.changed(n_tasks=1, inner_lr=min(workload.inner_lr, _SMALL_RATE))
        self._device, self._seeds = device, seeds
        self._known: dict[Workload, list[Result]] = {}

    def error(self, entry: Entry, *, dtype: torch.dtype = torch.float32) -> Error:
        """How far an entry is from the reference, relative to the reference's norm."""
        same = entry.own(self._workload)
        if same not in self._known:
            self._known[same] = self._results(PLAIN, same, torch.float64)
        pairs = zip(self._results(entry, same, dtype), self._known[same], strict=True)
        return _summary([distance(got, expected) for got, expected in pairs])

    def _results(self, entry: Entry, workload: Workload, dtype: torch.dtype) -> list[Result]:
        results = []
        for seed in self._seeds:
            with Job.of(workload, self._device, dtype=dtype, seed=seed) as job:
                results.append(entry.step(job)())
        return results


def distance(got: Result, expected: Result) -> float:
    """The norm of the difference over the norm of what was expected; what is not there counts as
    zero (the bias of a convolution).
    """
    off = size = 0.0
    for name, tensor in expected.items():
        reference = as_float64(tensor)
        off += float(
            (as_float64(got[name]) - reference if name in got else reference).square().sum()
        )
        size += float(reference.square().sum())
    return math.sqrt(off / size)


def as_float64(values: object) -> Tensor:
    """Any array as a tensor on the CPU."""
    return (
        values.detach().cpu().double()
        if isinstance(values, Tensor)
        else torch.from_numpy(np.asarray(values).astype(np.float64))
    )


def _summary(errors: Sequence[float]) -> Error:
    return Error(statistics.median(errors), max(errors))
