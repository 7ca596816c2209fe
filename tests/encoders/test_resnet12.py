import pytest
import torch
from torch import nn

from quickstudy.core.errors import ConfigError
from quickstudy.encoders import ENCODERS, ResNet12
from quickstudy.encoders.norm import NORMS

SMALL = {"size": 16, "widths": (4, 6, 6, 8), "drop_warm_up": 0}


def plain(encoder: ResNet12, x: torch.Tensor) -> torch.Tensor:
    """The textbook network in evaluation, with the encoder's weights, picture by picture."""
    for block in encoder.blocks:
        norms = []
        for ours in block.norms:
            norm = nn.BatchNorm2d(ours.channels).to(x.dtype).eval()
            norm.weight.data, norm.bias.data = ours.weight.data, ours.bias.data
            norm.running_mean, norm.running_var = ours.norm.running_mean, ours.norm.running_var
            norms.append(norm)
        act = nn.LeakyReLU(0.1)
        y = act(norms[0](block.convs[0](x)))
        y = act(norms[1](block.convs[1](y)))
        y = norms[2](block.convs[2](y))
        x = nn.functional.max_pool2d(act(y + norms[3](block.shortcut(x))), 2)
    return x


@pytest.mark.parametrize("pool", [True, False])
def test_evaluation_equals_the_plain_network(pool: bool) -> None:
    torch.manual_seed(0)
    encoder = ResNet12(**{**SMALL, "size": 32}, pool=pool).double()
    for p in encoder.parameters():
        nn.init.normal_(p, std=0.5)
    encoder(torch.randn(2, 6, 3, 32, 32, dtype=torch.double))  # running averages
    encoder.eval()
    x = torch.randn(2, 3, 3, 32, 32, dtype=torch.double)
    z = plain(encoder, x.flatten(0, 1))
    torch.testing.assert_close(encoder(x).flatten(0, 1), z.mean((2, 3)) if pool else z.flatten(1))
    assert encoder.out_dim == encoder(x).shape[2]


@pytest.mark.parametrize(
    ("widths", "millions"), [((64, 160, 320, 640), 12.4), ((64, 128, 256, 512), 8.0)]
)
def test_it_has_the_weights_of_the_literature(widths: tuple[int, ...], millions: float) -> None:
    with torch.device("meta"):
        n = sum(p.numel() for p in ResNet12(widths=widths).parameters())
    assert n / 1e6 == pytest.approx(millions, abs=0.06)
    ins = (3, *widths[:3])
    assert n == sum(
        9 * i * o + 2 * 9 * o * o + i * o + 4 * 2 * o for i, o in zip(ins, widths, strict=True)
    )


@pytest.mark.parametrize("norm", list(NORMS))
def test_every_policy(norm: str) -> None:
    torch.manual_seed(0)
    encoder = ResNet12(**SMALL, norm=norm).eval()
    x = torch.randn(2, 5, 3, 16, 16)
    z, context = encoder.read(x)
    assert z.shape == (2, 5, 8)
    assert len(context) == (16 if norm == "support" else 0)
    torch.testing.assert_close(encoder(x, context), z)
    if not encoder.transductive:  # queries one by one
        torch.testing.assert_close(encoder(x[:, 1:2], context), z[:, 1:2], rtol=1e-4, atol=1e-5)


def test_training_drops_by_the_seed_and_evaluation_does_not() -> None:
    encoder, x = ResNet12(**SMALL, drop=0.3, norm="group"), torch.randn(1, 4, 3, 16, 16)
    outs = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        outs.append(encoder(x))
    assert torch.equal(outs[0], outs[1])
    assert not torch.equal(outs[0], outs[2])
    encoder.eval()
    assert torch.equal(encoder(x), encoder(x))


def test_each_block_is_a_stage() -> None:
    encoder, shapes = ResNet12(**{**SMALL, "size": 32}), []
    with encoder.between(lambda stage, z: shapes.append((stage, z.shape[2:])) or z):
        encoder(torch.randn(1, 2, 3, 32, 32))
    assert shapes == [(1, (4, 16, 16)), (2, (6, 8, 8)), (3, (6, 4, 4)), (4, (8, 2, 2))]
    assert dict(encoder.named_modules()).keys() >= set(encoder.stages)


def test_mistakes() -> None:
    assert ENCODERS["resnet12"] is ResNet12
    with pytest.raises(ConfigError, match="needs size ≥ 16, got 12"):
        ResNet12(size=12)
    with pytest.raises(ConfigError, match="takes four widths"):
        ResNet12(widths=(64, 128))
