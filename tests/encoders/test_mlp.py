import pytest
import torch
from torch import nn
from torch.func import functional_call

from quickstudy.core.errors import ConfigError
from quickstudy.encoders import MLP


@pytest.mark.parametrize("widths", [(5,), (7, 3), [4, 4, 2]])
def test_it_is_linear_layers_with_relu_after_each(widths):
    encoder = MLP(6, widths=widths)
    x = torch.randn(2, 3, 6)
    expected = x
    for weight, bias in zip(*[iter(encoder.parameters())] * 2, strict=True):
        expected = nn.functional.linear(expected, weight, bias).relu()
    out = encoder(x)
    assert encoder.out_dim == widths[-1] == out.shape[-1]
    assert (encoder.norm, encoder.transductive) == ("none", False)
    torch.testing.assert_close(out, expected)
    assert (out >= 0).all()
    assert sum(1 for _ in encoder.parameters()) == 2 * len(widths)


def test_it_starts_as_torchs_linear_layers_do():
    torch.manual_seed(3)
    encoder = MLP(6, widths=(5,))
    torch.manual_seed(3)
    layer = nn.Linear(6, 5)
    assert torch.equal(next(encoder.parameters()), layer.weight)


def test_each_task_may_have_weights_of_its_own():
    encoder, x = MLP(6, widths=(5, 4)), torch.randn(3, 2, 6)
    assert encoder.stacks
    stacks = {n: torch.randn(3, *p.shape) for n, p in encoder.named_parameters()}
    one_by_one = [
        functional_call(encoder, {n: s[t] for n, s in stacks.items()}, (x[t : t + 1],))
        for t in range(3)
    ]
    torch.testing.assert_close(functional_call(encoder, stacks, (x,)), torch.cat(one_by_one))


def test_no_layers_are_refused():
    with pytest.raises(ConfigError, match=r"at least one layer.*Identity"):
        MLP(6, widths=())
