import math

import pytest
import torch
from torch.distributions import Normal

from quickstudy.algorithms import ANP, CNP, TNP
from quickstudy.algorithms.in_context.gaussian import MIN_STD
from quickstudy.core.errors import ConfigError
from quickstudy.core.setting import Setting
from quickstudy.core.types import Episode, Examples, Reals
from quickstudy.data import GaussianProcesses
from quickstudy.encoders import Identity
from quickstudy.evaluation import evaluate
from quickstudy.objectives import LogLikelihood, QueryLoss

LEARNERS = {
    "cnp": lambda: CNP(Identity(2), n_out=2, width=16),
    "anp": lambda: ANP(Identity(2), n_out=2, width=16, heads=4),
    "tnp": lambda: TNP(Identity(2), n_out=2, width=16, n_layers=2),
}


@pytest.fixture(params=LEARNERS)
def learner(request):
    torch.manual_seed(0)
    learner = LEARNERS[request.param]().double().eval()
    for p in learner.parameters():  # zeros at the start would hide what a layer does
        p.data.add_(0.1 * torch.randn_like(p))
    return learner


@pytest.fixture
def episode():
    torch.manual_seed(1)
    support = Examples(torch.randn(3, 7, 2).double(), torch.randn(3, 7, 2).double())
    query = Examples(torch.randn(3, 5, 2).double(), torch.randn(3, 5, 2).double())
    return Episode(support, query, Reals(2))


def test_cnp_is_the_formula(episode):
    torch.manual_seed(2)
    learner = CNP(Identity(2), n_out=2, width=8).double()
    t = 1
    said = [
        learner.h(torch.cat((x, y)))
        for x, y in zip(episode.support.x[t], episode.support.y[t], strict=True)
    ]
    r = sum(said) / len(said)
    out = learner.g(torch.cat((r, episode.query.x[t, 3])))
    state = learner.adapt(episode.support, episode.target)
    answer = learner.distribution(state, episode.query.x)
    torch.testing.assert_close(answer.mean[t, 3], out[:2])
    torch.testing.assert_close(answer.stddev[t, 3], MIN_STD + (1 + out[2:].exp()).log())


def test_anp_reads_by_softmax_attention(episode):
    torch.manual_seed(2)
    learner = ANP(Identity(2), n_out=2, width=8, heads=1).double()
    _, (k, v), _ = learner.adapt(episode.support, episode.target)
    q = learner.q(episode.query.x[2, 4])
    weights = [math.exp(float((q @ key).detach()) / math.sqrt(8)) for key in k[2]]
    read = sum(w * value for w, value in zip(weights, v[2], strict=True)) / sum(weights)
    mean = learner.of_all(torch.cat((episode.support.x, episode.support.y), -1)[2]).mean(0)
    by_hand = learner.g(torch.cat((read, mean, episode.query.x[2, 4])))[:2]
    torch.testing.assert_close(learner(episode)[2, 4], by_hand)


def test_the_support_has_no_order(learner, episode):
    order = torch.randperm(7)
    turned = Examples(episode.support.x[:, order], episode.support.y[:, order])
    torch.testing.assert_close(learner(Episode(turned, episode.query, Reals(2))), learner(episode))


def test_a_query_does_not_see_the_others(learner, episode):
    one = Examples(episode.query.x[:, 2:3], episode.query.y[:, 2:3])
    alone = learner(Episode(episode.support, one, Reals(2)))
    torch.testing.assert_close(alone, learner(episode)[:, 2:3])


def test_the_objective_is_the_mean_negative_log_density(learner, episode):
    state = learner.adapt(episode.support, episode.target)
    answer = learner.distribution(state, episode.query.x)
    z = (episode.query.y - answer.mean) / answer.stddev
    by_hand = (0.5 * z**2 + answer.stddev.log() + 0.5 * math.log(2 * math.pi)).mean()
    torch.testing.assert_close(LogLikelihood()(learner, episode), by_hand)


def test_the_objective_needs_a_distribution(episode):
    from quickstudy.algorithms import maml

    with pytest.raises(ConfigError, match="cnp"):
        LogLikelihood()(maml(Identity(2), n_out=2).double(), episode)
    assert QueryLoss()(CNP(Identity(2), n_out=2).double(), episode) > 0


def test_evaluation_gives_the_log_likelihood_of_each_task():
    tasks = GaussianProcesses(points=12).tasks("val", Setting(0, 5, 5))
    torch.manual_seed(0)
    learner = TNP(Identity(1), width=8, n_layers=1).eval()
    report = evaluate(learner, tasks, n_tasks=20, metric="log_likelihood")
    episode = tasks.batch([17])
    answer = learner.distribution(learner.adapt(episode.support, Reals(1)), episode.query.x)
    expected = Normal(answer.mean, answer.stddev).log_prob(episode.query.y).mean()
    assert report.scores[17] == pytest.approx(expected.item(), abs=1e-5)
    assert "log-likelihood" in str(report)
    assert "up to" in str(report)


def test_a_metric_that_does_not_fit_is_refused():
    tasks = GaussianProcesses().tasks("val", Setting(0, 5, 5))
    with pytest.raises(ConfigError, match="mse or log_likelihood"):
        evaluate(CNP(Identity(1)), tasks, n_tasks=4, metric="accuracy")


def test_it_learns_to_be_sure_near_points():
    """A few hundred steps suffice to know more of a curve than its mean and scale."""
    tasks = GaussianProcesses().tasks("train", Setting(0, 12, 12))
    torch.manual_seed(0)
    learner = TNP(Identity(1), width=16, n_layers=1)
    optimiser = torch.optim.Adam(learner.parameters(), 3e-3)
    for step in range(100):
        loss = LogLikelihood()(learner, tasks.batch(range(16 * step, 16 * step + 16)))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    held_out = tasks.batch(range(100_000, 100_064))
    y = held_out.query.y
    guessing = Normal(y.mean(), y.std()).log_prob(y).mean()
    with torch.no_grad():
        assert -LogLikelihood()(learner, held_out) > guessing + 0.2
