import pytest
import torch
from torch import nn
from torch.func import functional_call

from quickstudy.core.errors import ConfigError
from quickstudy.encoders import ENCODERS, Conv4
from quickstudy.encoders.norm import EPS, NORMS


def plain(encoder):
    """The textbook network, convolution → norm → ReLU → pooling, with the encoder's weights."""
    layers = []
    for block in encoder.blocks:
        conv = nn.Conv2d(block.conv.in_channels, block.conv.out_channels, 3, padding=1, bias=False)
        norm = nn.BatchNorm2d(
            block.conv.out_channels, eps=EPS, track_running_stats=encoder.norm == "running"
        )
        layers += [conv, norm, nn.ReLU(), nn.MaxPool2d(2)]
        conv.weight.data = block.conv.weight.data.clone()
        norm.weight.data = (
            torch.ones_like(norm.weight)
            if block.norm.weight is None
            else block.norm.weight.data.clone()
        )
        norm.bias.data = block.norm.bias.data.clone()
    return nn.Sequential(*layers, nn.Flatten()).to(encoder.blocks[0].conv.weight.dtype)


def with_weights(encoder, seed=0):
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in encoder.named_parameters():
            # negative scales too: then the maximum of what was normalised is not what was
            # normalised of the maximum
            p.copy_(torch.randn(p.shape, generator=g) * (0.2 if "conv" in name else 1.0))
    return encoder


@pytest.mark.parametrize(
    ("size", "channels", "width", "out"),
    [
        (28, 1, 64, 64),
        (84, 3, 64, 1600),
        (84, 3, 32, 800),
        (16, 1, 8, 8),
        (31, 1, 8, 8),
        (32, 2, 8, 32),
    ],
)
def test_shapes(size, channels, width, out):
    encoder = Conv4(in_channels=channels, width=width, size=size)
    x = torch.zeros(2, 2, channels, size, size)
    assert encoder.out_dim == out
    assert encoder(x).shape == (2, 2, out)
    z, context = encoder.read(x)
    assert z.shape == (2, 2, out)
    assert context == ()


def test_parameters_are_those_of_the_literature_less_the_biases_of_the_convolutions():
    n = sum(p.numel() for p in Conv4(size=28).parameters())
    assert n == 9 * 64 + 3 * 9 * 64 * 64 + 4 * 2 * 64
    assert sum(p.numel() for p in Conv4(size=28, norm_scale=False).parameters()) == n - 4 * 64


@pytest.mark.parametrize("size", [1, 8, 15])
def test_images_that_are_too_small_are_refused_with_both_numbers(size):
    with pytest.raises(ConfigError, match=f"needs size ≥ 16, got {size}"):
        Conv4(size=size)


def test_unknown_norm():
    with pytest.raises(ConfigError, match="Did you mean 'running'"):
        Conv4(norm="runing")


@pytest.mark.parametrize("size", [28, 84])
@pytest.mark.parametrize("norm_scale", [True, False])
def test_running_equals_the_plain_network_in_training_and_evaluation(size, norm_scale):
    encoder = with_weights(Conv4(width=8, size=size, in_channels=3, norm_scale=norm_scale)).double()
    reference = plain(encoder)
    for _ in range(2):
        x = torch.randn(2, 5, 3, size, size, dtype=torch.float64)
        torch.testing.assert_close(
            encoder(x).flatten(0, 1), reference(x.flatten(0, 1)), rtol=1e-6, atol=1e-6
        )
    encoder.eval(), reference.eval()
    for block, norm in zip(
        encoder.blocks, [m for m in reference if isinstance(m, nn.BatchNorm2d)], strict=True
    ):
        torch.testing.assert_close(block.norm.norm.running_mean, norm.running_mean)
        torch.testing.assert_close(block.norm.norm.running_var, norm.running_var)
    torch.testing.assert_close(
        encoder(x).flatten(0, 1), reference(x.flatten(0, 1)), rtol=1e-6, atol=1e-6
    )
    torch.testing.assert_close(
        encoder.float()(x.float()).double(), encoder.double()(x), rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("size", [28, 84])
def test_batch_equals_the_plain_network_task_by_task(size):
    encoder = with_weights(Conv4(width=8, size=size, norm="batch")).double()
    reference = plain(encoder)
    x = torch.randn(3, 4, 1, size, size, dtype=torch.float64)
    torch.testing.assert_close(
        encoder(x), torch.stack([reference(xt) for xt in x]), rtol=1e-6, atol=1e-6
    )
    torch.testing.assert_close(encoder.eval()(x), encoder.train()(x))


def test_pooling_before_the_relu_changes_nothing_also_where_all_is_negative():
    x = torch.randn(4, 3, 8, 8)
    x[:, 0] = -x[:, 0].abs() - 0.1
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    pooled = torch.relu(nn.functional.max_pool2d(a, 2))
    rectified = nn.functional.max_pool2d(torch.relu(b), 2)
    assert torch.equal(pooled, rectified)
    assert (pooled[:, 0] == 0).all()
    (pooled.square().sum() + pooled.sum()).backward()
    (rectified.square().sum() + rectified.sum()).backward()
    assert torch.equal(a.grad, b.grad)


def test_gradients_equal_the_plain_networks():
    encoder = with_weights(Conv4(width=8, size=28, norm="batch")).double()
    reference = plain(encoder)
    x = torch.randn(1, 6, 1, 28, 28, dtype=torch.float64)
    ours = torch.autograd.grad(encoder(x).square().sum(), [*encoder.parameters()])
    theirs = torch.autograd.grad(reference(x[0]).square().sum(), [*reference.parameters()])
    ours = dict(zip([n for n, _ in encoder.named_parameters()], ours, strict=True))
    for i, block in enumerate(zip(*[iter(theirs)] * 3, strict=True)):
        for name, gradient in zip(("conv.weight", "norm.weight", "norm.bias"), block, strict=True):
            torch.testing.assert_close(ours[f"blocks.{i}.{name}"], gradient, rtol=1e-8, atol=1e-8)


def test_support_statistics_are_those_of_each_block_and_serve_queries_one_by_one():
    encoder = with_weights(Conv4(width=8, size=16, norm="support")).double()
    reference = plain(encoder)  # track_running_stats is off: it normalises by what it sees
    support = torch.randn(2, 5, 1, 16, 16, dtype=torch.float64)
    queries = torch.randn(2, 3, 1, 16, 16, dtype=torch.float64)
    z, context = encoder.read(support)
    assert [c.shape for c in context] == [(2, 2, 8)] * 4
    torch.testing.assert_close(z, torch.stack([reference(xt) for xt in support]))
    torch.testing.assert_close(encoder(support, context), z)
    whole = encoder(queries, context)
    torch.testing.assert_close(
        whole, torch.cat([encoder(queries[:, i : i + 1], context) for i in range(3)], 1)
    )
    for t in range(2):
        x = queries[t]
        for i, block in enumerate(encoder.blocks):
            mean, var = context[i][t].detach()
            x = block.conv(x)
            x = nn.functional.batch_norm(
                x, mean, var, block.norm.weight, block.norm.bias, False, 0.0, EPS
            )
            x = nn.functional.max_pool2d(x.relu(), 2)
        torch.testing.assert_close(whole[t], x.flatten(1))


@pytest.mark.parametrize("norm", sorted(NORMS))
def test_each_task_may_have_weights_of_its_own(norm):
    encoder = with_weights(Conv4(width=8, size=16, norm=norm)).double().eval()
    assert encoder.stacks
    g = torch.Generator().manual_seed(3)
    x = torch.randn(3, 4, 1, 16, 16, dtype=torch.float64, generator=g)
    stacks = {
        n: torch.randn(3, *p.shape, dtype=torch.float64, generator=g) * 0.3
        for n, p in encoder.named_parameters()
    }
    out = functional_call(encoder, stacks, (x,))
    one_by_one = [
        functional_call(encoder, {n: s[t] for n, s in stacks.items()}, (x[t : t + 1],))
        for t in range(3)
    ]
    torch.testing.assert_close(out, torch.cat(one_by_one), rtol=1e-9, atol=1e-9)
    convolutions = {n: s for n, s in stacks.items() if "conv" in n}
    out = functional_call(encoder, convolutions, (x,))
    one_by_one = [
        functional_call(encoder, {n: s[t] for n, s in convolutions.items()}, (x[t : t + 1],))
        for t in range(3)
    ]
    torch.testing.assert_close(out, torch.cat(one_by_one), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("norm", sorted(NORMS))
def test_only_batch_statistics_are_transductive(norm):
    assert Conv4(width=4, norm=norm).transductive == (norm == "batch")


def test_it_is_in_the_registry():
    assert ENCODERS["conv4"] is Conv4
