"""MANN by a slow loop over the paper's formulas, and what a memory must not do."""

import math

import pytest
import torch

from quickstudy.algorithms import MANN, ProtoNet, SequenceLSTM
from quickstudy.core.errors import ConfigError, TargetError
from quickstudy.core.objective import MetaStep
from quickstudy.core.rng import drawing, generator
from quickstudy.core.types import Classes, Episode, Examples
from quickstudy.encoders import MLP, Identity
from quickstudy.objectives import Online, QueryLoss
from quickstudy.testing import toy_episode


def slow(m: MANN, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """One sequence, number by number where it matters."""
    rows, width = [x.new_zeros(m.row) for _ in range(m.rows)], m.cell.hidden_size
    h, c, read = x.new_zeros(1, width), x.new_zeros(1, width), x.new_zeros(m.heads * m.row)
    usage, before = [0.0] * m.rows, [[1 / m.rows] * m.rows for _ in range(m.heads)]
    gate, out = torch.sigmoid(m.gate), []
    for t in range(len(x)):
        label = x.new_zeros(m.n_out)
        if t:
            label[y[t - 1]] = 1
        z = (x[t] - x[t].mean()) / (x[t].var(correction=0) + 1e-5).sqrt() if m.normalise else x[t]
        h, c = m.cell(torch.cat((z, label, read))[None], (h, c))
        keys = torch.tanh(m.key(h))[0].view(m.heads, m.row)
        least = sorted(range(m.rows), key=lambda i: (float(usage[i]), i))[: m.heads]
        writing = [
            [gate[r] * before[r][i] + (1 - gate[r]) * (i in least) for i in range(m.rows)]
            for r in range(m.heads)
        ]
        rows = [
            (x.new_zeros(m.row) if i == least[0] else rows[i])
            + sum(writing[r][i] * keys[r] for r in range(m.heads))
            for i in range(m.rows)
        ]
        attention = []
        for r in range(m.heads):
            cosines = [
                keys[r] @ row / (keys[r].norm() * row.norm().clamp(min=1e-3)) for row in rows
            ]
            total = sum(math.e ** (m.strength * cosine) for cosine in cosines)
            attention.append([math.e ** (m.strength * cosine) / total for cosine in cosines])
        read = torch.cat(
            [sum(attention[r][i] * rows[i] for i in range(m.rows)) for r in range(m.heads)]
        )
        usage = [
            m.decay * usage[i] + sum(attention[r][i] + writing[r][i] for r in range(m.heads))
            for i in range(m.rows)
        ]
        before = attention
        out.append(m.head(torch.cat((h[0], read))))
    return torch.stack(out)


@pytest.mark.parametrize(("strength", "normalise"), [(1.0, False), (5.0, True)])
def test_the_memory_by_a_loop(strength: float, normalise: bool) -> None:
    torch.manual_seed(0)
    learner = MANN(
        Identity(3),
        n_out=2,
        width=8,
        rows=6,
        row=4,
        heads=2,
        strength=strength,
        normalise=normalise,
    )
    x, y = torch.randn(2, 9, 3), torch.randint(0, 2, (2, 9))
    learner, x = learner.double(), x.double()
    with torch.no_grad():
        out = learner.online(x, y, 2)
        for t in range(2):
            torch.testing.assert_close(out[t], slow(learner, x[t], y[t]))


@pytest.mark.parametrize("make", [MANN, SequenceLSTM])
def test_what_all_features_have_in_common_is_not_read(make) -> None:
    learner, bare = (
        make(Identity(6), n_out=4, width=16, normalise=normalise) for normalise in (True, False)
    )
    e = toy_episode()
    far = Episode(*(Examples(5 + 3 * part.x, part.y) for part in (e.support, e.query)), e.target)
    torch.testing.assert_close(learner(far), learner(e), rtol=1e-3, atol=1e-3)
    assert not torch.allclose(bare(far), bare(e), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("make", [MANN, SequenceLSTM])
def test_an_answer_knows_the_labels_before_it_and_no_other(make) -> None:
    learner = make(Identity(3), n_out=2, width=16)
    x, y = torch.randn(1, 6, 3), torch.zeros(1, 6, dtype=torch.long)
    base = learner.online(x, y, 2)
    for at in range(6):
        told = y.clone()
        told[0, at] = 1
        out = learner.online(x, told, 2)
        assert torch.equal(out[:, : at + 1], base[:, : at + 1])
        if at < 5:
            assert not torch.equal(out[:, at + 1], base[:, at + 1])
        shown = x.clone()
        shown[0, at] += 1
        assert torch.equal(learner.online(shown, y, 2)[:, :at], base[:, :at])


def test_a_learner_that_would_cheat_cannot() -> None:
    """Examples say nothing of their labels, so whoever is right more often than chance has seen
    them.
    """
    torch.manual_seed(0)
    step = MetaStep(MANN(MLP(4, widths=(8,)), n_out=2, width=32, rows=8, row=8, heads=1), Online())
    optimiser = torch.optim.Adam(step.parameters(), lr=1e-2)
    losses = []
    for i in range(60):
        e = toy_episode(n_tasks=8, n_way=2, n_shot=4, n_query=4, shape=(4,), seed=i)
        noise = [Examples(torch.randn_like(p.x), p.y) for p in (e.support, e.query)]
        with drawing(generator("cheat", i)):
            loss = step(type(e)(*noise, e.target))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    # 16 labels, 8 of each: the last may be told by counting, so a little below log 2 is honest.
    assert sum(losses[-20:]) / 20 > 0.85 * math.log(2)


def test_the_memory_is_blank_at_every_task() -> None:
    learner, e = MANN(Identity(6), n_out=4, width=16), toy_episode()
    first = learner(e)
    learner(toy_episode(seed=5))
    assert torch.equal(learner(e), first)
    memory, last, _ = learner.adapt(e.support, e.target)
    assert torch.equal(last.argmax(1), e.support.y[:, -1])
    assert all(
        torch.equal(m, n)
        for m, n in zip(memory, learner.adapt(e.support, e.target)[0], strict=True)
    )


def test_the_least_used_row_is_written() -> None:
    learner = MANN(Identity(2), n_out=2, width=4, rows=5, row=3, heads=1)
    torch.nn.init.constant_(learner.gate, -50.0)  # always where least was used
    memory = learner.blank(1, torch.zeros(1))
    written = []
    for _ in range(5):
        before = memory[3]
        _, memory = learner.step(memory, torch.randn(1, 4))
        changed = (memory[3] - before).abs().sum(2)[0] > 1e-4
        written.append(changed.nonzero().flatten().tolist())
    assert [w[0] for w in written] == [0, 1, 2, 3, 4]
    assert all(len(w) == 1 for w in written)


def test_mistakes() -> None:
    with pytest.raises(ConfigError, match="heads at most rows"):
        MANN(Identity(2), n_out=2, rows=2, heads=3)
    with pytest.raises(ConfigError, match="n_out must be at least 2"):
        SequenceLSTM(Identity(2), n_out=1)
    with pytest.raises(TargetError, match="reads labels of 3 classes but the task has 4"):
        MANN(Identity(6), n_out=3)(toy_episode())
    with pytest.raises(TargetError):
        SequenceLSTM(Identity(6), n_out=3).fit(
            Examples.single(torch.zeros(2, 6), torch.tensor([0, 1])), Classes(2)
        )
    with pytest.raises(ConfigError, match="does not answer online"):
        Online()(ProtoNet(Identity(6)), toy_episode())
    assert QueryLoss()(MANN(Identity(6), n_out=4), toy_episode()).ndim == 0
