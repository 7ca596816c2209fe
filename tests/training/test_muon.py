"""Muon for matrices, AdamW for the rest."""

import pytest
import torch
from torch import nn

from quickstudy.core.errors import ConfigError
from quickstudy.training import Optimiser
from quickstudy.training.muon import MuonAndAdamW
from quickstudy.training.optimiser import build_optimiser

needs_muon = pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch 2.9 has Muon")


def _network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(2, 16),
        nn.Tanh(),
        nn.Linear(16, 16),
        nn.LayerNorm(16),
        nn.Unflatten(1, (16, 1)),
        nn.Conv1d(16, 8, 1),
    )


def _stepped(network: nn.Module, optimiser: torch.optim.Optimizer, schedule=None, n: int = 3):
    x = torch.randn(32, 2, generator=torch.Generator().manual_seed(1))
    for _ in range(n):
        optimiser.zero_grad()
        network(x).square().sum().backward()
        optimiser.step()
        if schedule is not None:
            schedule.step()


@needs_muon
def test_the_first_step_of_a_matrix_is_orthogonal_and_as_long_as_adams() -> None:
    matrix = nn.Parameter(torch.zeros(16, 16))
    optimiser = MuonAndAdamW([matrix], lr=0.01)
    matrix.grad = torch.randn(16, 16, generator=torch.Generator().manual_seed(2))
    matrix.grad += torch.eye(16) * 8  # no singular value near zero, which five iterations leave
    optimiser.step()
    values = torch.linalg.svdvals(matrix.detach())
    assert values.min() > 0.55 * values.max()
    assert matrix.square().mean().sqrt().item() == pytest.approx(0.01 * 0.2, rel=0.2)


@needs_muon
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_filters_step_as_the_matrix_with_a_row_for_each_output(layout) -> None:
    draw = torch.Generator().manual_seed(3)
    start, gradient = torch.randn(2, 16, 8, 3, 3, generator=draw)
    filters = nn.Parameter(start.clone().to(memory_format=layout))
    filters.grad = gradient.clone()  # in the other layout, where filters have the channels last
    MuonAndAdamW([filters], lr=0.01).step()
    matrix = nn.Parameter(start.flatten(1).clone())
    matrix.grad = gradient.flatten(1).clone()
    MuonAndAdamW([matrix], lr=0.01).step()
    assert (filters.detach() - start).abs().max() > 1e-3
    # Singular vectors do not depend on the order of the columns.
    torch.testing.assert_close(filters.flatten(1), matrix, atol=1e-4, rtol=0)


@needs_muon
def test_filters_of_strange_layout_are_refused() -> None:
    strange = nn.Parameter(torch.randn(8, 16, 3, 3).transpose(0, 1))
    with pytest.raises(ConfigError, match="contiguous"):
        MuonAndAdamW([strange], lr=0.01)


@needs_muon
def test_vectors_and_lists_of_vectors_are_adams() -> None:
    ours, theirs = _network(), _network()
    _stepped(ours, MuonAndAdamW(ours.parameters(), lr=0.01, weight_decay=0.1), n=1)
    _stepped(theirs, torch.optim.AdamW(theirs.parameters(), lr=0.01, weight_decay=0.1), n=1)
    for name, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value) == (
            name not in ("2.weight", "5.weight")
        ), name


@needs_muon
@pytest.mark.parametrize("schedule", ["constant", "one_cycle", "cosine", "linear", "step"])
def test_every_schedule_reaches_both_and_a_training_goes_on_as_if_not_stopped(schedule) -> None:
    settings = Optimiser(name="muon", lr=0.01, schedule=schedule, step_every=2)
    through, stopped = _network(), _network()
    _stepped(through, *build_optimiser(settings, through, steps=6), n=5)
    optimiser, plan = build_optimiser(settings, stopped, steps=6)
    _stepped(stopped, optimiser, plan, n=2)
    saved = optimiser.state_dict(), plan.state_dict()
    optimiser, plan = build_optimiser(settings, stopped, steps=6)
    optimiser.load_state_dict(saved[0])
    plan.load_state_dict(saved[1])
    assert len({group["lr"] for group in optimiser.param_groups}) == 1
    _stepped(stopped, optimiser, plan, n=3)
    for name, value in through.state_dict().items():
        assert torch.equal(stopped.state_dict()[name], value), name


@needs_muon
def test_states_of_another_optimiser_are_refused() -> None:
    network = _network()
    optimiser = MuonAndAdamW(network.parameters(), lr=0.01)
    with pytest.raises(ValueError, match="adamw"):
        optimiser.load_state_dict(torch.optim.SGD(network.parameters(), lr=0.1).state_dict())


def test_a_torch_without_muon_is_told(monkeypatch) -> None:
    monkeypatch.delattr(torch.optim, "Muon", raising=False)
    with pytest.raises(ConfigError, match="adamw"):
        MuonAndAdamW(_network().parameters(), lr=0.01)
