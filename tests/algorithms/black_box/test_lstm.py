"""The plain LSTM against PyTorch's own over whole sequences."""

import torch
import torch.nn.functional as F
from torch import nn

from quickstudy.algorithms import SequenceLSTM
from quickstudy.encoders import Identity
from quickstudy.testing import toy_episode


def test_it_is_an_lstm_over_examples_and_late_labels() -> None:
    torch.manual_seed(0)
    learner = SequenceLSTM(Identity(6), n_out=4, width=8, normalise=False)
    e = toy_episode(n_tasks=2)
    whole = nn.LSTM(10, 8, batch_first=True)
    whole.load_state_dict({f"{name}_l0": p for name, p in learner.cell.state_dict().items()})
    labels = F.one_hot(e.support.y, 4).float()
    late = F.pad(labels, (0, 0, 1, 0))  # the first example comes with no label
    out = learner(e)
    for q in range(e.query.x.shape[1]):
        tokens = torch.cat((torch.cat((e.support.x, e.query.x[:, q : q + 1]), 1), late), 2)
        torch.testing.assert_close(out[:, q], learner.head(whole(tokens)[0][:, -1]))
