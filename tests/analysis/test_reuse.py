import pytest
import torch

from quickstudy.algorithms import ProtoNet, alfa, anil, maml, unicorn_maml
from quickstudy.analysis import feature_reuse
from quickstudy.core.errors import ConfigError
from quickstudy.core.setting import Setting
from quickstudy.data import Glyphs
from quickstudy.encoders import MLP, Conv4, Identity
from quickstudy.functional.cka import linear_cka
from quickstudy.testing import toy_episode

TASKS = Glyphs().tasks("test", Setting(3, 1, 3))


def learner_of(builder=maml, **options):
    torch.manual_seed(0)
    return builder(Conv4(width=4, norm="batch"), n_out=3, inner_lr=0.5, **options)


def test_before_and_after_by_hand(tmp_path):
    learner = learner_of(inner_steps=2).eval()
    report = feature_reuse(learner, TASKS, n_tasks=2)
    assert list(report.cka) == ["stage 1", "stage 2", "stage 3", "stage 4", "head"]
    expected = []
    for e in TASKS.batches(range(2), 1):
        fast, _ = learner.adapt(e.support, e.target)
        with torch.no_grad():
            old = learner.encoder(e.query.x)[0]
            new = torch.func.functional_call(
                learner.encoder,
                {
                    n.removeprefix("encoder."): p[0]
                    for n, p in fast.items()
                    if n.startswith("encoder.")
                },
                (e.query.x,),
            )[0]
        expected.append(float(linear_cka(old, new)))
    assert report.cka["stage 4"][0] == pytest.approx(sum(expected) / 2, rel=1e-4)
    assert report.draw(tmp_path / "cka.png").stat().st_size > 5_000
    assert len(report.rows()) == 10


def test_all_stages_frozen_is_an_inner_loop_of_the_head():
    learner = learner_of(inner_steps=2).eval()
    report = feature_reuse(learner, TASKS, n_tasks=3)
    assert list(report.frozen) == ["none", "first", "first 2", "first 3", "first 4"]
    head = learner_of(anil, inner_steps=2).eval()
    head.load_state_dict(learner.state_dict())
    scores = [float(e.target.score(head(e), e.query.y)) for e in TASKS.batches(range(3), 1)]
    assert report.frozen["first 4"][0] == pytest.approx(sum(scores) / 3)


def test_anil_keeps_its_features():
    report = feature_reuse(learner_of(anil, inner_steps=2), TASKS, n_tasks=2)
    assert report.cka["stage 4"][0] == pytest.approx(1.0, abs=1e-5)
    assert list(report.frozen) == ["none"]


def test_what_cannot_be_looked_into_is_refused():
    with pytest.raises(ConfigError, match="has no inner loop"):
        feature_reuse(ProtoNet(MLP(784)), TASKS, n_tasks=2)
    with pytest.raises(ConfigError, match="Identity has no stages"):
        feature_reuse(anil(Identity(784), n_out=3), TASKS, n_tasks=2)
    with pytest.raises(ConfigError, match="none of them can be frozen"):
        feature_reuse(learner_of(alfa), TASKS, n_tasks=2)


def test_the_inner_loop_is_narrowed_only_to_what_it_adapts():
    with pytest.raises(ConfigError, match="cannot be narrowed to nothing"):
        learner_of().adapting([])
    with pytest.raises(ConfigError, match=r"cannot be narrowed to encoder\.blocks\.0\.norm\.bias"):
        learner_of().adapting(["encoder.blocks.0.norm.bias"])
    with pytest.raises(ConfigError, match="is made anew for every task"):
        unicorn_maml(MLP(6)).adapting(["encoder.layers.0.weight"])


@pytest.mark.parametrize("norm", ["batch", "running", "support", "group"])
def test_what_goes_on_between_the_stages(norm):
    encoder, seen = Conv4(size=16, width=4, norm=norm), []
    x = toy_episode(shape=(1, 16, 16)).support.x

    def double_the_second(stage, features):
        seen.append((stage, tuple(features.shape)))
        return 2 * features if stage == 2 else features

    plain = encoder(x)
    with encoder.between(double_the_second):
        changed, (read, _) = encoder(x), encoder.read(x)
    assert seen == [(i, (3, 8, 4, 16 // 2**i, 16 // 2**i)) for i in (1, 2, 3, 4)] * 2
    torch.testing.assert_close(encoder(x), plain) if norm != "running" else None
    torch.testing.assert_close(changed, read) if norm != "running" else None
