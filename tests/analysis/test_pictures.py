from pathlib import Path

import pytest
import torch
from PIL import Image

from quickstudy.algorithms import CNP, ProtoNet, maml
from quickstudy.analysis import episode_page, learning_curve
from quickstudy.core.setting import Setting
from quickstudy.core.tasks import AbstractTasks
from quickstudy.data import ClassDataset, ClassIndex, Episodes, ImageCompletion, Sinusoid
from quickstudy.encoders import MLP, Identity


def classes(x: torch.Tensor) -> AbstractTasks:
    labels = [i // 6 for i in range(len(x))]
    data = ClassDataset(
        "made up", "test", x, ClassIndex(labels, [f"c{i}" for i in range(len(x) // 6)])
    )
    return Episodes(data, Setting(3, 1, 2))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_page_of_pictures(tmp_path: Path, channels: int) -> None:
    x = torch.randint(256, (24, channels, 8, 8), dtype=torch.uint8)
    learner = ProtoNet(Identity(channels * 64)).train()
    file = episode_page(
        learner, classes(x), tmp_path / "deep" / "page.png", n_tasks=2, title="two tasks"
    )
    with Image.open(file) as image:
        assert image.width > image.height > 200
    assert learner.training


def test_a_page_of_curves(tmp_path: Path) -> None:
    learner = maml(MLP(1, widths=(8,)), n_out=1, inner_lr=0.01)
    file = episode_page(
        learner, Sinusoid().tasks("test", Setting(0, 5, 20)), tmp_path / "curves.png"
    )
    with Image.open(file) as image:
        assert min(image.size) > 200


def test_a_page_of_a_regression_on_two_numbers(tmp_path: Path) -> None:
    tasks = ImageCompletion("glyphs", {"drawings": 2}).tasks("test", Setting(0, 12, 784))
    file = episode_page(CNP(Identity(2), width=8), tasks, tmp_path / "answers.png")
    with Image.open(file) as image:
        assert min(image.size) > 200


def test_a_page_of_vectors(tmp_path: Path) -> None:
    file = episode_page(ProtoNet(Identity(4)), classes(torch.randn(24, 4)), tmp_path / "bars.png")
    with Image.open(file) as image:
        assert min(image.size) > 200


@pytest.mark.parametrize(
    "log",
    [
        [],
        [{"step": 20, "loss": 1.0}],
        [{"step": s, "loss": 9 / s} for s in range(20, 900, 20)]
        + [{"step": 880, "val": 0.9, "val_ci95": 0.01}],
    ],
)
def test_a_learning_curve_of_any_length(tmp_path: Path, log: list[dict[str, float]]) -> None:
    with Image.open(learning_curve(log, tmp_path / "curve.png")) as image:
        assert min(image.size) > 200
