"""How fast a workload could be: its arithmetic, counted, at the rate at which this machine does
convolutions.
"""

import os
import sys

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from quickstudy.bench.entry import Job, Step
from quickstudy.bench.peers.plain import PLAIN
from quickstudy.bench.timing import interleaved
from quickstudy.bench.workloads import Workload

_IMAGES, _CHANNELS, _SIZE = 25, 64, 28
_REPEATS = 15


def flops_per_task(workload: Workload) -> int:
    """Floating-point operations of the convolutions and matrix products of one task, as a plain
    loop does them.
    """
    with Job.of(workload.changed(n_tasks=1), torch.device("cpu")) as job:
        step = PLAIN.step(job)
        with FlopCounterMode(display=False) as counter:
            step()
    return counter.get_total_flops()


def machine_rate(device: torch.device) -> float:
    """FLOP a second of a 3×3 convolution, channels last: of one thread times the cores it may use,
    or of the GPU.
    """
    step, flops = convolution(device)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        taken = interleaved(
            {"convolution": step},
            rounds=_REPEATS,
            device=device,
        )
    finally:
        torch.set_num_threads(threads)
    return flops / min(taken["convolution"]) * (cores() if device.type == "cpu" else 1)


def convolution(device: torch.device) -> tuple[Step, int]:
    """A 3×3 convolution of 64 channels, channels last, as a step, and its FLOP."""
    images = 256 * _IMAGES if device.type == "cuda" else _IMAGES
    x = torch.randn(images, _CHANNELS, _SIZE, _SIZE, device=device).to(
        memory_format=torch.channels_last
    )
    weight = torch.randn(_CHANNELS, _CHANNELS, 3, 3, device=device).to(
        memory_format=torch.channels_last
    )
    flops = 2 * images * _SIZE**2 * 9 * _CHANNELS**2
    return lambda: {"y": F.conv2d(x, weight, padding=1)}, flops


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
