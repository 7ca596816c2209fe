"""Classification among all training classes."""

import dataclasses
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from quickstudy.algorithms import ProtoNet
from quickstudy.core.clock import set_clocks
from quickstudy.core.errors import ConfigError, EpisodeError
from quickstudy.core.objective import MetaStep
from quickstudy.core.types import Episode, Examples
from quickstudy.encoders import MLP, Conv4
from quickstudy.functional.margins import arcface, cosface, sphereface
from quickstudy.objectives import Classify
from quickstudy.testing import toy_episode

N = 9


def episode(**options: Any) -> Episode:
    classes = torch.tensor([[5, 2, 8, 0], [1, 2, 3, 4]])
    return dataclasses.replace(toy_episode(n_tasks=2, **options), classes=classes)


def labels(e: Episode) -> torch.Tensor:
    return torch.tensor(
        [
            int(e.classes[t, c])
            for t in range(2)
            for c in torch.cat((e.support.y[t], e.query.y[t])).tolist()
        ]
    )


def features(learner: ProtoNet, e: Episode) -> torch.Tensor:
    return torch.cat(
        [learner.encoder(torch.cat((e.support.x[t], e.query.x[t]))[None])[0] for t in range(2)]
    )


def test_linear_and_margin_heads_by_hand() -> None:
    learner, e = ProtoNet(MLP(6, widths=(8,))), episode()
    z, y = features(learner, e), labels(e)
    linear = Classify(n_classes=N, dim=8)
    torch.testing.assert_close(
        MetaStep(learner, linear)(e), F.cross_entropy(linear.classifier(z), y)
    )
    for head, of in (
        ("cosine", lambda c: 10 * c),
        ("arcface", lambda c: arcface(c, y, scale=16.0, margin=0.2)),
        ("cosface", lambda c: cosface(c, y, scale=16.0, margin=0.2)),
        ("sphereface", lambda c: sphereface(c, y, z.norm(dim=1), margin=4, blend=1500.0)),
    ):
        objective = Classify(n_classes=N, dim=8, head=head)
        assert objective.classifier.bias is None
        cos = F.normalize(z, dim=1) @ F.normalize(objective.classifier.weight, dim=1).T
        torch.testing.assert_close(
            objective(learner, e), F.cross_entropy(of(cos), y), rtol=1e-4, atol=1e-5
        )


def test_the_margin_warms_up_with_the_steps() -> None:
    learner, e = ProtoNet(MLP(6, widths=(8,))), episode()
    step = MetaStep(learner, Classify(n_classes=N, dim=8, head="arcface", warm_up=10))
    plain = MetaStep(learner, Classify(n_classes=N, dim=8, head="arcface"))
    plain.objective.classifier.load_state_dict(step.objective.classifier.state_dict())
    losses = []
    for done in (0, 4, 9, 100):
        set_clocks(step, done)
        losses.append(float(step(e).detach()))
    assert losses[0] < losses[1] < losses[2] == losses[3] == pytest.approx(float(plain(e).detach()))


def test_rotations_are_told_by_a_head_of_their_own() -> None:
    learner, e = ProtoNet(Conv4(size=16, width=8, norm="group")), episode(shape=(1, 16, 16))
    objective = Classify(n_classes=N, dim=8, rotations=0.5)
    x, y = torch.cat((e.support.x, e.query.x), 1), labels(e)
    expected = F.cross_entropy(objective.classifier(learner.encoder(x).flatten(0, 1)), y)
    turned = [
        objective.turned(learner.encoder(torch.rot90(x, k, (3, 4))).flatten(0, 1)) for k in range(4)
    ]
    auxiliary = torch.stack(
        [F.cross_entropy(out, torch.full((len(y),), k)) for k, out in enumerate(turned)]
    ).mean()
    torch.testing.assert_close(objective(learner, e), expected + 0.5 * auxiliary)
    assert set(dict(objective.named_parameters())) == {
        "classifier.weight",
        "classifier.bias",
        "turned.weight",
        "turned.bias",
    }


def test_what_cannot_be_classified() -> None:
    learner, e = ProtoNet(MLP(6, widths=(8,))), episode()
    with pytest.raises(EpisodeError, match="which of the data's classes"):
        Classify(n_classes=N, dim=8)(learner, dataclasses.replace(e, classes=None))
    with pytest.raises(EpisodeError, match="which of the data's classes"):
        Classify(n_classes=N, dim=8)(learner, Examples(e.query.x, e.query.y))
    with pytest.raises(EpisodeError, match="class number 8, but classify has n_classes=8"):
        Classify(n_classes=8, dim=8)(learner, e)
    with pytest.raises(ConfigError, match=r"no head 'arc'.*arcface"):
        Classify(n_classes=N, dim=8, head="arc")
    with pytest.raises(ConfigError, match=r"whole number, got 2\.5"):
        Classify(n_classes=N, dim=8, head="sphereface", margin=2.5)
    with pytest.raises(ConfigError, match="n_classes ≥ 2 and dim ≥ 1"):
        Classify(n_classes=1, dim=8)
