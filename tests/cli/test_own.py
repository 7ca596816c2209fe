"""``fit`` and ``predict`` with an encoder and a head, ``classes``, ``add-class`` and ``remove-class``."""

import csv
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def _no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").mkdir()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def model(quickstudy: Callable, drawings: Path, tmp_path: Path) -> Path:
    said = quickstudy("fit", drawings / "known", "-o", tmp_path / "model", "--encoder", "symbols", "--no-cache").stdout
    assert "Learned 3 classes from 12 pictures" in said
    assert "head ridge" in said
    assert "Note: symbols was trained on handwritten and printed characters" in said
    assert "are recognised by the classifier without them" in said
    return tmp_path / "model"


def test_from_a_folder_to_labels_in_every_format(quickstudy: Callable, drawings: Path, model: Path, tmp_path: Path) -> None:
    rows = lines(quickstudy("predict", model, drawings / "new", "--json", "--no-cache").stdout)
    assert len(rows) == 6
    right = [row["label"] == Path(row["image"]).name.rsplit(" ", 1)[0] for row in rows]
    assert sum(right) >= 4
    assert all(0.3 < row["score"] <= 1 and "similarity" in row for row in rows)
    shown = quickstudy("predict", model, drawings / "new", "--no-cache").stdout
    assert "picture" in shown
    assert "ქართ" in shown
    quickstudy("predict", model, drawings / "new", "-o", tmp_path / "out.csv", "--no-cache")
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as stream:
        assert [row["label"] for row in csv.DictReader(stream)] == [row["label"] for row in rows]
    quickstudy("predict", model, drawings / "new", "-o", tmp_path / "out.jsonl", "--no-cache")
    assert lines((tmp_path / "out.jsonl").read_text()) == rows
    table = csv.DictReader(io.StringIO(quickstudy("predict", model, drawings / "new", "--format", "csv", "--no-cache").stdout))
    assert [row["image"] for row in table] == [row["image"] for row in rows]
    page = (model / "report.html").read_text()
    assert "12 examples" in page
    assert "data:image/jpeg;base64," in page


def test_classes_are_added_and_removed(quickstudy: Callable, drawings: Path, model: Path, tmp_path: Path) -> None:
    before = quickstudy("predict", model, drawings / "new", "--json", "--no-cache").stdout
    new = sorted((drawings / "new").iterdir())[:2]
    assert "knows 4 classes now; guest has 2 examples" in quickstudy("add-class", model, "guest", *new).stdout
    assert "guest" in quickstudy("classes", model).stdout
    assert lines(quickstudy("predict", model, new[0], "--json", "--no-cache").stdout)[0]["label"] == "guest"
    assert "There is a class 'guest' already" in quickstudy("add-class", model, "guest", *new, status=2).stderr
    assert "guest has 1 examples" in quickstudy("add-class", model, "guest", new[0], "--replace").stdout
    assert "knows 3 classes now" in quickstudy("remove-class", model, "guest").stdout
    assert quickstudy("predict", model, drawings / "new", "--json", "--no-cache").stdout == before
    assert "There is no class 'guest'" in quickstudy("remove-class", model, "guest", status=2).stderr


def test_strangers(quickstudy: Callable, drawings: Path, tmp_path: Path) -> None:
    known = tmp_path / "two"
    for name in ("Än", "ქართ"):
        shutil.copytree(drawings / "known" / name, known / name)
    cohort = tmp_path / "others"
    cohort.mkdir()
    for i, picture in enumerate(sorted((drawings / "known" / "three o").iterdir())):
        shutil.copy(picture, cohort / f"{i}.png")
    common = ["--encoder", "symbols", "--head", "prototype", "--no-cache", "--no-report"]
    said = quickstudy("fit", known, "-o", tmp_path / "m", "--reject-rate", "0.2", "--review-rate", "0", "--cohort", cohort, *common).stdout
    assert "by the rule: cohort" in said
    rows = lines(quickstudy("predict", tmp_path / "m", cohort, "--json", "--no-cache").stdout)
    assert {row["label"] for row in rows} == {"unknown"}
    assert all({"threshold", "certain", "nearest"} <= row.keys() for row in rows)
    loose = lines(quickstudy("predict", tmp_path / "m", cohort, "--json", "--no-cache", "--reject-rate", "0.9").stdout)
    assert any(row["label"] != "unknown" for row in loose)
    assert (
        "at least 99 strangers, but there are 4"
        in quickstudy("predict", tmp_path / "m", cohort, "--reject-rate", "0.01", "--no-cache", status=2).stderr
    )
    assert (
        "at least 9 strangers, but there are 2"
        in quickstudy("fit", known, "-o", tmp_path / "n", "--reject-rate", "0.1", *common, status=2).stderr
    )


def test_sentences_and_numbers_from_tables(quickstudy: Callable, tmp_path: Path) -> None:
    said = [
        ("turn on the light", "light"),
        ("switch the lamp off", "light"),
        ("play some jazz", "music"),
        ("put on my favourite song", "music"),
    ]
    (tmp_path / "said.csv").write_text("what,intent\n" + "".join(f'"{t}",{label}\n' for t, label in said))
    fitted = quickstudy("fit", tmp_path / "said.csv", "-o", tmp_path / "words", "--text", "what", "--label", "intent").stdout
    assert "Learned 2 classes from 4 sentences" in fitted
    (tmp_path / "new.jsonl").write_text('{"what": "dim the lamps"}\n{"what": "I want to hear music"}\n')
    assert [row["label"] for row in lines(quickstudy("predict", tmp_path / "words", tmp_path / "new.jsonl", "--json").stdout)] == [
        "light",
        "music",
    ]
    rng = np.random.default_rng(0)
    rows = [(kind, *(centre + rng.normal(size=2) * (1, 100))) for kind, centre in (("a", 0), ("b", (4, 400))) for _ in range(5)]
    text = "label,width,weight,remark\n" + "".join(f"{k},{w:.2f},{g:.1f},x\n" for k, w, g in rows)
    (tmp_path / "parts.csv").write_text(text)
    assert "from 10 rows" in quickstudy("fit", tmp_path / "parts.csv", "-o", tmp_path / "rows").stdout
    told = lines(quickstudy("predict", tmp_path / "rows", tmp_path / "parts.csv", "--json").stdout)
    assert [row["label"] for row in told] == ["a"] * 5 + ["b"] * 5
    assert "takes tables" in quickstudy("predict", tmp_path / "rows", tmp_path, status=2).stderr
    assert "Change the table and fit again" in quickstudy("add-class", tmp_path / "rows", "c", tmp_path, status=2).stderr


@pytest.mark.parametrize(
    ("content", "options", "complaint"),
    [
        ("label,a\nx,1\ny,2\n", ("--label", "labels"), "has no column 'labels'. Did you mean 'label'?"),
        ("label,a\nx,1\n,2\n", (), "the column 'label' is empty in 1 of 2 rows, the first being row 2"),
        ("label,a\nx,1\ny,two\n", ("--columns", "a"), "row 2, the column 'a' holds 'two', which is no finite number"),
        ("label,a\nx,1\ny,inf\n", ("--columns", "a"), "'inf', which is no finite number"),
        ("label,a\nx,1\ny,\n", ("--columns", "a"), "the column 'a' is empty in 1 of 2 rows"),
        ("label,a\nx,1\ny,two\n", (), "has no column of numbers beside 'label'"),
        ("label,a\nx,1,3\n", (), "row 1 does not have 2 values"),
        ("label,label\nx,1\n", (), "names a column twice"),
        ("label,a\n", (), "has no rows"),
        ("label,a\nx,1\nx,2\n", (), "holds one class, 'x', but a classifier needs at least two"),
    ],
)
def test_tables_that_cannot_be_learned(
    content: str, options: tuple[str, ...], complaint: str, quickstudy: Callable, tmp_path: Path
) -> None:
    (tmp_path / "t.csv").write_text(content)
    assert complaint in quickstudy("fit", tmp_path / "t.csv", "-o", tmp_path / "m", *options, status=2).stderr
    assert not (tmp_path / "m").exists()


def test_folders_that_cannot_be_learned(quickstudy: Callable, drawings: Path, tmp_path: Path) -> None:
    common = ["-o", tmp_path / "m", "--encoder", "symbols", "--no-cache"]
    folder = tmp_path / "known"
    shutil.copytree(drawings / "known", folder)
    (folder / "three o" / "bad.png").write_bytes(b"no picture")
    complaint = quickstudy("fit", folder, *common, status=2).stderr
    assert "bad.png" in complaint
    assert "--on-bad skip" in complaint
    said = quickstudy("fit", folder, *common, "--on-bad", "skip").stdout
    assert "skipped" in said
    assert "from 12 pictures" in said
    shutil.copy(folder / "three o" / "bild 0.png", folder / "Än" / "same.png")
    assert "the same in two classes" in quickstudy("fit", folder, *common, "--on-bad", "skip").stdout
    (folder / "empty").mkdir()
    assert "hold no file with the ending of a picture: 'empty'" in quickstudy("fit", folder, *common, status=2).stderr
    (folder / "empty" / "x.png").write_bytes(b"")
    assert "have nothing that can be read: empty" in quickstudy("fit", folder, *common, "--on-bad", "skip", status=2).stderr
    assert "There is no folder" in quickstudy("fit", tmp_path / "none", *common, status=2).stderr
    assert "is no table that can be read" in quickstudy("fit", folder / "Än" / "bild 0.png", *common, status=2).stderr
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("keep")
    assert "left alone" in quickstudy("fit", drawings / "known", "-o", tmp_path / "other", "--encoder", "symbols", status=2).stderr
    assert "no head 'forest'" in quickstudy("fit", drawings / "known", *common, "--head", "forest", status=2).stderr
    assert "no format 'xml'" in quickstudy("predict", tmp_path / "m", drawings / "new", "--format", "xml", status=2).stderr


def test_a_huge_picture_is_refused_by_name(quickstudy: Callable, drawings: Path, model: Path, tmp_path: Path) -> None:
    Image.new("1", (20_000, 10_000)).save(tmp_path / "huge.png")
    rows = lines(quickstudy("predict", model, tmp_path / "huge.png", drawings / "new", "--json", "--no-cache", status=1).stdout)
    assert "has 20,000 × 10,000" in rows[0]["error"] or "200,000,000" in rows[0]["error"]
    assert all("label" in row for row in rows[1:])
    table = quickstudy("predict", model, tmp_path / "huge.png", "--no-cache", status=1).stdout
    assert "pixels" in table


def test_a_run_that_changed_is_refused(quickstudy: Callable, run_folder: Path, drawings: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run_folder, copy)
    quickstudy("fit", drawings / "known", "-o", tmp_path / "m", "--encoder", copy, "--no-cache", "--no-report")
    shutil.move(copy, tmp_path / "moved")
    assert "No encoder is called" in quickstudy("predict", tmp_path / "m", drawings / "new", status=2).stderr
    quickstudy("predict", tmp_path / "m", drawings / "new", "--encoder", tmp_path / "moved", "--no-cache")
    assert (
        "fitted to vectors of the encoder"
        in quickstudy("predict", tmp_path / "m", drawings / "new", "--encoder", "symbols", status=2).stderr
    )
