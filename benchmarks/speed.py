"""What the design's speed choices are worth on this machine: ratios of variants timed side by side, medians of interleaved rounds.

python benchmarks/speed.py [--rounds N]   prints a table and writes benchmarks/speed.json
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import torch
import torch.nn.functional as F

from quickstudy import Conv4, MetaStep, ProtoNet, QueryLoss, Setting, maml
from quickstudy.data import ClassDataset, ClassIndex, Episodes
from quickstudy.encoders import conv4
from quickstudy.evaluation import commit, versions

Work = Callable[[], object]


def main() -> None:
    """Run every comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    found = {
        "one 60-way 1-shot ProtoNet step: as shipped ÷ ReLU before pooling ÷ also channels first": timed(protonet_steps(), rounds),
        "one 60-way 1-shot ProtoNet step: learning ÷ drawing its episode": timed(sampling(), rounds),
        "MAML, 8 tasks 5-way 1-shot, 1 step, strided Conv4: tasks stacked ÷ one by one": timed(maml_steps(), rounds),
    }
    for title, seconds in found.items():
        first = next(iter(seconds.values()))
        print(title)
        for name, s in seconds.items():
            print(f"  {name:28s} {1000 * s:9.2f} ms   ×{s / first:.2f}")
    about = {
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "processor": platform.machine(),
        "versions": versions(),
        "commit": commit(),
    }
    file = Path(__file__).with_name("speed.json")
    file.write_text(
        json.dumps({"about": about, "rounds": rounds, "median_seconds": found}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )


def timed(variants: dict[str, Work], rounds: int) -> dict[str, float]:
    """The median seconds of each variant; every round runs all of them, so that a noisy machine slows all alike."""
    taken: dict[str, list[float]] = {name: [] for name in variants}
    for round_ in range(rounds + 1):
        for name, work in variants.items():
            start = time.perf_counter()
            work()
            if round_:
                taken[name].append(time.perf_counter() - start)
    return {name: round(statistics.median(t), 6) for name, t in taken.items()}


def episodes(setting: Setting) -> Episodes:
    """Tasks of noise in Omniglot's shape: 1,000 classes of 20."""
    x = torch.randint(256, (20_000, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return Episodes(ClassDataset("noise", "all", x, ClassIndex([i // 20 for i in range(20_000)], [str(c) for c in range(1000)])), setting)


def protonet_steps() -> dict[str, Work]:
    """The layer order and memory format of Conv4."""
    batch = episodes(Setting(60, 1, 5)).batch([0])

    def step_of(encoder: Conv4) -> Work:
        step = MetaStep(ProtoNet(encoder), QueryLoss())
        return lambda: step(batch).backward()

    def relu_first(self: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        return F.max_pool2d(F.relu(x.flatten(0, 1)), 2).unflatten(0, x.shape[:2])

    def channels_first(self: conv4._Block, x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x.flatten(0, 1), self.conv.weight, padding=1).unflatten(0, x.shape[:2])

    shipped, plain, oldest = step_of(Conv4()), step_of(Conv4()), step_of(Conv4().to(memory_format=torch.contiguous_format))

    def relu_before_pooling() -> None:
        with mock.patch.object(conv4._Block, "_rectify", relu_first):
            plain()

    def channels_first_too() -> None:
        with mock.patch.object(conv4._Block, "_rectify", relu_first), mock.patch.object(conv4._Block, "_convolve", channels_first):
            oldest()

    return {"as shipped": shipped, "ReLU before pooling": relu_before_pooling, "channels first too": channels_first_too}


def sampling() -> dict[str, Work]:
    """How much of a step the drawing of tasks takes."""
    stream = episodes(Setting(60, 1, 5))
    batch, step = stream.batch([0]), MetaStep(ProtoNet(Conv4()), QueryLoss())
    return {"learning": lambda: step(batch).backward(), "drawing": lambda: stream.batch([1])}


def maml_steps() -> dict[str, Work]:
    """One graph over stacked weights against a loop over tasks."""
    batch = episodes(Setting(5, 1, 1)).batch(range(8))

    def step_of(stacks: bool) -> Work:
        encoder = Conv4(norm="batch", norm_scale=False, downsample="stride")
        encoder.stacks = stacks
        step = MetaStep(maml(encoder, n_out=5, inner_lr=0.1, inner_steps=1), QueryLoss())
        return lambda: step(batch).backward()

    return {"stacked": step_of(True), "one by one": step_of(False)}


if __name__ == "__main__":
    main()
