"""The outer optimiser that a plan names, and its schedule."""

import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler, OneCycleLR, StepLR

from quickstudy.core.errors import ConfigError, did_you_mean
from quickstudy.training.muon import MuonAndAdamW
from quickstudy.training.plan import Optimiser


def build_optimiser(
    settings: Optimiser, module: nn.Module, *, steps: int
) -> tuple[torch.optim.Optimizer, LRScheduler]:
    """The optimiser over the module's trainable parameters, and its schedule over ``steps`` steps.

    Raises:
        ConfigError: for an optimiser or a schedule that is not known, and for Muon where torch has
            none.
    """
    parameters = [p for p in module.parameters() if p.requires_grad]
    # Not torch's fused form: on a CPU it takes gradients to lie in memory as the weights do, and
    # goes wrong without a word where they do not (a sum over processes beside channels-last).
    if settings.name == "adamw":
        optimiser: torch.optim.Optimizer = torch.optim.AdamW(
            parameters, lr=settings.lr, weight_decay=settings.weight_decay
        )
    elif settings.name == "sgd":
        optimiser = torch.optim.SGD(
            parameters,
            lr=settings.lr,
            momentum=settings.momentum,
            nesterov=settings.momentum > 0,
            weight_decay=settings.weight_decay,
        )
    elif settings.name == "muon":
        optimiser = MuonAndAdamW(parameters, lr=settings.lr, weight_decay=settings.weight_decay)
    else:
        raise ConfigError(
            f"No optimiser is called '{settings.name}'. "
            f"{did_you_mean(settings.name, ('adamw', 'sgd', 'muon'))}"
        )
    return optimiser, _schedule(settings, optimiser, steps)


def _schedule(settings: Optimiser, optimiser: torch.optim.Optimizer, steps: int) -> LRScheduler:
    match settings.schedule:
        case "constant":
            return LambdaLR(optimiser, lambda _: 1.0)
        case "one_cycle":
            return OneCycleLR(
                optimiser,
                max_lr=settings.lr,
                total_steps=steps + 1,
                pct_start=0.3,
                cycle_momentum=settings.name != "muon",
            )
        case "cosine":
            return CosineAnnealingLR(optimiser, T_max=steps, eta_min=settings.lr / 100)
        case "linear":
            return LambdaLR(optimiser, lambda done: 1 - done / steps)
        case "step":
            return StepLR(optimiser, settings.step_every, gamma=settings.step_factor)
        case other:
            raise ConfigError(
                f"No schedule is called '{other}'. "
                f"{did_you_mean(other, ('constant', 'one_cycle', 'cosine', 'linear', 'step'))}"
            )
