"""Who gets the cores where one task is learned alone: torch's operations, or our own kernels.

python benchmarks/kernel_threads.py          writes benchmarks/kernel_threads.json
python benchmarks/table.py                   writes its table into docs/experiments/speed.md

In each round every way answers the task and takes its gradient once, in turn, in the same program;
the first round is not counted. `quickstudy.core.batching.is_fused` decides by what this shows.
Anything else that runs on the machine takes cores from two of the ways.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from rendering import Column, Table

from quickstudy.algorithms import ProtoNet
from quickstudy.core.batching import is_fused, threads_per_operation
from quickstudy.core.encoder import AbstractEncoder
from quickstudy.core.malloc import keep_freed_memory
from quickstudy.encoders import Conv4, ResNet12
from quickstudy.evaluation import commit, versions
from quickstudy.testing import toy_episode

FILE = Path(__file__).parent / "kernel_threads.json"
CORES = os.cpu_count() or 1
# Threads of an operation of torch, and of a kernel.
WAYS = {"one": (1, 1), "torch": (CORES, CORES), "kernels": (1, CORES)}
NORMS = ("batch", "per_task", "running", "support", "group")


def encoders() -> dict[str, Callable[[], AbstractEncoder]]:
    """What is measured, by name."""
    found: dict[str, Callable[[], AbstractEncoder]] = {}
    for norm in NORMS:
        found[f"Conv4, {norm}, 28×28"] = lambda norm=norm: Conv4(norm=norm)
        found[f"Conv4, {norm}, 84×84×3"] = lambda norm=norm: Conv4(
            in_channels=3, size=84, norm=norm
        )
        found[f"Conv4 of 32, {norm}, 84×84×3"] = lambda norm=norm: Conv4(
            in_channels=3, size=84, width=32, norm=norm
        )
    found["ResNet-12, batch, 84×84×3"] = lambda: ResNet12(in_channels=3, size=84, norm="batch")
    return found


def measured(name: str, make: Callable[[], AbstractEncoder], rounds: int) -> dict[str, object]:
    """Milliseconds of an answer and of a gradient by each way."""
    torch.manual_seed(0)
    learner = ProtoNet(make())
    shape = (1, 28, 28) if "28×28" in name else (3, 84, 84)
    episode = toy_episode(n_tasks=1, n_way=5, n_shot=1, n_query=5, shape=shape)

    def scores() -> torch.Tensor:
        seen = episode.query.x if learner.traits.transductive else None
        state = learner.adapt(episode.support, episode.target, seen)
        return learner.predict(state, episode.query.x)

    def answer() -> None:
        with torch.no_grad():
            scores()

    def gradient() -> None:
        loss = F.cross_entropy(scores()[0], episode.query.y[0])
        torch.autograd.grad(loss, list(learner.parameters()))

    result: dict[str, object] = {}
    for what, work in (("answer", answer), ("gradient", gradient)):
        learner.train(what == "gradient")
        taken: dict[str, list[float]] = {way: [] for way in WAYS}
        for i in range(rounds + 1):
            for way, threads in WAYS.items():
                with threads_per_operation(*threads):
                    work()  # threads that another way left spinning have stopped
                    began = time.perf_counter()
                    work()
                    if i:
                        taken[way].append(1e3 * (time.perf_counter() - began))
        pairs = zip(taken["kernels"], taken["torch"], strict=True)
        result[what] = {
            "milliseconds": {way: round(statistics.median(v), 1) for way, v in taken.items()},
            "kernels over torch": round(statistics.median(a / b for a, b in pairs), 3),
            "fused": is_fused(learner),
        }
    return result


def rows() -> list[str]:
    """The table, from the file."""
    found = json.loads(FILE.read_text(encoding="utf-8"))
    records = [(name, what, of[what]) for name, of in found["encoders"].items() for what in of]
    columns = (
        Column("network", lambda r: r[0]),
        Column("work", lambda r: r[1]),
        *(
            Column(title, lambda r, way=way: f"{r[2]['milliseconds'][way]:.0f} ms")
            for way, title in (
                ("one", "one thread"),
                ("torch", "all for both"),
                ("kernels", "all for kernels"),
            )
        ),
        Column("ratio of the last two", lambda r: f"{r[2]['kernels over torch']:.2f}"),
        Column("chosen", lambda r: "kernels" if r[2]["fused"] else "both"),
    )
    note = (
        f"Medians of {found['rounds']} rounds in turn on {found['cores']} cores, load "
        f"{found['load at the start']} at the start. Commit {found['commit']}."
    )
    return Table(columns, records, (note,)).lines()


def main() -> None:
    """Measure, and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    asked = parser.parse_args()
    keep_freed_memory()
    result: dict[str, object] = {
        "commit": commit(),
        "versions": versions(),
        "cores": CORES,
        "load at the start": round(os.getloadavg()[0], 1),
        "rounds": asked.rounds,
    }
    found: dict[str, object] = {}
    for name, make in encoders().items():
        found[name] = measured(name, make, asked.rounds)
        print(name, json.dumps(found[name]), flush=True)
    FILE.write_text(
        json.dumps({**result, "encoders": found}, indent=2, ensure_ascii=False) + "\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
