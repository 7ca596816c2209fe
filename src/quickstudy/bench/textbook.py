"""The networks as users of other libraries write them: `torch.nn` layers in the order of the
papers.

Parameters have the names of quickstudy's own learners (``encoder.blocks.0.conv.weight``), so that
gradients can be compared name by name.
The bias of the convolutions is all that quickstudy leaves out; it starts at zero and batch
norm takes it away again.
"""

from collections import OrderedDict
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quickstudy.bench.workloads import Workload
from quickstudy.encoders.norm import EPS

_BLOCKS = 4


class Textbook(nn.Module):
    """An encoder and, for methods with an inner loop, a linear head."""

    def __init__(self, workload: Workload) -> None:
        super().__init__()
        self.encoder, features = _mlp(workload.width) if workload.regression else _conv4(workload)
        self.head = (
            nn.Linear(features, workload.target.width) if workload.has_inner_loop else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(x))


def textbook(workload: Workload, *, seed: int = 0) -> Textbook:
    """The network of a workload; equal seeds give equal weights, and torch's own generator is left
    alone.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Textbook(workload)


def features(p: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """The encoder written by hand over its parameters, as a plain loop has it."""
    if "encoder.layers.0.weight" in p:
        for i in range(2):
            x = F.relu(F.linear(x, p[f"encoder.layers.{i}.weight"], p[f"encoder.layers.{i}.bias"]))
        return x
    for i in range(_BLOCKS):
        block = f"encoder.blocks.{i}"
        x = F.conv2d(x, p[f"{block}.conv.weight"], p[f"{block}.conv.bias"], padding=1)
        x = F.batch_norm(
            x, None, None, p[f"{block}.norm.weight"], p[f"{block}.norm.bias"], True, 0.0, EPS
        )
        x = F.max_pool2d(F.relu(x), 2)
    return x.flatten(1)


def scores(p: Mapping[str, Tensor], z: Tensor) -> Tensor:
    """The head likewise."""
    return F.linear(z, p["head.weight"], p["head.bias"])


def loss(workload: Workload, out: Tensor, y: Tensor) -> Tensor:
    """Mean squared error, or mean cross entropy."""
    return F.mse_loss(out, y) if workload.regression else F.cross_entropy(out, y)


def _conv4(workload: Workload) -> tuple[nn.Module, int]:
    blocks = nn.Sequential(
        *(
            _block(workload.width if i else workload.channels, workload.width)
            for i in range(_BLOCKS)
        )
    )
    return nn.Sequential(OrderedDict(blocks=blocks, flatten=nn.Flatten())), workload.width * (
        workload.size // 2**_BLOCKS
    ) ** 2


def _block(channels_in: int, channels: int) -> nn.Module:
    conv = nn.Conv2d(channels_in, channels, 3, padding=1)
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    norm = nn.BatchNorm2d(channels, eps=EPS, track_running_stats=False)
    return nn.Sequential(OrderedDict(conv=conv, norm=norm, relu=nn.ReLU(), pool=nn.MaxPool2d(2)))


def _mlp(width: int) -> tuple[nn.Module, int]:
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for i, inputs in enumerate((1, width)):
        layers[str(i)], layers[f"relu{i}"] = nn.Linear(inputs, width), nn.ReLU()
    return nn.Sequential(OrderedDict(layers=nn.Sequential(layers))), width
