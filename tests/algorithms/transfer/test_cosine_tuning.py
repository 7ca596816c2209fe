import pytest
import torch
import torch.nn.functional as F

from quickstudy.algorithms import CosineTuning, ProtoNet
from quickstudy.core.errors import ConfigError
from quickstudy.core.types import Classes, Episode, Examples
from quickstudy.encoders import MLP, Identity
from quickstudy.functional.descent import mean_entropy
from quickstudy.testing import toy_episode


def test_without_steps_it_is_the_cosine_to_the_class_means() -> None:
    torch.manual_seed(0)
    encoder, e = MLP(6, widths=(5,)), toy_episode(n_shot=(1, 2, 3, 2))
    tuned = CosineTuning(encoder, steps=0, scale=1.0, transform="un")
    torch.testing.assert_close(tuned(e), ProtoNet(encoder, similarity="cosine")(e))


def _by_hand(x, y, n, *, steps, weight, others, left_out=None):
    """Plain gradient descent with momentum on one task; the parameters after every number of
    steps.
    """
    rows = [i for i in range(len(x)) if i != left_out]
    w = torch.stack(
        [F.normalize(x[rows][y[rows] == c].mean(0), dim=0) for c in range(n)]
    ).requires_grad_()
    b = torch.zeros(n, requires_grad=True)
    sgd, path = torch.optim.SGD([w, b], lr=0.05, momentum=0.9), []
    for _ in range(steps):
        path.append((w.detach().clone(), b.detach().clone()))
        sgd.zero_grad()
        loss = F.cross_entropy(_scores(x[rows], w, b), y[rows])
        if others is not None:
            p = _scores(others, w, b).softmax(-1)
            loss = loss + weight * -(p * p.log()).sum(-1).mean()
        loss.backward()
        sgd.step()
    return [*path, (w.detach().clone(), b.detach().clone())]


def _scores(x, w, b):
    return 10 * F.cosine_similarity(x[:, None], w[None], dim=-1) + b


@pytest.mark.parametrize("entropy", ["none", "queries"])
def test_fine_tuning_by_hand(entropy) -> None:
    e = toy_episode(n_shot=(1, 2, 3, 2), seed=1)
    out = CosineTuning(Identity(6), steps=6, lr=0.05, entropy=entropy, weight=0.3, transform="un")(
        e
    )
    for t in range(3):
        others = e.query.x[t] if entropy == "queries" else None
        # one class has one example
        w, b = _by_hand(e.support.x[t], e.support.y[t], 4, steps=6, weight=0.3, others=others)[-1]
        torch.testing.assert_close(out[t], _scores(e.query.x[t], w, b), rtol=1e-4, atol=1e-4)


def test_the_number_of_steps_is_that_of_the_least_loss_on_examples_left_out() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(3, 12, 6), (torch.arange(12) % 4).expand(3, 12)
    e = Episode(
        Examples(x, y),
        Examples(torch.randn(3, 5, 6), torch.zeros(3, 5, dtype=torch.long)),
        Classes(4),
    )
    out, chosen = CosineTuning(Identity(6), steps=8, lr=0.05, transform="un")(e), []
    for t in range(3):
        losses = torch.zeros(9)
        for i in range(12):
            for s, (w, b) in enumerate(
                _by_hand(x[t], y[t], 4, steps=8, weight=0, others=None, left_out=i)
            ):
                losses[s] += F.cross_entropy(_scores(x[t, i : i + 1], w, b), y[t, i : i + 1])
        chosen.append(int(losses.argmin()))
        w, b = _by_hand(x[t], y[t], 4, steps=8, weight=0, others=None)[chosen[-1]]
        torch.testing.assert_close(out[t], _scores(e.query.x[t], w, b), rtol=1e-3, atol=1e-3)
    assert min(chosen) < 8  # the data are noise, so fewer steps are better at least once


def test_the_entropy_of_noisy_supports_is_inductive_and_of_queries_transductive() -> None:
    e = toy_episode(n_tasks=1)
    inductive = CosineTuning(Identity(6), entropy="support", noise=1.0, weight=1.0)
    assert not inductive.traits.transductive
    assert not torch.allclose(inductive(e), CosineTuning(Identity(6))(e))
    torch.testing.assert_close(inductive.fit(e.support, e.target)(e.query.x[0]), inductive(e)[0])
    assert CosineTuning(Identity(6), entropy="queries").traits.transductive


def test_queries_become_surer_by_their_entropy() -> None:
    e = toy_episode()
    plain, sure = (
        CosineTuning(Identity(6), entropy=kind, weight=2.0, early_stop=False)(e)
        for kind in ("none", "queries")
    )
    assert (mean_entropy(sure) < mean_entropy(plain)).all()


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"over no 'query'\. Did you mean 'queries'"):
        CosineTuning(Identity(6), entropy="query")
    with pytest.raises(ConfigError, match="cannot be negative"):
        CosineTuning(Identity(6), steps=-1)
