import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quickstudy.algorithms import FullContextMatchingNet, MatchingNet
from quickstudy.core.errors import ConfigError
from quickstudy.core.types import Classes, Episode, Examples
from quickstudy.encoders import MLP, Identity
from quickstudy.testing import toy_episode


def explicit(z_support, y, z_query, n_classes, scale):
    """The paper's equations 1 and 2: softmax over cosines, then the sum of the attention on each
    class.
    """
    p = torch.zeros(len(z_query), n_classes, dtype=z_query.dtype)
    for i, q in enumerate(z_query):
        cosines = torch.stack([q @ z / (q.norm() * z.norm()) for z in z_support])
        attention = torch.exp(scale * cosines) / torch.exp(scale * cosines).sum()
        for a, label in zip(attention, y.tolist(), strict=True):
            p[i, label] += a
    return p


@given(
    st.lists(st.integers(1, 4), min_size=2, max_size=5),
    st.sampled_from([0.5, 1.0, 10.0, 40.0]),
    st.integers(0, 1000),
)
@settings(deadline=None, max_examples=40)
def test_the_softmax_of_the_outputs_is_the_sum_of_attention(shots, scale, seed):
    e = toy_episode(n_way=len(shots), n_shot=shots, seed=seed, n_tasks=2)
    learner = MatchingNet(Identity(6), scale=scale).double()
    support, queries = Examples(e.support.x.double(), e.support.y), e.query.x.double()
    out = learner.predict(learner.adapt(support, e.target), queries)
    assert torch.allclose(out.softmax(-1).sum(-1), torch.ones_like(out[..., 0]))
    for t in range(2):
        expected = explicit(support.x[t], support.y[t], queries[t], len(shots), scale)
        assert torch.allclose(expected.sum(-1), torch.ones(len(expected), dtype=torch.float64))
        torch.testing.assert_close(out[t].softmax(-1), expected, rtol=1e-6, atol=1e-9)


def test_the_loss_is_minus_log_of_the_attention_on_the_right_class():
    e = toy_episode()
    learner = MatchingNet(MLP(6, widths=(8,)))
    loss = e.target.loss(learner(e), e.query.y)
    for t in range(3):
        p = explicit(
            learner.encoder(e.support.x)[t], e.support.y[t], learner.encoder(e.query.x)[t], 4, 10.0
        )
        torch.testing.assert_close(
            loss[t], -p[torch.arange(12), e.query.y[t]].log().mean(), rtol=1e-4, atol=1e-5
        )


def test_numbers_by_hand():
    support = Examples.single(
        torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 2.0]]), torch.tensor([0, 1, 1])
    )
    p = (
        MatchingNet(Identity(2), scale=2.0)
        .fit(support, Classes(2))(torch.tensor([[3.0, 0.0]]))
        .softmax(-1)
    )
    assert p.tolist()[0] == pytest.approx(
        [math.exp(2) / (math.exp(2) + 2), 2 / (math.exp(2) + 2)], rel=1e-5
    )


def test_unequal_shots_favour_the_large_class_as_in_the_paper():
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
    support = Examples.single(x, torch.tensor([0, 1, 1, 1]))
    p = (
        MatchingNet(Identity(2), scale=1.0)
        .fit(support, Classes(2))(torch.tensor([[1.0, 1.0]]))
        .softmax(-1)
    )
    torch.testing.assert_close(p, torch.tensor([[0.25, 0.75]]))


def test_the_scale_starts_where_it_is_told_and_is_learned_if_told_so():
    learner = MatchingNet(Identity(6), scale=7.0)
    assert learner.log_scale.exp().item() == pytest.approx(7.0)
    e = toy_episode()
    e.target.loss(learner(e), e.query.y).mean().backward()
    assert learner.log_scale.grad.abs() > 0
    assert not MatchingNet(Identity(6), learn_scale=False).log_scale.requires_grad


def test_a_great_scale_is_the_nearest_neighbour():
    e = toy_episode(n_shot=3)
    out = MatchingNet(Identity(6), scale=1e4)(e)
    q, z = (torch.nn.functional.normalize(x, dim=-1) for x in (e.query.x, e.support.x))
    nearest = (q @ z.transpose(1, 2)).argmax(-1)
    assert torch.equal(out.argmax(-1), e.support.y.gather(1, nearest))
    assert out.isfinite().all()


def test_a_class_without_examples_is_never_chosen():
    support = Examples(torch.eye(2)[None], torch.tensor([[0, 2]]))
    learner = MatchingNet(Identity(2))
    out = learner.predict(learner.adapt(support, Classes(3)), torch.ones(1, 1, 2))
    assert out.softmax(-1)[0, 0].tolist() == pytest.approx([0.5, 0, 0.5])


@pytest.mark.parametrize("similarity", ["euclidean", "dot"])
def test_other_similarities(similarity):
    learner = MatchingNet(Identity(1), similarity=similarity, scale=1.0)
    support = Examples.single(torch.tensor([[1.0], [3.0]]), torch.tensor([0, 1]))
    out = learner.fit(support, Classes(2))(torch.tensor([[2.5]]))
    expected = [-2.25, -0.25] if similarity == "euclidean" else [2.5, 7.5]
    assert out[0].tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("scale", [0.0, -1.0])
def test_a_scale_must_be_above_zero(scale):
    with pytest.raises(ConfigError, match=f"scale must be above 0, got {scale}"):
        MatchingNet(Identity(2), scale=scale)


@pytest.mark.parametrize("combine", ["concatenate", "add"])
def test_full_context_embeddings_by_a_loop(combine):
    torch.manual_seed(0)
    learner = FullContextMatchingNet(MLP(6, widths=(5,)), steps=3, combine=combine)
    e = toy_episode(n_tasks=2)
    out = learner(e)
    for t in range(2):
        z, queries = learner.encoder(e.support.x)[t], learner.encoder(e.query.x)[t]
        lstm, n = learner.support_lstm, len(z)

        def read(order, suffix, z=z, lstm=lstm):
            cell = torch.nn.LSTMCell(5, 5)
            cell.load_state_dict(
                {
                    k: getattr(lstm, f"{k}_l0{suffix}")
                    for k in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
                }
            )
            h, c, seen = torch.zeros(1, 5), torch.zeros(1, 5), {}
            for i in order:
                h, c = cell(z[i][None], (h, c))
                seen[i] = h[0]
            return seen

        forward, backward = read(range(n), ""), read(reversed(range(n)), "_reverse")
        g = torch.stack([forward[i] + backward[i] + z[i] for i in range(n)])
        for q in range(3):
            f, h, c = queries[q], queries[q], torch.zeros(5)
            for _ in range(3):
                weights = torch.softmax(g @ h, 0)
                assert float(weights.sum().detach()) == pytest.approx(1)
                r = weights @ g
                given = torch.cat((f, r)) if combine == "concatenate" else f
                remembered = h if combine == "concatenate" else h + r
                hidden, cell = learner.query_cell(given[None], (remembered[None], c[None]))
                h, c = hidden[0] + f, cell[0]
            cosines = torch.stack([h @ gi / (h.norm() * gi.norm()) for gi in g])
            attention = torch.softmax(10 * cosines, 0)
            expected = torch.stack([attention[e.support.y[t] == c].sum() for c in range(4)])
            torch.testing.assert_close(out[t, q].softmax(-1), expected, rtol=1e-4, atol=1e-5)


def test_answers_over_several_orders_depend_less_on_the_order():
    torch.manual_seed(0)
    e = toy_episode(n_tasks=20, n_shot=3)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    other = Episode(Examples(e.support.x[:, order], e.support.y[:, order]), e.query, e.target)
    gaps = []
    for orders in (1, 12):
        torch.manual_seed(0)
        learner = FullContextMatchingNet(MLP(6, widths=(5,)), orders=orders)
        with torch.no_grad():
            gaps.append(float((learner(e).softmax(-1) - learner(other).softmax(-1)).abs().mean()))
    assert gaps[1] < 0.6 * gaps[0]
    assert learner(e).softmax(-1).sum(-1).detach().numpy() == pytest.approx(1, abs=1e-5)


def test_one_step_already_sees_the_support():
    torch.manual_seed(0)
    learner, e = FullContextMatchingNet(MLP(6, widths=(5,)), steps=1), toy_episode()
    z = learner.encoder(e.query.x)
    g = torch.randn(len(z), 4, 5)
    assert not torch.allclose(learner._look(z, g), learner._look(z, -g))


def test_full_context_mistakes():
    with pytest.raises(ConfigError, match="steps and orders must be at least 1"):
        FullContextMatchingNet(Identity(3), steps=0)
    with pytest.raises(ConfigError, match="by 'concatenate' or 'add', not by 'multiply'"):
        FullContextMatchingNet(Identity(3), combine="multiply")
