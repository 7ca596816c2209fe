"""The transformer of the in-context learners: support rows attend to support rows, queries to
support rows.

Tokens lie in a grid ``[T M N W]``: M columns, N rows. Attention alternates along the two axes and
knows no positions, so that neither rows nor columns have an order.
"""

import math
from collections.abc import Iterator
from typing import TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from quickstudy.core.errors import ConfigError

KeysValues: TypeAlias = tuple[Tensor, Tensor]
"""What the support leaves behind in one layer for the queries: keys ``[*B N W]`` and values
``[*B N V]``.
"""


class Attention(nn.Module):
    """Multi-head attention, o(softmax(s · q kᵀ / √d) v), along the last but one axis.

    s = 1 + a log(n / 32) for n keys, with a learned per head: of more rows attention stays as sharp
    as of few (scalable softmax, arXiv:2501.19399). Begins with keys equal to queries, and passes on
    half of what it reads.

    Args:
        width: of a token.
        heads: how many.
        scaled: whether there is an s.

    Raises:
        ConfigError: when heads do not divide the width.
    """

    def __init__(self, width: int, heads: int, *, scaled: bool = False) -> None:
        super().__init__()
        if heads < 1 or width % heads:
            raise ConfigError(f"heads must divide width, got {heads} heads and width {width}.")
        self.heads = heads
        self.q = nn.Linear(width, width, bias=False)
        self.kv = nn.Linear(width, 2 * width, bias=False)
        self.out = nn.Linear(width, width)
        with torch.no_grad():
            self.kv.weight[:width] = self.q.weight
            nn.init.eye_(self.kv.weight[width:])
            nn.init.eye_(self.out.weight).mul_(0.5)
            nn.init.zeros_(self.out.bias)
        self.sharpness = nn.Parameter(torch.zeros(heads)) if scaled else None

    def keys(self, z: Float[Tensor, "*B N W"]) -> KeysValues:
        """Keys and values of tokens."""
        k, v = self.kv(z).chunk(2, -1)
        return k, v

    def forward(self, z: Float[Tensor, "*B Q W"], known: KeysValues) -> Float[Tensor, "*B Q W"]:
        return self.out(attend(self.q(z), known, self.heads, sharpness=self.sharpness))


def attend(
    q: Float[Tensor, "*B Q W"],
    known: KeysValues,
    heads: int,
    *,
    sharpness: Float[Tensor, " H"] | None = None,
    allowed: Bool[Tensor, "Q N"] | None = None,
) -> Float[Tensor, "*B Q V"]:
    """Softmax attention of several heads along the last but one axis.

    Args:
        q: queries.
        known: keys and values.
        heads: how many parts queries, keys and values have.
        sharpness: a of each head, see `Attention`.
        allowed: which keys a query may look at; None = all.
    """
    k, v = known
    parts = [
        t.reshape(-1, t.shape[-2], heads, t.shape[-1] // heads).transpose(1, 2) for t in (q, k, v)
    ]
    if sharpness is not None:
        s = 1 + sharpness * math.log(k.shape[-2] / 32)
        parts[0] = parts[0] * s[:, None, None].to(q.dtype)
    read = F.scaled_dot_product_attention(parts[0], parts[1], parts[2], attn_mask=allowed)
    return read.transpose(1, 2).reshape(*q.shape[:-1], v.shape[-1])


class GridLayer(nn.Module):
    """Attention along the columns of each row, then along the rows of each column, then a small
    network on each token; each adds to the token.

    Args:
        width: of a token.
        heads: of attention.
        columns: whether there is attention along columns.
    """

    def __init__(self, width: int, heads: int, *, columns: bool = True) -> None:
        super().__init__()
        self.norm_columns = nn.LayerNorm(width) if columns else None
        self.columns = Attention(width, heads) if columns else None
        self.norm_rows = nn.LayerNorm(width)
        self.rows = Attention(width, heads, scaled=True)
        self.norm = nn.LayerNorm(width)
        last = nn.Linear(2 * width, width)
        nn.init.zeros_(last.weight)
        self.net = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), last)

    def support(
        self, t: Float[Tensor, "T M N W"], *, keep: int | None = None
    ) -> tuple[Float[Tensor, "T M0 N W"], KeysValues]:
        """The tokens of the support after this layer, and what queries need of them.

        Args:
            t: the tokens.
            keep: of so many columns, the first ones; None = of all.
        """
        t = self._across(t, keep)
        z = self.norm_rows(t)
        known = self.rows.keys(z)
        t = t + self.rows(z, known)
        return t + self.net(self.norm(t)), known

    def query(
        self, t: Float[Tensor, "T M Q W"], known: KeysValues, *, keep: int | None = None
    ) -> Float[Tensor, "T M0 Q W"]:
        """The tokens of queries after this layer."""
        t = self._across(t, keep)
        t = t + self.rows(self.norm_rows(t), known)
        return t + self.net(self.norm(t))

    def _across(self, t: Tensor, keep: int | None) -> Tensor:
        if self.columns is None or self.norm_columns is None:
            return t
        z = self.norm_columns(t).transpose(1, 2)
        read = self.columns(z[:, :, :keep], self.columns.keys(z))
        return t[:, :keep] + read.transpose(1, 2)


class GridTransformer(nn.Module):
    """Layers over a grid of columns and rows, then layers over the rows alone.

    The first M₀ columns are summed up: their tokens, side by side, are the row that the later
    layers and the answer see.

    Args:
        width: of a token of the grid.
        heads: of attention; a row has M₀ times as many.
        grid_layers: layers over columns and rows.
        row_layers: layers over rows of M₀ · width numbers.
        n_summary: M₀.

    Raises:
        ConfigError: for numbers out of range.
    """

    def __init__(
        self, *, width: int, heads: int, grid_layers: int, row_layers: int, n_summary: int
    ) -> None:
        super().__init__()
        if min(width, heads, grid_layers, n_summary) < 1 or row_layers < 0:
            raise ConfigError(
                "width, heads, grid_layers and n_summary must be at least 1 and row_layers at "
                f"least 0, got {width}, {heads}, {grid_layers}, {n_summary} and {row_layers}."
            )
        self.n_summary = n_summary
        self.row_width = n_summary * width
        grid = [GridLayer(width, heads) for _ in range(grid_layers)]
        row = [
            GridLayer(self.row_width, heads * n_summary, columns=False) for _ in range(row_layers)
        ]
        self.grid, self.row = nn.ModuleList(grid), nn.ModuleList(row)

    def support(
        self, t: Float[Tensor, "T M N W"], label: Float[Tensor, "T N V"]
    ) -> list[KeysValues]:
        """Read the support.

        Args:
            t: its grid.
            label: what is added to its rows before the row layers.

        Returns:
            what each layer keeps for queries.
        """
        kept = []
        for layer, keep in self._grid_layers():
            t, known = layer.support(t, keep=keep)
            kept.append(known)
        r = (self._rows(t) + label)[:, None]
        for layer in self._row_layers():
            r, known = layer.support(r)
            kept.append(known)
        return kept

    def query(self, t: Float[Tensor, "T M Q W"], kept: list[KeysValues]) -> Float[Tensor, "T Q V"]:
        """The rows of queries at the end, each read with the support alone."""
        for (layer, keep), known in zip(self._grid_layers(), kept, strict=False):
            t = layer.query(t, known, keep=keep)
        r = self._rows(t)[:, None]
        for layer, known in zip(self._row_layers(), kept[len(self.grid) :], strict=True):
            r = layer.query(r, known)
        return r[:, 0]

    def _grid_layers(self) -> Iterator[tuple[GridLayer, int | None]]:
        """Each with how many columns it need keep: after the last one only the summary counts."""
        for at, layer in enumerate(self.grid):
            if isinstance(layer, GridLayer):
                yield layer, self.n_summary if at == len(self.grid) - 1 else None

    def _row_layers(self) -> list[GridLayer]:
        return [layer for layer in self.row if isinstance(layer, GridLayer)]

    def _rows(self, t: Tensor) -> Tensor:
        return t[:, : self.n_summary].transpose(1, 2).flatten(2)
