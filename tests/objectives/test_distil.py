"""Self-distillation."""

import copy
import dataclasses
import itertools
import os
import signal

import pytest
import torch

from quickstudy.algorithms import ProtoNet
from quickstudy.core.errors import ConfigError, LoadError
from quickstudy.core.objective import MetaStep
from quickstudy.core.types import Episode
from quickstudy.encoders import MLP, Conv4
from quickstudy.objectives import Classify, Distil
from quickstudy.recipes import Part, recipe_named, train_recipe
from quickstudy.testing import toy_episode
from quickstudy.training import load_checkpoint

N = 9


def episode(**options) -> Episode:
    return dataclasses.replace(
        toy_episode(n_tasks=2, **options), classes=torch.tensor([[5, 2, 8, 0], [1, 2, 3, 4]])
    )


def taught(learner: ProtoNet, **options) -> tuple[Distil, ProtoNet, Classify]:
    torch.manual_seed(1)
    before, classifier = ProtoNet(MLP(6, widths=(8,))), Classify(n_classes=N, dim=8)
    objective = Distil(n_classes=N, dim=8, **options)
    objective.start_from(before, classifier.state_dict())
    return objective, before, classifier


def test_the_loss_by_a_loop() -> None:
    learner, e = ProtoNet(MLP(6, widths=(8,))), episode()
    objective, before, classifier = taught(learner, temperature=3.0, weight=0.3)
    total, n = 0.0, 0
    for t in range(2):
        for x, y in [
            *zip(e.support.x[t], e.support.y[t], strict=True),
            *zip(e.query.x[t], e.query.y[t], strict=True),
        ]:
            teacher = classifier.classifier(before.encoder(x[None, None]))[0, 0]
            pupil = objective.classifier(learner.encoder(x[None, None]))[0, 0]
            p, q = (teacher / 3).softmax(0), (pupil / 3).softmax(0)
            divergence = sum(p[c] * (p[c].log() - q[c].log()) for c in range(N))
            total = total + 0.3 * 9 * divergence - 0.7 * pupil.log_softmax(0)[e.classes[t, y]]
            n += 1
    torch.testing.assert_close(objective(learner, e), total / n)


def test_the_teacher_stays_as_it_is() -> None:
    torch.manual_seed(0)
    before = ProtoNet(Conv4(size=16, width=4))
    objective = Distil(n_classes=N, dim=4)
    objective.start_from(before, Classify(n_classes=N, dim=4).state_dict())
    step = MetaStep(ProtoNet(Conv4(size=16, width=4)), objective).train()
    kept = copy.deepcopy(objective.teacher.state_dict())
    optimiser = torch.optim.SGD([p for p in step.parameters() if p.requires_grad], lr=1.0)
    step(episode(shape=(1, 16, 16))).backward()
    optimiser.step()
    for name, t in objective.teacher.state_dict().items():
        assert torch.equal(t, kept[name]), name
    assert all(not p.requires_grad for p in objective.teacher.parameters())


def test_without_a_teacher_or_with_the_wrong_one() -> None:
    learner = ProtoNet(MLP(6, widths=(8,)))
    with pytest.raises(ConfigError, match="needs a teacher"):
        Distil(n_classes=N, dim=8)(learner, episode())
    with pytest.raises(LoadError, match="keeps no classifier of 9 classes"):
        Distil(n_classes=N, dim=8).start_from(learner, {})
    with pytest.raises(LoadError, match="keeps no classifier of 9 classes"):
        Distil(n_classes=N, dim=8).start_from(learner, Classify(n_classes=4, dim=8).state_dict())
    with pytest.raises(LoadError, match="keeps no classifier of 9 classes"):
        Distil(n_classes=N, dim=8).start_from(
            learner, Classify(n_classes=N, dim=8, head="cosine").state_dict()
        )
    with pytest.raises(ConfigError, match="temperature must be above 0"):
        Distil(n_classes=N, dim=8, weight=1.5)


def test_a_run_is_distilled_and_resumed(tmp_path, monkeypatch) -> None:
    """The teacher is the run that the training starts from; a training that was stopped ends with
    the numbers of one that was not.
    """
    changes = {
        "encoder.width": "4",
        "train.steps": "4",
        "train.validate_every": "0",
        "episodes.n_way": "5",
    }
    options = {"n_classes": 6000, "dim": 4}
    base = dataclasses.replace(
        recipe_named("glyphs-protonet").with_changes(changes), objective=Part("classify", options)
    )
    train_recipe(base, tmp_path / "first")
    recipe = dataclasses.replace(
        base, objective=Part("distil", options), start_from=str(tmp_path / "first")
    )
    train_recipe(recipe, tmp_path / "whole")

    with monkeypatch.context() as patched:
        calls = itertools.count(1)

        def forward(self, learner, batch):
            if next(calls) == 2:
                os.kill(os.getpid(), signal.SIGINT)
            return plain(self, learner, batch)

        plain = Distil.forward
        patched.setattr(Distil, "forward", forward)
        run = train_recipe(recipe, tmp_path / "stopped")
    assert not run.result.finished
    assert run.result.steps < 4
    again = train_recipe(recipe, tmp_path / "stopped", resume=True)
    assert again.result.finished

    first, whole, stopped = (
        load_checkpoint(tmp_path / name / "last.pt")["step_state"]
        for name in ("first", "whole", "stopped")
    )
    assert torch.equal(whole["objective.teacher.1.weight"], first["objective.classifier.weight"])
    assert torch.equal(
        whole["objective.teacher.0.blocks.0.conv.weight"],
        first["learner.encoder.blocks.0.conv.weight"],
    )
    assert not torch.equal(
        whole["learner.encoder.blocks.0.conv.weight"], first["learner.encoder.blocks.0.conv.weight"]
    )
    assert whole.keys() == stopped.keys()
    for name, t in whole.items():
        assert torch.equal(t, stopped[name]), name
