"""CAML: the layers by hand, its codes, and what does not matter to it."""

from dataclasses import replace

import pytest
import torch

from quickstudy.algorithms import CAML
from quickstudy.algorithms.in_context.caml import equiangular_codes
from quickstudy.core.errors import ConfigError, TargetError
from quickstudy.core.types import Examples
from quickstudy.encoders import Conv4, Identity
from quickstudy.testing import toy_episode


def small(**options) -> CAML:
    torch.manual_seed(0)
    return CAML(Identity(6), **{"max_way": 5, "label_width": 6, "layers": 2, "heads": 2, **options})


def moved(learner: CAML) -> CAML:
    """All weights away from where they begin, so that every term counts."""
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in learner.parameters():
            p += 0.3 * torch.randn(p.shape, generator=g)
    return learner


def layer_norm(v: torch.Tensor, weight=1.0, bias=0.0) -> torch.Tensor:
    return (v - v.mean()) / (v.var(correction=0) + 1e-5).sqrt() * weight + bias


def test_the_sequence_by_hand() -> None:
    """One layer and one head, token by token: every token looks at every other, the query too."""
    learner = moved(small(layers=1, heads=1)).eval()
    e = toy_episode(n_tasks=1, n_query=1)
    out = learner(e)[0]
    (layer,) = learner.transformer
    _, codes, _ = learner.adapt(e.support, e.target)
    known = [
        torch.cat((layer_norm(x), codes[0, y]))
        for x, y in zip(e.support.x[0], e.support.y[0], strict=True)
    ]
    width = len(known[0])
    wk, wv = layer.rows.kv.weight.chunk(2)
    sharp = 1 + layer.rows.sharpness * torch.log(torch.tensor((len(known) + 1) / 32))
    for q, x in enumerate(e.query.x[0]):
        tokens = [torch.cat((layer_norm(x), learner.unknown)), *known]
        normed = [layer_norm(t, layer.norm_rows.weight, layer.norm_rows.bias) for t in tokens]
        keys, values = [wk @ t for t in normed], [wv @ t for t in normed]
        query = layer.rows.q.weight @ normed[0]
        share = torch.stack([sharp[0] * (query @ k) / width**0.5 for k in keys]).softmax(0)
        token = tokens[0] + layer.rows.out(sum(a * v for a, v in zip(share, values, strict=True)))
        token = token + layer.net(layer_norm(token, layer.norm.weight, layer.norm.bias))
        read = learner.out(layer_norm(token, learner.norm.weight, learner.norm.bias))
        torch.testing.assert_close(out[q], codes[0] @ read / 6**0.5, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("n", "dim"), [(2, 1), (5, 4), (20, 32)])
def test_codes_are_of_equal_length_and_at_the_widest_equal_angle(n: int, dim: int) -> None:
    gram = equiangular_codes(n, dim).double() @ equiangular_codes(n, dim).double().T / dim
    expected = torch.full((n, n), -1 / (n - 1), dtype=torch.float64)
    expected.fill_diagonal_(1)
    torch.testing.assert_close(gram, expected, atol=1e-5, rtol=0)


def test_a_rotation_puts_the_codes_into_any_other_order() -> None:
    """The symmetry that the paper asks of codes: no class is special."""
    codes = equiangular_codes(6, 8).double()
    other = codes[torch.randperm(6, generator=torch.Generator().manual_seed(0))]
    u, _, v = torch.linalg.svd(codes.T @ other)
    rotation = u @ v
    torch.testing.assert_close(codes @ rotation, other, atol=1e-5, rtol=0)


def test_order_of_support_and_names_of_classes_change_nothing() -> None:
    learner = moved(small(layers=3)).double().eval()
    e = toy_episode(n_tasks=2, n_way=5, n_shot=3)
    support = Examples(e.support.x.double(), e.support.y)
    e = replace(e, support=support, query=Examples(e.query.x.double(), e.query.y))
    out = learner(e)
    order = torch.randperm(15, generator=torch.Generator().manual_seed(0))
    turned = Examples(support.x[:, order], support.y[:, order])
    torch.testing.assert_close(learner(replace(e, support=turned)), out, atol=1e-9, rtol=0)
    names = torch.tensor([3, 0, 4, 1, 2])
    renamed = learner(replace(e, support=Examples(support.x, names[support.y])))
    torch.testing.assert_close(renamed[..., names], out, atol=1e-9, rtol=0)


def test_codes_are_dealt_anew_in_training() -> None:
    learner, e = small(), toy_episode()
    outs = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        outs.append(learner.train()(e))
    assert torch.equal(outs[0], outs[1])
    assert not torch.equal(outs[0], outs[2])


def test_the_encoder_is_frozen_whatever_the_mode() -> None:
    learner = CAML(Conv4(size=16, width=4, norm="running"), width=8, label_width=24, layers=1)
    before = {name: t.clone() for name, t in learner.encoder.state_dict().items()}
    e = toy_episode(shape=(1, 16, 16))
    learner.train()(e).sum().backward()
    assert all(torch.equal(t, before[name]) for name, t in learner.encoder.state_dict().items())
    assert all(p.grad is None for p in learner.encoder.parameters())
    assert learner.project.weight.grad.count_nonzero()


def test_mistakes() -> None:
    with pytest.raises(TargetError, match="at most max_way=3"):
        small(max_way=3)(toy_episode())
    with pytest.raises(ConfigError, match="label_width at least max_way - 1"):
        small(label_width=3)
    with pytest.raises(ConfigError, match="heads must divide the length of a token, 6"):
        small(heads=5)
    with pytest.raises(ConfigError, match="width must be at least 1"):
        small(width=0)
