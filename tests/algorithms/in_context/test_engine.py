import math

import pytest
import torch

from quickstudy.algorithms.in_context.engine import Attention, GridTransformer, attend
from quickstudy.core.errors import ConfigError


@pytest.fixture
def engine():
    torch.manual_seed(0)
    net = GridTransformer(width=8, heads=2, grid_layers=2, row_layers=1, n_summary=2).double()
    for p in net.parameters():  # zeros at the start would hide what a layer does
        p.data.add_(0.1 * torch.randn_like(p))
    return net


def test_attention_is_what_the_formula_says():
    torch.manual_seed(0)
    q, k = torch.randn(3, 4), torch.randn(5, 4)
    v = torch.randn(5, 6)
    got = attend(q, (k, v), 2, sharpness=torch.tensor([0.0, 0.7]))
    by_hand = torch.zeros(3, 6)
    for head in range(2):
        s = 1 + [0.0, 0.7][head] * math.log(5 / 32)
        for i in range(3):
            a = torch.tensor(
                [
                    s
                    * float(q[i, 2 * head : 2 * head + 2] @ k[j, 2 * head : 2 * head + 2])
                    / math.sqrt(2)
                    for j in range(5)
                ]
            ).softmax(0)
            for j in range(5):
                by_hand[i, 3 * head : 3 * head + 3] += a[j] * v[j, 3 * head : 3 * head + 3]
    torch.testing.assert_close(got, by_hand)


def test_what_is_not_allowed_is_not_read():
    q, k, v = torch.randn(1, 2), torch.randn(3, 2), torch.randn(3, 2)
    got = attend(q, (k, v), 1, allowed=torch.tensor([[False, True, False]]))
    torch.testing.assert_close(got, v[1:2])


def test_attention_begins_with_keys_equal_to_queries_and_passes_on_half():
    attention = Attention(6, 2)
    z = torch.randn(1, 4, 6)
    k, v = attention.keys(z)
    torch.testing.assert_close(k, attention.q(z))
    torch.testing.assert_close(v, z)
    torch.testing.assert_close(attention(z[:, :1], attention.keys(z[:, :1])), 0.5 * z[:, :1])


def test_rows_and_columns_have_no_order(engine):
    t, label = torch.randn(1, 5, 7, 8).double(), torch.randn(1, 7, 16).double()
    asked = torch.randn(1, 5, 3, 8).double()
    expected = engine.query(asked, engine.support(t, label))
    rows = torch.randperm(7)
    columns = torch.cat((torch.arange(2), 2 + torch.randperm(3)))
    kept = engine.support(t[:, columns][:, :, rows], label[:, rows])
    torch.testing.assert_close(
        engine.query(asked[:, columns], kept), expected, rtol=1e-10, atol=1e-10
    )


def test_a_query_reads_the_support_and_not_the_other_queries(engine):
    t, label = torch.randn(1, 4, 6, 8).double(), torch.randn(1, 6, 16).double()
    asked = torch.randn(1, 4, 5, 8).double()
    kept = engine.support(t, label)
    together = engine.query(asked, kept)
    alone = torch.cat([engine.query(asked[:, :, [i]], kept) for i in range(5)], 1)
    torch.testing.assert_close(alone, together)
    other = engine.query(asked, engine.support(t, label.flip(1)))
    assert (other - together).abs().max() > 1e-3


def test_a_support_row_asked_again_gets_the_same_row(engine):
    # What the support's tokens become and what a query's become is the same computation.
    t = torch.randn(1, 4, 6, 8).double()
    label = torch.zeros(1, 6, 16).double()
    kept = engine.support(t, label)
    k, _ = kept[-1]
    asked = t
    for (layer, keep), known in zip(engine._grid_layers(), kept, strict=False):
        asked = layer.query(asked, known, keep=keep)
    row_layer = engine._row_layers()[0]
    z = row_layer.norm_rows(engine._rows(asked)[:, None])
    torch.testing.assert_close(row_layer.rows.keys(z)[0], k)


@pytest.mark.parametrize(
    "wrong", [{"heads": 3}, {"width": 0}, {"grid_layers": 0}, {"row_layers": -1}]
)
def test_refuses_sizes_that_make_no_network(wrong):
    sizes = {"width": 8, "heads": 2, "grid_layers": 1, "row_layers": 1, "n_summary": 1, **wrong}
    with pytest.raises(ConfigError):
        GridTransformer(**sizes)
