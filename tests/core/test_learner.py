import jaxtyping
import numpy as np
import pytest
import torch

from quickstudy.algorithms import NearestNeighbour, ProtoNet, maml
from quickstudy.core.encoder import AbstractEncoder
from quickstudy.core.errors import (
    ConfigError,
    ContractError,
    EpisodeError,
    TargetError,
    TransductiveError,
)
from quickstudy.core.learner import (
    AbstractLearner,
    Traits,
    encoder_of,
    norm_policy,
    parameter_count,
)
from quickstudy.core.predictor import Predictor
from quickstudy.core.tasks import Setting
from quickstudy.core.types import Classes, Episode, Examples, Reals
from quickstudy.data import Vectors
from quickstudy.encoders import MLP, Conv4, Identity
from quickstudy.evaluation import evaluate
from quickstudy.testing import check_learner, toy_episode
from quickstudy.training import train


def support(labels, dim=2):
    return Examples.single(torch.randn(len(labels), dim), torch.tensor(labels))


def refused(error, learner, examples, target):
    with pytest.raises(error) as caught:
        learner.fit(examples, target)
    return str(caught.value)


class Watching(AbstractLearner):
    """Records how it was called."""

    def __init__(self, traits=Traits()):  # noqa: B008
        super().__init__()
        self.traits, self.calls = traits, []
        self.weight = torch.nn.Parameter(torch.ones(1))

    def adapt(self, support, target, query_x=None):
        self.calls.append((support, query_x, torch.is_grad_enabled(), self.training))
        return (support.x.mean((1, 2)) * self.weight,)

    def predict(self, state, x):
        return (x.sum(-1) + state[0][:, None])[..., None].expand(*x.shape[:2], 3)


class GivesBack(Watching):
    """Gives back what it was made with."""

    def __init__(self, state, scores):
        super().__init__()
        self.state, self.scores = state, scores

    def adapt(self, support, target, query_x=None):
        return self.state

    def predict(self, state, x):
        return self.scores


@pytest.mark.parametrize(
    ("state", "scores", "said"),
    [
        (None, torch.zeros(1, 3, 3), r"GivesBack\.adapt returned nothing"),
        ((), None, r"GivesBack\.predict returned nothing"),
        ((), (torch.zeros(1, 3, 3),), r"GivesBack\.predict returned a tuple"),
    ],
)
def test_a_forgotten_return_is_said_to_be_one(state, scores, said):
    learner = GivesBack(state, scores)
    task = Examples(torch.zeros(1, 3, 2), torch.tensor([[0, 1, 2]]))
    with pytest.raises(EpisodeError, match=said):
        learner(Episode(task, task, Classes(3)))
    with pytest.raises(EpisodeError, match=said):
        learner.fit(support([0, 1, 2]), Classes(3))(torch.zeros(3, 2))


@pytest.mark.parametrize(
    ("state", "came"),
    [
        (torch.zeros(3), r"the shape \[3\]"),
        ((torch.zeros(2, 3), torch.zeros(1, 3)), r"the shape \[1, 3\]"),
        ({"scale": torch.tensor(1.0)}, r"the shape \[\]"),
        ((torch.zeros(2, 3), 4), "of the type int"),
    ],
)
def test_a_state_without_the_task_axis_is_refused_where_tasks_are_learned(state, came):
    learner = GivesBack(state, torch.zeros(2, 3, 3))
    tasks = Examples(torch.zeros(2, 3, 2), torch.tensor([[0, 1, 2]] * 2))
    with pytest.raises(EpisodeError, match=rf"GivesBack\.adapt returned .*{came}.*\[2, \.\.\.\]"):
        learner(Episode(tasks, tasks, Classes(3)))


class SaysNothing(AbstractLearner):
    """A learner without traits."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def adapt(self, support, target, query_x=None):
        return (support.x.mean((1, 2)) * self.weight,)

    def predict(self, state, x):
        return (x.sum(-1) + state[0][:, None])[..., None].expand(*x.shape[:2], 3)


def test_a_learner_without_traits_is_told_the_line_to_add():
    learner = SaysNothing()
    rng = torch.Generator().manual_seed(0)
    data = Vectors(torch.randn(60, 2, generator=rng).numpy(), np.arange(20).repeat(3))
    tasks = data.tasks("train", Setting(3, 1, 2))
    for use in (
        lambda: train(learner, tasks, steps=1),
        lambda: evaluate(learner, tasks, n_tasks=2),
        lambda: check_learner(learner),
        lambda: learner.fit(support([0, 1]), Classes(2)),
    ):
        with pytest.raises(ContractError, match=r"SaysNothing .* the line `traits = Traits\(\)`"):
            use()
    learner.traits = Traits()
    assert evaluate(learner, tasks, n_tasks=2).n_tasks == 2


def test_what_is_no_learner_is_refused(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    tasks = Vectors(np.zeros((60, 2)), np.arange(20).repeat(3)).tasks("train", Setting(2, 1, 2))
    for verb in (lambda it: evaluate(it, tasks), check_learner):
        with pytest.raises(ConfigError, match=r"the class ProtoNet itself: make one"):
            verb(ProtoNet)
        with pytest.raises(ConfigError, match=r"needs a learner, but got a Linear\."):
            verb(torch.nn.Linear(2, 2))


def test_a_state_of_other_things_than_tensors_gives_no_predictor():
    with pytest.raises(ConfigError, match="leaf 0 of that of GivesBack is of type int"):
        GivesBack((3,), None).fit(support([0, 1, 2]), Classes(3))


# --- fit


def test_fit_gives_a_predictor_of_one_task():
    predictor = ProtoNet(Identity(2)).fit(support([0, 1, 1, 0]), Classes(2))
    assert isinstance(predictor, Predictor)
    assert predictor(torch.zeros(5, 2)).shape == (5, 2)
    assert predictor.target == Classes(2)


def test_fit_works_without_gradients_in_eval_mode_and_leaves_the_mode_as_it_was():
    learner = Watching()
    learner.train()
    predictor = learner.fit(support([0, 1, 2]), Classes(3))
    (_, _, grad, training), *rest = learner.calls
    assert not rest
    assert (grad, training) == (False, False)
    assert not predictor.state[0].requires_grad


def test_fit_restores_training_mode():
    learner = ProtoNet(Conv4(size=16, width=4))
    two = Examples.single(torch.randn(2, 1, 16, 16), torch.tensor([0, 1]))
    for mode in (True, False):
        learner.train(mode)
        learner.fit(two, Classes(2))
        assert {m.training for m in learner.modules()} == {mode}


def test_fit_removes_padding():
    x, y = torch.randn(1, 4, 2), torch.tensor([[0, 1, 0, 7]])
    padded = Examples(x, y, torch.tensor([[True, True, True, False]]))
    q = torch.randn(3, 2)
    learner = ProtoNet(Identity(2))
    assert torch.equal(
        learner.fit(padded, Classes(2))(q), learner.fit(Examples(x[:, :3], y[:, :3]), Classes(2))(q)
    )


def test_fit_refuses_two_tasks():
    two = Examples(torch.zeros(2, 3, 2), torch.zeros(2, 3, dtype=torch.long))
    message = refused(EpisodeError, ProtoNet(Identity(2)), two, Classes(1))
    assert message == "fit learns one task but got 2. Call adapt for a batch of tasks."


@pytest.mark.parametrize(
    ("labels", "low", "high"), [([0, 1, 5], 0, 5), ([-1, 0, 1], -1, 1), ([1, 2, 3], 1, 3)]
)
def test_fit_refuses_labels_out_of_range_with_both_numbers(labels, low, high):
    message = refused(EpisodeError, ProtoNet(Identity(2)), support(labels), Classes(3))
    assert message.startswith(
        f"Class labels must lie in 0 … 2 for Classes(3), but y holds {low} … {high}."
    )


def test_fit_refuses_a_class_without_an_example():
    message = refused(EpisodeError, ProtoNet(Identity(2)), support([0, 2, 2]), Classes(5))
    assert (
        message
        == "Classes(5) needs at least one example of each class, but there is none of [1, 3, 4]. "
        "Add examples or lower n."
    )


def test_fit_refuses_float_labels():
    wrong = Examples(torch.zeros(1, 2, 2), torch.zeros(1, 2, 1))
    message = refused(EpisodeError, ProtoNet(Identity(2)), wrong, Classes(2))
    assert message.startswith("support: class labels must be integers 0 … 1, one per example")
    assert message.endswith("Convert it with y.long().")


def test_fit_refuses_a_learner_that_needs_all_queries():
    learner = ProtoNet(Conv4(size=16, width=4, norm="batch"))
    message = refused(
        TransductiveError,
        learner,
        Examples.single(torch.zeros(2, 1, 16, 16), torch.tensor([0, 1])),
        Classes(2),
    )
    assert message.startswith("ProtoNet is transductive")
    assert 'norm="support"' in message


def test_any_integer_type_of_labels_will_do():
    x, y, q = torch.randn(3, 2), torch.tensor([0, 1, 1]), torch.randn(4, 2)
    expected = ProtoNet(Identity(2)).fit(Examples.single(x, y), Classes(2))(q)
    for kind in (torch.int32, torch.int16, torch.int8):
        assert torch.equal(
            ProtoNet(Identity(2)).fit(Examples.single(x, y.to(kind)), Classes(2))(q), expected
        )


# --- targets


def test_a_kind_of_target_that_is_not_served_is_refused():
    wrong = Examples(torch.zeros(1, 2, 2), torch.zeros(1, 2, 1))
    message = refused(TargetError, ProtoNet(Identity(2)), wrong, Reals(1))
    assert (
        message
        == "ProtoNet serves Classes but the task's target is Reals(dim=1). Choose a learner that "
        "serves it."
    )
    with pytest.raises(TargetError, match="serves Classes but"):
        ProtoNet(Identity(2))(Episode(wrong, wrong, Reals(1)))


def test_a_target_of_another_width_is_refused_with_both_numbers():
    learner = maml(MLP(2), n_out=5)
    message = refused(TargetError, learner, support([0, 1, 2]), Classes(3))
    assert "head has 5 outputs but the task has 3" in message
    assert "n_out=3" in message


# --- forward


def test_queries_are_shown_to_transductive_learners_only():
    episode = toy_episode(n_way=3)
    blind, seeing = Watching(), Watching(Traits(transductive=True))
    blind(episode), seeing(episode)
    assert blind.calls[0][1] is None
    assert seeing.calls[0][1] is episode.query.x


def test_padding_never_reaches_a_learner_and_its_rows_are_zero():
    e = toy_episode(n_way=3, n_shot=2, n_query=2)
    learner = Watching()
    whole = learner(e)
    keep_s, keep_q = torch.ones(3, 6, dtype=torch.bool), torch.ones(3, 6, dtype=torch.bool)
    keep_s[1, 2:4], keep_q[2, [0, 5]] = False, False
    padded = Episode(
        Examples(e.support.x, e.support.y, keep_s), Examples(e.query.x, e.query.y, keep_q), e.target
    )
    learner.calls.clear()
    out = learner(padded)
    assert [c[0].x.shape[1] for c in learner.calls] == [6, 4, 6]
    assert all(c[0].mask is None for c in learner.calls)
    assert out.shape == whole.shape
    assert (out[2, [0, 5]] == 0).all()
    assert torch.allclose(out[0], whole[0])
    assert torch.allclose(out[2, 1:5], whole[2, 1:5])
    assert not torch.allclose(out[1], whole[1])


def test_padding_of_the_support_alone():
    e = toy_episode(n_way=3)
    keep = torch.ones(3, 6, dtype=torch.bool)
    out = NearestNeighbour(Identity(6))(
        Episode(Examples(e.support.x, e.support.y, keep), e.query, e.target)
    )
    assert torch.equal(out, NearestNeighbour(Identity(6))(e))


def test_support_and_queries_of_different_numbers_of_tasks_are_refused():
    e = toy_episode()
    one = Examples(e.support.x[:1], e.support.y[:1])
    with pytest.raises(EpisodeError, match="support holds 1 tasks but the query 3"):
        ProtoNet(Identity(6))(Episode(one, e.query, e.target))


def test_tensors_that_do_not_fit_are_refused_by_name():
    e = toy_episode()
    with pytest.raises(EpisodeError, match="3 tasks of 0 examples"):
        Examples(e.query.x[:, :0], e.query.y[:, :0])


# --- what is printed with results


def test_parameter_count():
    assert parameter_count(maml(MLP(3, widths=(4,)), n_out=2)) == 3 * 4 + 4 + 4 * 2 + 2


def test_norm_policy_names_the_policies_of_all_encoders():
    assert norm_policy(ProtoNet(Conv4(width=4))) == "running"
    assert norm_policy(ProtoNet(Identity(3))) == "none"
    both = torch.nn.ModuleList(
        [Conv4(width=4, norm="support"), Conv4(width=4, norm="batch"), Identity(3)]
    )
    assert norm_policy(both) == "batch+support"
    assert all(isinstance(m, AbstractEncoder) for m in both)


def test_the_one_encoder_of_a_learner():
    encoder = MLP(3)
    assert encoder_of(ProtoNet(encoder)) is encoder
    with pytest.raises(
        ConfigError, match="Identity has no encoders of its own where one is needed"
    ):
        encoder_of(torch.nn.Identity())
