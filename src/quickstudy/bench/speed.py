"""quickstudy against its peers, on the same numbers, in the same minutes."""

import contextlib
import dataclasses
import json
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from quickstudy.bench import drawing, peak_memory
from quickstudy.bench.apart import contenders
from quickstudy.bench.ceiling import flops_per_task, machine_rate
from quickstudy.bench.drawing import Shares, shares
from quickstudy.bench.entry import Entry
from quickstudy.bench.gradients import Error, Reference
from quickstudy.bench.machine import about
from quickstudy.bench.ours import OURS, QUICKSTUDY
from quickstudy.bench.timing import rotated
from quickstudy.bench.workloads import Workload
from quickstudy.core.disk import write_file

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Timing:
    """What one entry made of one workload.

    Args:
        seconds: of one step, the median over the rounds.
        quartiles: the lower and the upper one.
        error: of its outer gradient (or answers) in single precision, relative to a plain loop in
            double precision.
        error64: the same in double precision; for quickstudy's own entries alone.
    """

    seconds: float
    quartiles: tuple[float, float]
    error: Error
    error64: Error | None = None


@dataclass(frozen=True)
class Measured:
    """One workload by all that took part.

    Args:
        workload: what was done.
        flops_per_task: its counted arithmetic.
        timings: by entry; quickstudy's own first.
        peers: which of them are peers on PyTorch.
        compiled: which of them are compiled.
        skipped: peers that are installed but could not do it, and the reason.
    """

    workload: Workload
    flops_per_task: int
    timings: Mapping[str, Timing]
    peers: tuple[str, ...]
    compiled: frozenset[str] = frozenset()
    skipped: Mapping[str, str] = field(default_factory=dict)

    def best_peer(self, name: str) -> str:
        """The fastest peer on PyTorch that an entry is compared with: compiled if it is, eager if
        it is not, where there are such peers, otherwise any; empty if none took part.
        """
        alike = [peer for peer in self.peers if (peer in self.compiled) == (name in self.compiled)]
        return min(alike or self.peers, key=lambda peer: self.timings[peer].seconds, default="")

    def rate(self, name: str) -> float:
        """Tasks a second."""
        return self.workload.n_tasks / self.timings[name].seconds

    def ratio(self, name: str, to: str = "") -> float | None:
        """How many times the tasks a second of another entry, by default of its best peer; None
        where there is none.
        """
        other = to or self.best_peer(name)
        return self.timings[other].seconds / self.timings[name].seconds if other else None

    def of_ceiling(self, name: str, machine_rate: float) -> float:
        """The part of the tasks a second that the machine would do if it did the counted
        arithmetic, at that rate, and nothing else.
        """
        return self.rate(name) * self.flops_per_task / machine_rate

    def to_json(self, machine_rate: float) -> dict[str, Any]:
        """All of it as plain values, with what follows from it."""
        entries = {
            name: {
                **dataclasses.asdict(t),
                "tasks_per_second": self.rate(name),
                "of_ceiling": self.of_ceiling(name, machine_rate),
                "best_peer": self.best_peer(name),
                "ratio": self.ratio(name),
                "ratios": {
                    other: self.ratio(name, other) for other in self.timings if other not in OURS
                },
            }
            for name, t in self.timings.items()
        }
        return {
            "workload": self.workload.to_json(),
            "flops_per_task": self.flops_per_task,
            "ceiling": machine_rate / self.flops_per_task,
            "entries": entries,
            "skipped": dict(self.skipped),
        }


@dataclass(frozen=True)
class SpeedReport:
    """Everything that `quickstudy bench speed` found.

    Args:
        about: the machine and the versions.
        rounds: counted rounds behind each median.
        machine_rate: FLOP a second of a convolution, behind the ceilings.
        workloads: by name.
        memory: peak bytes of one step with one task and 20 inner steps, by workload and entry.
        shares: parts of a training step, by workload.
        missing: entries that were left out as something is not installed, with what to install.
    """

    about: Mapping[str, Any]
    rounds: int
    machine_rate: float
    workloads: Mapping[str, Measured]
    memory: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    shares: Mapping[str, Shares] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values."""
        return {
            "about": dict(self.about),
            "rounds": self.rounds,
            "machine_rate": self.machine_rate,
            "workloads": {name: m.to_json(self.machine_rate) for name, m in self.workloads.items()},
            "memory": {name: dict(m) for name, m in self.memory.items()},
            "shares": {
                name: {**dataclasses.asdict(s), "waiting": s.waiting}
                for name, s in self.shares.items()
            },
            "missing": dict(self.missing),
        }

    def save(self, path: str | Path) -> None:
        """Write it as JSON."""
        write_json(self.to_json(), path)


def missing_entries(
    workloads: Sequence[Workload], peers: Sequence[Entry], device: torch.device
) -> dict[str, str]:
    """What keeps entries from the workloads that they could do here, and what to install; by name.

    Args:
        workloads: what is to be done.
        peers: who takes part beside quickstudy's own entries.
        device: where.
    """
    return {
        e.name: e.missing
        for e in (*OURS.values(), *peers)
        if e.missing and any(e.serves(workload, device) for workload in workloads)
    }


def compare_speed(
    workloads: Sequence[Workload],
    peers: Sequence[Entry],
    *,
    device: torch.device,
    rounds: int = 9,
    with_memory: bool = True,
    with_shares: bool = True,
    on_progress: Progress = lambda text: None,
    on_report: Callable[[SpeedReport], None] = lambda report: None,
) -> SpeedReport:
    """Time quickstudy and its peers on each workload, check that they compute the same, and measure
    their memory. A peer that is not installed is left out, and one that is broken is left out of a
    workload, with the reason.

    Args:
        workloads: what to do.
        peers: against whom; each takes part where it can.
        device: where.
        rounds: counted rounds.
        with_memory: also the peak memory, for the workloads that are meant for it.
        with_shares: also the share of drawing the tasks, likewise.
        on_progress: called with what is measured now.
        on_report: called after each workload with all that is measured so far.

    Raises:
        QuickstudyError: where quickstudy itself cannot do a workload.
    """
    machine = about(device, peers)
    missing = missing_entries(workloads, peers, device)
    rates, measured, peaks, parts = [], {}, {}, {}
    for workload in workloads:
        # Again and again, as other work on the machine can only lower it.
        rates.append(machine_rate(device))
        entries = [
            e for e in (*OURS.values(), *peers) if e.serves(workload, device) and not e.missing
        ]
        result = _measure(workload, entries, device, rounds, on_progress)
        measured[workload.name] = result
        entries = [e for e in entries if e.name in result.timings]
        if with_memory and workload.name in peak_memory.WORKLOADS_MEASURED:
            peaks[workload.name] = _peaks(workload, entries, device, on_progress)
        if with_shares and workload.name in drawing.WORKLOADS_MEASURED:
            on_progress(f"{workload.name}: share of drawing the tasks")
            learning = result.timings[QUICKSTUDY.name].seconds
            parts[workload.name] = shares(workload, device, rounds=rounds, learning=learning)
        on_report(
            SpeedReport(
                machine, rounds, max(rates), dict(measured), dict(peaks), dict(parts), missing
            )
        )
    return SpeedReport(machine, rounds, max(rates), measured, peaks, parts, missing)


def _measure(
    workload: Workload,
    entries: Sequence[Entry],
    device: torch.device,
    rounds: int,
    on_progress: Progress,
) -> Measured:
    errors: dict[str, tuple[Error, Error | None]] = {}
    skipped: dict[str, str] = {}
    reference = Reference(workload, device)
    for e in entries:
        on_progress(f"{workload.name}: checking {e.name}")
        with _broken_peer_skipped(e, skipped, on_progress):
            errors[e.name] = (
                reference.error(e),
                reference.error(e, dtype=torch.float64) if e.name in OURS else None,
            )
    on_progress(f"{workload.name}: starting {len(errors)} processes")
    with contenders([e for e in entries if e.name in errors], device) as started:
        ready = {}
        for e, contender in started.items():
            with _broken_peer_skipped(e, skipped, on_progress):
                contender.prepare(e.own(workload))
                contender.seconds()
                ready[e] = contender
        taken = rotated(
            {e.name: contender.seconds for e, contender in ready.items()},
            rounds=rounds,
            on_round=lambda r: on_progress(f"{workload.name}: round {r}"),
        )
    timings = {name: Timing(*_spread(seconds), *errors[name]) for name, seconds in taken.items()}
    return Measured(
        workload,
        flops_per_task(workload),
        timings,
        tuple(e.name for e in ready if e.is_torch and e.name not in OURS),
        frozenset(e.name for e in ready if e.compiled),
        skipped,
    )


@contextlib.contextmanager
def _broken_peer_skipped(
    entry: Entry, skipped: dict[str, str], on_progress: Progress
) -> Iterator[None]:
    """Note why a peer fails, whatever it raises, and go on; quickstudy's own errors pass."""
    try:
        yield
    except Exception as error:
        if entry.name in OURS:
            raise
        reason = str(error).strip().splitlines() or [""]
        skipped[entry.name] = f"{type(error).__name__}: {reason[0]}".rstrip(": ")
        on_progress(f"{entry.name} is broken and left out: {skipped[entry.name]}")


def _spread(seconds: Sequence[float]) -> tuple[float, tuple[float, float]]:
    """The median, and the quartiles around it."""
    if len(seconds) < 2:
        return seconds[0], (seconds[0], seconds[0])
    low, middle, high = statistics.quantiles(seconds, n=4, method="inclusive")
    return middle, (low, high)


def _peaks(
    workload: Workload, entries: Sequence[Entry], device: torch.device, on_progress: Progress
) -> dict[str, int]:
    peaks = {}
    for e in entries:
        if peak_memory.is_measured(e):
            on_progress(f"{workload.name}: memory of {e.name}")
            peaks[e.name] = peak_memory.peak_bytes(e, peak_memory.one_task(workload), device)
    return peaks


def write_json(values: Mapping[str, Any], path: str | Path) -> None:
    """Write a report, whole or not at all; numbers keep six digits, which is more than any of them
    holds.
    """
    text = json.dumps(_rounded(values), indent=1, ensure_ascii=False) + "\n"
    write_file(path, text.encode())


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {k: _rounded(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(v) for v in value]
    return value
