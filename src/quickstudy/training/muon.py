"""Muon for the matrices and filters of a network, AdamW for everything else, as one optimiser."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from quickstudy.core.errors import ConfigError

SMALLEST_SIDE = 8
"""A matrix, or a convolution, with fewer inputs or outputs is a list of vectors."""


class MuonAndAdamW(torch.optim.Optimizer):
    """Muon makes the momentum of a matrix orthogonal before its step, so that all its directions
    are learned at one speed. The filters of a convolution are a matrix with a row for each output.
    Biases, norms, and what has fewer inputs or outputs than `SMALLEST_SIDE`, are AdamW's.

    Args:
        parameters: all of them.
        lr: of both: a step of Muon has the size that AdamW's would have.
        lr_rest: of AdamW, if another one.
        weight_decay: of both, decoupled.
        betas: of AdamW.

    Raises:
        ConfigError: where torch has no Muon yet (2.9 has it), and for filters that lie in memory
            with neither the channels first nor last.

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
        matrices = [p for p in everything if p.ndim >= 2 and min(p.shape[:2]) >= SMALLEST_SIDE]
        chosen = {id(p) for p in matrices}
        rest = [p for p in everything if id(p) not in chosen]
        rate = lr if lr_rest is None else lr_rest
        self._parts: dict[str, torch.optim.Optimizer] = {}
        self._filters = [_Filters(p) for p in matrices if p.ndim > 2]
        matrices = [p for p in matrices if p.ndim == 2] + [f.matrix for f in self._filters]
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
        for filters in self._filters:
            filters.take_gradient()
        for part in self._parts.values():
            part.step()
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, of the filters themselves too."""
        super().zero_grad(set_to_none)
        for filters in self._filters:
            filters.p.grad = None

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


class _Filters:
    """The filters ``[O I *K]`` of a convolution as a matrix with O rows, on the same memory.

    Raises:
        ConfigError: for filters that lie in memory with neither the channels first nor last.
    """

    def __init__(self, p: nn.Parameter) -> None:
        self.p = p
        self.channels_last = not p.is_contiguous()
        self.matrix = nn.Parameter(self._flat(p.detach()))
        if self.matrix.data_ptr() != p.data_ptr():
            raise ConfigError(
                "Muon takes filters that lie in memory with the channels first or last, got "
                f"{tuple(p.shape)} with strides {p.stride()}. Make them contiguous."
            )

    def take_gradient(self) -> None:
        """Of the filters, in the order of the matrix."""
        self.matrix.grad = None if self.p.grad is None else self._flat(self.p.grad)

    def _flat(self, filters: Tensor) -> Tensor:
        return (filters.movedim(1, -1) if self.channels_last else filters).flatten(1)
