"""Networks of equal cells whose wiring is given, or searched for."""

import abc
from collections.abc import Sequence
from typing import TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core.clock import Clock
from quickstudy.core.encoder import AbstractEncoder, Context
from quickstudy.core.errors import ConfigError, did_you_mean
from quickstudy.encoders.norm import norm_named
from quickstudy.encoders.operations import OPERATIONS, AbstractOperation, Memory

Edge: TypeAlias = tuple[int, int, str]
"""From which node, to which node, by which operation; node 0 is what comes into the cell."""

LOGITS = "encoder.logits"
"""What the logits of a mixture are called among the parameters of a learner."""


class AbstractCells(AbstractEncoder):
    """A 3×3 convolution of stride 2, then ``layers`` cells of one wiring, the image halved behind
    each but the last, and the mean over the image.

    A cell has nodes 0 … ``nodes``: node 0 is what comes in, another node is the sum over its edges
    from earlier nodes, and the mean of nodes 1 … ``nodes`` comes out.

    Args:
        in_channels: 1 for grey images, 3 for colour.
        channels: of everything in the network.
        nodes: of a cell, without the one that comes in.
        layers: cells.
        norm: normalisation policy, see `quickstudy.encoders.norm`.
    """

    def __init__(
        self, *, in_channels: int, channels: int, nodes: int, layers: int, norm: str
    ) -> None:
        super().__init__()
        if min(in_channels, channels, nodes, layers) < 1:
            raise ConfigError(
                f"in_channels, channels, nodes and layers must be at least 1, got {in_channels}, "
                f"{channels}, {nodes} and {layers}."
            )
        self.in_channels, self.channels = in_channels, channels
        self.nodes, self.layers = nodes, layers
        self.norm = norm
        self.out_dim = channels
        self.stem = nn.Conv2d(in_channels, channels, 3, stride=2, padding=1, bias=False)
        self.stem_norm = nn.Module()
        self.stem_norm.norm = norm_named(norm, channels)
        self.cells = nn.ModuleList(
            nn.ModuleDict(self._edges(channels, norm)) for _ in range(layers)
        )

    @abc.abstractmethod
    def _edges(self, channels: int, norm: str) -> dict[str, nn.Module]:
        """The modules of one cell, by edge."""

    @abc.abstractmethod
    def _node(self, cell: nn.ModuleDict, j: int, before: list[Tensor], memory: Memory) -> Tensor:
        """Node ``j`` from the nodes before it."""

    def forward(
        self, x: Float[Tensor, "T N C H W"], context: Context = ()
    ) -> Float[Tensor, "T N D"]:
        return self._encoded(x, Memory(context))

    def read(self, x: Float[Tensor, "T N C H W"]) -> tuple[Float[Tensor, "T N D"], Context]:
        memory = Memory(reads=True)
        z = self._encoded(x, memory)
        return z, tuple(memory.seen)

    def _encoded(self, x: Tensor, memory: Memory) -> Tensor:
        self.check_shape(x, (self.in_channels, None, None))
        norm = self.stem_norm.norm
        x = self.stem(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        x = memory.normalise(norm, x)  # type: ignore[arg-type]
        for i, cell in enumerate(self.cells):
            assert isinstance(cell, nn.ModuleDict)
            if i:
                x = F.max_pool2d(x.flatten(0, 1), 2, ceil_mode=True).unflatten(0, x.shape[:2])
            nodes = [x]
            for j in range(1, self.nodes + 1):
                nodes.append(self._node(cell, j, nodes, memory))
            x = torch.stack(nodes[1:]).mean(0)
        return F.relu(x).mean((3, 4))


class CellNet(AbstractCells):
    """Cells of a given wiring, as a search has found it.

    Shapes:
        ``[T N in_channels H W] -> [T N channels]``

    Args:
        edges: (from, to, operation) each; see `quickstudy.encoders.operations.OPERATIONS`. Node 0
            comes in.
        in_channels, channels, layers, norm: as of all networks of cells.

    Raises:
        ConfigError: for edges that lead nowhere, or operations that are not known.

    Example:
        >>> CellNet(
        ...     edges=((0, 1, "conv3x3"), (0, 2, "identity"), (1, 2, "max_pool3x3")), channels=8
        ... )(torch.zeros(1, 5, 1, 28, 28)).shape
        torch.Size([1, 5, 8])
    """

    def __init__(
        self,
        *,
        edges: Sequence[Sequence[int | str]],
        in_channels: int = 1,
        channels: int = 16,
        layers: int = 3,
        norm: str = "running",
    ) -> None:
        self.edges = checked(edges)
        nodes = max(to for _, to, _ in self.edges)
        super().__init__(
            in_channels=in_channels, channels=channels, nodes=nodes, layers=layers, norm=norm
        )

    def _edges(self, channels: int, norm: str) -> dict[str, nn.Module]:
        return {f"{i}-{j}-{name}": OPERATIONS[name](channels, norm) for i, j, name in self.edges}

    def _node(self, cell: nn.ModuleDict, j: int, before: list[Tensor], memory: Memory) -> Tensor:
        return sum(
            (cell[f"{i}-{to}-{name}"](before[i], memory) for i, to, name in self.edges if to == j),
            torch.zeros_like(before[0]),
        )


class MixedCellNet(AbstractCells):
    """Cells in which every edge is a mixture of all operations: node_j = Σ_{i<j} Σ_o
    softmax(logits_ij / temperature)_o · o(node_i).

    All cells share the logits, so what is searched for is one cell.

    Shapes:
        ``[T N in_channels H W] -> [T N channels]``; ``logits`` ``[edges operations]``

    Args:
        in_channels, channels, nodes, layers, norm: as of all networks of cells.
        coldest, cool_steps: the temperature falls from 1 to ``coldest`` in so many outer steps,
            geometrically; 0 steps = it is 1 always.

    Raises:
        ConfigError: for numbers out of range.

    Example:
        >>> net = MixedCellNet(channels=4, nodes=2)
        >>> net(torch.zeros(1, 5, 1, 28, 28)).shape, net.logits.shape
        (torch.Size([1, 5, 4]), torch.Size([3, 7]))

    Paper: Liu, Simonyan, Yang 2019, arXiv:1806.09055 (DARTS), equation 2; the temperature: Elsken
        et al. 2020, arXiv:1911.11090.
    """

    def __init__(
        self,
        *,
        in_channels: int = 1,
        channels: int = 16,
        nodes: int = 3,
        layers: int = 3,
        norm: str = "running",
        coldest: float = 0.1,
        cool_steps: int = 0,
    ) -> None:
        super().__init__(
            in_channels=in_channels, channels=channels, nodes=nodes, layers=layers, norm=norm
        )
        if not 0 < coldest <= 1 or cool_steps < 0:
            raise ConfigError(
                f"coldest lies in (0, 1] and cool_steps is not negative, got {coldest} and "
                f"{cool_steps}."
            )
        self.coldest, self.cool_steps = coldest, cool_steps
        self.pairs = pairs(nodes)
        self.logits = nn.Parameter(1e-3 * torch.randn(len(self.pairs), len(OPERATIONS)))
        self.clock = Clock() if cool_steps else None

    @property
    def temperature(self) -> float:
        """Of the softmax over operations, now."""
        return (
            1.0
            if self.clock is None
            else self.coldest ** min(1.0, self.clock.now / self.cool_steps)
        )

    def _edges(self, channels: int, norm: str) -> dict[str, nn.Module]:
        return {
            f"{i}-{j}": nn.ModuleList(make(channels, norm) for make in OPERATIONS.values())
            for i, j in pairs(self.nodes)
        }

    def _node(self, cell: nn.ModuleDict, j: int, before: list[Tensor], memory: Memory) -> Tensor:
        weights = (self.logits / self.temperature).softmax(1)
        total = torch.zeros_like(before[0])
        for i, x in enumerate(before):
            candidates = cell[f"{i}-{j}"]
            assert isinstance(candidates, nn.ModuleList)
            for name, candidate, w in zip(
                OPERATIONS, candidates, weights[self.pairs.index((i, j))], strict=True
            ):
                if name != "zero":
                    assert isinstance(candidate, AbstractOperation)
                    total = total + w * candidate(x, memory)
        return total


def pairs(nodes: int) -> list[tuple[int, int]]:
    """The edges that a cell may have, in the order of the logits' rows.

    >>> pairs(2)
    [(0, 1), (0, 2), (1, 2)]
    """
    return [(i, j) for j in range(1, nodes + 1) for i in range(j)]


def checked(edges: Sequence[Sequence[int | str]]) -> tuple[Edge, ...]:
    """The edges, if they make a cell.

    Raises:
        ConfigError: if not.
    """
    made: list[Edge] = []
    for edge in edges:
        if (
            len(edge) != 3
            or not isinstance(edge[0], int)
            or not isinstance(edge[1], int)
            or not 0 <= edge[0] < edge[1]
        ):
            raise ConfigError(
                f"An edge is (from, to, operation) with from < to, got {tuple(edge)}."
            )
        if edge[2] not in OPERATIONS:
            raise ConfigError(
                f"No operation is called '{edge[2]}'. {did_you_mean(str(edge[2]), OPERATIONS)}"
            )
        made.append((edge[0], edge[1], str(edge[2])))
    reached = {to for _, to, _ in made}
    if not made or reached != set(range(1, max(reached) + 1)) or len(set(made)) < len(made):
        raise ConfigError(
            f"Every node from 1 on needs an edge into it, and no edge twice, got {made}."
        )
    return tuple(made)
