"""Inner steps that a recurrent network takes, the same for every single number."""

import math
from collections.abc import Sequence
from typing import Any

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
        losses = preprocessed(move.losses.detach().reshape(-1, 1)).transpose(1, 2)  # [T 2 1]
        of_losses = [
            losses.expand(-1, -1, p.numel() // move.n_tasks).transpose(0, 1).flatten(1)
            for p in params
        ]
        seen = torch.cat((_both(g), torch.cat(of_losses, 1)))
        gates = (self.forget.weight, self.forget.bias, self.input.weight, self.input.bias)
        after, h, c, f, i = by_blocks(
            _gated, (theta, g, seen, h, c, f, i), (*_weights(self.cell), *gates)
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
        g = _both(torch.cat([g.detach().reshape(1, -1) for g in move.gradients.values()], 1))
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
    theta, g, seen, h, c, f, i = columns
    *cell, forget, forget_bias, take, take_bias = weights
    h, c = _lstm(seen, h, c, cell)
    f = _gate(h, theta, f, forget, forget_bias)
    i = _gate(h, theta, i, take, take_bias)
    return f.sigmoid() * theta - i.sigmoid() * g, h, c, f, i


def _gate(h: Tensor, theta: Tensor, before: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``weight @ [h; theta; before] + bias``, ``[1 P]``."""
    of_h, of_theta, of_before = weight.split((len(h), 1, 1), 1)
    return torch.addmm(bias[:, None], of_h, h) + of_theta * theta + of_before * before


def _two_layers(columns: Sequence[Tensor], weights: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """One step of `CoordinateLSTM` on some of the numbers, before the scale."""
    seen, h1, c1, h2, c2 = columns
    h1, c1 = _lstm(seen, h1, c1, weights[:4])
    h2, c2 = _lstm(h1, h2, c2, weights[4:8])
    weight, bias = weights[8:]
    return torch.addmm(bias[:, None], weight, h2), h1, c1, h2, c2


def _both(x: Float[Tensor, "1 P"]) -> Float[Tensor, "2 P"]:
    return preprocessed(x[0]).T


def _lstm(
    x: Float[Tensor, "I P"],
    h: Float[Tensor, "H P"],
    c: Float[Tensor, "H P"],
    weights: Sequence[Tensor],
) -> tuple[Tensor, Tensor]:
    """What `torch.nn.LSTMCell` does, with the examples along the last axis."""
    answer: Any = _Cell.apply(x, h, c, *weights)
    return answer


class _Cell(torch.autograd.Function):
    """The cell with its derivative by hand, in a fifth of the operations.

    [i; f; g; o] = W [x; h; 1] with the rows of g doubled, so that one sigmoid serves all gates, as
    tanh a = 2 σ(2 a) − 1; torch's sigmoid takes a sixth of the time of its tanh.

    c′ = σ(f) c + σ(i) tanh(g),  h′ = σ(o) tanh(c′)
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        h: Tensor,
        c: Tensor,
        of_input: Tensor,
        of_state: Tensor,
        input_bias: Tensor,
        state_bias: Tensor,
    ) -> tuple[Tensor, Tensor]:
        n = len(h)
        below = torch.cat((x, h, x.new_ones(1, x.shape[1])))  # [I+H+1 P]
        weight = torch.cat((of_input, of_state, (input_bias + state_bias)[:, None]), 1)
        weight[2 * n : 3 * n] *= 2
        gates = (weight @ below).sigmoid_()
        take, keep, new, show = gates.split(n)
        _from_sigmoid(new)
        after = torch.addcmul(keep * c, take, new)
        tanh = _from_sigmoid((2 * after).sigmoid_())
        ctx.save_for_backward(x, h, c, of_input, of_state, input_bias, state_bias)
        ctx.known = below, gates, tanh
        return show * tanh, after

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        inputs = ctx.saved_tensors
        needed = ctx.needs_input_grad
        if torch.is_grad_enabled():
            # The gradient will be differentiated again: that of the plain operations has a graph.
            wanted = [t for t, need in zip(inputs, needed, strict=True) if need]
            found = iter(
                torch.autograd.grad(
                    _plain_cell(*inputs), wanted, grads, create_graph=True, allow_unused=True
                )
            )
            return tuple(next(found) if need else None for need in needed)
        x, h, c, of_input, of_state, *_ = inputs
        below, gates, tanh = ctx.known
        of_h, of_c = grads
        n, (take, keep, new, show) = len(h), gates.split(len(h))
        # of what goes into the gates: of their values first, then through sigmoid and tanh
        slope = torch.empty_like(gates)
        of_take, of_keep, of_new, of_show = slope.split(n)
        torch.mul(of_h, show, out=of_show)
        of_c = of_c + torch.ops.aten.tanh_backward(of_show, tanh)
        torch.mul(of_h, tanh, out=of_show)
        torch.mul(of_c, new, out=of_take)
        torch.mul(of_c, c, out=of_keep)
        torch.mul(of_c, take, out=of_new)
        inside = torch.ops.aten
        for part, value in ((slope[: 2 * n], gates[: 2 * n]), (of_show, show)):
            inside.sigmoid_backward.grad_input(part, value, grad_input=part)
        inside.tanh_backward.grad_input(of_new, new, grad_input=of_new)
        of_weight: list[Tensor | None] = [None] * 4
        if any(needed[3:]):
            whole = slope @ below.T
            of_input_weight, of_state_weight, of_bias = whole.split((len(x), n, 1), 1)
            of_weight = [of_input_weight, of_state_weight, of_bias[:, 0], of_bias[:, 0]]
        return (
            of_input.T @ slope if needed[0] else None,
            of_state.T @ slope if needed[1] else None,
            of_c * keep if needed[2] else None,
            *of_weight,
        )


def _plain_cell(
    x: Tensor,
    h: Tensor,
    c: Tensor,
    of_input: Tensor,
    of_state: Tensor,
    input_bias: Tensor,
    state_bias: Tensor,
) -> tuple[Tensor, Tensor]:
    gates = torch.addmm((input_bias + state_bias)[:, None], of_input, x)
    take, keep, new, show = torch.addmm(gates, of_state, h).chunk(4)
    c = keep.sigmoid() * c + take.sigmoid() * new.tanh()
    return show.sigmoid() * c.tanh(), c


def _from_sigmoid(half: Tensor) -> Tensor:
    """In place, tanh a of σ(2a)."""
    return half.mul_(2).sub_(1)
