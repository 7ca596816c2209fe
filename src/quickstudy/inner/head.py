"""The last layer of a gradient-based learner."""

from torch import Tensor, nn

from quickstudy.core.describe import Described
from quickstudy.core.errors import ConfigError, did_you_mean


class LinearHead(Described, nn.Linear):
    """A linear layer, one row per output.

    Args:
        in_dim: features.
        out_dim: outputs: classes, or the dimension of a regression target.
        init: "uniform" as `torch.nn.Linear` starts, or "zeros": every class is equally likely before the first step.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, in_dim: int, out_dim: int, *, init: str = "uniform") -> None:
        super().__init__(in_dim, out_dim)
        if init not in ("uniform", "zeros"):
            raise ConfigError(f"No start is called '{init}'. {did_you_mean(init, ('uniform', 'zeros'))}")
        self.out_dim = out_dim
        if init == "zeros":
            nn.init.zeros_(self.weight)
            nn.init.zeros_(self.bias)
