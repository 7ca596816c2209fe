import pytest
import torch
import torch.nn.functional as F

from quickstudy.algorithms import maml, metal
from quickstudy.core.errors import TransductiveError
from quickstudy.core.types import Classes, Episode, Examples
from quickstudy.encoders import MLP
from quickstudy.testing import toy_episode

RATE, N_OUT = 0.1, 4


def double(e: Episode) -> Episode:
    return Episode(
        Examples(e.support.x.double() / 3, e.support.y),
        Examples(e.query.x.double() / 3, e.query.y),
        e.target,
    )


def learner_of(**options):
    torch.manual_seed(0)
    learner = metal(
        MLP(6, widths=(5,)), n_out=N_OUT, inner_lr=RATE, inner_steps=2, **options
    ).double()
    with torch.no_grad():
        for name, p in learner.loss.named_parameters():
            if name.endswith(
                (".g", ".h")
            ):  # they start at zero, where a mistake in what they multiply would not show
                p.normal_()
    return learner


# --- the oracle: one task at a time, one row at a time, from the equations


def standardised(v):
    return (v - v.mean()) / v.std()


def network(p, j, part, rows, state=None):
    matrix = standardised(torch.stack(rows))
    adapted = matrix.mean(0) if state is None else standardised(state)
    own = {
        n: p[f"loss.of_{part}.{j}.{n}"]
        for n in ("first.weight", "first.bias", "second.weight", "second.bias")
    }
    adapter = {
        n: p[f"loss.of_{part}.{j}.adapter.{n}"]
        for n in ("0.weight", "0.bias", "2.weight", "2.bias")
    }
    read = F.linear(
        F.relu(F.linear(adapted, adapter["0.weight"], adapter["0.bias"])),
        adapter["2.weight"],
        adapter["2.bias"],
    )
    g, h = p[f"loss.of_{part}.{j}.g"], p[f"loss.of_{part}.{j}.h"]
    w1, b1, w2, b2 = (
        (1 + g[k] * read[k]) * t + h[k] * read[4 + k] for k, t in enumerate(own.values())
    )
    return sum(F.linear(F.relu(F.linear(row, w1, b1)), w2, b2).squeeze() for row in matrix) / len(
        matrix
    )


def answers(fast, x):
    w, b, head, bias = fast
    return F.linear(F.relu(F.linear(x, w, b)), head, bias)


def slow_metal(p, fast, e, *, use_queries):
    total = 0.0
    for t in range(e.n_tasks):
        now, x, y, q = list(fast), e.support.x[t], e.support.y[t], e.query.x[t]
        for j in range(2):
            out, asked = answers(now, x), answers(now, q)
            loss = F.cross_entropy(out, y)
            means = torch.stack([v.mean() for v in now])
            rows = [
                torch.cat((loss[None], means, out[i], F.one_hot(y[i], N_OUT).double()))
                for i in range(len(y))
            ]
            extra = network(p, j, "support", rows, torch.cat((loss[None], means)))
            if use_queries:
                rows = [
                    torch.cat((means, o, (o.softmax(0) * o.log_softmax(0)).sum()[None]))
                    for o in asked
                ]
                extra = extra + network(p, j, "queries", rows)
            gradients = torch.autograd.grad(loss + extra, now, create_graph=True)
            now = [v - RATE * g for v, g in zip(now, gradients, strict=True)]
        total = total + F.cross_entropy(answers(now, q), e.query.y[t]) / e.n_tasks
    return total


@pytest.mark.parametrize("n_tasks", [1, 3])
@pytest.mark.parametrize("use_queries", [True, False])
def test_loss_and_outer_gradient_equal_a_slow_loop(use_queries, n_tasks):
    learner = learner_of(use_queries=use_queries)
    e = double(toy_episode(n_tasks=n_tasks, target=Classes(N_OUT)))
    named = dict(learner.named_parameters())
    loss = e.target.loss(learner(e), e.query.y).mean()
    expected = slow_metal(named, [named[n] for n in learner.fast_names], e, use_queries=use_queries)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-10)
    ours, theirs = (torch.autograd.grad(value, list(named.values())) for value in (loss, expected))
    for name, a, b in zip(named, ours, theirs, strict=True):
        assert (a - b).norm() <= 1e-8 * b.norm() + 1e-14, name


def test_it_is_maml_where_the_networks_say_nothing():
    learner, e = learner_of(), double(toy_episode())
    with torch.no_grad():
        for p in learner.loss.parameters():
            p.zero_()
    torch.manual_seed(0)
    plain = maml(MLP(6, widths=(5,)), n_out=N_OUT, inner_lr=RATE, inner_steps=2).double()
    plain.load_state_dict(
        {n: p for n, p in learner.state_dict().items() if not n.startswith("loss.")}
    )
    torch.testing.assert_close(learner(e), plain(e))


def test_without_its_queries_it_does_not_adapt():
    e = toy_episode()
    with pytest.raises(TransductiveError, match=r"Pass them: adapt\(support, target, query_x\)"):
        metal(MLP(6), n_out=4).adapt(e.support, e.target)
