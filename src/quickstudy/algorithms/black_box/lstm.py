"""A plain LSTM that reads the support: the simplest black box."""

from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.algorithms.black_box.reader import SequenceReader
from quickstudy.core.encoder import AbstractEncoder
from quickstudy.core.errors import ConfigError


class SequenceLSTM(SequenceReader):
    """An LSTM reads examples and labels; what it knows of a task is its hidden state.

    h_t, c_t = LSTM([f(x_t); y_{t−1}], h_{t−1}, c_{t−1});  score = W h_t

    The instructive failure: all that was seen must fit one vector, through gates that are the same
        for everything.

    Shapes:
        support ``[T N *S]``, queries ``[T Q *S] -> [T Q n_out]``

    Args:
        encoder: f.
        n_out: classes.
        width: of the hidden state.
        normalise: see `SequenceReader`.

    Example:
        >>> import torch
        >>> from quickstudy.core.types import Classes, Examples
        >>> from quickstudy.encoders import Identity
        >>> support = Examples.single(torch.eye(2), torch.tensor([0, 1]))
        >>> SequenceLSTM(Identity(2), n_out=2, normalise=False).fit(support, Classes(2))(
        ...     torch.eye(2)
        ... ).shape
        torch.Size([2, 2])

    Raises:
        ConfigError: for numbers out of range.
        TargetError: for tasks of another number of classes.

    Paper: Hochreiter, Younger, Conwell 2001, "Learning to Learn Using Gradient Descent"; the
        baseline of Santoro et al. 2016.
    Differs: the encoder is any, and its features are normalised.
    """

    def __init__(
        self, encoder: AbstractEncoder, *, n_out: int, width: int = 200, normalise: bool = True
    ) -> None:
        super().__init__(encoder, n_out=n_out, normalise=normalise)
        if width < 1:
            raise ConfigError(f"width must be at least 1, got {width}.")
        self.cell, self.head = nn.LSTMCell(encoder.out_dim + n_out, width), nn.Linear(width, n_out)

    def blank(self, n_tasks: int, like: Tensor) -> Any:
        return tuple(like.new_zeros(n_tasks, self.cell.hidden_size) for _ in range(2))

    def step(self, memory: Any, token: Float[Tensor, "T I"]) -> tuple[Float[Tensor, "T C"], Any]:
        h, c = self.cell(token, memory)
        return self.head(h), (h, c)
