"""MANN: an LSTM with a memory that is addressed by content, and overwritten where it was least
used.
"""

from typing import TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from quickstudy.algorithms.black_box.reader import SequenceReader
from quickstudy.core.encoder import AbstractEncoder
from quickstudy.core.errors import ConfigError

MannMemory: TypeAlias = tuple[
    Float[Tensor, "T H"],
    Float[Tensor, "T H"],
    Float[Tensor, "T RW"],
    Float[Tensor, "T M W"],
    Float[Tensor, "T M"],
    Float[Tensor, "T R M"],
]

BLANK = 1e-3  # a row shorter than that is like no key: nothing was written to it


class MANN(SequenceReader):
    """A memory-augmented network: a controller reads examples and late labels, and keeps what it
    will need in rows of a memory.

    h_t = LSTM([f(x_t); y_{t−1}; r_{t−1}]),  keys k_t = tanh(W h_t), one for each head

    write   w^w_t = σ(α) w^r_{t−1} + (1 − σ(α)) w^lu_{t−1};  the least used row is set to 0, then
    M_t(i) = M_{t−1}(i) + w^w_t(i) k_t read    w^r_t = softmax_i β cos(k_t, M_t(i)),  r_t = Σ_i
    w^r_t(i) M_t(i),  score = W [h_t; r_t] usage   w^u_t = γ w^u_{t−1} + w^r_t + w^w_t;  w^lu_t(i) =
    1 for the R least used rows, else 0

    Heads write each its own key, all of them to the R least used rows; usage is summed over heads.
    Memory, usage and controller are blank at the start of every task.

    Shapes:
        support ``[T N *S]``, queries ``[T Q *S] -> [T Q n_out]``

    Args:
        encoder: f.
        n_out: classes.
        width: of the controller.
        rows, row: of the memory, how many and how long.
        heads: R.
        decay: γ.
        strength: β. The paper has none, that is 1, which reads a little of every row; a larger one
            reads what is alike, as in neural Turing machines, and is learned in a small part of the
            tasks.
        own_rows: each head has one of the R least used rows to itself, as in the Theano code, in
            the place of all of them.
        normalise: see `SequenceReader`.

    Example:
        >>> import torch
        >>> from quickstudy.core.types import Classes, Examples
        >>> from quickstudy.encoders import Identity
        >>> support = Examples.single(torch.eye(2), torch.tensor([0, 1]))
        >>> MANN(Identity(2), n_out=2, normalise=False).fit(support, Classes(2))(torch.eye(2)).shape
        torch.Size([2, 2])

    Raises:
        ConfigError: for numbers out of range.
        TargetError: for tasks of another number of classes.

    Paper: Santoro, Bartunov, Botvinick, Wierstra, Lillicrap 2016, arXiv:1605.06065, equations 1 to
        8.
    Differs: β; the encoder is any (the paper reads pixels), and its features are normalised. The
        Theano code of others writes another vector than the key, lets the gates read the state
        and begins with the first rows in use: other numbers altogether.
    """

    def __init__(
        self,
        encoder: AbstractEncoder,
        *,
        n_out: int,
        width: int = 200,
        rows: int = 128,
        row: int = 40,
        heads: int = 4,
        decay: float = 0.95,
        strength: float = 10.0,
        own_rows: bool = False,
        normalise: bool = True,
    ) -> None:
        super().__init__(encoder, n_out=n_out, normalise=normalise)
        if min(width, rows, row, heads) < 1 or heads > rows or not 0 <= decay < 1 or strength <= 0:
            raise ConfigError(
                "width, rows, row and heads must be at least 1, heads at most rows, decay in [0, "
                f"1) and strength positive, got {width}, {rows}, {row}, {heads}, {decay} and "
                f"{strength}."
            )
        self.rows = rows
        self.row = row
        self.heads = heads
        self.decay = decay
        self.strength = strength
        self.own_rows = own_rows
        self.cell = nn.LSTMCell(encoder.out_dim + n_out + heads * row, width)
        self.key = nn.Linear(width, heads * row)
        self.gate = nn.Parameter(torch.zeros(heads))
        self.head = nn.Linear(width + heads * row, n_out)

    def blank(self, n_tasks: int, like: Tensor) -> MannMemory:
        h, c = (like.new_zeros(n_tasks, self.cell.hidden_size) for _ in range(2))
        return (
            h,
            c,
            like.new_zeros(n_tasks, self.heads * self.row),
            like.new_zeros(n_tasks, self.rows, self.row),
            like.new_zeros(n_tasks, self.rows),
            like.new_full((n_tasks, self.heads, self.rows), 1 / self.rows),
        )

    def step(
        self, memory: MannMemory, token: Float[Tensor, "T I"]
    ) -> tuple[Float[Tensor, "T C"], MannMemory]:
        h, c, read, rows, usage, attention = memory
        h, c = self.cell(torch.cat((token, read), 1), (h, c))
        key = self.key(h).tanh().unflatten(1, (self.heads, self.row))  # [T R W]

        # [T R M], a row for each head
        heads = torch.arange(self.heads, device=usage.device)[:, None]
        least = (_rank(usage)[:, None] == heads).to(rows.dtype)
        where = self.gate.sigmoid()[:, None]
        free = least if self.own_rows else least.sum(1, keepdim=True)
        writing = where * attention + (1 - where) * free
        rows = rows * (1 - least[:, 0, :, None]) + writing.transpose(1, 2) @ key
        cosine = F.normalize(key, dim=2) @ F.normalize(rows, dim=2, eps=BLANK).transpose(1, 2)
        attention = (self.strength * cosine).softmax(2)  # [T R M]
        read = (attention @ rows).flatten(1)
        usage = self.decay * usage + (attention + writing).sum(1)
        return self.head(torch.cat((h, read), 1)), (h, c, read, rows, usage, attention)


def _rank(usage: Float[Tensor, "T M"]) -> Int[Tensor, "T M"]:
    """How many are used less than each; of equal use the first counts as less. By comparisons, as
    ONNX has no stable sort.
    """
    one, other = usage[:, :, None], usage[:, None]
    before = torch.ones(usage.shape[1], usage.shape[1], device=usage.device).tril(-1) > 0
    return ((other < one) | ((other == one) & before)).sum(2)
