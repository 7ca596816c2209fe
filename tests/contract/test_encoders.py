"""Every encoder keeps its contract, and the checks bite: encoders planted for each of them."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from quickstudy.core.encoder import POLICIES, AbstractEncoder
from quickstudy.core.errors import ContractError
from quickstudy.encoders import (
    ENCODERS,
    MLP,
    CellNet,
    Conv4,
    Identity,
    MixedCellNet,
    ResNet12,
)
from quickstudy.testing import EncoderSubject, check_encoder, yield_encoder_checks
from quickstudy.testing.checks import features, weights

EDGES = ((0, 1, "conv3x3"), (0, 2, "identity"), (1, 2, "max_pool3x3"))
IMAGE = (1, 16, 16)
CASES = [
    ("mlp", lambda norm: MLP(6, widths=(8, 4)), (6,), ("none",)),
    ("identity", lambda norm: Identity(6), (6,), ("none",)),
    ("conv4", lambda norm: Conv4(size=16, width=8, norm=norm), IMAGE, POLICIES),
    (
        "resnet12",
        lambda norm: ResNet12(in_channels=1, size=16, widths=(2, 2, 2, 2), norm=norm),
        IMAGE,
        ("batch", "support", "per_task"),
    ),
    ("cell", lambda norm: CellNet(edges=EDGES, channels=4, norm=norm), IMAGE, ("batch", "support")),
    ("mixed_cell", lambda norm: MixedCellNet(channels=2, nodes=1, norm=norm), IMAGE, ("support",)),
]


@pytest.mark.parametrize(
    ("make", "shape", "norm"),
    [
        pytest.param(make, shape, norm, id=f"{name}-{norm}")
        for name, make, shape, norms in CASES
        for norm in norms
    ],
)
def test_encoder_keeps_the_contract(make, shape, norm):
    torch.manual_seed(0)
    check_encoder(make(norm), shape=shape, n_tasks=(2,))


def test_every_registered_encoder_is_checked():
    assert {name for name, *_ in CASES} == set(ENCODERS)


class Honest(AbstractEncoder):
    """One layer; what the planted encoders are made of."""

    def __init__(self):
        super().__init__()
        self.out_dim = 4
        self.norm = "none"
        self.layer = nn.Linear(6, 4)

    def forward(self, x, context=()):
        return self.layer(x)


class SaysAnotherWidth(Honest):
    def __init__(self):
        super().__init__()
        self.out_dim = 5


class DividesByZero(Honest):
    def forward(self, x, context=()):
        return self.layer(x) / (x.shape[1] - 1)


class SaysAnUnknownPolicy(Honest):
    def __init__(self):
        super().__init__()
        self.norm = "layer"


class HasAnotherMap(Honest):
    map_shape = (4, 2, 1)


class NamesNoStage(Honest):
    stages = ("body",)


class ForgetsItsContext(Honest):
    def __init__(self):
        super().__init__()
        self.norm = "support"


class KeepsAContext(Honest):
    def read(self, x):
        return self(x), (x.mean(1),)


class CountsInEval(Honest):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x, context=()):
        self.calls += 1
        return self.layer(x)


class DropsInEval(Honest):
    def forward(self, x, context=()):
        return F.dropout(self.layer(x), 0.5)


class ChangesItsInput(Honest):
    def forward(self, x, context=()):
        return self.layer(x.detach().mul_(1.5).div_(1.4))


class CentresAllTasks(Honest):
    def forward(self, x, context=()):
        return self.layer(x - x.mean((0, 1)))


class CentresExamples(Honest):
    def forward(self, x, context=()):
        return self.layer(x - x.mean(1, keepdim=True))


class HidesItsAverages(Honest):
    def __init__(self):
        super().__init__()
        self.averages = nn.BatchNorm1d(4)

    def forward(self, x, context=()):
        return self.averages(self.layer(x).flatten(0, 1)).unflatten(0, x.shape[:2])


class KeepsItsWeights(Honest):
    kept = None

    def forward(self, x, context=()):
        if self.kept is None:
            self.kept = self.layer.weight.detach()
        return F.linear(x, self.kept, self.layer.bias)


class ClaimsToStack(Honest):
    stacks = True


class PreparesTwice(Honest):
    def prepare(self, x):
        return 2 * x


class ForgetsItsStage(Honest):
    stages = ("layer",)


class DropsWhatComesBack(Honest):
    stages = ("layer",)

    def forward(self, x, context=()):
        features = self.layer(x)
        self.passed(1, features)
        return features


class HasAnIdleParameter(Honest):
    def __init__(self):
        super().__init__()
        self.idle = nn.Parameter(torch.zeros(3))


class Detaches(Honest):
    def forward(self, x, context=()):
        return self.layer(x).detach()


class MakesFloat32(Honest):
    def forward(self, x, context=()):
        return self.layer(x).float()


class KeepsAConstantOnTheCpu(Honest):
    def __init__(self):
        super().__init__()
        self.offset = torch.ones(4)

    def forward(self, x, context=()):
        return self.layer(x) + self.offset.to(x.dtype)


class TakesANetwork(Honest):
    def __init__(self, network):
        super().__init__()
        self.layer = network


class LosesItsScale(Honest):
    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.ones(4), persistent=False)

    def forward(self, x, context=()):
        return self.layer(x) * self.scale


PLANTED = [
    ("features_have_their_shape", SaysAnotherWidth, "(2, 5, 5) in eval mode, but got (2, 5, 4)"),
    ("features_have_their_shape", DividesByZero, "expected finite features"),
    ("attributes_are_true", SaysAnUnknownPolicy, "but it is 'layer'"),
    ("attributes_are_true", HasAnotherMap, "(4, 2, 1) are 8"),
    ("attributes_are_true", NamesNoStage, "but body are not"),
    ("context_is_what_queries_need", ForgetsItsContext, "expected a context"),
    ("context_is_what_queries_need", KeepsAContext, "expected no context"),
    ("eval_mode_is_pure", CountsInEval, "but calls changed"),
    ("eval_mode_is_pure", DropsInEval, "the features of the same examples, twice"),
    ("eval_mode_is_pure", ChangesItsInput, "twice to be equal"),
    ("tasks_are_encoded_alone", CentresAllTasks, "in a batch of tasks and task by task"),
    ("examples_are_encoded_alone", CentresExamples, "together and one by one"),
    ("tasks_are_trained_alone", HidesItsAverages, "in train mode in a batch of tasks and alone"),
    ("parameters_may_be_given", KeepsItsWeights, "weights given and with weights loaded"),
    ("parameters_may_be_stacked", ClaimsToStack, "the encoder raised RuntimeError"),
    ("prepared_examples_serve_as_well", PreparesTwice, "of prepared examples and of others"),
    ("stages_are_called", ForgetsItsStage, "expected calls behind the stages [1], but got []"),
    ("stages_are_called", DropsWhatComesBack, "but nothing changed"),
    ("gradient_reaches_every_weight", HasAnIdleParameter, "for idle, but got none"),
    ("gradient_reaches_every_weight", Detaches, "they carry no graph"),
    ("dtype_and_device_of_features", MakesFloat32, "but got torch.float32"),
    ("dtype_and_device_of_features", KeepsAConstantOnTheCpu, "on another one it raised"),
    ("encoder_round_trip", lambda: TakesANetwork(nn.Linear(6, 4)), "cannot be written to JSON"),
    ("encoder_round_trip", LosesItsScale, "of the encoder built again"),
]


def named(check):
    return check.__name__.removeprefix("check_")


@pytest.mark.parametrize(
    ("name", "plant", "complaint"), PLANTED, ids=[f"{n}-{p.__name__}" for n, p, _ in PLANTED]
)
def test_check_catches_the_encoder_planted_for_it(name, plant, complaint):
    encoder = plant()
    (check,) = (check for check in yield_encoder_checks(encoder) if named(check) == name)
    with pytest.raises(ContractError) as caught:
        check(EncoderSubject(encoder, n_tasks=2))
    assert f"fails the check '{name}' at n_tasks=2: " in str(caught.value)
    assert complaint in str(caught.value)


def test_every_check_is_called_for_and_has_a_planted_encoder():
    written = {
        name.removeprefix("check_")
        for module in (features, weights)
        for name in vars(module)
        if name.startswith("check_")
    }
    assert written == {name for name, _, _ in PLANTED}
    assert written == {named(check) for check in yield_encoder_checks(Conv4(norm="group"))}


def test_an_honest_encoder_passes_and_is_left_as_it_was():
    encoder = Honest().train()
    before = {n: t.clone() for n, t in encoder.state_dict().items()}
    drawn = torch.get_rng_state()
    check_encoder(encoder)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert encoder.training
    assert all(torch.equal(t, before[n]) for n, t in encoder.state_dict().items())
