"""Networks of torch as encoders."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from quickstudy.core.arguments import returned
from quickstudy.core.encoder import AbstractEncoder, Context
from quickstudy.core.errors import ConfigError, EpisodeError
from quickstudy.core.scalars import whole

_EACH_EXAMPLE = (
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
    nn.LocalResponseNorm,
    nn.CrossMapLRN2d,
    _InstanceNorm,
)
"""Layers that normalise each example by itself."""


class Wrapped(AbstractEncoder):
    """Any network of torch that maps ``[B *S] -> [B D]``.

    Its normalisation layers say which policy it has, see `quickstudy.encoders.norm`: batch
    normalisation without running averages is "batch" (such a network is called task by task), with
    them "running"; layers that look at each example alone (layer, group, instance and RMS
    normalisation) are "group". Where there are several kinds, the first of these holds.

    A learner that wraps a network is saved with the network's weights, without its code. To load
    it, give a network of the same form: ``quickstudy.load(folder, modules={name: network})``.

    Args:
        module: the network. It is trained like any other part.
        out_dim: ``D``.
        name: under which it is given again when it is loaded; the name of its class if empty.

    Raises:
        ConfigError: when it is no network.

    Example:
        >>> import torch
        >>> Wrapped(nn.Linear(3, 8), out_dim=8)(torch.zeros(2, 5, 3)).shape
        torch.Size([2, 5, 8])
    """

    def __init__(self, module: nn.Module, *, out_dim: int, name: str = "") -> None:
        super().__init__()
        if not isinstance(module, nn.Module):
            raise ConfigError(
                "Wrapped takes a network of torch (a torch.nn.Module), got "
                f"{type(module).__module__}.{type(module).__qualname__}."
            )
        self.module = module
        self.out_dim = whole(out_dim, "Wrapped: out_dim", least=1)
        self.name = name or type(module).__name__
        self.norm = policy_of(module)
        # What is rebuilt around another class of network keeps its name.
        self._arguments = {**self._arguments, "name": self.name}

    def given_modules(self) -> Mapping[str, nn.Module]:
        return {self.name: self.module}

    def forward(self, x: Float[Tensor, "T N *S"], context: Context = ()) -> Float[Tensor, "T N D"]:
        if self.norm == "batch":
            return torch.stack([self._called(task) for task in x])
        return self._called(x.flatten(0, 1)).unflatten(0, x.shape[:2])

    def _called(self, examples: Float[Tensor, "B *S"]) -> Float[Tensor, "B D"]:
        features = returned(self.module(examples), self.module, "forward", Tensor)
        if features.shape != (examples.shape[0], self.out_dim):
            raise EpisodeError(
                f"{self.name} was wrapped with out_dim={self.out_dim} and has to give one vector "
                f"of so many numbers per example, but for examples of the shape "
                f"{tuple(examples.shape)} it gives {tuple(features.shape)}. Flatten its output, "
                "or wrap it with its own out_dim."
            )
        return features


def policy_of(module: nn.Module) -> str:
    """The normalisation policy of a network of torch, by its layers.

    >>> policy_of(nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)))
    'running'
    """
    parts = list(module.modules())
    # Also layers of others that normalise by averages of training, such as frozen batch norms.
    averages = [name for name, _ in module.named_buffers() if name.endswith("running_mean")]
    if any(isinstance(part, _BatchNorm) and not part.track_running_stats for part in parts):
        return "batch"
    if averages:
        return "running"
    return "group" if any(isinstance(part, _EACH_EXAMPLE) for part in parts) else "none"
