import pytest
import torch

from quickstudy.core.errors import ConfigError
from quickstudy.inner.rules import FixedRate, Move


def test_a_fixed_rate_goes_downhill_by_the_same_rate_for_everything():
    params = {name: torch.zeros(2) for name in ("head.weight", "encoder.layers.0.bias")}
    gradients = dict.fromkeys(params, torch.tensor([1.0, -2.0]))
    for step in (0, 7):
        after, memory = FixedRate(0.25)(Move(step, params, gradients, torch.zeros(1)), ())
        assert memory == ()
        assert {n: p.tolist() for n, p in after.items()} == dict.fromkeys(params, [-0.25, 0.5])


def test_it_learns_nothing():
    assert not list(FixedRate(0.1).parameters())


@pytest.mark.parametrize("lr", [0.0, -0.1, float("nan")])
def test_rates_that_do_not_descend_are_refused(lr):
    with pytest.raises(ConfigError, match=f"must be above 0, got {lr}"):
        FixedRate(lr)
