import pytest
import torch

from quickstudy.core.errors import ConfigError
from quickstudy.inner.rules import FixedRate


def test_a_fixed_rate_goes_downhill_by_the_same_rate_for_everything():
    rule, gradient = FixedRate(0.25), torch.tensor([1.0, -2.0])
    for name, step in (("head.weight", 0), ("encoder.layers.0.bias", 7)):
        assert rule(name, gradient, step).tolist() == [-0.25, 0.5]


def test_it_learns_nothing():
    assert not list(FixedRate(0.1).parameters())


@pytest.mark.parametrize("lr", [0.0, -0.1, float("nan")])
def test_rates_that_do_not_descend_are_refused(lr):
    with pytest.raises(ConfigError, match=f"must be above 0, got {lr}"):
        FixedRate(lr)
