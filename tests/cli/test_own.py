"""``fit`` and ``predict`` with an encoder and a head, ``classes``, ``add-class`` and
``remove-class``.
"""

import contextlib
import csv
import io
import json
import os
import shlex
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.table import Table
from sklearn.preprocessing import StandardScaler

from quickstudy.algorithms import ProtoNet
from quickstudy.cli import answers, main
from quickstudy.data import LogMel
from quickstudy.encoders import Conv4
from quickstudy.estimators import Encoding, FewShotClassifier, FittedModel, fitted
from quickstudy.recipes import save_learner

SYMBOLS = ("--encoder", "symbols", "--no-report")


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("QUICKSTUDY_CACHE", str(tmp_path / "cache"))


def lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def fitted_once(
    quickstudy: Callable, drawings: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("fitted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QUICKSTUDY_CACHE", str(folder / "cache"))
        said = quickstudy(
            "fit", drawings / "known", "-o", folder / "model", "--encoder", "symbols"
        ).stdout
    assert "Learned 3 classes from 12 images" in said
    assert "head logistic" in said
    assert "Encoder: symbols, 64 numbers each. Drawings, characters, symbols" in said
    assert "Note:" not in said
    assert "are recognised by the classifier without them" in said
    return folder / "model"


@pytest.fixture
def model(fitted_once: Path, tmp_path: Path) -> Path:
    """A copy of its own, which a test may change."""
    return Path(shutil.copytree(fitted_once, tmp_path / "model"))


def test_from_a_folder_to_labels_in_every_format(
    quickstudy: Callable, drawings: Path, model: Path, tmp_path: Path
) -> None:
    rows = lines(quickstudy("predict", model, drawings / "new", "--json").stdout)
    assert len(rows) == 6
    right = [row["label"] == Path(row["image"]).name.rsplit(" ", 1)[0] for row in rows]
    assert sum(right) >= 4
    assert all(0.3 < row["probability"] <= 1 and "score" in row for row in rows)
    shown = quickstudy("predict", model, drawings / "new").stdout
    assert "image" in shown
    assert "ქართ" in shown
    quickstudy("predict", model, drawings / "new", "-o", tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as stream:
        assert [row["label"] for row in csv.DictReader(stream)] == [row["label"] for row in rows]
    quickstudy("predict", model, drawings / "new", "-o", tmp_path / "out.jsonl")
    assert lines((tmp_path / "out.jsonl").read_text()) == rows
    table = csv.DictReader(
        io.StringIO(quickstudy("predict", model, drawings / "new", "--format", "csv").stdout)
    )
    assert [row["image"] for row in table] == [row["image"] for row in rows]
    page = (model / "report.html").read_text()
    assert "12 examples" in page
    assert "data:image/jpeg;base64," in page


def test_classes_are_added_and_removed(
    quickstudy: Callable, drawings: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = quickstudy("predict", model, drawings / "new", "--json").stdout
    new = sorted((drawings / "new").iterdir())[:2]
    assert (
        "knows 4 classes now; guest has 2 examples"
        in quickstudy("add-class", model, "guest", *new).stdout
    )
    assert quickstudy("classes", model).stdout.split() == [
        "class",
        "examples",
        "guest",
        "2",
        "three",
        "o",
        "4",
        "Än",
        "4",
        "ქართ",
        "4",
    ]
    assert lines(quickstudy("predict", model, new[0], "--json").stdout)[0]["label"] == "guest"
    assert (
        "There is a class 'guest' already"
        in quickstudy("add-class", model, "guest", *new, status=2).stderr
    )
    # Written with an accent of its own, as macOS does, it is the same name.
    assert (
        "a class 'Än' already"
        in quickstudy("add-class", model, unicodedata.normalize("NFD", "Än"), *new, status=2).stderr
    )
    assert "needs a name" in quickstudy("add-class", model, " ", *new, status=2).stderr
    assert (
        "guest has 1 example."
        in quickstudy("add-class", model, "guest", new[0], "--replace").stdout
    )
    assert (
        "There is no class 'gast'. Did you mean 'guest'?"
        in quickstudy("remove-class", model, "gast", status=2).stderr
    )
    assert (
        "no such file"
        in quickstudy("add-class", model, "other", model / "none.png", status=2).stderr
    )
    with monkeypatch.context() as patch:  # no encoder is opened where nothing is encoded
        patch.setattr(Encoding, "open", lambda *_: 1 / 0)
        assert "knows 3 classes now" in quickstudy("remove-class", model, "guest").stdout
    assert quickstudy("predict", model, drawings / "new", "--json").stdout == before


@pytest.mark.parametrize(
    ("given", "label", "wrong"),
    [([1, 2], "3", "2.5"), ([1.0, 2.0], "3", "three"), ([False, True], "true", "2")],
    ids=["int", "float", "bool"],
)
def test_labels_that_are_numbers_keep_their_kind(
    given: list[Any],
    label: str,
    wrong: str,
    quickstudy: Callable,
    drawings: Path,
    model: Path,
    tmp_path: Path,
) -> None:
    picture, kind = next((drawings / "new").iterdir()), type(given[0]).__name__
    vectors = np.random.default_rng(0).normal(size=(2, 64))
    FittedModel(
        FewShotClassifier().fit(vectors, np.asarray(given)), FittedModel.load(model).encoding
    ).save(tmp_path / "m")
    assert (
        f"Give a value of type {kind}"
        in quickstudy("add-class", tmp_path / "m", wrong, picture, status=2).stderr
    )
    quickstudy(
        "add-class", tmp_path / "m", label, picture, *(["--replace"] if kind == "bool" else [])
    )
    assert {type(c).__name__ for c in FittedModel.load(tmp_path / "m").known.classes_.tolist()} == {
        kind
    }
    assert lines(quickstudy("predict", tmp_path / "m", picture, "--json").stdout)[0][
        "label"
    ] == json.loads(label)
    if kind == "bool":  # a classifier needs two
        assert "would have one class" in (
            quickstudy("remove-class", tmp_path / "m", str(given[0]), status=2).stderr
        )
    else:
        quickstudy("remove-class", tmp_path / "m", str(given[0]))


@pytest.mark.filterwarnings("default")
def test_a_class_leaves_out_what_cannot_be_read_and_names_what_another_holds(
    quickstudy: Callable, drawings: Path, model: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "late"
    shutil.copytree(drawings / "new", folder)
    (folder / "bad.png").write_bytes(b"no image")
    assert "--on-bad skip" in quickstudy("add-class", model, "late", folder, status=2).stderr
    shutil.copy(next((drawings / "known" / "Än").iterdir()), folder / "again.png")
    done = quickstudy("add-class", model, "late", folder, "--on-bad", "skip")
    assert "late has 7 examples" in done.stdout
    assert f"Note: skipped {folder / 'bad.png'}: " in done.stderr
    assert "1 example of late equals one of another class: late/again.png (Än)." in done.stderr
    only = ("add-class", model, "late", folder / "bad.png", "--replace", "--on-bad", "skip")
    assert "None of 1 file can be read" in quickstudy(*only, status=2).stderr


@pytest.mark.filterwarnings("default:.*of the cohort resemble")
def test_an_unknown_becomes_a_class(quickstudy: Callable, drawings: Path, tmp_path: Path) -> None:
    """What our code warns of is told as a note, without the place in the code."""
    known, cohort = tmp_path / "two", tmp_path / "others"
    for name in ("Än", "ქართ"):
        shutil.copytree(drawings / "known" / name, known / name)
    shutil.copytree(drawings / "known" / "three o", cohort)
    options = ("--head", "prototype", "--cohort", cohort, "--false-accept-rate", "0.4")
    quickstudy("fit", known, *SYMBOLS, *options, "-o", tmp_path / "m", "--no-report")
    said = quickstudy("add-class", tmp_path / "m", "late", next(cohort.iterdir())).stderr
    assert said.startswith("Note: ")
    assert "of the cohort" in said
    assert ".py" not in said
    refused = quickstudy("add-class", tmp_path / "m", "late", next(cohort.iterdir()), status=2)
    assert "add-class --replace" in refused.stderr


@pytest.mark.filterwarnings("ignore:.*of the cohort resemble")
def test_unknowns(quickstudy: Callable, drawings: Path, run_folder: Path, tmp_path: Path) -> None:
    known, cohort = tmp_path / "two", tmp_path / "others"
    for name in ("Än", "ქართ"):
        shutil.copytree(drawings / "known" / name, known / name)
    cohort.mkdir()
    for i, picture in enumerate(sorted((drawings / "known" / "three o").iterdir())):
        shutil.copy(picture, cohort / f"{i}.png")
    m, new = tmp_path / "m", next((drawings / "new").iterdir())
    fit = ["fit", known, "--force", *SYMBOLS, "--head", "prototype", "--cohort", cohort]
    said = quickstudy(*fit, "-o", m, "--false-accept-rate", "0.4", "--review-rate", "0.5").stdout
    assert "Says unknown, at a false-accept rate of 40 % by the rule: cohort." in said
    rows = lines(quickstudy("predict", m, cohort, known, "--json").stdout)
    unknown = [row for row in rows if row["label"] == "unknown"]
    # Of four unknowns one scores above ⌈5 · 0.6⌉ = 3 of them; it is below the line of 20 %, so a
    # person should look.
    assert [Path(row["image"]).parent.name for row in unknown] == ["others"] * 3
    assert all(
        row["nearest"] in ("Än", "ქართ") and row["score"] <= row["threshold"] for row in unknown
    )
    assert [
        row["certain"] for row in rows if row["label"] != "unknown" and "others" in row["image"]
    ] == [False]
    shown = quickstudy("predict", m, cohort).stdout
    assert shown.count("nearest: ") == 3
    assert shown.count("look") == 1
    assert (
        "at least 9 "
        in quickstudy("predict", m, cohort, "--false-accept-rate", "0.2", status=2).stderr
    )
    loose = lines(quickstudy("predict", m, cohort, "--json", "--false-accept-rate", "0.8").stdout)
    assert sum(row["label"] == "unknown" for row in loose) == 1
    assert (
        "a class, so it cannot mean unknown"
        in quickstudy("add-class", m, "unknown", new, status=2).stderr
    )
    assert (
        "knows 3 classes now"
        in quickstudy("add-class", m, "guest", *sorted(cohort.iterdir())[:2]).stdout
    )
    assert (
        lines(
            quickstudy(
                "predict", m, cohort / "0.png", "--json", "--false-accept-rate", "0.8"
            ).stdout
        )[0]["label"]
        == "guest"
    )
    # In sub-folders they are the photos of one unknown each, by either kind of model.
    for k in range(2):
        (cohort / f"person {k}").mkdir()
        for i in (2 * k, 2 * k + 1):
            shutil.move(cohort / f"{i}.png", cohort / f"person {k}" / f"{i}.png")
    assert (
        "but there are 2"
        in quickstudy(*fit, "-o", m, "--false-accept-rate", "0.3", status=2).stderr
    )
    by_run = [
        "fit",
        known,
        "--run",
        run_folder,
        "--cohort",
        cohort,
        "-o",
        tmp_path / "by run",
        "--force",
        "--false-accept-rate",
    ]
    assert "but there are 2" in quickstudy(*by_run, "0.3", status=2).stderr
    assert "cohort" in quickstudy(*by_run, "0.4").stdout
    assert (
        "but there are 1"
        in quickstudy(
            *fit[:-1],
            cohort / "person 0" / "0.png",
            "-o",
            m,
            "--false-accept-rate",
            "0.3",
            status=2,
        ).stderr
    )
    (cohort / "person 0" / "bad.png").write_bytes(b"no image")
    assert "bad.png" in quickstudy(*fit, "-o", m, "--false-accept-rate", "0.4", status=2).stderr
    assert (
        "skipped"
        in quickstudy(*fit, "-o", m, "--false-accept-rate", "0.4", "--on-bad", "skip").stdout
    )
    known.joinpath("Än").rename(known / "unknown")
    for command in ([*fit, "-o", m, "--false-accept-rate", "0.4"], [*by_run, "0.4"]):
        assert "no class can be called so" in quickstudy(*command, status=2).stderr


def test_sets_of_classes(quickstudy: Callable, drawings: Path, model: Path, tmp_path: Path) -> None:
    few = quickstudy("predict", model, drawings / "new", "--sets", "0.01", status=2).stderr
    assert "99 examples" in few
    rows = lines(quickstudy("predict", model, drawings / "new", "--json", "--sets", "0.1").stdout)
    assert all(row["label"] == row["classes"][0] for row in rows)
    expected = FittedModel.load(model).with_sets(0.1).predict_files([drawings / "new"])
    assert [tuple(row["classes"]) for row in rows] == [p.classes for p in expected]
    quickstudy("predict", model, drawings / "new", "--sets", "0.1", "-o", tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as stream:
        cells = [row["classes"] for row in csv.DictReader(stream)]
    assert cells == ["; ".join(row["classes"]) for row in rows]
    shown = quickstudy("predict", model, drawings / "new", "--sets", "0.1").stdout
    assert "set: " in shown


def test_a_rate_for_a_model_that_was_fitted_without_one(
    quickstudy: Callable, drawings: Path, model: Path, tmp_path: Path
) -> None:
    rows = lines(
        quickstudy(
            "predict", model, drawings / "new", "--json", "--false-accept-rate", "0.5"
        ).stdout
    )
    assert all("threshold" in row for row in rows)
    assert (
        "at least 19 "
        in quickstudy(
            "predict", model, drawings / "new", "--false-accept-rate", "0.1", status=2
        ).stderr
    )
    quickstudy("add-class", model, "unknown", next((drawings / "new").iterdir()))
    assert (
        "no class can be called so"
        in quickstudy(
            "predict", model, drawings / "new", "--false-accept-rate", "0.5", status=2
        ).stderr
    )


def test_sentences_from_a_table(quickstudy: Callable, tmp_path: Path) -> None:
    said = [
        ("turn on the light", "light"),
        ("switch the lamp off", "light"),
        ("play some jazz", "music"),
        ("put on my favourite song", "music"),
    ]
    (tmp_path / "said.csv").write_text(
        "what,intent\n" + "".join(f'"{t}",{label}\n' for t, label in said)
    )
    words = tmp_path / "words"
    fitted = quickstudy(
        "fit", tmp_path / "said.csv", "-o", words, "--text", "what", "--label", "intent"
    ).stdout
    assert "Learned 2 classes from 4 texts" in fitted
    assert (
        "turn on the light" in (words / "report.html").read_text()
        or "4 examples" in (words / "report.html").read_text()
    )
    long = "and then some more music " * 300
    (tmp_path / "new.jsonl").write_text(
        "\n".join(json.dumps({"what": t}) for t in ("dim the lamps\u2028", " ", None, long)) + "\n"
    )
    done = quickstudy("predict", words, tmp_path / "new.jsonl", "--json", status=1)
    rows = lines(done.stdout)
    assert [row.get("label") for row in rows] == ["light", None, None, "music"]
    assert [row.get("error") for row in rows] == [
        None,
        "row 2 has no text.",
        "row 3 has no text.",
        None,
    ]
    assert (
        "1 of 2 sentences are longer than 256 tokens; the rest of them is not read." in done.stderr
    )
    (tmp_path / "other.csv").write_text(
        'what,where\n"how far is the moon",x\n"what is the weather",y\n"book a table",z\n"who '
        'wrote this",z\n'
    )
    fit = [
        "fit",
        tmp_path / "said.csv",
        "-o",
        words,
        "--force",
        "--text",
        "what",
        "--label",
        "intent",
        "--cohort",
        tmp_path / "other.csv",
        "--no-report",
    ]
    assert "by the rule: cohort" in quickstudy(*fit, "--false-accept-rate", "0.2").stdout
    told = lines(
        quickstudy("predict", words, tmp_path / "other.csv", tmp_path / "said.csv", "--json").stdout
    )
    assert [row["label"] for row in told[:4]] == ["unknown"] * 4
    assert [row["table"] for row in told] == [str(tmp_path / "other.csv")] * 4 + [
        str(tmp_path / "said.csv")
    ] * 4
    assert "but there are 4" in quickstudy(*fit, "--false-accept-rate", "0.1", status=2).stderr
    (tmp_path / "said.csv").write_text(
        (tmp_path / "said.csv").read_text() + '"play some jazz",light\n'
    )
    assert (
        "the same in two classes: play some jazz, play some jazz"
        in quickstudy(*fit, "--false-accept-rate", "0.2").stdout
    )


def test_numbers_from_a_table(quickstudy: Callable, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [
        (kind, *(centre + rng.normal(size=2) * (1, 100)))
        for kind, centre in (("a", 0), ("b", (4, 400)))
        for _ in range(5)
    ]
    text = "label,width,weight,remark,same\n" + "".join(
        f"{k},{w:.2f},{g:.1f},x,7\n" for k, w, g in rows
    )
    (tmp_path / "parts.csv").write_text(text)
    said = quickstudy("fit", tmp_path / "parts.csv", "-o", tmp_path / "rows").stdout
    assert "from 10 rows" in said
    assert "neither numbers nor categories: remark, same." in said
    told = lines(quickstudy("predict", tmp_path / "rows", tmp_path / "parts.csv", "--json").stdout)
    assert [row["label"] for row in told] == ["a"] * 5 + ["b"] * 5
    # The oracle: the columns brought to mean 0 and deviation 1, as scikit-learn does.
    x = np.array([[float(v) for v in line.split(",")[1:3]] for line in text.splitlines()[1:]])
    model = FittedModel.load(tmp_path / "rows")
    np.testing.assert_allclose(model.known.support_, StandardScaler().fit_transform(x), atol=1e-12)
    (tmp_path / "new.csv").write_text("same,weight,width\n7,400,4\n7,,4\n7,400,four\n7,0,0\n")
    for form in ("--json", "--format=csv"):
        done = quickstudy("predict", tmp_path / "rows", tmp_path / "new.csv", form, status=1).stdout
        new = lines(done) if form == "--json" else list(csv.DictReader(io.StringIO(done)))
        assert [row.get("label") or None for row in new] == ["b", None, None, "a"]
        assert [int(row["row"]) for row in new] == [1, 2, 3, 4]
        assert "the column 'weight' is empty" in new[1]["error"]
        assert "the column 'width' holds 'four', which is no finite number" in new[2]["error"]
    both = quickstudy(
        "predict",
        tmp_path / "rows",
        tmp_path / "new.csv",
        tmp_path / "parts.csv",
        "--format",
        "csv",
        status=1,
    ).stdout
    assert {row["table"] for row in csv.DictReader(io.StringIO(both))} == {
        str(tmp_path / "new.csv"),
        str(tmp_path / "parts.csv"),
    }
    assert (
        "parts.csv: 10"
        in quickstudy(
            "predict", tmp_path / "rows", tmp_path / "new.csv", tmp_path / "parts.csv", status=1
        ).stdout
    )
    assert "takes tables" in quickstudy("predict", tmp_path / "rows", tmp_path, status=2).stderr
    gone = quickstudy(
        "predict",
        tmp_path / "rows",
        tmp_path / "new.csv",
        tmp_path / "none.csv",
        "--json",
        status=2,
    )
    assert "There is no file" in gone.stderr
    assert not gone.stdout
    assert (
        "need no encoder"
        in quickstudy(
            "predict", tmp_path / "rows", tmp_path / "new.csv", "--encoder", "symbols", status=2
        ).stderr
    )
    (tmp_path / "narrow.csv").write_text("same,weight\n7,400\n")
    assert (
        "has no column 'width'"
        in quickstudy("predict", tmp_path / "rows", tmp_path / "narrow.csv", status=2).stderr
    )
    assert (
        "Change the table and fit again"
        in quickstudy("add-class", tmp_path / "rows", "c", tmp_path, status=2).stderr
    )
    fit = [
        "fit",
        tmp_path / "parts.csv",
        "-o",
        tmp_path / "rows",
        "--force",
        "--columns",
        "width, weight",
        "--false-accept-rate",
        "0.5",
        "--cohort",
    ]
    assert "by the rule: cohort" in quickstudy(*fit, tmp_path / "parts.csv").stdout
    assert (
        "row 2, the column 'weight' is empty"
        in quickstudy(*fit, tmp_path / "new.csv", status=2).stderr
    )


@pytest.mark.parametrize(
    ("content", "options", "complaint"),
    [
        (
            "label,a\nx,1\ny,2\n",
            ("--label", "labels"),
            "--label). Did you mean 'label'?",
        ),
        (
            "label,a\nx,1\n,2\n",
            (),
            "the column 'label' is empty in 1 of 2 rows, the first being row 2",
        ),
        (
            "label,a\nx,1\ny,two\n",
            ("--columns", "a"),
            "the column 'a' holds numbers in 1 of 2 rows, but 'two' in row 2",
        ),
        ("label,a\nx,1\ny,inf\n", ("--columns", "a"), "but 'inf' in row 2"),
        ("label,a\nx,\ny,\nz,NA\n", ("--columns", "a"), "has no column of numbers"),
        (
            "label,a\nx,1\ny,two\n",
            (),
            "the column 'a' holds numbers in 1 of 2 rows, but 'two' in row 2",
        ),
        ("label,a\nx,one\ny,two\n", (), "has no column of numbers beside 'label'"),
        ("label,a\nx,1e308\ny,-1e308\n", (), "the column 'a' are too large to be standardised"),
        ("label,a\nx,1\ny,2\n", ("--columns", "a,b"), "has no column 'b'"),
        ("label,a\nx,1\ny,2\n", ("--columns", "a,a"), "are named once each"),
        (
            "label,a\nx,1\ny,2\n",
            ("--columns", "label"),
            "without that of the class, 'label', but got label",
        ),
        ("label,a\nx,1\ny,2\n", ("--text", "what"), "has no column 'what'"),
        (
            "label,a\nx,hello\ny,\n",
            ("--text", "a"),
            "the column 'a' is empty in 1 of 2 rows, the first being row 2",
        ),
        ("label;a\nx;1\ny;2\n", (), "separated by semicolons"),
        ('label,a\nx,"' + "1" * 200_000 + '"\n', (), "is not in the form of CSV"),
        (
            "label,a\nx,1\nunknown,2\n",
            ("--false-accept-rate", "0.5"),
            "so no class can be called so",
        ),
        (
            "label,a\nx,1\ny,2\n",
            ("--false-accept-rate", "0.01"),
            "at least 199 ",
        ),
        (
            "label,a\nx,1\ny,2\n",
            ("--false-accept-rate", "1.5"),
            "must lie between 0 and 1, got 1.5",
        ),
        ("label,a\nx,1,3\n", (), "row 1 does not have 2 values"),
        ("label,label\nx,1\n", (), "names a column twice"),
        ("label,a\n", (), "has no rows"),
        ("label,a\nx,1\nx,2\n", (), "There is one class, 'x', but a classifier needs at least two"),
    ],
)
def test_tables_that_cannot_be_learned(
    content: str, options: tuple[str, ...], complaint: str, quickstudy: Callable, tmp_path: Path
) -> None:
    (tmp_path / "t.csv").write_text(content)
    assert (
        complaint
        in quickstudy("fit", tmp_path / "t.csv", "-o", tmp_path / "m", *options, status=2).stderr
    )
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--run", "r", "--encoder", "symbols"), "encoder means nothing with a run"),
        (("--run", "r", "--head", "ridge"), "head means nothing with a run"),
        (("--norm", "support"), "norm is for a run only"),
        (("--label", "kind"), "--label is for tables only"),
        (("--text", "what"), "--text is for tables only"),
        (("--cohort", "others"), "cohort is for models that say unknown"),
        (("--score", "energy"), "unknown_score is for models that say unknown"),
        (("--false-accept-rate", "0.3", "--score", "luck"), "Invalid value for '--score'"),
        (("--head", "forest"), "Invalid value for '--head'"),
        (("--kind", "smells"), "Invalid value for '--kind'"),
        (("--encoder", "nobody"), "No encoder is called 'nobody'"),
        (("--on-bad", "shrug"), "Invalid value for '--on-bad'"),
    ],
)
def test_options_that_cannot_be(
    options: tuple[str, ...], complaint: str, quickstudy: Callable, drawings: Path, tmp_path: Path
) -> None:
    assert (
        complaint
        in quickstudy("fit", drawings / "known", "-o", tmp_path / "m", *options, status=2).stderr
    )
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--encoder", "symbols"), "encoder is not for tables of numbers"),
        (("--no-invert",), "invert is not for tables of numbers"),
        (("--text", "a", "--columns", "b"), "got 2 of these. Name one."),
    ],
)
def test_options_that_cannot_be_of_a_table(
    options: tuple[str, ...], complaint: str, quickstudy: Callable, tmp_path: Path
) -> None:
    (tmp_path / "t.csv").write_text("label,a,b\nx,1,2\ny,2,3\n")
    assert (
        complaint
        in quickstudy("fit", tmp_path / "t.csv", "-o", tmp_path / "m", *options, status=2).stderr
    )


def test_folders_that_cannot_be_learned(
    quickstudy: Callable, drawings: Path, tmp_path: Path
) -> None:
    common = ["-o", tmp_path / "m", "--force", *SYMBOLS]
    folder = tmp_path / "known"
    shutil.copytree(drawings / "known", folder)
    (folder / "three o" / "bad.png").write_bytes(b"no image")
    Image.new("1", (20_000, 10_000)).save(folder / "three o" / "huge.png")
    complaint = quickstudy("fit", folder, *common, status=2).stderr
    assert "bad.png" in complaint
    assert "200,000,000" in complaint
    assert "--on-bad skip" in complaint
    assert not (tmp_path / "m").exists()
    said = quickstudy("fit", folder, *common, "--on-bad", "skip").stdout
    assert said.count("skipped") == 2
    assert "from 12 images" in said
    shutil.copy(folder / "three o" / "bild 0.png", folder / "Än" / "same.png")
    same = next(
        line
        for line in quickstudy("fit", folder, *common, "--on-bad", "skip").stdout.splitlines()
        if "in two classes" in line
    )
    assert "Än/same.png" in same
    assert "three o/bild 0.png" in same
    (folder / "empty").mkdir()
    assert (
        "hold no file with the ending of images: 'empty'"
        in quickstudy("fit", folder, *common, status=2).stderr
    )
    (folder / "empty" / "x.png").write_bytes(b"")
    assert (
        "have nothing that can be read: empty"
        in quickstudy("fit", folder, *common, "--on-bad", "skip", status=2).stderr
    )
    assert "There is no folder" in quickstudy("fit", tmp_path / "none", *common, status=2).stderr
    assert (
        "is no table that can be read"
        in quickstudy("fit", folder / "Än" / "bild 0.png", *common, status=2).stderr
    )
    shutil.copytree(folder / "Än", tmp_path / "one" / "Än")
    assert "holds one class, 'Än'" in quickstudy("fit", tmp_path / "one", *common, status=2).stderr
    shutil.copytree(folder / "Än", tmp_path / "one" / unicodedata.normalize("NFD", "Än"))
    assert (
        "two folders whose names look the same"
        in quickstudy("fit", tmp_path / "one", *common, status=2).stderr
    )


def test_places_that_a_model_cannot_go_to(
    quickstudy: Callable,
    drawings: Path,
    run_folder: Path,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("keep")
    quickstudy("fit", drawings / "known", "-o", tmp_path / "by run", "--run", run_folder)
    for taken in (tmp_path / "other", tmp_path / "other" / "mine.txt", run_folder):
        for how in (SYMBOLS, ("--run", run_folder)):
            assert (
                "left alone"
                in quickstudy("fit", drawings / "known", "-o", taken, *how, status=2).stderr
            )
    assert [p.name for p in (tmp_path / "other").iterdir()] == ["mine.txt"]

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    before = quickstudy("predict", model, drawings / "new", "--json").stdout
    new = next((drawings / "new").iterdir())
    fit = ["fit", drawings / "known", "--force", "-o"]
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        for command in (
            [*fit, model, *SYMBOLS, "--head", "cosine"],
            [*fit, tmp_path / "new", *SYMBOLS],
            ["add-class", model, "guest", new],
            [*fit, tmp_path / "by run", "--run", run_folder],
        ):
            assert "No space left on device" in quickstudy(*command, status=2).stderr
    assert quickstudy("predict", model, drawings / "new", "--json").stdout == before
    assert not (tmp_path / "new").exists()
    assert not list(tmp_path.rglob("*.part"))


def test_a_model_is_not_replaced_in_silence(
    quickstudy: Callable, drawings: Path, tmp_path: Path
) -> None:
    m, new = tmp_path / "m", sorted((drawings / "new").iterdir())
    fit = ["fit", drawings / "known", "-o", m, *SYMBOLS, "--head", "prototype", "--no-report"]
    quickstudy(*fit)
    quickstudy("add-class", m, "guest", new[0])
    said = " ".join(quickstudy(*fit, status=2).stderr.split())
    for part in ("4 classes", "guest 1", "fitted on", "added since: guest", "--force", "add-class"):
        assert part in said
    assert "guest" in quickstudy("classes", m).stdout
    quickstudy(*fit, "--force")
    assert "guest" not in quickstudy("classes", m).stdout
    # What cannot be read can be replaced as well.
    next(m.glob("classifier*.safetensors")).write_bytes(b"")
    assert "damaged" in quickstudy(*fit, status=2).stderr
    quickstudy(*fit, "--force")
    assert "three o" in quickstudy("classes", m).stdout


@pytest.mark.parametrize(("answer", "status"), [("n", 2), ("y", 0)])
def test_on_a_terminal_it_asks(
    quickstudy: Callable,
    drawings: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
    status: int,
) -> None:
    m = tmp_path / "m"
    fit = ["fit", drawings / "known", "-o", m, *SYMBOLS, "--head", "prototype", "--no-report"]
    quickstudy(*fit)
    quickstudy("remove-class", m, "three o")
    monkeypatch.setattr("quickstudy.cli.overwrite.is_terminal", lambda: True)
    monkeypatch.setattr("typer.confirm", lambda *_, **__: answer == "y")
    quickstudy(*fit, status=status)
    assert ("three o" in quickstudy("classes", m).stdout) == (answer == "y")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_folder_that_may_not_be_written(
    quickstudy: Callable, drawings: Path, tmp_path: Path
) -> None:
    (tmp_path / "locked").mkdir(mode=0o555)
    assert (
        "Permission denied"
        in quickstudy(
            "fit", drawings / "known", "-o", tmp_path / "locked" / "m", *SYMBOLS, status=2
        ).stderr
    )


def test_a_model_with_a_run_as_its_head_is_like_any_other(
    quickstudy: Callable, drawings: Path, run_folder: Path, tmp_path: Path
) -> None:
    m, new = tmp_path / "m", sorted((drawings / "new").iterdir())
    copy = tmp_path / "run"
    shutil.copytree(run_folder, copy)
    said = quickstudy("fit", drawings / "known", "-o", m, "--run", copy).stdout
    assert "Learned 3 classes from 12 images" in said
    assert "recognised by the classifier without them" in said
    assert "12 examples" in (m / "report.html").read_text()
    before = quickstudy("predict", m, drawings / "new", "--json").stdout
    assert "knows 4 classes" in quickstudy("add-class", m, "guest", new[0]).stdout
    assert lines(quickstudy("predict", m, new[0], "--json").stdout)[0]["label"] == "guest"
    quickstudy("remove-class", m, "guest")
    shutil.rmtree(copy)  # what the model needs of it is in the model
    assert quickstudy("predict", m, drawings / "new", "--json").stdout == before
    rows = lines(
        quickstudy("predict", m, drawings / "new", "--json", "--false-accept-rate", "0.5").stdout
    )
    assert all("threshold" in row and "certain" in row for row in rows)
    assert (
        "in it with its encoder"
        in quickstudy("predict", m, drawings / "new", "--encoder", "symbols", status=2).stderr
    )


def test_what_is_no_fitted_model(
    quickstudy: Callable, drawings: Path, run_folder: Path, model: Path, tmp_path: Path
) -> None:
    assert "quickstudy.json" in quickstudy("classes", tmp_path, status=2).stderr
    assert "does not exist" in quickstudy("classes", tmp_path / "none", status=2).stderr
    for old in ("classifier.json", "predictor.json"):
        (tmp_path / "old").mkdir(exist_ok=True)
        (tmp_path / "old" / old).write_text("{}")
        complaint = quickstudy("predict", tmp_path / "old", drawings / "new", status=2).stderr
        assert "older version" in complaint
        assert "Make it again: quickstudy fit" in complaint
    assert (
        "Invalid value for '--format'"
        in quickstudy("predict", model, drawings / "new", "--format", "xml", status=2).stderr
    )


def test_a_huge_picture_is_refused_by_name(
    quickstudy: Callable, drawings: Path, model: Path, tmp_path: Path
) -> None:
    Image.new("1", (20_000, 10_000)).save(tmp_path / "huge.png")
    rows = lines(
        quickstudy(
            "predict", model, tmp_path / "huge.png", drawings / "new", "--json", status=1
        ).stdout
    )
    assert "200,000,000" in rows[0]["error"]
    assert [*rows[0]] == ["image", "error"]
    assert all("label" in row for row in rows[1:])
    assert "pixels" in quickstudy("predict", model, tmp_path / "huge.png", status=1).stdout
    text = quickstudy(
        "predict", model, tmp_path / "huge.png", drawings / "new", "--format", "csv", status=1
    ).stdout
    table = list(csv.DictReader(io.StringIO(text)))
    assert "pixels" in table[0]["error"]
    assert not table[0]["label"]
    assert [row["label"] for row in table[1:]] == [row["label"] for row in rows[1:]]


def test_few_files_are_read_at_a_time(
    quickstudy: Callable,
    drawings: Path,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So that any number fits into memory; and what was not finished does not look as if it
    were.
    """
    whole = quickstudy("predict", model, drawings, "--json").stdout
    shown = quickstudy("predict", model, drawings).stdout
    out, asked, real = tmp_path / "out.jsonl", list[int](), fitted.encode_files
    monkeypatch.setattr(fitted, "_AT_ONCE", 4)
    monkeypatch.setattr(answers, "AT_ONCE", 4)
    assert quickstudy("predict", model, drawings).stdout.split() == shown.split()

    def counted(encoder: Any, paths: Any, **options: Any) -> Any:
        asked.append(len(paths))
        if len(asked) == 3:  # by then the rows of the first two are there
            assert (tmp_path / "out.jsonl.part").read_text().splitlines() == whole.splitlines()[:8]
            raise KeyboardInterrupt
        return real(encoder, paths, **options)

    out.write_text("older")
    monkeypatch.setattr(fitted, "encode_files", counted)
    quickstudy("predict", model, drawings, "-o", out, status=130)
    assert asked == [4, 4, 4]
    assert out.read_text() == "older"
    assert not list(tmp_path.glob("*.part"))
    quickstudy("predict", model, drawings, "-o", out)
    assert out.read_text() == whole
    assert max(asked) == 4


def test_answers_that_cannot_be_written(
    quickstudy: Callable,
    drawings: Path,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    new = drawings / "new"
    assert (
        "cannot be written: No such file"
        in quickstudy("predict", model, new, "-o", tmp_path / "none" / "a.csv", status=2).stderr
    )
    (tmp_path / "answers.csv").write_text("older")

    def full(*_: Any, **__: Any) -> bool:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(answers, "_streamed", full)
    assert (
        "No space left on device"
        in quickstudy("predict", model, new, "-o", tmp_path / "answers.csv", status=2).stderr
    )
    assert (
        "The output cannot be written: No space"
        in quickstudy("predict", model, new, "--json", status=2).stderr
    )
    assert (tmp_path / "answers.csv").read_text() == "older"
    assert not list(tmp_path.glob("*.part"))


def test_names_that_are_no_unicode(
    drawings: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png"))
    try:
        shutil.copy(next((drawings / "new").iterdir()), name)
    except OSError:
        pytest.skip("the disk takes Unicode names only")

    def said(*options: str) -> str:
        """As a terminal would get it that knows ASCII only."""
        screen = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
        with monkeypatch.context() as patch, contextlib.redirect_stdout(screen):
            patch.setattr(sys, "argv", ["quickstudy", "predict", str(model), str(name), *options])
            with pytest.raises(SystemExit):
                main()
        screen.seek(0)
        return screen.read()

    assert "udcff.png" in said()
    (row,) = lines(said("--json"))
    assert row["image"] == str(name)
    said("-o", str(tmp_path / "out.jsonl"))
    assert lines((tmp_path / "out.jsonl").read_text()) == [row]


def test_recordings(quickstudy: Callable, tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    log_mel = LogMel(rate=4_000, n_mels=16, window=256, hop=100, frames=16)
    run = save_learner(
        ProtoNet(Conv4(size=16, width=8, norm="running")).eval(),
        tmp_path / "run",
        extra={"image": None, "sound": log_mel.to_json()},
    )
    for pitch in (200, 900):
        for k in range(3):
            sound = np.sin(2 * np.pi * (pitch + 5 * k) * np.arange(4_000) / 4_000)
            file = tmp_path / ("new" if k == 2 else "known") / str(pitch) / f"{k}.wav"
            file.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(file, sound / 2, 4_000)
    said = quickstudy(
        "fit", tmp_path / "known", "-o", tmp_path / "m", "--kind", "audio", "--encoder", run
    ).stdout
    assert "Learned 2 classes from 4 recordings" in said
    (tmp_path / "new" / "text.wav").write_text("no sound")
    rows = lines(quickstudy("predict", tmp_path / "m", tmp_path / "new", "--json", status=1).stdout)
    assert [row.get("label") for row in rows] == ["200", "900", None]
    assert "text.wav" in rows[2]["error"]
    assert all("recording" in row for row in rows)
    said = quickstudy("fit", tmp_path / "known", "-o", tmp_path / "n", "--kind", "audio").stdout
    assert "spectrum 4 of 4" in " ".join(said.split())


def test_a_run_that_changed_is_refused(
    quickstudy: Callable, run_folder: Path, drawings: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run_folder, copy)
    quickstudy("fit", drawings / "known", "-o", tmp_path / "m", "--encoder", copy, "--no-report")
    shutil.move(copy, tmp_path / "moved")
    complaint = quickstudy("predict", tmp_path / "m", drawings / "new", status=2).stderr
    assert "which the classifier was fitted with, cannot be opened" in complaint
    assert "--encoder" in complaint
    quickstudy("predict", tmp_path / "m", drawings / "new", "--encoder", tmp_path / "moved")
    for command in (
        ("predict", tmp_path / "m", drawings / "new"),
        ("add-class", tmp_path / "m", "guest", drawings / "new"),
    ):
        assert (
            "fitted to vectors of the encoder"
            in quickstudy(*command, "--encoder", "symbols", status=2).stderr
        )
    shutil.rmtree(tmp_path / "moved")
    save_learner(
        ProtoNet(Conv4(width=8)), tmp_path / "moved", extra={"image": {"size": 28, "channels": 1}}
    )
    complaint = quickstudy(
        "predict", tmp_path / "m", drawings / "new", "--encoder", tmp_path / "moved", status=2
    ).stderr
    assert "have changed" in complaint or "normalises by" in complaint


def test_a_score_on_new_files(
    quickstudy: Callable, drawings: Path, model: Path, tmp_path: Path
) -> None:
    done = quickstudy("score", model, drawings / "known", "--page", tmp_path / "s.html")
    assert "Accuracy: 100.0 % (12 of 12; 95 % interval 75.8 to 100.0 %)." in done.stdout
    page = (tmp_path / "s.html").read_text()
    assert "12 of 12 new items got their class" in page
    assert "<p>None.</p>" in page
    new = tmp_path / "new"
    for name in ("Än", "three o"):
        shutil.copytree(drawings / "known" / name, new / name)
    (new / "three o").rename(new / "nobody")
    (new / "Än" / "bad.png").write_bytes(b"no image")
    done = quickstudy("score", model, new, "--page", tmp_path / "s.html", status=1)
    assert "Accuracy: 100.0 % (4 of 4" in done.stdout
    assert "Of 4 items of classes that the model does not know, 100.0 % are taken" in done.stdout
    assert "bad.png" in done.stderr
    page = (tmp_path / "s.html").read_text()
    assert page.count("(not known to the model) taken for") == 4
    assert "data:image/jpeg;base64," in page
    assert "bad.png" in page


def test_files_are_sorted_and_one_may_come_over_standard_input(
    quickstudy: Callable,
    drawings: Path,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "sorted"
    done = quickstudy("predict", model, drawings / "known", "--sort-into", out)
    assert sorted(path.name for path in out.iterdir()) == sorted(["Än", "three o", "ქართ"])
    assert len(list(out.rglob("*.png"))) == 12
    assert f"Copied into {out}: three o 4, Än 4, ქართ 4." in done.stderr
    content = (drawings / "known" / "Än" / "bild 0.png").read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    (row,) = lines(quickstudy("predict", model, "-", "--json").stdout)
    assert (row["image"], row["label"]) == ("-", "Än")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    assert "Nothing came" in quickstudy("predict", model, "-", status=2).stderr


def test_one_text_in_quotes(quickstudy: Callable, tmp_path: Path) -> None:
    for name, texts in (("light", ("turn on the light", "lamp off")), ("music", ("play", "song"))):
        (tmp_path / "said" / name).mkdir(parents=True)
        for i, text in enumerate(texts):
            (tmp_path / "said" / name / f"{i}.txt").write_text(text)
    m = tmp_path / "m"
    assert "from 4 texts" in quickstudy("fit", tmp_path / "said", "-o", m, "--no-report").stdout
    (row,) = lines(quickstudy("predict", m, "switch the lamp off", "--json").stdout)
    assert (row["text"], row["label"]) == ("switch the lamp off", "light")
    (row,) = lines(quickstudy("predict", m, tmp_path / "said" / "music" / "1.txt", "--json").stdout)
    assert row["label"] == "music"
    # An empty text is not the current folder.
    assert "is empty" in quickstudy("predict", m, "", status=2).stderr
    assert "weather has 1 example." in quickstudy("add-class", m, "weather", "is it wet").stdout


def test_names_do_nothing_to_a_terminal_or_a_spreadsheet(
    quickstudy: Callable, drawings: Path, model: Path, tmp_path: Path
) -> None:
    picture = (drawings / "known" / "Än" / "bild 0.png").read_bytes()
    (tmp_path / "a\x1b[2J\x9b.png").write_bytes(picture)
    (tmp_path / "=cmd.png").write_bytes(picture)
    shown = quickstudy("predict", model, tmp_path).stdout
    assert "a\\x1b[2J\\x9b.png" in shown
    assert "\x1b" not in shown
    as_json = quickstudy("predict", model, tmp_path / "a\x1b[2J\x9b.png", "--json").stdout
    assert "\x1b" not in as_json
    assert "\x9b" not in as_json
    assert lines(as_json)[0]["image"] == str(tmp_path / "a\x1b[2J\x9b.png")

    def no_table(_: list[dict[str, Any]]) -> Table:
        raise AssertionError("a file in CSV needs no table")

    with contextlib.chdir(tmp_path):
        rows = [{"image": "=cmd.png", "label": "+1", "score": -1.5}]
        answers.write_rows(
            rows, "csv", Path("out.csv"), columns=("label",), to_table=no_table, guard=True
        )
        assert Path("out.csv").read_text().splitlines()[1] == "'=cmd.png,'+1,-1.5"


def test_a_closed_output_and_a_status_that_says_why(
    drawings: Path, model: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "quickstudy", "predict", str(model)]
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    done = subprocess.run(
        f"{shlex.join([*command, str(bad)])} >&-", shell=True, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    done = subprocess.run(
        [*command, str(bad), "-o", str(tmp_path / "o.csv")], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert f"1 of 1 could not be read; the reasons are in {tmp_path / 'o.csv'}" in done.stderr
