import torch
from torch import nn

from quickstudy.encoders import Identity, Wrapped


def test_identity_flattens_and_nothing_else():
    x = torch.randn(2, 3, 1, 4, 5)
    encoder = Identity(20)
    assert torch.equal(encoder(x), x.reshape(2, 3, 20))
    z, context = encoder.read(x)
    assert torch.equal(z, encoder(x))
    assert context == ()
    assert (encoder.out_dim, encoder.norm, encoder.transductive) == (20, "none", False)
    assert not list(encoder.parameters())
    assert torch.equal(Identity(5)(torch.ones(1, 2, 5)), torch.ones(1, 2, 5))


def test_per_example_calls_a_plain_torch_module_on_all_examples_at_once():
    sizes = []

    class Net(nn.Module):
        def forward(self, x):
            sizes.append(x.shape)
            return x.flatten(1)[:, :3]

    x = torch.randn(2, 5, 1, 4, 4)
    out = Wrapped(Net(), out_dim=3)(x)
    assert sizes == [(10, 1, 4, 4)]
    assert torch.equal(out, x.flatten(2)[..., :3])


def test_per_example_trains_the_module_it_was_given():
    module = nn.Linear(3, 2)
    encoder = Wrapped(module, out_dim=2)
    assert encoder.module is module
    assert encoder.out_dim == 2
    encoder(torch.randn(1, 4, 3)).sum().backward()
    assert module.weight.grad is not None
