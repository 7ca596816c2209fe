"""How the time and the memory of a step grow with the size of the task."""

import dataclasses
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import torch

from quickstudy.bench.apart import contenders, rounds_of
from quickstudy.bench.entry import Entry
from quickstudy.bench.machine import about
from quickstudy.bench.ours import QUICKSTUDY
from quickstudy.bench.peak_memory import is_measured, peak_bytes
from quickstudy.bench.processes import N_PROCESSES, Processes, unable
from quickstudy.bench.processes import compare as compare_processes
from quickstudy.bench.speed import Progress, write_json
from quickstudy.bench.workloads import Workload
from quickstudy.core.errors import ConfigError, did_you_mean

_TASKS = 8  # where another axis is the one that grows


def _setting(field_: str) -> Callable[[Workload, int], Workload]:
    return lambda w, value: w.changed(setting=dataclasses.replace(w.setting, **{field_: value}))


@dataclass(frozen=True)
class Axis:
    """A size of the workload that grows, and the values it takes."""

    name: str
    values: tuple[int, ...]
    grown: Callable[[Workload, int], Workload] = field(repr=False)

    def applies(self, workload: Workload) -> bool:
        """Whether the workload has such a size."""
        applies = {
            "ways": not workload.regression,
            "inner steps": workload.has_inner_loop,
            "processes": not unable(workload),
        }
        return applies.get(self.name, True)

    def up_to(self, largest: int) -> Self:
        """The same axis without its larger sizes; the smallest always stays."""
        return dataclasses.replace(
            self, values=self.values[:1] + tuple(v for v in self.values[1:] if v <= largest)
        )


AXES: dict[str, Axis] = {
    a.name: a
    for a in (
        Axis("tasks", (1, 2, 4, 8, 16, 32), lambda w, value: w.changed(n_tasks=value)),
        Axis("ways", (2, 5, 10, 20, 40), _setting("n_way")),
        Axis("shots", (1, 2, 5, 10, 20, 40), _setting("n_shot")),
        Axis("inner steps", (1, 2, 5, 10, 20), lambda w, value: w.changed(inner_steps=value)),
        Axis("processes", (1, N_PROCESSES), lambda w, value: w),
    )
}


@dataclass(frozen=True)
class Point:
    """The median seconds of one step, and the bytes it takes at its peak."""

    value: int
    seconds: float
    peak_bytes: int | None = None


@dataclass(frozen=True)
class GrowthReport:
    """Everything that `quickstudy bench growth` found.

    Args:
        about: the machine and the versions.
        workload: what everything else was kept at.
        curves: by axis and entry.
        processes: several processes against one, if that was measured.
    """

    about: Mapping[str, Any]
    workload: Workload
    curves: Mapping[str, Mapping[str, Sequence[Point]]]
    processes: Processes | None = None

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values, with the exponents."""
        curves = {
            axis: {
                name: {
                    "points": [dataclasses.asdict(p) for p in points],
                    "time_exponent": exponent(points, "seconds"),
                    "memory_exponent": exponent(points, "peak_bytes"),
                }
                for name, points in entries.items()
            }
            for axis, entries in self.curves.items()
        }
        processes = self.processes and {
            "seconds": self.processes.seconds,
            "ratio": self.processes.ratio,
        }
        return {
            "about": dict(self.about),
            "workload": self.workload.to_json(),
            "curves": curves,
            "processes": processes,
        }

    def save(self, path: str | Path) -> None:
        """Write it as JSON."""
        write_json(self.to_json(), path)


def measure_growth(
    workload: Workload,
    entries: Sequence[Entry],
    axes: Sequence[Axis],
    *,
    device: torch.device,
    rounds: int = 5,
    with_memory: bool = True,
    on_progress: Progress = lambda text: None,
) -> GrowthReport:
    """Time one step, and measure its memory, at each size along each axis.

    Args:
        workload: where the axes start from.
        entries: who does it.
        axes: what grows; everything else stays.
        device: where.
        rounds: counted rounds behind each median.
        with_memory: also the peak memory, each in a process of its own.
        on_progress: called with what is measured now.

    Raises:
        ConfigError: when several processes are asked for where they cannot be measured.
        TrainingError: when a process dies.
    """
    curves: dict[str, Mapping[str, Sequence[Point]]] = {}
    processes = None
    for axis in axes:
        if axis.name == "processes":
            processes = compare_processes(workload, on_progress=on_progress)
            curves[axis.name] = {
                QUICKSTUDY.name: [
                    Point(n, statistics.median(s)) for n, s in processes.seconds.items()
                ]
            }
        else:
            base = (
                workload
                if axis.name == "tasks"
                else workload.changed(n_tasks=min(_TASKS, workload.n_tasks))
            )
            sizes = {value: axis.grown(base, value) for value in axis.values}
            curves[axis.name] = _curves(
                axis.name, sizes, entries, device, rounds, with_memory, on_progress
            )
    return GrowthReport(about(device, entries), workload, curves, processes)


def exponent(points: Sequence[Point], of: str) -> float | None:
    """The slope of a curve on doubly logarithmic paper, over the larger half of its points: what
    small ones take whatever their size is left out. None where there are not two points.

    >>> round(exponent([Point(n, 3.0 * n**2) for n in (1, 2, 4, 8)], "seconds"), 6)
    2.0
    """
    known = [
        (math.log(p.value), math.log(y))
        for p in points
        if (y := {"seconds": p.seconds, "peak_bytes": p.peak_bytes}[of])
    ]
    large = known[-max(2, math.ceil(len(known) / 2)) :]
    return statistics.linear_regression(*zip(*large, strict=True)).slope if len(large) > 1 else None


def axis_named(name: str) -> Axis:
    """The axis of this name.

    Raises:
        ConfigError: for any other name, with the nearest spelling.
    """
    if name not in AXES:
        raise ConfigError(f"Nothing that grows is called '{name}'. {did_you_mean(name, AXES)}")
    return AXES[name]


def _curves(
    axis: str,
    sizes: Mapping[int, Workload],
    entries: Sequence[Entry],
    device: torch.device,
    rounds: int,
    with_memory: bool,
    say: Progress,
) -> dict[str, list[Point]]:
    curves: dict[str, list[Point]] = {e.name: [] for e in entries}
    with contenders(entries, device) as running:
        for value, grown in sizes.items():
            say(f"{axis} {value}")
            taken = rounds_of(running, grown, rounds=rounds)
            for e in entries:
                peak = peak_bytes(e, grown, device) if with_memory and is_measured(e) else None
                curves[e.name].append(Point(value, statistics.median(taken[e.name]), peak))
    return curves
