"""Networks of cells."""

import pytest
import torch
import torch.nn.functional as F

from quickstudy.algorithms import ProtoNet, fomaml, maml
from quickstudy.core.clock import set_clocks
from quickstudy.core.errors import ConfigError
from quickstudy.encoders import CellNet, MixedCellNet
from quickstudy.encoders.cell import pairs
from quickstudy.encoders.operations import OPERATIONS, Memory
from quickstudy.testing import check_learner

EDGES = (
    (0, 1, "conv3x3"),
    (0, 2, "identity"),
    (1, 2, "separable5x5"),
    (1, 3, "max_pool3x3"),
    (2, 3, "avg_pool3x3"),
    (0, 3, "dilated3x3"),
)


def test_a_cell_is_the_sum_over_its_edges() -> None:
    torch.manual_seed(0)
    net = CellNet(edges=EDGES, channels=4, layers=1, norm="none")
    x = torch.randn(1, 3, 1, 28, 28)
    y = net.stem(x[0])
    cell = net.cells[0]
    one = cell["0-1-conv3x3"].conv(F.relu(y))
    two = y + cell["1-2-separable5x5"].point(cell["1-2-separable5x5"].depth(F.relu(one)))
    three = F.max_pool2d(one, 3, 1, 1) + F.avg_pool2d(two, 3, 1, 1, count_include_pad=False)
    three = three + F.conv2d(F.relu(y), cell["0-3-dilated3x3"].conv.weight, padding=2, dilation=2)
    expected = F.relu((one + two + three) / 3).mean((2, 3))
    torch.testing.assert_close(net(x)[0], expected, rtol=1e-4, atol=1e-5)


def test_a_mixture_with_certain_logits_is_that_cell() -> None:
    torch.manual_seed(0)
    mixed = MixedCellNet(channels=4, nodes=3, layers=2, norm="batch")
    net = CellNet(edges=EDGES, channels=4, layers=2, norm="batch")
    with torch.no_grad():
        mixed.logits.fill_(-100.0)
        mixed.logits[:, list(OPERATIONS).index("zero")] = 0.0
        for i, j, name in EDGES:
            row = pairs(3).index((i, j))
            mixed.logits[row, list(OPERATIONS).index("zero")] = -100.0
            mixed.logits[row, list(OPERATIONS).index(name)] = 0.0
    net.stem.load_state_dict(mixed.stem.state_dict())
    for a, b in zip(net.cells, mixed.cells, strict=True):
        for i, j, name in EDGES:
            a[f"{i}-{j}-{name}"].load_state_dict(
                b[f"{i}-{j}"][list(OPERATIONS).index(name)].state_dict()
            )
    x = torch.randn(2, 5, 1, 28, 28)
    torch.testing.assert_close(mixed(x), net(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_keeps_the_shape(name: str) -> None:
    x = torch.randn(2, 3, 4, 7, 7)
    assert OPERATIONS[name](4, "batch")(x, Memory()).shape == x.shape


def test_the_mixture_cools() -> None:
    net = MixedCellNet(channels=4, nodes=1, coldest=0.01, cool_steps=10)
    temperatures = []
    for steps in (0, 5, 10, 20):
        set_clocks(net, steps)
        temperatures.append(net.temperature)
    assert temperatures == pytest.approx([1.0, 0.1, 0.01, 0.01])


@pytest.mark.parametrize("norm", ["running", "support", "group"])
def test_cells_keep_the_contract(norm: str) -> None:
    net = CellNet(
        edges=((0, 1, "conv3x3"), (1, 2, "max_pool3x3"), (0, 2, "separable5x5")),
        channels=4,
        layers=2,
        norm=norm,
    )
    check_learner(ProtoNet(net), shape=(1, 8, 8), n_tasks=(2,))


def test_mixtures_keep_the_contract() -> None:
    learner = fomaml(
        MixedCellNet(channels=4, nodes=2, layers=1, norm="support"),
        n_out=4,
        inner_lr=0.5,
        inner_steps=2,
    )
    check_learner(learner, shape=(1, 8, 8), n_tasks=(2,), builder=maml)


def test_mistakes() -> None:
    for edges, why in (
        (((1, 1, "conv3x3"),), "from < to"),
        (((0, 1, "conv"),), "No operation is called 'conv'"),
        (((0, 2, "conv3x3"),), "needs an edge into it"),
        ((), "needs an edge into it"),
    ):
        with pytest.raises(ConfigError, match=why):
            CellNet(edges=edges)
    with pytest.raises(ConfigError, match="coldest"):
        MixedCellNet(coldest=0.0)
    with pytest.raises(ConfigError, match="at least 1"):
        MixedCellNet(channels=0)
