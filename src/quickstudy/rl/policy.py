"""Policies: from observations to distributions over actions, with weights that may differ from task
to task.
"""

import abc
import itertools
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Independent, Normal

from quickstudy.core.describe import Described
from quickstudy.core.errors import ConfigError
from quickstudy.functional.linear import linear
from quickstudy.rl.environment import AbstractEnvironment

Params = Mapping[str, Tensor]


class AbstractPolicy(Described, nn.Module, abc.ABC):
    """Fully connected layers with tanh between them, and a distribution on top.

    Args:
        n_observed, n_actions: lengths.
        widths: of the hidden layers.
    """

    def __init__(
        self, n_observed: int, n_actions: int, *, widths: Sequence[int] = (64, 64)
    ) -> None:
        super().__init__()
        if not widths:
            raise ConfigError("A policy needs at least one hidden layer, got widths=().")
        self.n_actions = n_actions
        self.layers = nn.ModuleList(
            nn.Linear(a, b) for a, b in itertools.pairwise((n_observed, *widths, n_actions))
        )
        last = self.layers[-1]
        assert isinstance(last, nn.Linear)
        nn.init.normal_(last.weight, std=0.01)  # begins without an opinion
        nn.init.zeros_(last.bias)

    def parameters_of(self, n_tasks: int) -> dict[str, Tensor]:
        """The weights, once for each task, ``[T …]``; gradients come together."""
        return {n: p.expand(n_tasks, *p.shape) for n, p in self.named_parameters()}

    @abc.abstractmethod
    def forward(self, params: Params, observed: Float[Tensor, "T N S"]) -> Distribution:
        """What to do, ``[T N]``, with the weights ``[T …]`` of each task."""

    def _top(self, params: Params, observed: Tensor) -> Tensor:
        x = observed
        for i in range(len(self.layers)):
            x = linear(
                x.tanh() if i else x, params[f"layers.{i}.weight"], params[f"layers.{i}.bias"]
            )
        return x


class GaussianPolicy(AbstractPolicy):
    """Independent normal numbers around what the layers say, with deviations that are parameters.

    Args:
        n_observed, n_actions, widths: as of every policy.
        log_std: where the logarithm of the deviations begins.
    """

    def __init__(
        self,
        n_observed: int,
        n_actions: int,
        *,
        widths: Sequence[int] = (64, 64),
        log_std: float = -2.0,
    ) -> None:
        super().__init__(n_observed, n_actions, widths=widths)
        self.log_std = nn.Parameter(torch.full((n_actions,), log_std))

    def forward(self, params: Params, observed: Tensor) -> Distribution:
        return Independent(
            Normal(
                self._top(params, observed),
                params["log_std"].exp()[:, None].expand(-1, observed.shape[1], -1),
            ),
            1,
        )


class CategoricalPolicy(AbstractPolicy):
    """One of a few actions."""

    def forward(self, params: Params, observed: Tensor) -> Distribution:
        return Categorical(logits=self._top(params, observed))


def drawn(distribution: Distribution, generator: torch.Generator) -> Tensor:
    """An action from each of the distributions of a policy, with a random source of one's own."""
    if isinstance(distribution, Categorical):
        p = distribution.probs
        return torch.multinomial(p.flatten(0, -2), 1, generator=generator).view(p.shape[:-1])
    assert isinstance(distribution, Independent)
    around = distribution.base_dist
    assert isinstance(around, Normal)
    return around.mean + around.stddev * torch.randn(around.mean.shape, generator=generator).to(
        around.mean
    )


def policy_for(
    environment: AbstractEnvironment, *, widths: Sequence[int] = (64, 64)
) -> AbstractPolicy:
    """A fresh policy of the kind that the environment's actions ask for."""
    kind = CategoricalPolicy if environment.discrete else GaussianPolicy
    return kind(environment.n_observed, environment.n_actions, widths=widths)
