"""Networks of torch as encoders: what they are called with, their policies, saved and loaded."""

import pytest
import torch
from torch import nn

import quickstudy as qs
from quickstudy.algorithms import ProtoNet
from quickstudy.core.errors import EpisodeError, LoadError
from quickstudy.core.learner import norm_policy
from quickstudy.encoders import Wrapped
from quickstudy.recipes.runs import save_learner
from quickstudy.testing import check_encoder, check_learner


def network(width=4):
    return nn.Sequential(nn.Linear(6, width), nn.BatchNorm1d(width), nn.Tanh())


def test_a_network_is_called_on_all_examples_at_once():
    sizes = []

    class Net(nn.Module):
        def forward(self, x):
            sizes.append(x.shape)
            return x.flatten(1)[:, :3]

    x = torch.randn(2, 5, 1, 4, 4)
    out = Wrapped(Net(), out_dim=3)(x)
    assert sizes == [(10, 1, 4, 4)]
    assert torch.equal(out, x.flatten(2)[..., :3])


def test_the_network_that_was_given_is_trained():
    module = nn.Linear(3, 2)
    encoder = Wrapped(module, out_dim=2)
    assert encoder.module is module
    encoder(torch.randn(1, 4, 3)).sum().backward()
    assert module.weight.grad is not None


def test_a_network_of_another_width_is_refused():
    with pytest.raises(EpisodeError, match=r"out_dim=3 .* gives \(2, 2\)"):
        Wrapped(nn.Linear(6, 2), out_dim=3)(torch.zeros(1, 2, 6))


class Odd(nn.Module):
    """Gives back what ``answer`` makes of the features."""

    def __init__(self, answer):
        super().__init__()
        self.layer, self.answer = nn.Linear(6, 3), answer

    def forward(self, x):
        return self.answer(self.layer(x))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda z: None, r"Odd\.forward returned nothing"),
        (lambda z: (z, z), r"Odd\.forward returned a tuple"),
        (lambda z: z.mean(0), r"one vector .* it gives \(3,\)"),
        (lambda z: z[:2].repeat(2, 1), r"one vector .* it gives \(4, 3\)"),
    ],
)
def test_a_network_that_gives_something_else_is_refused_in_words(answer, said):
    with pytest.raises(EpisodeError, match=said):
        Wrapped(Odd(answer), out_dim=3)(torch.zeros(2, 3, 6))


def test_a_learner_on_a_network_of_ones_own_keeps_the_contract():
    check_learner(ProtoNet(Wrapped(nn.Linear(6, 8), out_dim=8)))


class Frozen(nn.Module):
    """As in torchvision: no batch norm of torch, but its averages."""

    def __init__(self):
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(6))


@pytest.mark.parametrize(
    ("layer", "policy"),
    [
        (nn.Identity(), "none"),
        (nn.BatchNorm1d(6), "running"),
        (nn.BatchNorm1d(6, track_running_stats=False), "batch"),
        (nn.Sequential(nn.LayerNorm(6), nn.BatchNorm1d(6)), "running"),
        (nn.LayerNorm(6), "group"),
        (nn.GroupNorm(2, 6), "group"),
        (nn.InstanceNorm2d(6), "group"),
        (nn.RMSNorm(6), "group"),
        (Frozen(), "running"),
    ],
)
def test_normalisation_is_found(layer, policy):
    encoder = Wrapped(nn.Sequential(nn.Linear(6, 6), layer), out_dim=6)
    assert encoder.norm == policy
    learner = ProtoNet(encoder)
    assert norm_policy(learner) == policy
    assert learner.traits.transductive == (policy == "batch")


@pytest.mark.parametrize(
    "make",
    [
        network,
        lambda: nn.Sequential(
            nn.Linear(6, 4, bias=False), nn.BatchNorm1d(4, track_running_stats=False)
        ),
        lambda: nn.Sequential(nn.Linear(6, 4), nn.LayerNorm(4), nn.Dropout(0.5)),
    ],
    ids=["running", "batch", "group"],
)
def test_wrapped_networks_keep_the_contract(make):
    check_encoder(Wrapped(make(), out_dim=4), n_tasks=(2,), modules={"Sequential": make})


def trained(make=network):
    learner = ProtoNet(Wrapped(make(), out_dim=4, name="backbone"))
    learner.encoder(torch.randn(2, 9, 6))  # running averages of its own
    return learner.eval()


def test_a_run_is_loaded_around_a_network_or_what_makes_one(tmp_path):
    learner = trained()
    folder = save_learner(learner, tmp_path / "run")
    x = torch.randn(1, 5, 6)
    for modules in ({"backbone": network()}, {"backbone": network}):
        loaded = qs.load(folder, modules=modules)
        assert torch.equal(loaded.encoder(x), learner.encoder(x))
    # What was loaded is saved under the same name again.
    again = save_learner(loaded, tmp_path / "again")
    assert torch.equal(qs.load(again, modules=modules).encoder(x), learner.encoder(x))


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        (None, r"needs the network 'backbone'.*load\(folder, modules=\{'backbone': network\}\)"),
        ({"backbon": network}, "needs the network 'backbone'.*backbon"),
        ({"backbone": lambda: 3}, "must be a network of torch or a function that makes one, got"),
        ({"backbone": lambda: network(5)}, r"shape \(4, 6\), and its own is \(5, 6\)"),
        ({"backbone": nn.Linear(6, 4)}, "'1.bias' was saved, and it has none"),
        (
            {"backbone": lambda: nn.Sequential(*network(), nn.Linear(4, 4))},
            "it has '3.weight', and none was saved",
        ),
    ],
)
def test_errors_say_what_to_give(tmp_path, modules, message):
    folder = save_learner(trained(), tmp_path / "run")
    with pytest.raises(LoadError, match=message):
        qs.load(folder, modules=modules)


def test_two_networks_of_one_name_are_two(tmp_path):
    class Both(ProtoNet):
        """Two encoders, one behind the other."""

        def __init__(self, encoder: Wrapped, second: Wrapped):
            super().__init__(encoder)
            self.second = second

    learner = Both(Wrapped(nn.Linear(6, 6), out_dim=6), Wrapped(nn.Linear(6, 6), out_dim=6))
    folder = save_learner(learner, tmp_path / "run")
    loaded = qs.load(folder, modules={"Linear": nn.Linear(6, 6)})
    assert torch.equal(loaded.second.module.weight, learner.second.module.weight)
    assert torch.equal(loaded.encoder.module.weight, learner.encoder.module.weight)
