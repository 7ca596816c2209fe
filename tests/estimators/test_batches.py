"""Tables of items, asked in other processes: the method is pickled, bad items are rows."""

import csv
import importlib
import json
import pickle
import runpy
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from quickstudy.core.errors import DataError
from quickstudy.estimators import Encoding, FewShotClassifier, FittedModel
from quickstudy.pretrained import open_encoder

DEPLOY = Path(__file__).parent.parent.parent / "deploy"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four drawings, and a file that is none."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(4):
        image = np.full((40, 40), 255, np.uint8)
        image[8:32, 18:22] = 0
        if number % 2:
            image[18:22, 8:32] = 0
        Image.fromarray(image).save(folder / f"{number}.png")
    (folder / "note.png").write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def model(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> FittedModel:
    encoder = open_encoder("symbols")
    x = encoder.encode([Image.open(pictures / f"{number}.png") for number in range(2)])
    known = FewShotClassifier("prototype").fit(x.astype(float), ["bar", "plus"])
    model = FittedModel(known, Encoding("images", "symbols", encoder.key), encoder)
    model.save(tmp_path_factory.mktemp("model") / "signs")
    return model


def test_a_batch_is_answered_where_the_method_arrives(model: FittedModel, pictures: Path) -> None:
    names = ["3.png", "note.png", "2.png", "gone.png"]
    table = {"path": [str(pictures / name) for name in names], "other": [1, 2, 3, 4]}
    answers = model.predict_batch(table)
    assert answers["label"] == ["plus", None, "bar", None]
    assert [Path(path).name for path in answers["item"]] == names
    assert [bool(error) for error in answers["error"]] == [False, True, False, True]
    sent = pickle.dumps(model.predict_batch)
    assert len(sent) < 100_000  # the encoder is not in it
    there, again = pickle.loads(sent), pickle.loads(sent)
    assert there(table) == answers
    assert there.__self__.encoder is again.__self__.encoder


def test_tables_of_numbers_and_wrong_columns() -> None:
    known = FewShotClassifier("prototype").fit([[0.0, 1.0], [1.0, 0.0]], ["ash", "elm"])
    model = FittedModel(known, Encoding("table", columns=("a", "b")))
    answers = model.predict_batch({"a": ["0", "", "2"], "b": ["2", "1", "0"]})
    assert answers["label"] == ["ash", None, "elm"]
    assert answers["item"] == [1, 2, 3]
    assert pickle.loads(pickle.dumps(model)).encoder is None
    with pytest.raises(DataError, match="length"):
        model.predict_batch({"a": ["1"], "b": []})


def test_a_batch_without_its_column_is_refused(model: FittedModel) -> None:
    with pytest.raises(DataError, match="'path'"):
        model.predict_batch({"file": ["a.png"]})


def run(script: str, *arguments: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
    runpy.run_path(str(DEPLOY / script), run_name="__main__")


def test_the_recipe_with_processes(model: FittedModel, pictures: Path, tmp_path: Path) -> None:
    # Seconds of imports: that a fresh process is sent the model is what the recipe is about.
    out = tmp_path / "answers.csv"
    command = [sys.executable, DEPLOY / "predict_processes.py", model.origin[0], pictures, out]
    subprocess.run(list(map(str, command)), check=True, timeout=300)
    with out.open(newline="") as stream:
        rows = {Path(row["item"]).name: row for row in csv.DictReader(stream)}
    assert [rows[f"{n}.png"]["label"] for n in range(4)] == ["bar", "plus", "bar", "plus"]
    assert rows["note.png"]["error"]


def test_the_recipe_with_dask(
    model: FittedModel, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dask = pytest.importorskip("dask")
    pytest.importorskip("dask.bag")
    with dask.config.set(scheduler="synchronous"):
        run("predict_dask.py", model.origin[0], pictures, tmp_path, monkeypatch=monkeypatch)
    (file,) = tmp_path.glob("*.jsonl")
    answers = json.loads(file.read_text())
    assert answers["label"] == ["bar", "plus", "bar", "plus", None]
    assert answers["error"][4]


@pytest.mark.skipif(not (find_spec("ray") and find_spec("pyarrow")), reason="needs ray[data]")
def test_the_recipe_with_ray(model: FittedModel, pictures: Path, tmp_path: Path) -> None:
    # A process of its own: Ray starts servers, and warns where pytest makes errors of warnings.
    out = tmp_path / "answers"
    command = [sys.executable, DEPLOY / "predict_ray.py", model.origin[0], pictures, out]
    subprocess.run(list(map(str, command)), check=True, timeout=300)
    read_table = importlib.import_module("pyarrow.parquet").read_table
    rows = {Path(row["item"]).name: row for row in read_table(out).to_pylist()}
    assert [rows[f"{n}.png"]["label"] for n in range(4)] == ["bar", "plus", "bar", "plus"]
    assert rows["note.png"]["label"] is None
    assert rows["note.png"]["error"]
    again = subprocess.run(list(map(str, command)), capture_output=True, timeout=300)
    assert again.returncode
    assert len(read_table(out)) == len(rows) == 5
