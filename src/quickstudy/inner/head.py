"""The last layer of a gradient-based learner."""

from torch import Tensor, nn

from quickstudy.core.describe import Described


class LinearHead(Described, nn.Linear):
    """A linear layer, one row per output. Starts at zero by default: every class is equally likely before the first step.

    Args:
        in_dim: features.
        out_dim: outputs: classes, or the dimension of a regression target.
        init: "zeros", or "uniform" as `torch.nn.Linear` starts.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, in_dim: int, out_dim: int, *, init: str = "uniform") -> None:
        super().__init__(in_dim, out_dim)
        self.out_dim = out_dim
        if init == "zeros":
            nn.init.zeros_(self.weight)
            nn.init.zeros_(self.bias)
