"""From folders and tables to fitted models, by an encoder that sees the mean colour only."""

import io
import multiprocessing
import sqlite3
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch
from PIL import Image

from quickstudy.algorithms import ProtoNet, maml
from quickstudy.core.errors import ConfigError, DataError, LoadError, PassedOverWarning, TargetError
from quickstudy.core.predictor import Predictor
from quickstudy.core.saving import save_folder
from quickstudy.core.types import Classes, Examples
from quickstudy.data import Glyphs, read_picture
from quickstudy.encoders import MLP, Conv4
from quickstudy.estimators import FittedModel, fit_folder, fit_table, load, score_model
from quickstudy.estimators.encoding import PixelLearner
from quickstudy.estimators.sorting import SortedFiles, folder_name
from quickstudy.pretrained import FunctionEncoder
from quickstudy.pretrained.encoder import AbstractPretrained
from quickstudy.recipes import save_learner

COLOURS = {"red": (220, 20, 20), "green": (20, 200, 20), "blue": (20, 20, 230)}


@pytest.fixture
def as_users_run_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Annotations are not checked."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def colours(folder: Path, *, n: int = 4, names: tuple[str, ...] = tuple(COLOURS)) -> Path:
    rng = np.random.default_rng(len(names))
    for name in names:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(n):
            noise = rng.integers(-15, 15, size=(8, 8, 3))
            pixels = np.clip(np.asarray(COLOURS[name]) + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return folder


def mean_colour() -> FunctionEncoder:
    return FunctionEncoder(
        lambda pictures: [np.asarray(p.convert("RGB"), np.float64).mean((0, 1)) for p in pictures],
        key="mean colour",
        dim=3,
        read=read_picture,
    )


class Lengths(AbstractPretrained):
    """The number of words of a text, beside a constant."""

    kind = "text"
    source = key = "lengths"
    dim = 2

    def read(self, path: Path | bytes) -> str:
        text = path.decode() if isinstance(path, bytes) else path.read_text()
        if not text:
            raise DataError(f"'{path}' is empty.")
        return text

    def encode(self, items: Any) -> np.ndarray:
        return np.asarray([[len(t.split()), 3.0] for t in items], np.float32)


def test_a_folder_becomes_a_model_that_answers(tmp_path: Path) -> None:
    model = fit_folder(colours(tmp_path / "known"), encoder=mean_colour())
    assert model.counts == {"blue": 4, "green": 4, "red": 4}
    assert model.summary is not None
    assert model.summary.accuracy == 1.0
    assert [path.parent.name for path in model.summary.items] == sorted(
        ["red", "green", "blue"] * 4
    )
    new = colours(tmp_path / "new", n=1)
    answers = model.predict_files(new)
    assert [a.label for a in answers] == [a.item.parent.name for a in answers]
    # Without a false-accept rate nothing is certain, and nothing is said of a threshold.
    assert {(a.certain, a.threshold, a.nearest) for a in answers} == {(None, None, None)}
    assert not any(d.certain for d in model.decide([a.item for a in answers]))
    folder = model.save(tmp_path / "m")
    loaded = FittedModel.load(folder, encoder=mean_colour())
    assert loaded.predict_files(new) == answers
    assert loaded.summary is None
    # A folder of files is as good as its files, for a new class too.
    loaded.remove_class("red").add_class("reds", [tmp_path / "known" / "red"])
    assert loaded.counts == {"blue": 4, "green": 4, "reds": 4}


def test_what_the_fit_found_out_is_data(tmp_path: Path) -> None:
    known = colours(tmp_path / "known")
    (known / "red" / "bad.png").write_bytes(b"no image")
    (known / "green" / "same.png").write_bytes((known / "red" / "0.png").read_bytes())
    with pytest.raises(DataError, match=r"bad\.png"):
        fit_folder(known, encoder=mean_colour())
    steps: list[tuple[str, int, int]] = []
    model = fit_folder(
        known,
        encoder=mean_colour(),
        on_bad="skip",
        head="prototype",
        progress=lambda *step: steps.append(step),
    )
    summary = model.summary
    assert summary is not None
    assert [path.name for path, _ in summary.skipped] == ["bad.png"]
    assert summary.repeated == ((known / "green" / "same.png", known / "red" / "0.png"),)
    # Examples are called by the names of their files.
    assert any("green/same.png" in advice for advice in summary.advice)
    assert not any("example 1 of" in advice for advice in summary.advice)
    assert steps[-1] == ("encoding", 14, 14)


def test_a_cohort_counts_by_identity_and_the_price_is_said(tmp_path: Path) -> None:
    known = colours(tmp_path / "known", names=("red", "green"))
    cohort = colours(tmp_path / "others", names=("blue",), n=6)
    options: Any = {"encoder": mean_colour(), "head": "prototype", "cohort": cohort}
    with pytest.raises(ConfigError, match="but there are 1"):  # six pictures of one identity
        fit_folder(known, false_accept_rate=0.2, **options)
    for i, file in enumerate(sorted((cohort / "blue").iterdir())):
        (cohort / str(i)).mkdir()
        file.rename(cohort / str(i) / file.name)
    (cohort / "blue").rmdir()
    model = fit_folder(known, false_accept_rate=0.2, **options)
    assert model.is_calibrated
    assert {a.label for a in model.predict_files(colours(tmp_path / "b", names=("blue",)))} == {
        "unknown"
    }
    assert model.summary is not None
    assert model.summary.accepted == 1.0
    (cohort / "0" / "member.png").write_bytes((known / "red" / "0.png").read_bytes())
    overlapping = fit_folder(known, false_accept_rate=0.2, **options)
    assert any("0/member.png" in note for note in overlapping.notes)
    with pytest.raises(ConfigError, match="cohort is for models that say unknown"):
        fit_folder(known, **options)
    (known / "red").rename(known / "unknown")
    with pytest.raises(DataError, match="no class can be called so"):
        fit_folder(known, false_accept_rate=0.2, **options)


def test_a_rate_for_a_model_without_one(tmp_path: Path) -> None:
    model = fit_folder(colours(tmp_path / "known"), encoder=mean_colour(), head="prototype")
    assert not model.is_calibrated
    calibrated = model.with_rate(0.5)
    assert calibrated.is_calibrated
    assert all(a.threshold is not None for a in calibrated.predict_files(tmp_path / "known"))
    with pytest.raises(ConfigError, match="at least 19 "):
        model.with_rate(0.1)


def test_a_table_of_files(tmp_path: Path) -> None:
    colours(tmp_path / "pictures")
    rows = [f"pictures/{name}/{i}.png,{name}" for name in COLOURS for i in range(4)]
    table = tmp_path / "list.csv"
    table.write_text("\n".join(["picture,label", *rows]) + "\n")
    model = fit_table(table, encoder=mean_colour())
    assert model.counts == {"blue": 4, "green": 4, "red": 4}
    assert any("the column 'picture' names" in note for note in model.notes)
    assert model.predict_files(tmp_path / "pictures" / "red")[0].label == "red"
    table.write_text(table.read_text() + "pictures/gone.png,red\n")
    with pytest.raises(DataError, match=r"gone\.png"):
        fit_table(table, paths="picture", encoder=mean_colour())
    assert fit_table(table, encoder=mean_colour(), on_bad="skip").counts["red"] == 4
    table.write_text(table.read_text() + "pictures/red/0.png,blue\n")
    with pytest.raises(DataError, match=r"row 14, the file .* is of the class 'blue'"):
        fit_table(table, encoder=mean_colour(), on_bad="skip")
    with pytest.raises(ConfigError, match="but got 2 of these"):
        fit_table(table, text="picture", paths="picture")


def drawings(folder: Path) -> dict[Path, str]:
    """Two drawings each of six characters, and their classes."""
    test = Glyphs().split("test")
    labels: dict[Path, str] = {}
    for c in range(6):
        (folder / f"c{c}").mkdir(parents=True)
        for k, row in enumerate(test.index.rows_of(15 * c)[:2]):
            path = folder / f"c{c}" / f"{k}.png"
            Image.fromarray(255 - test.x[int(row), 0].numpy()).resize((84, 84)).save(path)
            labels[path] = f"c{c}"
    return labels


def test_a_list_of_files_gets_the_encoder_that_their_folder_gets(tmp_path: Path) -> None:
    labels = drawings(tmp_path / "drawn")
    (tmp_path / "drawn" / "c0" / "notes.pdf").write_bytes(b"no image")
    lines = [f"{path.relative_to(tmp_path)},{label}" for path, label in labels.items()]
    (tmp_path / "list.csv").write_text("\n".join(["file,label", *lines]))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        of_folder = fit_folder(tmp_path / "drawn", head="prototype")
    # What is passed over is said once.
    assert [w.category for w in caught].count(PassedOverWarning) == 1
    of_list = fit_table(tmp_path / "list.csv", head="prototype")
    assert of_list.encoding.source == of_folder.encoding.source == "symbols"
    assert of_folder.summary is not None
    assert of_list.summary is not None
    assert set(of_folder.summary.notes) <= set(of_list.summary.notes)


def test_invert_that_contradicts_the_drawings_is_noticed(tmp_path: Path) -> None:
    labels = drawings(tmp_path / "drawn")
    wrong = fit_folder(tmp_path / "drawn", invert=False, head="prototype")
    right = fit_folder(tmp_path / "drawn", invert=True, head="prototype")
    assert wrong.summary is not None
    assert right.summary is not None
    against = [note for note in wrong.summary.notes if f"{len(labels)} of {len(labels)}" in note]
    assert len(against) == 1
    assert len(right.summary.notes) == len(wrong.summary.notes) - 1


def test_a_model_of_files_is_asked_about_a_list_of_files(tmp_path: Path) -> None:
    known = colours(tmp_path / "known")
    model = fit_folder(known, encoder=mean_colour())
    table = tmp_path / "list.csv"
    table.write_text("n,file,kind\n1,known/red/0.png,red\n2,gone.png,red\n3,known/blue/1.png,red\n")
    answers = model.predict_table(table)
    assert [(a.item.name, a.label) for a in answers] == [
        ("0.png", "red"),
        ("gone.png", None),
        ("1.png", "blue"),
    ]
    assert "gone.png" in answers[1].error
    score = score_model(model, table, target="kind")
    assert score.accuracy == 0.5
    assert len(score.unread) == 1
    table.write_text("n,kind\n1,red\n")
    with pytest.raises(DataError, match="one column"):
        model.predict_table(table)


def written_to(content: bytes) -> io.BytesIO:
    """An open file, at its end as after writing."""
    file = io.BytesIO()
    file.write(content)
    return file


@pytest.mark.filterwarnings("ignore:.*of another class")
def test_pictures_in_memory_are_as_good_as_files(tmp_path: Path) -> None:
    known = colours(tmp_path / "known")
    model = fit_folder(known, encoder=mean_colour())
    path = known / "red" / "0.png"
    image = Image.open(path)
    array = np.asarray(image)
    image.load()
    content = path.read_bytes()
    given = [path, str(path), content, image, array, array / 255, written_to(content)]
    answers = model.predict_files(given, cache=tmp_path / "cache")
    assert len({(a.label, a.probability, a.score) for a in answers}) == 1
    assert [str(a.item) for a in answers[2:]] == [f"<item {n}>" for n in (3, 4, 5, 6, 7)]
    assert len(set(model.decide(given))) == 1
    # One picture needs no list; a stack of them is one.
    for one in (array, image, content, written_to(content), torch.tensor(array).permute(2, 0, 1)):
        assert [a.label for a in model.predict_files(one)] == ["red"]
    assert len(model.predict_files(np.stack([array] * 3))) == 3
    bad = model.predict_files([array, b"no image", array[:, :, :2]])
    assert [a.label for a in bad] == ["red", None, None]
    assert [a.error.split(":")[0] for a in bad[1:]] == ["<item 2>", "<item 3>"]
    counts = model.add_class("reds", [array, path, written_to(content)]).counts
    assert counts["reds"] == 3
    with pytest.raises(ConfigError, match="brackets"):
        model.add_class("again", content)


def test_a_model_is_shown_in_a_line(tmp_path: Path) -> None:
    model = fit_folder(colours(tmp_path / "known"), encoder=mean_colour(), head="ridge")
    assert repr(model) == "FittedModel(images, 3 classes from 12 examples, head ridge)"


@pytest.mark.filterwarnings("ignore:.*of another class")
def test_a_folder_of_texts(tmp_path: Path) -> None:
    for name, text in (("long", "one two three four five six"), ("short", "word")):
        (tmp_path / "texts" / name).mkdir(parents=True)
        for i in range(3):
            (tmp_path / "texts" / name / f"{i}.txt").write_text(f"{text}{'!' * i}")
    model = fit_folder(tmp_path / "texts", encoder=Lengths())
    assert model.encoding.kind == "text"
    assert [a.label for a in model.predict_files(tmp_path / "texts")] == ["long"] * 3 + [
        "short"
    ] * 3
    answers = model.predict_texts(["a b c d e f g", "", "w"])
    assert [a.label for a in answers] == ["long", None, "short"]
    assert answers[1].error
    model.add_class("tiny", ["a", "b"])
    assert model.counts["tiny"] == 2
    (tmp_path / "x.csv").write_text("text\na b\n")
    with pytest.raises(DataError, match="one column"):
        model.predict_table(tmp_path / "x.csv")


def test_as_many_of_one_kind_as_of_another(tmp_path: Path) -> None:
    known = colours(tmp_path / "known", n=1)
    for name in COLOURS:
        (known / name / "0.txt").write_text("text")
    with pytest.raises(DataError, match="as many"):
        fit_folder(known, encoder=mean_colour())
    with pytest.warns(PassedOverWarning, match=r"3 \.txt"):
        model = fit_folder(known, kind="images", encoder=mean_colour())
    assert model.encoding.kind == "images"


def test_rows_of_numbers_as_they_come_in_memory(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("label,a,b\n" + "".join(f"{'xy'[i % 2]},{i % 2},{i}\n" for i in range(8)))
    model = fit_table(file, columns=["a", "b"])
    rows: list[dict[str, Any]] = [{"a": 1, "b": 5}, {"a": "", "b": 5}]
    answers = model.predict_table(rows)
    assert (answers[0].label, answers[0].item) == ("y", 1)
    assert "the column 'a' is empty" in answers[1].error
    with pytest.raises(ConfigError, match="encoder is not for tables of numbers"):
        fit_table(file, encoder="symbols")
    with pytest.raises(ConfigError, match="takes no files"):
        model.predict_files([file])


@pytest.mark.filterwarnings("ignore:.*of another class")
@pytest.mark.parametrize("kind", ["compares features", "takes gradient steps"])
def test_the_learner_of_a_run_is_a_head(kind: str, tmp_path: Path) -> None:
    network = Conv4(size=16, in_channels=3, width=4, norm="group")
    learner = ProtoNet(network) if kind == "compares features" else maml(network, n_out=3)
    image = {"size": 16, "channels": 3, "mean": [0.5], "std": [0.25]}
    run = save_learner(learner.eval(), tmp_path / "run", extra={"image": image, "sound": None})
    known = colours(tmp_path / "known", n=2)
    model = fit_folder(known, run=run)
    folder = model.save(tmp_path / "m")
    new = colours(tmp_path / "new", n=2)
    answers = model.predict_files(new)
    assert FittedModel.load(folder).predict_files(new) == answers
    # The same as asking the learner itself.
    head = model.known.learner
    assert isinstance(head, PixelLearner)
    assert model.known.support_.shape == (6, 3 * 16 * 16)
    assert model.summary is not None
    assert model.summary.accuracy == model.known.diagnose().accuracy
    if kind == "compares features":
        loaded = FittedModel.load(folder).add_class("guest", [new / "red" / "0.png"])
        assert loaded.counts["guest"] == 1
        assert loaded.predict_files([new / "red" / "0.png"])[0].label == "guest"
        assert model.with_rate(0.5).is_calibrated
        calibrated = fit_folder(known, run=run, false_accept_rate=0.5, unknown_score="energy")
        assert calibrated.is_calibrated
    else:
        with pytest.raises((ConfigError, TargetError), match="3"):
            FittedModel.load(folder).add_class("guest", [new / "red" / "0.png"])
        with pytest.raises(ConfigError, match="Give a cohort"):
            fit_folder(known, run=run, false_accept_rate=0.5)
    with pytest.raises(ConfigError, match="not 'nearest'"):
        fit_folder(known, run=run, false_accept_rate=0.5, unknown_score="nearest")
    with pytest.raises(ConfigError, match="head means nothing with a run"):
        fit_folder(known, run=run, head="ridge")
    with pytest.raises(ConfigError, match="in it with its encoder"):
        FittedModel.load(folder, encoder="symbols")


def test_runs_that_cannot_be_heads(tmp_path: Path) -> None:
    known = colours(tmp_path / "known", n=1)
    vectors = save_learner(ProtoNet(MLP(4)), tmp_path / "vectors")
    with pytest.raises(LoadError, match="was not trained on images"):
        fit_folder(known, run=vectors)
    image = {"size": 16, "channels": 3}
    batch = ProtoNet(Conv4(size=16, in_channels=3, width=4, norm="batch"))
    run = save_learner(batch, tmp_path / "batch", extra={"image": image})
    with pytest.raises(TypeError, match="transductive"):
        fit_folder(known, run=run)
    assert fit_folder(known, run=run, norm="support").counts["red"] == 1
    with pytest.raises(ConfigError, match="norm is for a run only"):
        fit_folder(known, norm="support")


def test_files_are_sorted_into_folders(tmp_path: Path) -> None:
    model = fit_folder(colours(tmp_path / "known"), encoder=mean_colour())
    new = colours(tmp_path / "new", n=2)
    (new / "red" / "bad.png").write_bytes(b"no image")
    for _ in range(2):  # again: nothing is replaced
        sorter = SortedFiles(tmp_path / "sorted", model)
        list(sorter.copying(model.predict_files(new)))
        assert sorter.counts == {"red": 2, "green": 2, "blue": 2}
        assert sorter.left == 1
    names = sorted(path.name for path in (tmp_path / "sorted" / "red").iterdir())
    assert names == ["0-2.png", "0.png", "1-2.png", "1.png"]
    assert folder_name("a/../b\x1b") == "a_.._b_"
    with pytest.raises(ConfigError, match="is a file"):
        SortedFiles(new / "red" / "bad.png", model)


def test_a_model_is_scored_on_labelled_files(tmp_path: Path) -> None:
    known = colours(tmp_path / "known", names=("red", "green"))
    model = fit_folder(known, encoder=mean_colour(), head="prototype")
    new = colours(tmp_path / "new", n=5)
    (new / "green" / "0.png").write_bytes((known / "red" / "0.png").read_bytes())
    (new / "red" / "bad.png").write_bytes(b"no image")
    score = score_model(model, new)
    assert (len(score.known), len(score.unknown), len(score.unread)) == (10, 5, 1)
    assert score.accuracy == 0.9
    # Wilson's interval by its formula.
    z, n, p = 1.959963984540054, 10, 0.9
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    assert score.interval == pytest.approx((middle - half, middle + half))
    assert score.confusion()["green", "red"] == 1
    assert score.false_accept_rate == 1.0  # it never says unknown
    (tmp_path / "other" / "pink").mkdir(parents=True)
    (tmp_path / "other" / "grey").mkdir(parents=True)
    for name in ("pink", "grey"):
        (tmp_path / "other" / name / "0.png").write_bytes((new / "red" / "0.png").read_bytes())
    with pytest.raises(DataError, match=r"of a class that the model knows \(green, red\)"):
        score_model(model, tmp_path / "other")


def test_one_door_opens_everything_that_was_saved(tmp_path: Path) -> None:
    known = colours(tmp_path / "known", n=2)
    image = {"size": 16, "channels": 3}
    learner = ProtoNet(Conv4(size=16, in_channels=3, width=4, norm="group")).eval()
    run = save_learner(learner, tmp_path / "run", extra={"image": image})
    assert isinstance(load(run), ProtoNet)
    by_run = fit_folder(known, run=run).save(tmp_path / "by run")
    by_encoder = fit_folder(known, encoder=mean_colour()).save(tmp_path / "by encoder")
    for folder, encoder in ((by_run, ""), (by_encoder, mean_colour())):
        model = load(folder, encoder=encoder)
        assert isinstance(model, FittedModel)
        assert model.counts == {"blue": 2, "green": 2, "red": 2}
    x = torch.zeros(1, 4, 3, 16, 16)
    predictor = learner.fit(Examples(x, torch.tensor([[0, 1, 0, 1]])), Classes(2))
    assert isinstance(load(predictor.save(tmp_path / "p")), Predictor)
    (tmp_path / "empty").mkdir()
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "classifier.json").write_text("{}")
    database = sqlite3.connect(tmp_path / "g.db")
    database.execute("create table t (x)")
    database.close()
    save_folder(tmp_path / "memory", kind="patch memory", about={})
    for folder, said in (
        (known, "images of classes to be learned"),
        (tmp_path / "empty", "nothing that quickstudy saved"),
        (tmp_path / "none", "none"),
        (tmp_path / "old", "older version"),
        (tmp_path / "g.db", "a database"),
        (tmp_path / "memory", "holds a patch memory"),
        (known / "red" / "0.png", "is a file"),
    ):
        with pytest.raises(LoadError, match=said):
            load(folder)


def _add(folder: Path, name: str, items: list[Any], encoded: bool) -> None:
    encoder = mean_colour() if encoded else ""
    with FittedModel.editing(folder, encoder=encoder) as model:
        model.add_class(name, items)


def test_eight_processes_add_classes_to_every_kind_of_model_and_all_are_there(
    tmp_path: Path,
) -> None:
    known = colours(tmp_path / "known", n=2)
    network = Conv4(size=16, in_channels=3, width=4, norm="group")
    image = {"size": 16, "channels": 3}
    run = save_learner(ProtoNet(network).eval(), tmp_path / "run", extra={"image": image})
    by_run = fit_folder(known, run=run).save(tmp_path / "by run")
    by_encoder = fit_folder(known, encoder=mean_colour()).save(tmp_path / "by encoder")
    table = tmp_path / "t.csv"
    table.write_text("label,a,b\n" + "".join(f"{'xy'[i % 2]},{i % 2},{i}\n" for i in range(8)))
    by_table = fit_table(table).save(tmp_path / "by table")
    picture = known / "red" / "0.png"
    names = [f"new {k}" for k in range(8)]
    # Processes of their own, that import torch once for all eight.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["quickstudy.estimators.fit", "quickstudy.encoders"])
    with ProcessPoolExecutor(8, mp_context=context) as pool:
        jobs = [
            pool.submit(_add, folder, name, items, folder == by_encoder)
            for k, name in enumerate(names)
            for folder, items in (
                (by_run, [picture]),
                (by_encoder, [picture]),
                (by_table, [[float(k), 2.0]]),
            )
        ]
        for job in jobs:
            job.result()
    for folder in (by_run, by_encoder, by_table):
        encoder = mean_colour() if folder == by_encoder else ""
        assert set(FittedModel.load(folder, encoder=encoder).counts) >= set(names)


def test_categories_and_missing_values(tmp_path: Path) -> None:
    """Three kinds of fruit by colour, weight and a remark that says nothing, some of it missing."""
    file = tmp_path / "fruit.csv"
    rows = ["label,colour,weight,remark"]
    for i in range(12):
        label, colour, weight = (
            ("apple", "red", 100),
            ("pear", "green", 100),
            ("plum", "red", 20),
        )[i % 3]
        rows.append(f"{label},{'?' if i == 3 else colour},{'' if i == 4 else weight + i},text {i}")
    file.write_text("\n".join(rows) + "\n")
    model = fit_table(file)
    assert model.summary is not None
    notes = " ".join(model.summary.notes)
    assert "neither numbers nor categories: remark." in notes
    assert "colour (green, red)" in notes
    assert "missing in 2 of 12 rows (columns colour, weight)" in notes
    x = model.known.support_
    assert x.shape == (12, 3)  # two colours and a weight
    assert np.isfinite(x).all()
    np.testing.assert_allclose(x.mean(0), 0, atol=1e-12)
    model.save(tmp_path / "m")
    again = FittedModel.load(tmp_path / "m")
    asked: list[dict[str, Any]] = [
        {"colour": "red", "weight": "105"},
        {"colour": "green", "weight": "NA"},
        {"colour": "red", "weight": "25"},
        {"colour": "blue", "weight": "30"},
        {"colour": "red", "weight": "light"},
    ]
    answers = again.predict_table(asked)
    assert [a.label for a in answers[:3]] == ["apple", "pear", "plum"]
    assert answers[3].label == "plum"
    assert "'light', which is no finite number" in answers[4].error
    complete = tmp_path / "complete.csv"
    complete.write_text("\n".join(r for r in rows if "?" not in r and ",," not in r) + "\n")
    answers = fit_table(complete).predict_table(asked)
    assert "holds 'NA'" in answers[1].error


def _table(file: Path, head: str, rows: list[str]) -> Path:
    file.write_text("\n".join([head, *rows]) + "\n")
    return file


def test_a_column_of_one_value_is_not_learned_from(tmp_path: Path) -> None:
    """A number, too: its deviation is none, so any other value would count without measure."""
    rows = [f"{'ab'[i % 2]},{i % 2 + i / 100},7,red" for i in range(12)]
    file = _table(tmp_path / "t.csv", "label,size,batch,colour", rows)
    model = fit_table(file)
    assert model.encoding.columns == ("size",)
    assert "one value only, or are neither numbers nor categories: batch, colour." in " ".join(
        model.notes
    )
    assert fit_table(file, columns=["size", "batch"]).encoding.columns == ("size", "batch")


def test_a_column_that_counts_the_rows_is_pointed_at(tmp_path: Path) -> None:
    """In a table that is sorted by class it tells the class of these rows and of no others."""
    rows = [f"{100 + i},{'ab'[i // 6]},{i * 7 % 5}" for i in range(12)]
    file = _table(tmp_path / "t.csv", "turn,label,size", rows)
    assert "'turn' counts the rows" in " ".join(fit_table(file).notes)
    assert "counts the rows" not in " ".join(fit_table(file, columns=["turn", "size"]).notes)
    shuffled = _table(tmp_path / "s.csv", "turn,label,size", rows[::-1])
    assert "counts the rows" not in " ".join(fit_table(shuffled).notes)


@pytest.mark.parametrize("name", ["id", "rownames", "Unnamed: 0", "sample_id", "PatientID", "No."])
def test_a_column_that_names_the_rows_is_not_learned_from(name: str, tmp_path: Path) -> None:
    """Where a table was sorted by class before somebody drew rows from it, as most that come with
    R were, their numbers give the class away, and only of these rows.
    """
    rng = np.random.default_rng(0)
    rows = [f"{i},{'ab'[i // 30]},{rng.normal():.3f}" for i in range(60)]
    drawn = [rows[i] for i in rng.permutation(60)]
    file = _table(tmp_path / "t.csv", f"{name},label,size", drawn)
    model = fit_table(file)
    assert model.encoding.columns == ("size",)
    assert name in " ".join(note for note in model.notes if "names the rows" in note)
    assert model.summary is not None
    assert model.summary.accuracy < 0.8
    leaked = fit_table(file, columns=[name, "size"])
    assert leaked.encoding.columns == (name, "size")
    assert leaked.summary is not None
    assert leaked.summary.accuracy > 0.9


def test_a_table_of_nothing_but_names_of_rows_says_so(tmp_path: Path) -> None:
    rows = [f"{i},{'ab'[i % 2]}" for i in range(12)]
    with pytest.raises(DataError, match="'label' but id, which only names the rows"):
        fit_table(_table(tmp_path / "t.csv", "id,label", rows))


def test_an_amount_that_differs_in_every_row_is_learned_from(tmp_path: Path) -> None:
    rows = [f"{3 * i + 1},{'ab'[i // 6]},{i // 2}" for i in range(12)]
    file = _table(tmp_path / "t.csv", "weight,label,id", rows)
    assert fit_table(file).encoding.columns == ("weight", "id")


def test_a_label_that_says_there_is_none_is_pointed_at(tmp_path: Path) -> None:
    rows = [f"{'ab'[i // 6]},{i % 5}" for i in range(12)] + ["NA,1", "NA,3"]
    model = fit_table(_table(tmp_path / "t.csv", "label,size", rows))
    assert any("In 2 rows" in note and "'NA'" in note for note in model.notes)


def test_rows_count_as_they_come(tmp_path: Path) -> None:
    """Of a table in which one class is rare and nothing says which row is of it, hardly a row is
    taken for it; and it is said that the shares count.
    """
    rng = np.random.default_rng(0)
    rows = [
        f"{'b' if i % 6 == 0 else 'a'},{rng.normal():.3f},{rng.normal():.3f}" for i in range(72)
    ]
    model = fit_table(_table(tmp_path / "t.csv", "label,size,weight", rows))
    fresh = {"size": rng.normal(size=100).tolist(), "weight": rng.normal(size=100).tolist()}
    assert model.predict_batch(fresh)["label"].count("a") > 90
    assert any("as often as here" in note for note in model.notes)


def test_rows_that_are_the_same_are_one_hint(tmp_path: Path) -> None:
    rows = [f"{'ab'[i % 2]},{i // 2 % 3}" for i in range(24)]
    model = fit_table(_table(tmp_path / "t.csv", "label,size", rows))
    assert model.summary is not None
    assert model.summary.repeated == ()
    assert sum("twin" in advice for advice in model.summary.advice) == 1


@pytest.mark.parametrize("value", ["0,{}7", "{}.5 %", '"1,{}23.50"', "€{}"])
def test_numbers_in_another_form_are_refused(value: str, tmp_path: Path) -> None:
    """Neither left out nor taken for categories: `0,5` of a German table, `5 %`, `€5`."""
    rows = [f"{'ab'[i % 2]}\t{i}\t{value.format(i).strip(chr(34))}" for i in range(12)]
    file = _table(tmp_path / "t.tsv", "label\tsize\tprice", rows)
    with pytest.raises(DataError, match=r"'price' holds numbers in another form.*row 1"):
        fit_table(file)
    assert fit_table(file, columns=["size"]).encoding.columns == ("size",)


@pytest.mark.parametrize(
    ("ending", "separator", "named"),
    [("csv", ";", "semicolons"), ("csv", "\t", "tabs"), ("tsv", ",", "commas")],
)
def test_another_separator_is_named(
    ending: str, separator: str, named: str, tmp_path: Path
) -> None:
    """Also where the rows hold commas, as decimal commas do."""
    rows = [separator.join(("ab"[i % 2], f"0,{i}")) for i in range(12)]
    file = _table(tmp_path / f"t.{ending}", separator.join(("label", "size")), rows)
    with pytest.raises(DataError, match=f"separated by {named}"):
        fit_table(file)


def test_amounts_are_no_names_of_classes(tmp_path: Path) -> None:
    """A target that is measured is learned, but said to be one; numbered classes are not."""
    amounts = _table(tmp_path / "a.csv", "label,size", [f"{i / 2},{i * i}" for i in range(12)])
    assert "InContextRegressor" in " ".join(fit_table(amounts).notes)
    prices = [i * 50 if i < 15 else 7000 * (i % 10 + 1) for i in range(60)]
    whole = _table(tmp_path / "w.csv", "label,size", [f"{p},{p * p}" for p in prices])
    assert "InContextRegressor" in " ".join(fit_table(whole).notes)
    digits = _table(tmp_path / "d.csv", "label,size", [f"{i % 10},{i * i}" for i in range(30)])
    assert "InContextRegressor" not in " ".join(fit_table(digits).notes)


def test_a_missing_column_points_to_what_names_it(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("n,kind\n1,red\n2,blue\n3,red\n4,blue\n")
    for options, name in (
        ({}, "--label"),
        ({"target": "kind", "text": "words"}, "--text"),
        ({"target": "kind", "paths": "file"}, "--paths"),
        ({"target": "kind", "columns": ["m"]}, "--columns"),
    ):
        with pytest.raises(DataError, match=rf"has no column .*{name}.*Known: kind, n"):
            fit_table(table, **options)
    model = fit_table(table, target="kind")
    with pytest.raises(DataError, match=r"has no column 'label'.*--label"):
        score_model(model, table)


def test_a_table_to_predict_without_a_column_says_what_is_wanted_and_given(tmp_path: Path) -> None:
    table, other = tmp_path / "t.csv", tmp_path / "new.csv"
    table.write_text("a,b,label\n1,2,x\n2,1,x\n7,8,y\n8,7,y\n")
    other.write_text("b,c\n1,2\n")
    model = fit_table(table)
    with pytest.raises(DataError, match=r"new\.csv' has no column 'a'\. Wanted are a, b; .* b, c"):
        model.predict_table(other)
    with pytest.raises(DataError, match=r"^The table given has no columns 'a', 'b'\. Wanted"):
        model.predict_table([{"c": 1}])
    first, second = model.predict_table([{"b": 1}, {"a": 7, "b": 8}])
    assert "the column 'a' is empty" in first.error
    assert second.label == "y"
    assert model.predict_table([]) == []


def test_columns_beyond_ten_are_not_passed_over_in_silence(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    names = [f"c{i}" for i in range(12)]
    rows = [[str((i + 1) * (n + 2) % 17) for i in range(12)] for n in range(4)]
    lines = [",".join([*names, "same", "label"])]
    lines += [",".join([*row, "one", "ab"[n % 2]]) for n, row in enumerate(rows)]
    table.write_text("\n".join(lines) + "\n")
    notes = fit_table(table).notes
    assert any(
        note.startswith("Learned from the columns c0, ") and "c9 …" in note for note in notes
    )
    assert any("one value only" in note and note.endswith(": same.") for note in notes)


@pytest.mark.parametrize("value", [["birds"], None, 3, {"a": 1}])
def test_what_is_no_path_is_refused(value: Any, tmp_path: Path, as_users_run_it: None) -> None:
    folder = colours(tmp_path / "known")
    model = fit_folder(folder, encoder=mean_colour())
    got = rf"got {type(value).__name__}\."
    with pytest.raises(ConfigError, match=rf"folder must be .*{got}.*a sub-folder of files"):
        fit_folder(value)
    with pytest.raises(ConfigError, match=rf"table must be .*{got}.*\.csv"):
        fit_table(value)
    calls = {
        "path": lambda: load(value),
        "folder": lambda: FittedModel.load(value),
        "run": lambda: fit_folder(folder, run=value or 0),
        "cohort": lambda: fit_folder(folder, false_accept_rate=0.5, cohort=value or 0),
    }
    for name, call in calls.items():
        with pytest.raises(ConfigError, match=f"{name} must be a str or a pathlib.Path, got"):
            call()
    with pytest.raises(ConfigError, match="folder must be a str"):
        model.save(value)


def test_what_is_no_list_or_table_is_refused(tmp_path: Path, as_users_run_it: None) -> None:
    files = fit_folder(colours(tmp_path / "known"), encoder=mean_colour())
    for wrong in (3, None):
        nothing: Any = wrong
        with pytest.raises(ConfigError, match=r"A list of files was expected, got"):
            files.predict_files(nothing)
        with pytest.raises(ConfigError, match=r"A list of items was expected, got"):
            files.add_class("new", nothing)
    (tmp_path / "t.csv").write_text("label,a,b\nx,0,1\nx,0,2\ny,5,1\ny,6,2\n")
    model = fit_table(tmp_path / "t.csv", columns=["a", "b"])
    for wrong in (3, [[1.0, 2.0]], {"a": [1.0], "b": [2.0]}):
        table: Any = wrong
        with pytest.raises(ConfigError, match=r"A table is .*to_dict"):
            model.predict_table(table)
