"""TSA-MAML against plain loops in float64, on two kinds of tasks that want different starts."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from quickstudy.algorithms import ProtoNet, TsaMaml, maml, tsa_maml, unicorn_maml
from quickstudy.core.errors import ConfigError, LoadError
from quickstudy.core.objective import MetaStep
from quickstudy.core.rng import generator
from quickstudy.core.setting import Setting
from quickstudy.core.tasks import AbstractTasks
from quickstudy.core.types import Classes, Episode, Examples
from quickstudy.encoders import MLP
from quickstudy.objectives import QueryLoss
from quickstudy.testing import toy_episode
from quickstudy.training import Optimiser, Plan, train

RATE, STEPS = 0.3, 2


class TwoKinds(AbstractTasks):
    """Points of a line, left and right; in the tasks with odd numbers left is called right. Some
    noise besides.
    """

    def __init__(self) -> None:
        self.data, self.split, self.split_hash = "two kinds", "train", "0"
        self.setting, self.seed = Setting(2, 4, 4), 0

    def batch(self, numbers):
        episodes = []
        for number in numbers:
            g = generator("two kinds", int(number))
            y = torch.tensor([0, 1] * 4)
            x = (2.0 * y - 1)[:, None] * torch.tensor([2.0, 0.0]) + 0.3 * torch.randn(
                8, 2, generator=g
            )
            y = y if number % 2 == 0 else 1 - y
            episodes.append((x, y))
        x, y = (torch.stack(values).unflatten(1, (2, 4)) for values in zip(*episodes, strict=True))
        support, query = (Examples(x[:, i], y[:, i]) for i in range(2))
        return Episode(support, query, Classes(2))


def trained_maml(**options):
    torch.manual_seed(0)
    learner = maml(MLP(2, widths=(8,)), n_out=2, inner_lr=RATE, inner_steps=STEPS, **options)
    train(
        MetaStep(learner, QueryLoss()),
        TwoKinds(),
        plan=Plan(steps=30, tasks_per_step=4, validate_every=0),
        optimiser=Optimiser(lr=1e-2),
    )
    return learner


def grouped(**options):
    learner = tsa_maml(
        MLP(2, widths=(8,)),
        n_out=2,
        n_groups=2,
        n_cluster_tasks=40,
        inner_lr=RATE,
        inner_steps=STEPS,
        **options,
    )
    learner.start_from(trained_maml(), TwoKinds())
    return learner


def forward(p: dict[str, Tensor], x: Tensor) -> Tensor:
    hidden = F.relu(x @ p["encoder.layers.0.weight"].T + p["encoder.layers.0.bias"])
    return hidden @ p["head.weight"].T + p["head.bias"]


def descended(p: dict[str, Tensor], x: Tensor, y: Tensor) -> dict[str, Tensor]:
    for _ in range(STEPS):
        gradients = torch.autograd.grad(
            F.cross_entropy(forward(p, x), y), list(p.values()), create_graph=True
        )
        p = {n: v - RATE * g for (n, v), g in zip(p.items(), gradients, strict=True)}
    return p


def test_it_routes_and_descends_as_a_plain_loop_does():
    learner = grouped().double()
    e = TwoKinds().batch(range(5))
    e = Episode(*(Examples(s.x.double(), s.y) for s in (e.support, e.query)), e.target)
    names = learner.base.fast_names
    theta = {
        n: p.detach().clone().requires_grad_()
        for n, p in learner.base.named_parameters()
        if n in names
    }
    theta = {n: theta[n] for n in names}
    starts = {n: learner.groups[n.replace(".", "-")] for n in names}
    losses, groups = [], []
    for t in range(5):
        end = descended(theta, e.support.x[t], e.support.y[t])
        point = torch.cat([end[n].flatten() for n in names])
        groups.append(int((point - learner.centres).square().sum(1).argmin()))
        own = {n: starts[n][groups[-1]] for n in names}
        losses.append(
            F.cross_entropy(
                forward(descended(own, e.support.x[t], e.support.y[t]), e.query.x[t]), e.query.y[t]
            )
        )
    assert set(groups) == {0, 1}
    assert learner.route(e.support, e.target).tolist() == groups
    expected = torch.autograd.grad(torch.stack(losses).mean(), list(starts.values()))
    QueryLoss()(learner, e).backward()
    for p, g in zip(starts.values(), expected, strict=True):
        torch.testing.assert_close(p.grad, g, rtol=1e-9, atol=1e-12)
    assert all(p.grad is None for p in learner.base.parameters())


@pytest.mark.parametrize("route_by", ["all", "body"])
def test_tasks_of_a_kind_share_a_group(route_by):
    groups = (
        grouped(route_by=route_by)
        .route(*(lambda e: (e.support, e.target))(TwoKinds().batch(range(100, 130))))
        .tolist()
    )
    if route_by == "all":
        assert len(set(groups[::2])) == len(set(groups[1::2])) == 1
        assert groups[0] != groups[1]
    assert set(groups) == {0, 1}


def test_each_group_starts_in_the_middle_of_its_tasks():
    learner = grouped()
    e = TwoKinds().batch(range(40))
    group = learner.route(e.support, e.target)
    with torch.no_grad():
        fast, _ = learner.base.adapt(e.support, e.target)
    for r in range(2):
        torch.testing.assert_close(
            learner.groups["head-weight"][r],
            fast["head.weight"][group == r].mean(0),
            rtol=1e-4,
            atol=1e-5,
        )
    assert torch.equal(
        learner.centres,
        torch.cat(
            [learner.groups[n.replace(".", "-")].flatten(1) for n in learner.base.fast_names], 1
        ),
    )


def test_before_the_groups_are_made_it_is_maml():
    torch.manual_seed(3)
    learner = tsa_maml(MLP(6, widths=(8,)), n_out=4, n_groups=3, inner_lr=RATE)
    plain = maml(MLP(6, widths=(8,)), n_out=4, inner_lr=RATE, inner_steps=5)
    plain.load_state_dict(learner.base.state_dict())
    torch.testing.assert_close(learner(toy_episode()), plain(toy_episode()))


def test_what_is_taken_over():
    learner = grouped()
    again = tsa_maml(MLP(2, widths=(8,)), n_out=2, n_groups=2, n_cluster_tasks=40)
    assert again.start_from(learner, TwoKinds())
    for name, tensor in learner.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
    encoder = trained_maml().encoder
    plain = ProtoNet(MLP(2, widths=(8,)))
    assert set(plain.start_from(ProtoNet(encoder), TwoKinds())) >= {
        "encoder.layers.0.weight",
        "encoder.layers.0.bias",
    }
    with pytest.raises(LoadError, match="no tensor in common with ProtoNet"):
        ProtoNet(MLP(2, widths=(5,))).start_from(trained_maml(), TwoKinds())


def test_the_groups_of_a_stream_are_the_same_each_time():
    assert torch.equal(grouped().centres, grouped().centres)


def test_what_cannot_be_grouped_is_refused():
    with pytest.raises(ConfigError, match="made anew for every task"):
        TsaMaml(unicorn_maml(MLP(2)))
    with pytest.raises(ConfigError, match="n_cluster_tasks at least as many, got 5 and 3"):
        tsa_maml(MLP(2), n_out=2, n_cluster_tasks=3)
    with pytest.raises(ConfigError, match=r"route_by cannot be 'bodies'.*body"):
        tsa_maml(MLP(2), n_out=2, route_by="bodies")
