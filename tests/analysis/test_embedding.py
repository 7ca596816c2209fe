import pytest
import torch

from quickstudy.algorithms import Hallucinator, ProtoNet, maml
from quickstudy.analysis import embedding, imagined_spread
from quickstudy.core.errors import ConfigError
from quickstudy.core.setting import Setting
from quickstudy.data import Glyphs, Sinusoid
from quickstudy.encoders import MLP, Conv4

TASKS = Glyphs().tasks("test", Setting(3, 2, 6))


def test_points_of_a_task_in_two_dimensions(tmp_path) -> None:
    torch.manual_seed(0)
    learner = ProtoNet(Conv4(width=4))
    report = embedding(learner, TASKS, task=1)
    assert (
        report.kind.count("support"),
        report.kind.count("query"),
        len(report.pca),
        len(report.tsne),
    ) == (6, 18, 24, 24)
    episode = TASKS.batch([1])
    x = (
        torch.cat([learner.encoder(p.x)[0] for p in (episode.support, episode.query)])
        .detach()
        .double()
    )
    _, s, _ = torch.linalg.svd(x - x.mean(0))
    assert report.explained == pytest.approx(
        float(s[:2].square().sum() / s.square().sum()), rel=1e-4
    )
    assert torch.tensor(report.pca).norm() == pytest.approx(float(s[:2].norm()), rel=1e-4)
    assert set(report.silhouette) == {"real"}
    assert report.draw(tmp_path / "points.png").stat().st_size > 5_000


def test_imagined_points_are_drawn_beside() -> None:
    torch.manual_seed(0)
    learner = Hallucinator(Conv4(width=4), generator="concat", n_imagined=5)
    report = embedding(learner, TASKS)
    assert report.kind.count("imagined") == 15
    assert set(report.silhouette) == {"real", "imagined"}
    assert len(report.rows()) == 6


def test_a_generator_that_ignores_the_noise_is_found_out() -> None:
    torch.manual_seed(0)
    support = TASKS.batch([0]).support
    still = Hallucinator(Conv4(width=4), n_imagined=5).eval()  # begins as G(x, z) = x
    one_shot = Glyphs().tasks("test", Setting(3, 1, 6)).batch([0]).support
    assert imagined_spread(still, one_shot, 3) == pytest.approx(0, abs=1e-6)
    assert (
        imagined_spread(
            Hallucinator(Conv4(width=4), generator="concat", n_imagined=5).eval(), support, 3
        )
        > 0.01
    )


def test_a_regression_has_no_classes_to_draw() -> None:
    with pytest.raises(ConfigError, match="no classes to draw in a regression"):
        embedding(maml(MLP(1), n_out=1), Sinusoid().tasks("test", Setting(0, 5, 5)))
