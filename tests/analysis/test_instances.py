"""Accuracy by instance."""

import pytest
import torch

from quickstudy.algorithms import ProtoNet, SequenceLSTM
from quickstudy.analysis import instance_accuracy
from quickstudy.core.errors import ConfigError
from quickstudy.core.setting import Setting
from quickstudy.data import Glyphs
from quickstudy.encoders import Conv4

GLYPHS = Glyphs()


class OneBehind(SequenceLSTM):
    """Knows a class from its second example on, except that it is wrong at every third."""

    def online(self, x, y, n):
        seen = torch.zeros(len(y), n, dtype=torch.long)
        out = torch.zeros(*y.shape, n)
        for t in range(y.shape[1]):
            k = seen.gather(1, y[:, t : t + 1])[:, 0]  # examples of this class before
            right = (k > 0) & (k != 2)
            answer = torch.where(right, y[:, t], (y[:, t] + 1) % n)
            out[torch.arange(len(y)), t, answer] = 1.0
            seen.scatter_add_(1, y[:, t : t + 1], torch.ones_like(y[:, t : t + 1]))
        return out


def test_each_instance_is_counted_where_it_belongs(tmp_path) -> None:
    tasks = GLYPHS.tasks("test", Setting(3, 1, 4))
    report = instance_accuracy(OneBehind(Conv4(width=4), n_out=3), tasks, n_tasks=5, batch=2)
    assert report.means == (0.0, 1.0, 0.0, 1.0, 1.0)
    assert (report.n_way, report.n_tasks) == (3, 5)
    assert report.rows()[1][0] == "2"
    assert report.draw(tmp_path / "curve.png").stat().st_size > 5_000


def test_a_real_learner_is_scored_and_others_are_refused() -> None:
    tasks = GLYPHS.tasks("test", Setting(3, 1, 2))
    report = instance_accuracy(SequenceLSTM(Conv4(width=4), n_out=3), tasks, n_tasks=4)
    assert all(0 <= m <= 1 for m in report.means)
    assert len(report.means) == 3
    with pytest.raises(ConfigError, match="before it sees the label"):
        instance_accuracy(ProtoNet(Conv4(width=4)), tasks, n_tasks=4)
