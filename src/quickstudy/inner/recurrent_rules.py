"""Inner steps that a recurrent network takes, the same for every single number."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core.errors import ConfigError
from quickstudy.inner.blocks import by_blocks
from quickstudy.inner.rules import AbstractRule, Memory, Params, StepInputs


def preprocessed(x: Tensor, p: float = 10.0) -> Float[Tensor, "... 2"]:
    """Size and sign of numbers of any magnitude: (log|x|/p, sign x) where |x| ≥ e⁻ᵖ, else (−1, eᵖ
    x).

    >>> preprocessed(torch.tensor([1.0, -1e-6])).round(decimals=4)
    tensor([[ 0.0000,  1.0000],
            [-1.0000, -0.0220]])

    Paper: Andrychowicz et al. 2016, arXiv:1606.04474, appendix A.
    """
    large = x.abs() >= math.exp(-p)
    size = torch.where(large, x.abs().clamp(min=math.exp(-p)).log() / p, -torch.ones_like(x))
    return torch.stack((size, torch.where(large, x.sign(), x * math.exp(p))), -1)


class GatedUpdate(AbstractRule):
    """The meta-learner LSTM: the parameters are the state of a memory cell, whose gates say what is
    kept and how far to go.

    θ_t = σ(f_t) ∘ θ_{t−1} − σ(i_t) ∘ g_t,  f_t = W_F [h_t, θ_{t−1}, f_{t−1}] + b_F,  i_t = W_I
    [h_t, θ_{t−1}, i_{t−1}] + b_I, and h_t is the output of an LSTM that reads the gradient g_t and
    the loss of the task, both preprocessed. All numbers share the weights; each has its own memory.
    Gradients and losses are constants.

    Args:
        hidden: units of the LSTM.
    """

    def __init__(self, *, hidden: int = 20) -> None:
        super().__init__()
        if hidden < 1:
            raise ConfigError(f"hidden must be at least 1, got {hidden}.")
        self.hidden = hidden
        self.cell = nn.LSTMCell(4, hidden)
        self.forget, self.input = nn.Linear(hidden + 2, 1), nn.Linear(hidden + 2, 1)
        for gate, low, high in (
            (self.forget, 4.0, 6.0),
            (self.input, -5.0, -4.0),
        ):  # at first: keep nearly all, go slowly
            nn.init.uniform_(gate.weight, -0.01, 0.01)
            nn.init.uniform_(gate.bias, low, high)

    def begin(self, params: Params) -> Memory:
        first = next(iter(params.values()))
        n = sum(p.numel() for p in params.values())
        return *(first.new_zeros(self.hidden, n) for _ in range(2)), *(
            first.new_zeros(1, n) for _ in range(2)
        )

    def forward(self, move: StepInputs, memory: Memory) -> tuple[dict[str, Tensor], Memory]:
        h, c, f, i = memory
        params = list(move.params.values())
        gradients = [g.detach() for g in move.gradients.values()]
        # [1 P], as all that follows: numbers lie side by side, so that operations are vectorised
        theta, g = (
            torch.cat([v.reshape(1, -1) for v in values], 1) for values in (params, gradients)
        )
        losses = move.losses.detach().reshape(-1, 1)
        loss = torch.cat([losses.expand(-1, p.numel() // move.n_tasks).reshape(-1) for p in params])
        gates = (self.forget.weight, self.forget.bias, self.input.weight, self.input.bias)
        after, h, c, f, i = by_blocks(
            _gated, (theta, g, loss[None], h, c, f, i), (*_weights(self.cell), *gates)
        )
        parts = after[0].split([p.numel() for p in params])
        return {
            n: part.view(p.shape) for (n, p), part in zip(move.params.items(), parts, strict=True)
        }, (h, c, f, i)


class CoordinateLSTM(AbstractRule):
    """The learned optimiser: θ_{t+1} = θ_t + scale · LSTM(∇_t), two layers whose weights all
    numbers share, with a memory for each.

    The gradient is a constant, and is preprocessed into size and sign.

    Args:
        hidden: units of each of the two layers.
        scale: of the updates.
    """

    def __init__(self, *, hidden: int = 20, scale: float = 0.1) -> None:
        super().__init__()
        if hidden < 1 or not scale > 0:
            raise ConfigError(
                f"hidden must be at least 1 and scale above 0, got {hidden} and {scale}."
            )
        self.hidden, self.scale = hidden, scale
        self.first, self.second = nn.LSTMCell(2, hidden), nn.LSTMCell(hidden, hidden)
        self.out = nn.Linear(hidden, 1)

    def begin(self, params: Params) -> Memory:
        first = next(iter(params.values()))
        n = sum(p.numel() for p in params.values())
        return tuple(first.new_zeros(self.hidden, n) for _ in range(4))

    def forward(self, move: StepInputs, memory: Memory) -> tuple[dict[str, Tensor], Memory]:
        h1, c1, h2, c2 = memory
        g = torch.cat([g.detach().reshape(1, -1) for g in move.gradients.values()], 1)
        weights = (*_weights(self.first), *_weights(self.second), self.out.weight, self.out.bias)
        update, h1, c1, h2, c2 = by_blocks(_two_layers, (g, h1, c1, h2, c2), weights)
        parts = (self.scale * update[0]).split([p.numel() for p in move.params.values()])
        return {
            n: p + u.view(p.shape) for (n, p), u in zip(move.params.items(), parts, strict=True)
        }, (h1, c1, h2, c2)


def _weights(cell: nn.LSTMCell) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh


def _gated(columns: Sequence[Tensor], weights: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """One step of `GatedUpdate` on some of the numbers."""
    theta, g, loss, h, c, f, i = columns
    *cell, forget, forget_bias, take, take_bias = weights
    h, c = _lstm(torch.cat((_both(g), _both(loss))), h, c, cell)
    f = forget @ torch.cat((h, theta, f)) + forget_bias[:, None]
    i = take @ torch.cat((h, theta, i)) + take_bias[:, None]
    return f.sigmoid() * theta - i.sigmoid() * g, h, c, f, i


def _two_layers(columns: Sequence[Tensor], weights: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """One step of `CoordinateLSTM` on some of the numbers, before the scale."""
    g, h1, c1, h2, c2 = columns
    h1, c1 = _lstm(_both(g), h1, c1, weights[:4])
    h2, c2 = _lstm(h1, h2, c2, weights[4:8])
    weight, bias = weights[8:]
    return weight @ h2 + bias[:, None], h1, c1, h2, c2


def _both(x: Float[Tensor, "1 P"]) -> Float[Tensor, "2 P"]:
    return preprocessed(x[0]).T


def _lstm(
    x: Float[Tensor, "I P"],
    h: Float[Tensor, "H P"],
    c: Float[Tensor, "H P"],
    weights: Sequence[Tensor],
) -> tuple[Tensor, Tensor]:
    """What `torch.nn.LSTMCell` does, with the examples along the last axis."""
    of_input, of_state, input_bias, state_bias = weights
    gates = torch.addmm((input_bias + state_bias)[:, None], of_input, x)
    take, keep, new, show = torch.addmm(gates, of_state, h).chunk(4)
    c = keep.sigmoid() * c + take.sigmoid() * new.tanh()
    return show.sigmoid() * c.tanh(), c
