"""easy-few-shot-learning: its prototypical networks."""

import importlib.util
import sys
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from quickstudy.bench.entry import Entry, Job, Step
from quickstudy.bench.textbook import loss
from quickstudy.bench.workloads import Task


def make(job: Job) -> Step:
    """One episode after another through a PrototypicalNetworks."""
    workload, tasks = job.workload, list(job.tasks.each())
    classifier = _prototypical_networks()(job.model.encoder)

    def answer(task: Task) -> Tensor:
        classifier.process_support_set(task.support_x, task.support_y)
        return classifier(task.query_x)

    def train() -> dict[str, Tensor]:
        job.model.zero_grad()
        for task in tasks:
            (loss(workload, answer(task), task.query_y) / len(tasks)).backward()
        return {name: p.grad for name, p in job.model.named_parameters() if p.grad is not None}

    def answers() -> dict[str, Tensor]:
        with torch.no_grad():
            return {"answers": torch.stack([answer(task) for task in tasks])}

    return train if workload.trains else answers


def _prototypical_networks() -> Any:
    """The class; the module that defines it needs nothing of torchvision, but the package imports
    it for its ResNets.
    """
    stand_ins: dict[str, ModuleType] = {}
    if importlib.util.find_spec("torchvision") is None:
        stand_ins = {
            name: ModuleType(name)
            for name in ("torchvision", "torchvision.models", "torchvision.models.resnet")
        }
        # Only named in annotations and as default arguments of networks that are not built here.
        for name in ("BasicBlock", "Bottleneck", "conv1x1", "conv3x3"):
            setattr(
                stand_ins["torchvision.models.resnet"], name, type(name, (torch.nn.Module,), {})
            )
    sys.modules.update(stand_ins)
    try:
        from easyfsl.methods import PrototypicalNetworks  # pyright: ignore[reportMissingImports]
    finally:
        for name in stand_ins:
            del sys.modules[name]
    return PrototypicalNetworks


EASYFSL = Entry(
    "easyfsl",
    "easyfsl, PrototypicalNetworks",
    make,
    lambda workload, device: not workload.has_inner_loop,
    package="easyfsl",
    extra="peers",
    squared=False,
)
