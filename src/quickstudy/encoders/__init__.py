"""Networks that turn examples into vectors, each a subclass of ``AbstractEncoder``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quickstudy.core.lazy import Registry, attach

if TYPE_CHECKING:
    from quickstudy.core.encoder import AbstractEncoder
    from quickstudy.encoders.cell import CellNet as CellNet
    from quickstudy.encoders.cell import MixedCellNet as MixedCellNet
    from quickstudy.encoders.conv4 import Conv4 as Conv4
    from quickstudy.encoders.flat import Identity as Identity
    from quickstudy.encoders.mlp import MLP as MLP
    from quickstudy.encoders.resnet12 import ResNet12 as ResNet12
    from quickstudy.encoders.wrapped import Wrapped as Wrapped
else:
    __getattr__, __dir__, __all__ = attach(__name__)

ENCODERS: Registry[type[AbstractEncoder]] = Registry(
    __name__,
    {
        "conv4": "Conv4",
        "resnet12": "ResNet12",
        "mlp": "MLP",
        "identity": "Identity",
        "cell": "CellNet",
        "mixed_cell": "MixedCellNet",
    },
)
