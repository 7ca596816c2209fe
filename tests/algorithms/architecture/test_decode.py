"""From mixtures to cells."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quickstudy.algorithms import ProtoNet, t_nas
from quickstudy.algorithms.architecture.decode import (
    adapted_logits,
    decode,
    mixed_cell_of,
    random_cell,
)
from quickstudy.core.errors import ConfigError
from quickstudy.core.setting import Setting
from quickstudy.data import Glyphs
from quickstudy.encoders import CellNet, Conv4, MixedCellNet
from quickstudy.encoders.cell import pairs
from quickstudy.encoders.operations import OPERATIONS


@given(st.integers(1, 5), st.integers(0, 1000))
def test_what_is_decoded_is_a_cell_of_the_strongest(nodes: int, seed: int) -> None:
    logits = torch.randn(
        len(pairs(nodes)), len(OPERATIONS), generator=torch.Generator().manual_seed(seed)
    )
    edges = decode(logits, nodes)
    p = logits.softmax(1)
    names = list(OPERATIONS)

    def strength(i: int, j: int, name: str) -> float:
        return float(p[pairs(nodes).index((i, j)), names.index(name)])

    for j in range(1, nodes + 1):
        into = [(i, name) for i, to, name in edges if to == j]
        assert len(into) == min(2, j)
        for i, name in into:
            assert name != "zero"
            assert all(strength(i, j, name) >= strength(i, j, o) for o in names if o != "zero")
        weakest = min(strength(i, j, name) for i, name in into)
        for i in set(range(j)) - {i for i, _ in into}:
            assert all(strength(i, j, o) <= weakest for o in names if o != "zero")


@given(st.integers(1, 5), st.integers(0, 1000))
def test_random_cells_are_cells_of_the_same_size(nodes: int, seed: int) -> None:
    edges = random_cell(nodes, seed=seed)
    assert len(edges) == len(decode(torch.zeros(len(pairs(nodes)), len(OPERATIONS)), nodes))
    assert CellNet(edges=edges, channels=2).nodes == nodes


def test_random_cells_use_every_operation_and_source() -> None:
    edges = [e for seed in range(200) for e in random_cell(3, seed=seed)]
    assert {name for _, _, name in edges} == set(OPERATIONS) - {"zero"}
    assert {(i, j) for i, j, _ in edges} == set(pairs(3))


def test_logits_after_adaptation() -> None:
    torch.manual_seed(0)
    net = MixedCellNet(channels=4, nodes=2, layers=1, norm="batch")
    tasks = Glyphs().tasks("test", Setting(3, 1, 2))
    found = adapted_logits(t_nas(net, n_out=3, inner_steps=1), tasks, n_tasks=3)
    assert found.shape == (3, *net.logits.shape)
    assert not torch.equal(found[0], found[1])
    fixed = adapted_logits(
        t_nas(net, n_out=3, inner_steps=1, adapts_logits=False), tasks, n_tasks=3
    )
    assert torch.equal(fixed[0], net.logits.detach())


def test_mistakes() -> None:
    with pytest.raises(ConfigError, match="there are logits of 2"):
        decode(torch.zeros(2, len(OPERATIONS)), 2)
    with pytest.raises(ConfigError, match="no cell that is searched for"):
        mixed_cell_of(ProtoNet(Conv4(width=4)))
