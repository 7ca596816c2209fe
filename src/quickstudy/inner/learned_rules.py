"""What one inner step does with the gradients: the rules that the outer loop learns."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from quickstudy.core.errors import ConfigError
from quickstudy.inner.rules import AbstractRule, Memory, StepInputs, positive_rate

Shapes = Mapping[str, Sequence[int]]


class PerParameter(AbstractRule):
    """A rate for every single number, of either sign: θ ← θ − A ∘ g (Meta-SGD).

    Args:
        shapes: of the adapted parameters.
        lr: the rates begin between these two, uniformly; a pair.
    """

    def __init__(self, shapes: Shapes, *, lr: tuple[float, float] = (0.005, 0.1)) -> None:
        super().__init__()
        low, high = lr
        if not 0 < low <= high:
            raise ConfigError(f"lr is a pair of rates, 0 < lowest <= highest, got {lr}.")
        self.rates = nn.ParameterDict(
            {_own(n): nn.Parameter(torch.empty(*s).uniform_(low, high)) for n, s in shapes.items()}
        )

    def forward(self, move: StepInputs, memory: Memory) -> tuple[dict[str, Tensor], Memory]:
        return {n: p - self.rates[_own(n)] * move.gradients[n] for n, p in move.params.items()}, ()


class PerLayerPerStep(AbstractRule):
    """A rate for every parameter tensor at every step: θ ← θ − α_{l,j} g (MAML++'s LSLR). Further
    steps take the last rates.

    Args:
        shapes: of the adapted parameters.
        steps: how many steps have rates.
        lr: with which all of them begin.
    """

    def __init__(self, shapes: Shapes, *, steps: int, lr: float) -> None:
        super().__init__()
        self.last = max(steps, 1) - 1
        self.rates = nn.ParameterDict(
            {_own(n): nn.Parameter(torch.full((self.last + 1,), positive_rate(lr))) for n in shapes}
        )

    def forward(self, move: StepInputs, memory: Memory) -> tuple[dict[str, Tensor], Memory]:
        j = min(move.step, self.last)
        return {
            n: p - self.rates[_own(n)][j] * move.gradients[n] for n, p in move.params.items()
        }, ()


class GeneratedRates(AbstractRule):
    """Rates and weight decays that a network reads off the weights and gradients of the task, layer
    by layer (ALFA).

    θ_l ← (1 − b_l B_{l,j}) θ_l − a_l A_{l,j} g_l, with (a, b) = MLP([mean θ_l]_l, [mean g_l]_l): 2L
    → 2L → 2L, ReLU between, L tensors.

    Args:
        shapes: of the adapted parameters.
        steps: how many steps have an A and a B; further steps take the last.
        lr: with which every A begins.
        weight_decay: every B begins as lr · weight_decay.
        constant_gradients: the gradients that the network reads are constants, as in the authors'
            code; those that are descended keep their graph.
    """

    def __init__(
        self,
        shapes: Shapes,
        *,
        steps: int,
        lr: float,
        weight_decay: float = 5e-4,
        constant_gradients: bool = True,
    ) -> None:
        super().__init__()
        n, self.constant_gradients = len(shapes), constant_gradients
        self.exact = not constant_gradients
        self.last = max(steps, 1) - 1
        self.rates = nn.Parameter(torch.full((self.last + 1, n), positive_rate(lr)))
        self.decays = nn.Parameter(torch.full((self.last + 1, n), lr * weight_decay))
        last = nn.Linear(2 * n, 2 * n)
        self.generator = nn.Sequential(nn.Linear(2 * n, 2 * n), nn.ReLU(), last)
        # near 1 at the start, so that it begins as gradient descent with decay
        nn.init.ones_(last.bias)

    def forward(self, move: StepInputs, memory: Memory) -> tuple[dict[str, Tensor], Memory]:
        j, n, tasks = min(move.step, self.last), len(move.params), move.n_tasks
        gradients = list(move.gradients.values())
        if self.constant_gradients:
            gradients = [g.detach() for g in gradients]
        means = [v.reshape(tasks, -1).mean(1) for v in (*move.params.values(), *gradients)]
        a, b = self.generator(torch.stack(means, 1)).split(n, 1)  # [T L] each
        rate, keep = a * self.rates[j], 1 - b * self.decays[j]
        after = {
            name: move.of_each_task(keep[:, k], p) * p
            - move.of_each_task(rate[:, k], p) * move.gradients[name]
            for k, (name, p) in enumerate(move.params.items())
        }
        return after, ()


class MetaCurvature(AbstractRule):
    """Gradients are multiplied along each of their axes by a learned matrix: θ ← θ − α G ×₁ M_o ×₂
    M_i ×₃ M_f.

    The three axes of a tensor are its outputs, its inputs and its filter taps; a linear layer has
    the first two, a bias the first.
    All matrices begin as the identity, so that training begins at MAML.

    Args:
        shapes: of the adapted parameters.
        lr: α.
    """

    def __init__(self, shapes: Shapes, *, lr: float) -> None:
        super().__init__()
        self.lr, self.ndims = positive_rate(lr), {n: len(s) for n, s in shapes.items()}
        self.matrices = nn.ParameterDict(
            {
                f"{_own(n)}-{axis}": nn.Parameter(torch.eye(size))
                for n, s in shapes.items()
                for axis, size in enumerate(_axes(s))
            }
        )

    def forward(self, move: StepInputs, memory: Memory) -> tuple[dict[str, Tensor], Memory]:
        return {
            n: p - self.lr * self._curved(n, move.gradients[n]) for n, p in move.params.items()
        }, ()

    def _curved(self, name: str, gradient: Tensor) -> Tensor:
        # [... O I 9]
        whole, own = (
            gradient.flatten(-2) if self.ndims[name] == 4 else gradient,
            _own(name),
        )
        n = min(self.ndims[name], 3)
        for axis in range(n):
            whole = torch.movedim(
                torch.movedim(whole, axis - n, -1) @ self.matrices[f"{own}-{axis}"].t(),
                -1,
                axis - n,
            )
        return whole.reshape(gradient.shape)


def _axes(shape: Sequence[int]) -> tuple[int, ...]:
    return (*shape[:2], shape[2] * shape[3]) if len(shape) == 4 else tuple(shape)


def _own(name: str) -> str:
    """The name as a module may have it, without dots."""
    return name.replace(".", "-")
