"""Workers as threads and as processes: seconds of a training step, and what a process costs.

python benchmarks/workers.py                 writes benchmarks/workers.json
python benchmarks/workers.py --starts 200    starts and ends so many besides, every other by a kill

The steps are those of `quickstudy bench speed`, without the optimiser: in each round one worker,
two threads and two processes do one step each, in turn, in the same program. The first two rounds
are not counted. Ratios are medians over the rounds. Anything else that runs on the machine takes
cores from all three, and most from those that use two.
"""

import argparse
import functools
import json
import os
import resource
import signal
import statistics
import time
from pathlib import Path

import torch
from rendering import Column, Table
from torch import nn
from torch.utils import _pytree as pytree

from quickstudy.bench import WORKLOADS
from quickstudy.bench.ours import PieceGradient, learner_of
from quickstudy.core.batching import threads_per_operation
from quickstudy.core.malloc import keep_freed_memory
from quickstudy.core.objective import MetaStep
from quickstudy.core.worker_pool import WorkerPool
from quickstudy.core.workers import Workers
from quickstudy.evaluation import commit, versions
from quickstudy.objectives import QueryLoss

FILE = Path(__file__).parent / "workers.json"
KINDS = {"one": (1, "threads"), "threads": (2, "threads"), "processes": (2, "processes")}
WARM_UP = 2


def step_of(name: str) -> MetaStep:
    """The workload's learner, with the same weights at every call."""
    torch.manual_seed(0)
    return MetaStep(learner_of(WORKLOADS[name]), QueryLoss()).train()


def steps(name: str, rounds: int) -> dict[str, object]:
    """Seconds of a step by each kind of workers, and their ratios."""
    workload = WORKLOADS[name]
    episode = workload.episode(workload.tasks())
    pieces = [
        pytree.tree_map(lambda leaf, t=t: leaf[t : t + 1], episode) for t in range(workload.n_tasks)
    ]
    seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
    contexts = {kind: Workers(step_of(name), n, kind=of) for kind, (n, of) in KINDS.items()}
    # Of the library: what stands in this file cannot be imported by a worker process.
    gradient = PieceGradient(workload.n_tasks, "auto", None)
    sums: dict[str, list[torch.Tensor]] = {}
    try:
        for i in range(WARM_UP + rounds):
            for kind, workers in contexts.items():
                began = time.perf_counter()
                with threads_per_operation(1):
                    parts = [gradients for _, gradients in workers.map(gradient, pieces)]
                sums[kind] = [functools.reduce(torch.add, of) for of in zip(*parts, strict=True)]
                if i >= WARM_UP:
                    seconds[kind].append(time.perf_counter() - began)
    finally:
        for workers in contexts.values():
            workers.__exit__()
    for kind in KINDS:
        assert all(torch.equal(a, b) for a, b in zip(sums["one"], sums[kind], strict=True)), kind

    def ratio(slow: str, fast: str) -> float:
        pairs = zip(seconds[slow], seconds[fast], strict=True)
        return round(statistics.median(a / b for a, b in pairs), 3)

    return {
        "seconds": {k: round(statistics.median(v), 4) for k, v in seconds.items()},
        "shortest": {k: round(min(v), 4) for k, v in seconds.items()},
        "threads over processes": ratio("threads", "processes"),
        "one over processes": ratio("one", "processes"),
        "one over threads": ratio("one", "threads"),
    }


def costs(rounds: int) -> dict[str, float]:
    """Of a worker process for W1: until it is ready, processor time of that, and memory."""
    ready, processor, private = [], [], []
    for i in range(rounds + 1):
        step = step_of("W1")
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        began = time.perf_counter()
        pool = WorkerPool(step, 1)
        pool.is_ready(wait=True)
        taken = time.perf_counter() - began
        private.append(private_megabytes(pool.pids[0]))
        pool.close()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if i:
            ready.append(taken)
            processor.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return {
        "seconds until ready": round(statistics.median(ready), 2),
        "processor seconds": round(statistics.median(processor), 2),
        "private megabytes": round(statistics.median(private), 1),
    }


def private_megabytes(process: int) -> float:
    """Memory that no other process shares (Linux)."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="utf-8").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1000


def left_behind(n: int) -> dict[str, int]:
    """Start n processes, end every other one by a kill, and count what is there afterwards."""
    numbers = []
    descriptors = len(os.listdir("/proc/self/fd"))
    for i in range(n):
        pool = WorkerPool(nn.Linear(2, 2), 1)
        numbers += pool.pids
        if i % 2:
            os.kill(pool.pids[0], signal.SIGKILL)
        pool.close()
    return {
        "starts": n,
        "processes left": sum(Path(f"/proc/{number}").exists() for number in numbers),
        "descriptors left": len(os.listdir("/proc/self/fd")) - descriptors,
    }


def rows() -> list[str]:
    """The table, from the file."""
    measured = json.loads(FILE.read_text(encoding="utf-8"))
    columns = (
        Column("workload", lambda name: name),
        *(
            Column(
                f"{kind}, seconds a step",
                lambda name, kind=kind: f"{measured[name]['seconds'][kind]:.2f}",
            )
            for kind in ("one", "threads", "processes")
        ),
        *(
            Column(f"{a} ÷ {b}", lambda name, a=a, b=b: f"{measured[name][f'{a} over {b}']:.2f}")
            for a, b in (("one", "threads"), ("one", "processes"), ("threads", "processes"))
        ),
    )
    cost, many = measured["a process"], measured.get("many starts")
    left = (
        f" Of {many['starts']} started and ended, half by a kill, {many['processes left']} "
        f"processes and {many['descriptors left']} descriptors were left."
        if many
        else ""
    )
    note = (
        f"Medians of {measured['rounds']} rounds in turn on {measured['cores']} cores, load "
        f"{measured['load at the start']} at the start; ratios are medians over the rounds. A "
        f"process is ready after {cost['seconds until ready']} s and has "
        f"{cost['private megabytes']:.0f} MB of its own.{left} Commit {measured['commit']}."
    )
    return Table(columns, [n for n in measured if n.startswith("W")], (note,)).lines()


def main() -> None:
    """Measure, and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workload", default="W1,W2,W3,W4,W5")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--starts", type=int, default=0)
    asked = parser.parse_args()
    keep_freed_memory()
    result: dict[str, object] = {
        "commit": commit(),
        "versions": versions(),
        "cores": os.cpu_count(),
        "load at the start": round(os.getloadavg()[0], 1),
        "rounds": asked.rounds,
        "a process": costs(3),
    }
    print(json.dumps(result, indent=2), flush=True)
    if asked.starts:
        result["many starts"] = left_behind(asked.starts)
    for name in asked.workload.split(","):
        result[name] = steps(name, asked.rounds)
        print(name, json.dumps(result[name]), flush=True)
        FILE.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
