"""What the tests of workers have done in other processes, where it is imported by its name."""

import os
import signal
import time
from dataclasses import dataclass
from typing import Any

import torch

from quickstudy.core.compiled import CompiledGradient


class Counted:
    """Keeps how often it was called."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, *_):
        self.calls += 1
        return self.calls


@dataclass(frozen=True)
class Recorded:
    """As `gradient`, of steps that are recorded."""

    of: dict[str, CompiledGradient]

    def __call__(self, step: Any, piece: Any) -> Any:
        name, episode = piece
        loss, found = self.of[name](step[name], episode)
        return loss, *found


def gradient(step, piece):
    name, episode = piece
    module = step[name]
    loss = module(episode)
    parameters = [p for p in module.parameters() if p.requires_grad]
    return loss.detach(), *torch.autograd.grad(loss, parameters)


def answered(_, piece):
    return piece**2


def pid(*_):
    return os.getpid()


def threads(*_):
    return torch.get_num_threads()


def mode(*_):
    return torch.is_grad_enabled()


def clock_of(module, _):
    return module["clock"].now


def drawn(_, seed):
    torch.manual_seed(seed)
    return torch.rand(3)


def shaped(_, tensor):
    return tensor, tensor.stride()


def fail(_, piece):
    if piece == 1:
        raise ValueError(f"piece {piece}")


def unsendable(_, piece):
    return lambda x: piece * x


def kill_others(_, number):
    if number == os.getpid():
        os.kill(number, signal.SIGKILL)


def slow(_, seconds):
    time.sleep(seconds)
