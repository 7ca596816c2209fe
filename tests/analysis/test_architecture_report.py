"""The report on a searched cell."""

import pytest
import torch

from quickstudy.algorithms import ProtoNet, t_nas
from quickstudy.analysis import architecture
from quickstudy.core.errors import ConfigError
from quickstudy.core.setting import Setting
from quickstudy.data import Glyphs
from quickstudy.encoders import CellNet, Conv4, MixedCellNet
from quickstudy.encoders.operations import OPERATIONS

TASKS = Glyphs().tasks("test", Setting(3, 1, 2))


def test_a_search_is_told_and_drawn(tmp_path) -> None:
    torch.manual_seed(0)
    net = MixedCellNet(channels=4, nodes=2, layers=1, norm="batch")
    with torch.no_grad():
        net.logits[:, list(OPERATIONS).index("separable5x5")] += 5.0
    report = architecture(t_nas(net, n_out=3, inner_steps=1), TASKS, n_tasks=4)
    assert report.edges == ((0, 1, "separable5x5"), (0, 2, "separable5x5"), (1, 2, "separable5x5"))
    assert report.agreement == (1.0, 1.0, 1.0)
    assert report.n_tasks == 4
    assert all(sum(row) == pytest.approx(1, abs=1e-3) for row in report.weights)
    assert "separable5x5, weight 0.9" in report.rows()[0][1]
    assert report.draw(tmp_path / "cell.png").stat().st_size > 10_000


def test_a_given_cell_is_told_as_it_is_and_others_are_refused() -> None:
    edges = ((0, 1, "conv3x3"), (0, 2, "identity"), (1, 2, "max_pool3x3"))
    assert architecture(ProtoNet(CellNet(edges=edges, channels=4)), TASKS).edges == edges
    with pytest.raises(ConfigError, match="no cell that is searched for"):
        architecture(ProtoNet(Conv4(width=4)), TASKS)
    assert architecture(ProtoNet(MixedCellNet(channels=4)), TASKS).n_tasks == 1
