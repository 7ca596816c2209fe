"""The ten jobs that people come with, each in the few lines that it should cost: a command where
there is one, and Python.
"""

import contextlib
import io
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.pipeline import make_pipeline

import quickstudy as qs
from quickstudy.cli import main
from quickstudy.gallery import Gallery

Command = Callable[[str], str]
_CHARACTERS = {"wren": 0, "finch": 60, "heron": 120, "owl": 180}


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An own folder to work in: drawings by class, new ones, and a table."""
    root = tmp_path_factory.mktemp("own")
    test = qs.data.Glyphs().split("test")
    for name, number in _CHARACTERS.items():
        where = root if name == "owl" else root / "birds" / name
        where.mkdir(parents=True, exist_ok=True)
        (root / "photos").mkdir(exist_ok=True)
        for k, row in enumerate(test.index.rows_of(number)[:4]):
            image = Image.fromarray(255 - np.asarray(test.x[int(row), 0]))
            image.save(where / f"{name}{k}.png" if k < 3 else root / "photos" / f"{name}{k}.png")
    rows = [
        "a,b,label",
        *(f"{k % 2 + 0.1 * k},{1 - k % 2},{'oak' if k % 2 else 'elm'}" for k in range(12)),
    ]
    (root / "table.csv").write_text("\n".join(rows) + "\n")
    with contextlib.chdir(root):
        yield root


@pytest.fixture(scope="module")
def quickstudy() -> Command:
    """A command as it is typed; returns what it prints."""

    def run(line: str) -> str:
        printed = io.StringIO()
        complained = io.StringIO()
        status = 0
        with (
            contextlib.redirect_stdout(printed),
            contextlib.redirect_stderr(complained),
            pytest.MonkeyPatch.context() as patch,
        ):
            patch.setattr(sys, "argv", ["quickstudy", *shlex.split(line)])
            try:
                main()
            except SystemExit as ended:
                status = int(ended.code or 0)
        assert status == 0, f"{line}: {printed.getvalue()}{complained.getvalue()}"
        return printed.getvalue()

    return run


@pytest.fixture(scope="module")
def fitted(quickstudy: Command, folder: Path) -> str:
    """Job 1, the command."""
    return quickstudy("fit birds -o m")


@pytest.fixture(scope="module")
def model(folder: Path) -> qs.FittedModel:
    """Job 1, in Python."""
    return qs.fit_folder("birds")


@pytest.fixture(scope="module")
def trained(quickstudy: Command, folder: Path) -> str:
    """Job 8, the command, cut to a few steps."""
    return quickstudy(
        "train glyphs-protonet --set train.steps=2 --set train.validate_every=2 "
        "--set train.n_val_tasks=2 --set encoder.width=8 --n-tasks 5"
    )


def test_1_a_folder_becomes_a_model(fitted: str, model: qs.FittedModel) -> None:
    assert "Learned 3 classes from 9 images" in fitted
    assert model.counts == {"finch": 3, "heron": 3, "wren": 3}


def test_2_a_model_is_asked(fitted: str, model: qs.FittedModel, quickstudy: Command) -> None:
    said = quickstudy("predict m photos/")
    files = sorted(Path("photos").iterdir())
    answers = model.predict_files(files)
    assert [answer.item for answer in answers] == files
    assert {"finch", "heron", "wren"} <= {answer.label for answer in answers}
    for answer in answers:
        assert f"{answer.item} " in said
    assert [f"{a.item} {a.label}" in " ".join(said.split()) for a in answers] == [True] * 4


def test_3_a_table_becomes_a_model(quickstudy: Command) -> None:
    assert "Learned 2 classes from 12 rows" in quickstudy("fit table.csv -o trees")
    model = qs.fit_table("table.csv", target="label")
    assert model.predict([[0.0, 1.0], [1.0, 0.0]]).tolist() == ["elm", "oak"]


def test_4_a_class_comes_and_goes(fitted: str, quickstudy: Command) -> None:
    quickstudy("add-class m owl owl0.png owl1.png")
    assert "owl" in quickstudy("classes m")
    quickstudy("remove-class m owl")
    assert "owl" not in quickstudy("classes m")
    model = qs.load("m")
    assert isinstance(model, qs.FittedModel)
    files = ["owl0.png", "owl1.png"]
    model.add_class("owl", files)
    assert model.counts["owl"] == 2
    model.remove_class("owl")
    assert "owl" not in model.counts


def test_5_whatever_was_saved_is_opened(fitted: str, trained: str) -> None:
    assert isinstance(qs.load("m"), qs.FittedModel)
    learner = qs.load("runs/glyphs-protonet")
    assert isinstance(learner, qs.algorithms.ProtoNet)
    support = qs.Examples.single(torch.zeros(2, 1, 28, 28), torch.tensor([0, 1]))
    learner.fit(support, qs.Classes(2)).save("p")
    assert isinstance(qs.load("p"), qs.Predictor)
    qs.fit_folder("birds", run="runs/glyphs-protonet").save("by-run")
    model = qs.load("by-run")
    assert isinstance(model, qs.FittedModel)
    assert len(model.add_class("owl", ["owl0.png"]).counts) == 4


def test_6_scikit_learn() -> None:
    files = sorted(Path("birds").rglob("*.png"))
    labels = [file.parent.name for file in files]
    pipeline = make_pipeline(qs.ImageEncoder(), qs.FewShotClassifier())
    pipeline.fit(files, labels)
    assert pipeline.score(files, labels) == 1.0
    assert len(pipeline[:-1].get_feature_names_out()) == pipeline[-1].n_features_in_


def test_7_photos_are_enrolled_and_asked(quickstudy: Command) -> None:
    pytest.importorskip("sqlalchemy")
    quickstudy("gallery create people.db --encoder symbols")
    assert "Enrolled 3 identities" in quickstudy("gallery enrol-folder people.db birds")
    said = quickstudy("gallery identify people.db photos/wren3.png")
    assert "wren" in said.splitlines()[1]
    with Gallery.open("people.db") as gallery:
        gallery.enrol_files("owl", ["owl0.png", "owl1.png"])
        answers = gallery.identify_files(["photos/owl3.png"])
    assert answers[0].decision is not None
    assert answers[0].decision.candidates[0][0] == "owl"


def test_8_a_learner_is_meta_trained(trained: str) -> None:
    assert "Trained 2 steps" in trained
    data = qs.data.Glyphs()
    tasks = data.tasks("train", qs.Setting(n_way=5, n_shot=1, n_query=5))
    learner = qs.algorithms.ProtoNet(qs.encoders.Conv4(size=28, width=8))
    result = qs.train(learner, tasks, steps=4, lr=3e-3)
    assert result.steps == 4


def test_9_learners_are_scored_and_compared(trained: str, quickstudy: Command) -> None:
    run = "runs/glyphs-protonet"
    assert "5 tasks, seed 0" in quickstudy(f"eval {run} --n-query 5 --n-tasks 5")
    assert "b − a: " in quickstudy(f"compare {run} {run} --n-tasks 10 --n-query 5")
    tasks = qs.data.Glyphs().tasks("test", qs.Setting(n_way=5, n_shot=1, n_query=5))
    a = qs.evaluate(
        qs.algorithms.NearestNeighbour(qs.encoders.Identity(28 * 28)), tasks, n_tasks=20
    )
    b = qs.evaluate(qs.algorithms.ProtoNet(qs.encoders.Conv4(size=28, width=8)), tasks, n_tasks=20)
    comparison = qs.compare(a, b)
    assert comparison.difference == pytest.approx(b.mean - a.mean)


def test_10_a_network_and_data_of_ones_own() -> None:
    images = torch.rand(60, 1, 8, 8)
    dataset = torch.utils.data.TensorDataset(images, torch.arange(60) % 12)
    tasks = qs.data.from_dataset(dataset).tasks("train", qs.Setting(n_way=3, n_shot=1, n_query=2))
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 8))
    learner = qs.algorithms.ProtoNet(qs.encoders.Wrapped(net, out_dim=8))
    qs.train(learner, tasks, steps=2, lr=1e-2)
    task = tasks.batch([0])
    predictor = learner.fit(task.support, task.target)
    predictor.save("own")
    fresh = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 8))
    loaded = qs.load("own", modules={"Sequential": fresh})
    assert isinstance(loaded, qs.Predictor)
    assert torch.equal(loaded(task.query.x[0]), predictor(task.query.x[0]))
