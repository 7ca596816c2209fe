"""Parameters and statistics of which every inner step has its own."""

import torch
from torch import Tensor, nn

from quickstudy.core.encoder import AbstractEncoder
from quickstudy.core.errors import ConfigError
from quickstudy.inner.select import Selection


class PerStep(nn.Module):
    """One copy for each inner step of some of an encoder's parameters and floating-point buffers,
    learned by the outer loop alone.

    Step j runs with copy j; the answers after it too. Steps beyond those trained with take the last
    copy. The encoder's own copies are
    frozen: nothing reads them any more. What an encoder does not have has no copies: statistics,
        under most normalisation policies.

    Args:
        encoder: whose they are; each copy starts as its own.
        of: which, by name (``encoder.…``).
        steps: how many copies.
        fast: names that the inner loop adapts, which cannot have copies too.

    Raises:
        ConfigError: when a chosen parameter is adapted.
    """

    def __init__(
        self, encoder: AbstractEncoder, of: Selection, *, steps: int, fast: tuple[str, ...]
    ) -> None:
        super().__init__()
        named = {f"encoder.{n}": p for n, p in encoder.named_parameters()}
        held = {f"encoder.{n}": b for n, b in encoder.named_buffers() if b.is_floating_point()}
        chosen = of.among([*named, *held])
        if both := sorted(set(chosen) & set(fast)):
            raise ConfigError(
                f"{', '.join(both)} cannot be adapted in the inner loop and have a copy for each "
                "of its steps. Choose one."
            )
        self.names = {n: n.replace(".", "-") for n in chosen}
        self.last = max(steps, 1) - 1
        for name, own in self.names.items():
            copies = (
                (named[name] if name in named else held[name])
                .detach()
                .expand(self.last + 1, *(named | held)[name].shape)
                .clone()
            )
            if name in named:
                self.register_parameter(own, nn.Parameter(copies))
                named[name].requires_grad = False
            else:
                self.register_buffer(own, copies)

    def at(self, step: int) -> dict[str, Tensor]:
        """The copies of one step, under the names they have in the learner."""
        j = min(max(step, 0), self.last)
        return {name: self._copies(own)[j] for name, own in self.names.items()}

    def _copies(self, own: str) -> Tensor:
        copies = self._parameters.get(own)
        return copies if copies is not None else torch.as_tensor(self._buffers[own])
