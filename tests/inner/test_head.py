import pytest
import torch

from quickstudy.core.errors import ConfigError
from quickstudy.inner.head import LinearHead


def test_zeros_make_every_class_equally_likely():
    head = LinearHead(4, 3, init="zeros")
    assert torch.equal(head(torch.randn(2, 4)), torch.zeros(2, 3))
    assert all(p.requires_grad for p in head.parameters())


def test_uniform_is_torchs_own_start_and_the_default():
    starts = []
    for make in (lambda: LinearHead(4, 3), lambda: LinearHead(4, 3, init="uniform"), lambda: torch.nn.Linear(4, 3)):
        torch.manual_seed(0)
        starts.append(make())
    assert all(torch.equal(h.weight, starts[0].weight) and torch.equal(h.bias, starts[0].bias) for h in starts)
    assert starts[0].out_dim == 3


def test_another_start_is_refused():
    with pytest.raises(ConfigError, match=r"No start is called 'zero'\. Did you mean 'zeros'\? Known: uniform, zeros\."):
        LinearHead(4, 3, init="zero")
