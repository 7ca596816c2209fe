"""The checks bite: for each of them, learners that break just what it is for."""

import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call, grad, vmap

from quickstudy.algorithms import maml
from quickstudy.core.errors import ContractError
from quickstudy.core.learner import AbstractLearner, Traits
from quickstudy.core.types import Examples, Reals
from quickstudy.encoders import MLP
from quickstudy.functional.prototypes import class_means
from quickstudy.functional.similarity import negative_squared_euclidean
from quickstudy.testing import Subject, check_learner, checks, yield_checks


class Honest(AbstractLearner):
    """Class means after one layer; what the planted learners are made of."""

    traits = Traits()

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 8)

    def adapt(self, support, target, query_x=None):
        return class_means(self.layer(support.x), support.y, target.width)

    def predict(self, state, x):
        return negative_squared_euclidean(self.layer(x), state)


class LooksPastItsEncoder(Honest):
    traits = Traits(encodes_alone=True)

    def __init__(self):
        super().__init__()
        self.encoder = MLP(6, widths=(6,))

    def adapt(self, support, target, query_x=None):
        return class_means(self.encoder(support.x) + support.x.square(), support.y, target.width)

    def predict(self, state, x):
        return negative_squared_euclidean(self.encoder(x), state)


class UsesTheUnlabelled(Honest):
    def adapt(self, support, target, query_x=None):
        means = super().adapt(support, target)
        return (
            means
            if support.unlabelled is None
            else means - self.layer(support.unlabelled).mean(1, keepdim=True)
        )


class WithoutDocstring(Honest):
    pass


class AsWideAsTheSupport(Honest):
    def adapt(self, support, target, query_x=None):
        return self.layer(support.x)


class ForgetsToReturn(Honest):
    def predict(self, state, x):
        super().predict(state, x)


class SqueezesTheTaskAxis(Honest):
    def adapt(self, support, target, query_x=None):
        return super().adapt(support, target), torch.zeros(())

    def predict(self, state, x):
        return super().predict(state[0], x)


class TakesAnyWidth(Honest):
    traits = Traits(any_way=False)


class TakesReals(Honest):
    traits = Traits(targets=frozenset({Reals}), any_way=False)

    def adapt(self, support, target, query_x=None):
        return support.y.mean(1)

    def predict(self, state, x):
        return state[:, None].expand(-1, x.shape[1], -1)


class CountsTasks(Honest):
    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def adapt(self, support, target, query_x=None):
        self.seen += 1
        return super().adapt(support, target)


class KeepsTheStateOnSelf(Honest):
    def adapt(self, support, target, query_x=None):
        self.means = super().adapt(support, target)
        return self.means

    def predict(self, state, x):
        return super().predict(self.means, x)


class ScalesItsInput(Honest):
    def adapt(self, support, target, query_x=None):
        support.x.mul_(2).div_(2.5)
        return super().adapt(support, target)


class LeavesGradients(Honest):
    def adapt(self, support, target, query_x=None):
        self.layer(support.x.detach()).sum().backward()
        return super().adapt(support, target)


class DrawsFromTorch(Honest):
    def predict(self, state, x):
        scores = super().predict(state, x)
        return scores + torch.rand_like(scores)


class DrawsFromNumpy(Honest):
    def adapt(self, support, target, query_x=None):
        return super().adapt(support, target) + float(np.random.rand())  # noqa: NPY002


class DrawsFromPython(Honest):
    def adapt(self, support, target, query_x=None):
        return super().adapt(support, target) + random.random()


class CollectsQueries(Honest):
    def adapt(self, support, target, query_x=None):
        return [super().adapt(support, target)]

    def predict(self, state, x):
        state.append(self.layer(x))
        return super().predict(state[0], x)


class RemembersTasks(Honest):
    def __init__(self):
        super().__init__()
        self.memory = []

    def adapt(self, support, target, query_x=None):
        means = super().adapt(support, target)
        self.memory.append(means.detach().mean(dim=(0, 1)))
        return means, torch.stack(self.memory).expand(len(means), -1, -1)

    def predict(self, state, x):
        return super().predict(state[0], x)


class NormalisesAllTasks(Honest):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(6, track_running_stats=False)

    def adapt(self, support, target, query_x=None):
        x = self.norm(support.x.flatten(0, 1)).view_as(support.x)
        return super().adapt(Examples(x, support.y), target)


class CentresByQueries(Honest):
    def predict(self, state, x):
        return super().predict(state, x - x.mean(1, keepdim=True))


class WeighsByPosition(Honest):
    def adapt(self, support, target, query_x=None):
        weights = torch.linspace(0, 1, support.x.shape[1]).to(support.x)
        return super().adapt(Examples(support.x * weights[:, None], support.y), target)


class AssumesEqualShots(Honest):
    def adapt(self, support, target, query_x=None):
        order = support.y.argsort(dim=1, stable=True)
        z = self.layer(support.x)
        z = z.gather(1, order[..., None].expand_as(z))
        return z.view(len(z), target.width, -1, z.shape[-1]).mean(2)


class AssumesOneWholeShotCount(AssumesEqualShots):
    def adapt(self, support, target, query_x=None):
        n = support.x.shape[1] // target.width * target.width
        return super().adapt(Examples(support.x[:, :n], support.y[:, :n]), target)


class PrefersTheFirstClass(Honest):
    def predict(self, state, x):
        return super().predict(state, x) - torch.arange(state.shape[1]).to(x)


class FixedAtFour(Honest):
    def predict(self, state, x):
        return super().predict(state, x)[..., :4]


class OverridesForward(Honest):
    def forward(self, episode):
        return self.predict(self.adapt(episode.support, episode.target), episode.query.x)


class AnswersPaddedQueries(Honest):
    def forward(self, episode):
        return super().forward(episode) + 1.0


class NeedsGradMode(Honest):
    def adapt(self, support, target, query_x=None):
        means = super().adapt(support, target)
        (step,) = torch.autograd.grad(means.square().sum(), means, create_graph=True)
        return means - 0.1 * step


class KeepsTheGraph(Honest):
    def adapt(self, support, target, query_x=None):
        with torch.enable_grad():
            return super().adapt(support, target)


class MakesFloat32(Honest):
    def adapt(self, support, target, query_x=None):
        return super().adapt(support, target).float()

    def predict(self, state, x):
        return negative_squared_euclidean(self.layer(x).float(), state)


class DependsOnPrecision(Honest):
    def predict(self, state, x):
        return super().predict(state, x) * (2 if x.dtype == torch.float64 else 1)


class MakesTensorsOnTheCpu(Honest):
    def adapt(self, support, target, query_x=None):
        return super().adapt(support, target) + torch.ones(8, dtype=support.x.dtype)


class ForgetsToRegister(Honest):
    def __init__(self):
        super().__init__()
        self.offset = torch.ones(8)

    def predict(self, state, x):
        return super().predict(state + self.offset.to(state.dtype), x)


class HasAnIdleParameter(Honest):
    def __init__(self):
        super().__init__()
        self.idle = nn.Parameter(torch.zeros(3))


class MultipliesByZero(Honest):
    def __init__(self):
        super().__init__()
        self.idle = nn.Parameter(torch.ones(()))

    def predict(self, state, x):
        return super().predict(state, x) + 0 * self.idle


class DetachesEverything(Honest):
    def adapt(self, support, target, query_x=None):
        return super().adapt(support, target).detach()

    def predict(self, state, x):
        return super().predict(state, x).detach()


class HasAnEdge(Honest):
    def adapt(self, support, target, query_x=None):
        means = super().adapt(support, target)
        return means + (means - means.detach()).sum(-1, keepdim=True).clamp_min(0).sqrt()


class DetachesTheMeans(Honest):
    def adapt(self, support, target, query_x=None):
        return super().adapt(support, target).detach()


class RoundsInside(Honest):
    def predict(self, state, x):
        return super().predict(state, x).float().to(x.dtype)


class StepsWithVmap(AbstractLearner):
    """One gradient step per task as torch.func invites to write it: right to first order, wrong to
    second.
    """

    traits = Traits(class_equivariant=False, any_way=False)

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Tanh(), nn.Linear(8, 4))

    def adapt(self, support, target, query_x=None):
        start = dict(self.net.named_parameters())

        def one(x, y):
            step = grad(lambda p: F.cross_entropy(functional_call(self.net, p, (x,)), y))(start)
            return {n: p - 0.3 * step[n] for n, p in start.items()}

        return vmap(one)(support.x, support.y)

    def predict(self, state, x):
        return vmap(lambda p, q: functional_call(self.net, p, (q,)))(state, x)


class KeepsTheStateElsewhere(Honest):
    def __init__(self):
        super().__init__()
        self.learned = {}

    def adapt(self, support, target, query_x=None):
        means = super().adapt(support, target)
        key = float(len(self.learned))
        self.learned[key] = means.detach()
        return torch.full((len(means), 1), key)

    def predict(self, state, x):
        return super().predict(self.learned[float(state[0, 0])], x)


class LosesItsScale(Honest):
    def __init__(self):
        super().__init__()
        self.layer.register_buffer("scale", torch.ones(()), persistent=False)

    def adapt(self, support, target, query_x=None):
        self.layer.scale.fill_(2.0)
        return super().adapt(support, target)

    def predict(self, state, x):
        return super().predict(state, x) * self.layer.scale


class TakesAModule(Honest):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer


class BranchesOnValues(Honest):
    def predict(self, state, x):
        return super().predict(state, x) if x.sum() > 0 else 1 * super().predict(state, x)


class FixesTheQueryCount(Honest):
    def predict(self, state, x):
        pieces = [
            super(FixesTheQueryCount, self).predict(state, x[:, i : i + 1])
            for i in range(x.shape[1])
        ]
        return torch.cat(pieces, 1)


class IgnoresTheSupport(Honest):
    def predict(self, state, x):
        return super().predict(state, x) * 0


class ScoresDistances(Honest):
    def __init__(self):
        super().__init__()
        self.layer.requires_grad_(False)

    def predict(self, state, x):
        return -super().predict(state, x)


class AnswersRealsBlindly(AbstractLearner):
    """A network that learns between tasks and nothing within one."""

    traits = Traits(class_equivariant=False, any_way=False, targets=frozenset({Reals}))

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 4)

    def adapt(self, support, target, query_x=None):
        return support.x[:, :1]

    def predict(self, state, x):
        return self.layer(x)


def undescribed():
    return TakesAModule(nn.Linear(6, 8))


def mislabelled_fomaml():
    learner = maml(MLP(6, widths=(8,)), n_out=4, first_order=True)
    learner.traits = Traits(class_equivariant=False, any_way=False)
    return learner


PLANTED = [
    (
        "features_serve_as_well",
        LooksPastItsEncoder,
        "the answers to features computed beforehand and to the examples",
    ),
    (
        "unlabelled_is_what_was_promised",
        UsesTheUnlabelled,
        "the answers with and without unlabelled examples",
    ),
    ("has_docstring", WithoutDocstring, "but WithoutDocstring has none"),
    (
        "shapes",
        AsWideAsTheSupport,
        "expected scores of shape [T Q O] = (3, 12, 4), but got (3, 12, 8)",
    ),
    ("shapes", ForgetsToReturn, "ForgetsToReturn.predict returned nothing"),
    ("shapes", SqueezesTheTaskAxis, "one leaf is shape ()"),
    (
        "rejects_wrong_targets",
        TakesAnyWidth,
        "expected a TargetError for Classes(n=5), but got scores",
    ),
    (
        "rejects_wrong_targets",
        TakesReals,
        "expected a TargetError for Reals(dim=5), but got scores",
    ),
    ("adapt_is_pure", CountsTasks, "but seen changed"),
    ("adapt_is_pure", KeepsTheStateOnSelf, "before and after another task was learned"),
    ("adapt_is_pure", ScalesItsInput, "changed in place"),
    ("adapt_is_pure", LeavesGradients, "layer.weight, layer.bias have one"),
    ("seed_is_idempotent", DrawsFromTorch, "one was drawn from"),
    ("seed_is_idempotent", DrawsFromNumpy, "one was drawn from"),
    (
        "seed_is_idempotent",
        DrawsFromPython,
        "the answers with one global seed and with another to be equal",
    ),
    (
        "state_size_is_constant",
        CollectsQueries,
        "expected predict to leave the state's shapes, [(4, 8)]",
    ),
    (
        "state_size_is_constant",
        RemembersTasks,
        "after tasks had been learned and queries answered they are",
    ),
    ("tasks_do_not_leak", NormalisesAllTasks, "in a batch of tasks and task by task to be equal"),
    ("queries_do_not_leak", CentresByQueries, "queries together and one by one to be equal"),
    ("support_order_is_free", WeighsByPosition, "with the support in another order to be equal"),
    (
        "unbalanced_shots",
        AssumesEqualShots,
        "with 1 to 3 shots a class, the answers with the classes renamed to be equal",
    ),
    ("unbalanced_shots", AssumesOneWholeShotCount, "with the classes renamed to be equal"),
    ("classes_are_equivariant", PrefersTheFirstClass, "with the classes renamed to be equal"),
    (
        "any_way",
        FixedAtFour,
        "for Classes(n=5), expected scores of shape [T Q O] = (3, 15, 5), but got (3, 15, 4)",
    ),
    ("padding_is_invisible", OverridesForward, "with and without padding to be equal"),
    ("padding_is_invisible", AnswersPaddedQueries, "expected zeros for the 10 padded queries"),
    (
        "works_without_grad_mode",
        NeedsGradMode,
        "raised RuntimeError: element 0 of tensors does not require grad",
    ),
    ("works_without_grad_mode", KeepsTheGraph, "but they require gradients"),
    ("dtype_and_device_are_kept", MakesFloat32, "state and scores hold torch.float32"),
    (
        "dtype_and_device_are_kept",
        DependsOnPrecision,
        "in float64 and in the learner's own precision to be equal",
    ),
    ("dtype_and_device_are_kept", MakesTensorsOnTheCpu, "on the device of the module and its data"),
    ("dtype_and_device_are_kept", ForgetsToRegister, "on the device of the module and its data"),
    ("gradient_reaches_every_parameter", HasAnIdleParameter, "but idle got none"),
    ("gradient_reaches_every_parameter", MultipliesByZero, "but idle got none, or only zeros"),
    (
        "gradient_reaches_every_parameter",
        DetachesEverything,
        "but layer.bias, layer.weight got none",
    ),
    ("gradient_reaches_every_parameter", HasAnEdge, "those of layer.weight, layer.bias are not"),
    ("gradient_is_exact", DetachesTheMeans, "along a direction of layer.weight"),
    ("gradient_is_exact", mislabelled_fomaml, "along a direction of encoder.layers.0.weight"),
    ("gradient_is_exact", RoundsInside, "along a direction of layer.weight"),
    ("gradient_is_exact", StepsWithVmap, "along a direction of net.0.weight"),
    ("predictor_round_trip", KeepsTheStateElsewhere, "raised KeyError"),
    (
        "predictor_round_trip",
        LosesItsScale,
        "of the loaded predictor and of the saved one to be equal",
    ),
    ("predictor_round_trip", undescribed, "cannot be written to JSON"),
    ("exports", BranchesOnValues, "data-dependent"),
    ("exports", FixesTheQueryCount, "the learner raised"),
    (
        "learns_a_separable_toy",
        IgnoresTheSupport,
        "for Classes(n=4), expected an accuracy of at least 0.625",
    ),
    (
        "learns_a_separable_toy",
        ScoresDistances,
        "for Classes(n=4), expected an accuracy of at least 0.625",
    ),
    (
        "learns_a_separable_toy",
        AnswersRealsBlindly,
        "for Reals(dim=4), expected an explained share",
    ),
]


@pytest.mark.parametrize(
    ("name", "plant", "complaint"),
    PLANTED,
    ids=[f"{name}-{plant.__name__}" for name, plant, _ in PLANTED],
)
def test_check_catches_the_learner_planted_for_it(name, plant, complaint):
    check = getattr(checks, f"check_{name}")
    learner = plant()
    assert check in set(yield_checks(learner.traits))
    with pytest.raises(ContractError) as caught:
        check(Subject(learner))
    assert f"fails the check '{name}' at n_tasks=3: " in str(caught.value)
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    "check",
    [*yield_checks(Traits(encodes_alone=True))],
    ids=lambda check: check.__name__.removeprefix("check_"),
)
def test_every_check_has_a_planted_learner(check):
    assert check.__name__.removeprefix("check_") in {name for name, _, _ in PLANTED}


def test_traits_that_promise_everything_call_for_every_check():
    written = {
        value
        for name, value in vars(checks).items()
        if name.startswith("check_") and name not in ("check_learner", "check_encoder")
    }
    assert set(yield_checks(Traits(encodes_alone=True))) == written


@pytest.mark.parametrize(
    ("traits", "skipped"),
    [
        (Traits(transductive=True), {"queries_do_not_leak", "predictor_round_trip", "exports"}),
        (Traits(order_free=False), {"support_order_is_free"}),
        (Traits(class_equivariant=False), {"classes_are_equivariant"}),
        (Traits(any_way=False), {"any_way"}),
        (Traits(targets=frozenset({Reals})), {"classes_are_equivariant", "unbalanced_shots"}),
        (Traits(exportable=False), {"exports"}),
        (Traits(exact_gradient=False), {"gradient_is_exact"}),
    ],
)
def test_a_trait_given_up_skips_its_checks_alone(traits, skipped):
    left_out = set(yield_checks(Traits())) - set(yield_checks(traits))
    assert {check.__name__.removeprefix("check_") for check in left_out} == skipped


def test_honest_learner_passes_and_is_left_as_it_was():
    learner = Honest().train()
    before = {n: t.clone() for n, t in learner.state_dict().items()}
    drawn = torch.get_rng_state()
    check_learner(learner)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert learner.training
    assert all(torch.equal(t, before[n]) for n, t in learner.state_dict().items())
    assert all(p.grad is None for p in learner.parameters())


def test_checks_run_where_the_caller_has_gradients_off_and_on_float64():
    with torch.no_grad():
        check_learner(Honest().double(), n_tasks=(2,))


def test_failure_names_learner_check_numbers_and_cause():
    with pytest.raises(ContractError) as caught:
        check_learner(NormalisesAllTasks(), builder=Honest)
    message = str(caught.value)
    assert message.startswith(
        "NormalisesAllTasks fails the check 'tasks_do_not_leak' at n_tasks=1: expected for "
        "Classes(n=4), the answers"
    )
    assert "they differ by up to" in message
    assert (
        "\nUsual cause: statistics over all tasks at once (batch norm on flattened tasks)"
        in message
    )


def test_traits_without_targets_are_refused():
    learner = Honest()
    learner.traits = Traits(targets=frozenset())
    with pytest.raises(
        ContractError, match=r"expected traits.targets to hold Classes, Reals or both"
    ):
        check_learner(learner)
