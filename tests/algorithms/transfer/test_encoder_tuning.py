"""Learners that move the whole encoder: transductive fine-tuning and P > M > F."""

import copy

import pytest
import torch
import torch.nn.functional as F

from quickstudy.algorithms import PMF, ProtoNet, TransductiveTuning
from quickstudy.core.errors import ConfigError
from quickstudy.encoders import MLP, Conv4
from quickstudy.testing import toy_episode


def test_transductive_tuning_by_hand() -> None:
    torch.manual_seed(0)
    encoder, e = MLP(6, widths=(5,)), toy_episode(n_shot=(1, 2, 3, 2))
    out = TransductiveTuning(encoder, steps=4, lr=0.01, scale=3.0).eval()(e)
    for t in range(3):
        own, (x, y, q) = copy.deepcopy(encoder), (e.support.x[t], e.support.y[t], e.query.x[t])
        z = F.normalize(own(x[None])[0].detach(), dim=-1)
        w = torch.stack([F.normalize(z[y == c].mean(0), dim=0) for c in range(4)]).requires_grad_()
        b = torch.zeros(4, requires_grad=True)
        adam = torch.optim.Adam([*own.parameters(), w, b], lr=0.01)

        def scores(x, own=own, w=w, b=b):
            return 3 * F.normalize(own(x[None])[0], dim=-1) @ w.T + b

        for _ in range(4):
            adam.zero_grad()
            p = scores(q).softmax(-1)
            (F.cross_entropy(scores(x), y) - (p * p.log()).sum(-1).mean()).backward()
            adam.step()
        torch.testing.assert_close(out[t], scores(q), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("steps", [0, 3])
def test_pmf_fine_tunes_in_eval_mode_only_and_leaves_its_encoder(steps) -> None:
    torch.manual_seed(0)
    learner = PMF(Conv4(size=16, width=8), steps=steps, lr=0.01)
    e = toy_episode(n_tasks=2, shape=(1, 16, 16))
    before = {n: t.clone() for n, t in learner.state_dict().items()}
    learner.eval()
    out, plain = learner(e), 10 * ProtoNet(learner.encoder, similarity="cosine").eval()(e)
    assert torch.allclose(out, plain, atol=1e-4) == (steps == 0)
    assert all(torch.equal(t, before[n]) for n, t in learner.state_dict().items())
    learner.train()
    assert torch.allclose(
        learner(e), 10 * ProtoNet(learner.encoder, similarity="cosine").train()(e), atol=1e-4
    )


def test_pmf_by_hand_on_vectors() -> None:
    torch.manual_seed(0)
    encoder, e = MLP(6, widths=(5,)), toy_episode(n_tasks=1)
    learner = PMF(encoder, steps=3, lr=0.01, scale=4.0).eval()
    out, own, (x, y) = learner(e), copy.deepcopy(encoder), (e.support.x, e.support.y[0])
    adam = torch.optim.Adam(own.parameters(), lr=0.01)

    def scores(means, z):
        return 4 * F.cosine_similarity(z[:, None], means[None], dim=-1)

    def means():
        z = own(x)[0]
        return torch.stack([z[y == c].mean(0) for c in range(4)])

    for step in range(3):
        views = learner._views(x, step)
        assert ((views - x).norm(dim=-1) / x.norm(dim=-1)).flatten().tolist() == pytest.approx(
            [0.2] * 8, abs=1e-4
        )
        adam.zero_grad()
        F.cross_entropy(scores(means(), own(views)[0]), y).backward()
        adam.step()
    torch.testing.assert_close(out[0], scores(means(), own(e.query.x)[0]), rtol=1e-4, atol=1e-4)


def test_gradients_reach_the_encoder_as_if_it_had_been_shifted() -> None:
    torch.manual_seed(0)
    learner, e = TransductiveTuning(MLP(6, widths=(5,)), steps=2).eval(), toy_episode()
    learner(e).sum().backward()
    assert all(p.grad is not None and bool(p.grad.count_nonzero()) for p in learner.parameters())


def test_an_encoder_that_normalises_by_the_support_is_refused() -> None:
    with pytest.raises(ConfigError, match="normalises by the support is not fine-tuned"):
        PMF(Conv4(size=16, norm="support"))
    with pytest.raises(ConfigError, match="lr must be above 0"):
        TransductiveTuning(MLP(6), lr=0)
