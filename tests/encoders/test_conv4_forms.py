"""Conv4's fast forms against its plain one: every normalisation policy, shared and stacked weights,
training and use.
"""

import copy
from importlib.util import find_spec

import pytest
import torch
from torch.func import functional_call

from quickstudy.encoders import Conv4
from quickstudy.encoders.norm import NORMS
from quickstudy.kernels import backend


def encoder_of(norm, channels, training, downsample="pool"):
    torch.manual_seed(0)
    encoder = (
        Conv4(in_channels=channels, width=6, size=17, norm=norm, downsample=downsample)
        .double()
        .train(training)
    )
    with torch.no_grad():
        for name, p in encoder.named_parameters():
            if "norm" in name:
                p.normal_()
        for b in encoder.buffers():
            if b.is_floating_point():
                b.uniform_(0.5, 2)
    return encoder


def outcome(encoder, x, stacked, support):
    """Vectors of the queries (and of a support read before), gradients and second derivatives, and
    the buffers afterwards.
    """
    encoder = copy.deepcopy(encoder)
    weights = {n: p.detach().clone().requires_grad_() for n, p in encoder.named_parameters()}
    if stacked:
        factors = torch.linspace(0.8, 1.2, len(x), dtype=x.dtype)
        weights = {
            n: (p.detach() * factors.view(-1, *[1] * p.ndim)).requires_grad_()
            for n, p in weights.items()
        }
    if support:
        z, context = functional_call(
            _Read(encoder), {f"encoder.{n}": p for n, p in weights.items()}, (x[:, :3],)
        )
        z = torch.cat((z, functional_call(encoder, weights, (x[:, 3:], context))), 1)
    else:
        z = functional_call(encoder, weights, (x,))
    first = torch.autograd.grad(z.square().sum(), list(weights.values()), create_graph=True)
    second = torch.autograd.grad(sum(g.square().sum() for g in first), list(weights.values()))
    return [z, *first, *second, *(b.double() for b in encoder.buffers())]


NEEDS_NUMBA = pytest.mark.skipif(find_spec("numba") is None, reason="numba is not installed")
FORMS = ["torch", pytest.param("numba", marks=NEEDS_NUMBA)]


class _Read(torch.nn.Module):
    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, x):
        return self.encoder.read(x)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize("n_tasks", [1, 3])
@pytest.mark.parametrize(("channels", "downsample"), [(1, "pool"), (3, "pool"), (1, "stride")])
@pytest.mark.parametrize("norm", sorted(NORMS))
def test_every_form_gives_the_same_numbers(
    norm, channels, downsample, n_tasks, stacked, training, form
):
    encoder = encoder_of(norm, channels, training, downsample)
    x = torch.randn(
        n_tasks,
        5,
        channels,
        17,
        17,
        dtype=torch.float64,
        generator=torch.Generator().manual_seed(1),
    )
    with backend("plain"):
        wanted = outcome(encoder, x, stacked, support=norm == "support")
    with backend(form):
        found = outcome(encoder, x, stacked, support=norm == "support")
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("norm", sorted(NORMS))
def test_without_gradients_the_same_vectors(norm, form):
    encoder = encoder_of(norm, 1, training=False)
    x = torch.randn(
        2, 5, 1, 17, 17, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )
    with backend("plain"):
        wanted = encoder(x, encoder.read(x)[1])
    with backend(form), torch.no_grad():
        torch.testing.assert_close(encoder(x, encoder.read(x)[1]), wanted)
        ready = encoder.prepare(x)
        torch.testing.assert_close(encoder(ready), encoder(x))


@pytest.mark.parametrize("frozen", ["conv", "norm"])
def test_gradients_reach_what_is_not_frozen(frozen):
    encoder = encoder_of("running", 1, training=False)
    for name, p in encoder.named_parameters():
        p.requires_grad_(frozen not in name)
    x = torch.randn(1, 5, 1, 17, 17, dtype=torch.float64)
    encoder(x).square().sum().backward()
    assert all((p.grad is not None) == p.requires_grad for p in encoder.parameters())


def test_images_that_need_a_gradient_get_it():
    encoder = encoder_of("batch", 1, training=True)
    x = torch.randn(1, 5, 1, 17, 17, dtype=torch.float64, requires_grad=True)
    (found,) = torch.autograd.grad(encoder(x).square().sum(), x)
    with backend("plain"):
        (wanted,) = torch.autograd.grad(encoder(x).square().sum(), x)
    torch.testing.assert_close(found, wanted)
