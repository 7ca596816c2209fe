"""The tabular in-context learner: a network fitted to synthetic tables reads a table."""

import math
from typing import TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from quickstudy.algorithms.in_context.bins import Binned
from quickstudy.algorithms.in_context.columns import (
    N_FEATURES,
    N_WAVES,
    cell_features,
    column_state,
)
from quickstudy.algorithms.in_context.engine import GridTransformer, KeysValues, attend
from quickstudy.algorithms.in_context.labels import by_number, class_order, two_views, unit_of
from quickstudy.core.errors import ConfigError, TargetError
from quickstudy.core.learner import Traits
from quickstudy.core.predictive import AbstractPredictive
from quickstudy.core.rng import current, generator
from quickstudy.core.types import Classes, Episode, Examples, Reals, Target

TableState: TypeAlias = tuple[tuple[Tensor, ...], Tensor, Tensor, list[KeysValues], Tensor, Tensor]
"""Columns, the support's cells as keys, its labels, what each layer keeps, the directions of the
classes and the unit of the numbers; each begins with ``[T D]``, D numbers to predict (1 for
classes).
"""


class TabularInContext(AbstractPredictive[TableState]):
    """A transformer that reads a table's labelled rows and answers for further rows, in one pass
    and without a step of training on the table (a prior-fitted network).

    Every cell begins as what its column alone says of the label,

    u_if = Σ_j softmax_j(s ⟨φ_if, φ_jf⟩) (e_{y_j} − ē)

    where φ are waves of the value's rank and standard score (so that the product is a kernel of
    their distance) and j runs over the other labelled rows. Layers of attention along columns and
    along rows turn cells into one vector per row, to which labelled rows add e_y; layers over rows
    alone give r, and  score(c | x) = ⟨r, e_c⟩.
    For numbers e_y is a small network of the standardised number, and the answer is a distribution
    over ``n_bins`` bins, whose mean `predict` gives (see `distribution`).

    There are no positions: neither rows nor columns have an order, by construction. The directions
    e_c are fixed, at right angles, and dealt to the classes anew for every task in training;
    otherwise by an order of the classes that depends on their rows alone, so that their names do
    not matter. A missing value is NaN.

    Shapes:
        support ``[T N F]``, queries ``[T Q F] -> [T Q C]`` (up to ``max_classes``) or ``[T Q D]``

    Args:
        width: of a cell's token.
        heads: of attention.
        grid_layers: layers over columns and rows.
        row_layers: layers over rows of n_summary · width numbers.
        n_summary: tokens that sum up a row.
        max_classes: the largest number of classes.
        n_bins: of a number's distribution.

    Example:
        >>> x = torch.tensor([[0.0, 5.0], [0.1, 1.0], [1.0, 4.0], [0.9, 2.0]])
        >>> _ = torch.manual_seed(0)
        >>> learner = TabularInContext().eval()
        >>> learner.fit(Examples.single(x, torch.tensor([0, 0, 1, 1])), Classes(2))(x).argmax(1)
        tensor([0, 0, 1, 1])

    Raises:
        ConfigError: for numbers out of range.
        TargetError: for tasks of more classes than max_classes.

    Paper: Hollmann et al. 2025, Nature 637 (TabPFN), with the rows' stage of Qu et al. 2025,
        arXiv:2502.05564 (TabICL).
    Differs: attention begins with keys equal to queries and passes on what it reads, which makes
        training short; a first layer reads labels per column, each support row without itself;
        label directions are fixed; columns have no embedding.
    """

    borders: Float[Tensor, " B-1"]
    directions: Float[Tensor, "C W"]

    def __init__(
        self,
        *,
        width: int = 32,
        heads: int = 2,
        grid_layers: int = 2,
        row_layers: int = 3,
        n_summary: int = 4,
        max_classes: int = 10,
        n_bins: int = 64,
    ) -> None:
        super().__init__()
        self.engine = GridTransformer(
            width=width,
            heads=heads,
            grid_layers=grid_layers,
            row_layers=row_layers,
            n_summary=n_summary,
        )
        part = width // heads
        if not 2 <= max_classes <= part or n_bins < 3:
            raise ConfigError(
                f"max_classes must lie between 2 and width / heads = {part} and n_bins be at least "
                f"3, got {max_classes} and {n_bins}."
            )
        self.heads, self.max_classes, self.n_bins = heads, max_classes, n_bins
        v = self.engine.row_width
        self.near = nn.Linear(N_FEATURES, N_WAVES * heads, bias=False)
        self.sharpness = nn.Parameter(torch.zeros(heads))
        self.cell = nn.Sequential(nn.Linear(N_FEATURES, width), nn.GELU(), nn.Linear(width, width))
        self.passed_on = nn.Linear(width, width)
        self.summary = nn.Parameter(0.5 * torch.randn(n_summary, width))
        self.number = nn.Sequential(nn.Linear(2, width), nn.GELU(), nn.Linear(width, width))
        self.row_label = nn.Linear(width, v)
        self.norm = nn.LayerNorm(v)
        last = nn.Linear(v, v)
        self.out = nn.Sequential(nn.Linear(v, v), nn.GELU(), last)
        self.log_scale = nn.Parameter(torch.tensor(-1.5))
        self.bins = nn.Linear(v, n_bins)
        with torch.no_grad():
            self.near.weight.zero_()
            for h in range(heads):
                rows = slice(h * N_WAVES, (h + 1) * N_WAVES)
                self.near.weight[rows, :N_WAVES] = torch.eye(N_WAVES) * (2.4 * 0.6**h)
            nn.init.eye_(self.passed_on.weight)
            self.row_label.weight.copy_(torch.eye(width).repeat(n_summary, 1))
            nn.init.zeros_(last.weight)
        at = torch.linspace(0, 1, n_bins + 1, dtype=torch.float64)[1:-1]
        self.register_buffer("borders", (1.5 * math.sqrt(2) * torch.erfinv(2 * at - 1)).float())
        key = generator("tabular", "directions")
        drawn = torch.randn(heads, part, max_classes, generator=key, dtype=torch.float64)
        ortho = torch.linalg.qr(drawn).Q.flatten(0, 1).T
        self.register_buffer("directions", ortho.float() * part**0.5)
        self.traits = Traits(targets=frozenset({Classes, Reals}), black_box=True)

    def adapt(self, support: Examples, target: Target, query_x: Tensor | None = None) -> TableState:
        return self.read(support, target)

    def read(
        self, support: Examples, target: Target, coding: Int[Tensor, "T C0"] | None = None
    ) -> TableState:
        """Read a support.

        Args:
            support: the labelled rows.
            target: what their labels are.
            coding: for each task, which direction the first, second, … class gets, of classes in
                the order of `class_order`; None = in that order, in training at random. Several
                codings of one task make an ensemble.
        """
        if isinstance(target, Classes):
            names, label, unit = self._class_labels(support, target, coding)
            x = support.x
        else:
            x = support.x.repeat_interleave(target.dim, 0)
            unit = unit_of(support.y)
            standard = (by_number(support.y) - unit[:, :1]) / unit[:, 1:]
            label = self.number(two_views(standard))
            names = label[:, :0]
        label = label - label.mean(1, keepdim=True)
        columns = column_state(x)
        cells = cell_features(x, columns)
        near = self.near(cells)
        n = x.shape[1]
        others = ~torch.eye(n, dtype=torch.bool, device=x.device) if n > 1 else None
        grid = self._grid(cells, self._column_says(near, near, label, others))
        kept = self.engine.support(grid, self.row_label(label))
        state = (columns, near, label, kept, names, unit)
        each = 1 if isinstance(target, Classes) else target.dim
        return pytree.tree_map(lambda leaf: leaf.unflatten(0, (-1, each)), state)

    def predict(self, state: TableState, x: Float[Tensor, "T Q F"]) -> Float[Tensor, "T Q O"]:
        if state[4].shape[2]:
            return self.raw(state, x)[:, 0]
        return self.distribution(state, x).mean

    def distribution(self, state: TableState, x: Float[Tensor, "T Q F"]) -> Binned:
        """The predictive distribution of each number, ``[T Q D]``."""
        share = self.raw(state, x).log_softmax(-1).transpose(1, 2)
        mean, scale = (part[:, None].expand(share.shape[:-1]) for part in state[5].unbind(-1))
        return Binned(share, self.borders, mean, scale)

    def loss(self, episode: Episode) -> Float[Tensor, " T"]:
        """The mean negative log-likelihood of each task's queries, of numbers in bins, in units of
        that of guessing.
        """
        state = self.read(episode.support, episode.target)
        out, y = self.raw(state, episode.query.x), episode.query.y
        if isinstance(episode.target, Classes):
            return episode.target.loss(out[:, 0], y) / math.log(max(2, episode.target.n))
        mean, scale = (part[..., None] for part in state[5].unbind(-1))
        at = torch.bucketize((y.transpose(1, 2) - mean) / scale, self.borders)
        nll = F.cross_entropy(out.flatten(0, 2), at.flatten(), reduction="none")
        return nll.view(at.shape).mean((1, 2)) / math.log(self.n_bins)

    def raw(self, state: TableState, x: Float[Tensor, "T Q F"]) -> Float[Tensor, "T D Q B"]:
        """Scores of the classes, or of the bins of each number."""
        n_tasks, each = state[2].shape[:2]
        columns, near, label, kept, names, _ = pytree.tree_map(
            lambda leaf: leaf.flatten(0, 1), state
        )
        cells = cell_features(x.repeat_interleave(each, 0), columns)
        says = self._column_says(self.near(cells), near, label, None)
        r = self.norm(self.engine.query(self._grid(cells, says), kept))
        r = r + self.out(r)
        if names.shape[1]:
            wide = names.repeat(1, 1, self.engine.n_summary)
            r = r @ wide.transpose(1, 2) * (self.log_scale.exp() / r.shape[-1] ** 0.5)
        else:
            r = self.bins(r)
        return r.unflatten(0, (n_tasks, each))

    def _class_labels(
        self, support: Examples, target: Classes, coding: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        n_tasks, n = len(support.x), target.n
        if n > self.max_classes:
            raise TargetError(
                f"The task has {n} classes, but this learner reads at most "
                f"max_classes={self.max_classes}. Use InContextClassifier, which codes more "
                "classes by several tasks, or build the learner with more."
            )
        device = support.x.device
        if coding is None and self.training:
            drawn = torch.rand(n_tasks, self.max_classes, generator=current())
            codes = drawn.argsort(1)[:, :n].to(device)
        else:
            codes = class_order(support.x, support.y, n)
            codes = codes if coding is None else coding.gather(1, codes)
        names = self.directions[codes]
        label = names.gather(1, support.y[..., None].expand(-1, -1, names.shape[-1]))
        return names, label, label[:, :0, 0]

    def _column_says(
        self, q: Tensor, k: Tensor, label: Tensor, allowed: Tensor | None
    ) -> Float[Tensor, "T F N W"]:
        value = label[:, None].expand(-1, k.shape[1], -1, -1)
        return attend(q, (k, value), self.heads, sharpness=self.sharpness, allowed=allowed)

    def _grid(self, cells: Tensor, says: Tensor) -> Float[Tensor, "T M N W"]:
        tokens = self.cell(cells) + self.passed_on(says)
        n_tasks, _, n, width = tokens.shape
        summary = self.summary[None, :, None].expand(n_tasks, -1, n, width)
        return torch.cat((summary, tokens), 1)
