import torch

from quickstudy.encoders import Identity


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
