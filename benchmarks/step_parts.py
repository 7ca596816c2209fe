"""Where the time of a training step goes: in convolutions, in fused blocks, and between them.

python benchmarks/step_parts.py              writes benchmarks/step_parts.json

The steps are those of `quickstudy bench speed` with one task on one thread, in processor time. In
each round the step is done as it is, with a timer around every convolution and every fused kernel,
and recorded and played back, in turn, beside one large convolution that says how fast the processor
is. The first two rounds are not counted.
"""

import argparse
import collections
import contextlib
import gc
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from rendering import Column, Table
from torch.utils.flop_counter import FlopCounterMode

from quickstudy.bench import WORKLOADS
from quickstudy.bench.ceiling import convolution
from quickstudy.bench.entry import Job, Step
from quickstudy.bench.ours import make
from quickstudy.core.malloc import keep_freed_memory
from quickstudy.evaluation import commit, versions

FILE = Path(__file__).parent / "step_parts.json"
WARM_UP = 2


@contextlib.contextmanager
def timers() -> Iterator[dict[str, float]]:
    """Seconds in convolutions and in fused kernels, and their calls. The kernels must be compiled
    already.
    """
    from numba.core.registry import CPUDispatcher

    from quickstudy.kernels import compiled, first_compiled, narrow, winograd

    taken: dict[str, float] = collections.defaultdict(float)
    before: list[tuple[Any, str, Any]] = [
        (F, "conv2d", F.conv2d),
        (torch.ops.aten, "convolution_backward", torch.ops.aten.convolution_backward),
        *(
            (module, name, value)
            for module in (compiled, first_compiled, narrow, winograd)
            for name, value in vars(module).items()
            if isinstance(value, CPUDispatcher)
        ),
    ]

    def timed(function: Callable[..., Any], kind: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            began = time.thread_time()
            result = function(*arguments, **options)
            taken[kind] += time.thread_time() - began
            taken["calls"] += 1
            return result

        return call

    for module, name, function in before:
        fused = isinstance(function, CPUDispatcher) and module is not winograd
        kind = "blocks" if fused else "convolutions"
        setattr(module, name, timed(function, kind))
    try:
        yield taken
    finally:
        for module, name, function in before:
            setattr(module, name, function)


@contextlib.contextmanager
def by_torch() -> Iterator[None]:
    """Inside, all convolutions after the first block of grey images are torch's, whose arithmetic
    can be counted.
    """
    from quickstudy.kernels import narrow, winograd

    before = winograd.fits, narrow.fits
    winograd.fits = narrow.fits = lambda x, weight: False
    try:
        yield
    finally:
        winograd.fits, narrow.fits = before


def seconds(step: Step) -> float:
    """Processor time of this thread."""
    began = time.thread_time()
    step()
    return time.thread_time() - began


def parts(name: str, rounds: int) -> dict[str, object]:
    """Milliseconds of one task."""
    workload, device = WORKLOADS[name].changed(n_tasks=1), torch.device("cpu")
    large, flop_of_large = convolution(device)
    found: dict[str, list[float]] = collections.defaultdict(list)
    with Job.of(workload, device) as job, Job.of(workload, device) as another:
        step, recorded = make(job), make(another, how="trace")
        with by_torch(), FlopCounterMode(display=False) as counter:
            step()
        one, other = step(), recorded()
        assert all(torch.equal(one[name], other[name]) for name in one), "not to the bit"
        gc.collect()
        for i in range(WARM_UP + rounds):
            now = {"step": seconds(step), "recorded": seconds(recorded), "large": seconds(large)}
            with timers() as taken:
                now["timed"] = seconds(step)
            now |= taken
            if i >= WARM_UP:
                for part, value in now.items():
                    found[part].append(value)
    middle = {part: statistics.median(values) for part, values in found.items()}
    arithmetic = counter.get_total_flops() * middle["large"] / flop_of_large
    ratios = [a / b for a, b in zip(found["step"], found["recorded"], strict=True)]
    return {
        **{part: round(1e3 * middle[part], 2) for part in ("step", "recorded", "timed")},
        **{part: round(1e3 * middle[part], 2) for part in ("convolutions", "blocks")},
        "arithmetic": round(1e3 * arithmetic, 2),
        "calls": int(middle["calls"]),
        "step over recorded": round(statistics.median(ratios), 3),
        "gflops": round(flop_of_large / middle["large"] / 1e9, 1),
    }


def rows() -> list[str]:
    """The table, from the file."""
    measured = json.loads(FILE.read_text(encoding="utf-8"))

    def kernels(name: str) -> float:
        return measured[name]["convolutions"] + measured[name]["blocks"]

    def share(name: str, ms: float, of: str) -> str:
        return f"{ms:.1f} ({100 * ms / measured[name][of]:.0f} %)"

    columns = (
        Column("workload", lambda name: name),
        Column("step, ms", lambda name: f"{measured[name]['step']:.1f}"),
        Column("convolutions", lambda name: share(name, measured[name]["convolutions"], "timed")),
        Column("direct arithmetic", lambda name: f"{measured[name]['arithmetic']:.1f}"),
        Column("fused blocks", lambda name: share(name, measured[name]["blocks"], "timed")),
        Column(
            "between", lambda name: share(name, measured[name]["timed"] - kernels(name), "timed")
        ),
        Column("calls of these", lambda name: f"{measured[name]['calls']}"),
        Column("recorded, ms", lambda name: f"{measured[name]['recorded']:.1f}"),
        Column("step ÷ recorded", lambda name: f"{measured[name]['step over recorded']:.2f}"),
        Column(
            "between, recorded",
            lambda name: share(name, measured[name]["recorded"] - kernels(name), "recorded"),
        ),
    )
    names = [name for name in measured if name.startswith("W")]
    rates = [measured[name]["gflops"] for name in names]
    note = (
        f"Processor time of one thread, milliseconds of one task, medians of {measured['rounds']} "
        f"rounds; a large convolution did {min(rates):.0f} to {max(rates):.0f} GFLOP/s; load "
        f"{measured['load at the start']} on {measured['cores']} cores at the start. "
        f"Commit {measured['commit']}."
    )
    return Table(columns, names, (note,)).lines()


def main() -> None:
    """Measure, and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workload", default="W1,W1s1,W2,W3,W4,W5")
    parser.add_argument("--rounds", type=int, default=15)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    result: dict[str, object] = {
        "commit": commit(),
        "versions": versions(),
        "cores": os.cpu_count(),
        "load at the start": round(os.getloadavg()[0], 1),
        "rounds": asked.rounds,
    }
    for name in asked.workload.split(","):
        result[name] = parts(name, asked.rounds)
        print(name, json.dumps(result[name]), flush=True)
        FILE.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
