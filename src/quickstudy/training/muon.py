"""Muon for the matrices of a network, AdamW for everything else, as one optimiser."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from quickstudy.core.errors import ConfigError

SMALLEST_SIDE = 8
"""A matrix with a shorter side is a list of vectors, such as what comes from one number."""


class MuonAndAdamW(torch.optim.Optimizer):
    """Muon makes the momentum of a matrix orthogonal before its step, so that all its directions
    are learned at one speed. It is for matrices between hidden layers; biases, norms, filters of
    convolutions, and matrices with a side shorter than `SMALLEST_SIDE` are AdamW's.

    Args:
        parameters: all of them.
        lr: of both: a step of Muon has the size that AdamW's would have.
        lr_rest: of AdamW, if another one.
        weight_decay: of both, decoupled.
        betas: of AdamW.

    Raises:
        ConfigError: where torch has no Muon yet (2.9 has it).

    Source: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/; the size of a step is
        that of arXiv:2502.16982.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        lr: float,
        lr_rest: float | None = None,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
    ) -> None:
        if "Muon" not in vars(torch.optim):
            raise ConfigError(
                f"torch {torch.__version__} has no Muon. Install torch 2.9 or later, or take the "
                "optimiser adamw."
            )
        everything = list(parameters)
        matrices = [p for p in everything if p.ndim == 2 and min(p.shape) >= SMALLEST_SIDE]
        chosen = {id(p) for p in matrices}
        rest = [p for p in everything if id(p) not in chosen]
        rate = lr if lr_rest is None else lr_rest
        self._parts: dict[str, torch.optim.Optimizer] = {}
        if matrices:
            self._parts["muon"] = torch.optim.Muon(
                matrices, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"
            )
        if rest:
            self._parts["adamw"] = torch.optim.AdamW(
                rest, lr=rate, weight_decay=weight_decay, betas=betas
            )
        super().__init__(self._groups(), {})

    def step(self, closure: Any = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step of both."""
        loss = None if closure is None else closure()
        for part in self._parts.values():
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """The states of both, by name."""
        return {name: part.state_dict() for name, part in self._parts.items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the states of both.

        Raises:
            ValueError: when they are of another optimiser, or of other parameters.
        """
        if state_dict.keys() != self._parts.keys():
            raise ValueError(f"states of {sorted(self._parts)} expected, got {sorted(state_dict)}")
        for name, part in self._parts.items():
            part.load_state_dict(state_dict[name])
        self.param_groups = self._groups()

    def _groups(self) -> list[dict[str, Any]]:
        """The groups of both, the same objects, so that a schedule reaches them."""
        return [group for part in self._parts.values() for group in part.param_groups]
