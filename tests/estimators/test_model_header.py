"""Classes are read from a saved model without opening it, and damage is named all the same."""

import json
from pathlib import Path

import numpy as np
import pytest

from quickstudy.core.errors import LoadError
from quickstudy.core.saving import save_folder
from quickstudy.estimators import Encoding, FewShotClassifier, FittedModel, class_counts


@pytest.mark.parametrize("labels", [["b", "a", "b"], [7, 3, 7], [True, False, True]])
def test_counts_are_those_of_the_opened_model(tmp_path: Path, labels: list) -> None:
    classifier = FewShotClassifier().fit(np.asarray([[0.0, 1.0], [1.0, 0.0], [0.1, 1.0]]), labels)
    model = FittedModel(classifier, Encoding("table", columns=("x", "y")))
    folder = model.save(tmp_path / "model")
    assert class_counts(folder) == FittedModel.load(folder).counts == model.counts


def test_a_folder_of_something_else_is_named(tmp_path: Path) -> None:
    folder = save_folder(tmp_path / "run", kind="run", about={}, files={})
    with pytest.raises(LoadError, match="trained run"):
        class_counts(folder)
    with pytest.raises(LoadError, match="nowhere"):
        class_counts(tmp_path / "nowhere")


@pytest.mark.parametrize("old", ["classifier.json", "predictor.json"])
def test_a_model_of_an_older_version_is_refused_with_how_to_make_it_again(
    tmp_path: Path, old: str
) -> None:
    (tmp_path / old).write_text(json.dumps({"format": 1}))
    for read in (class_counts, FittedModel.load):
        with pytest.raises(LoadError, match=rf"older version.*{old}.*quickstudy fit SOURCE -o"):
            read(tmp_path)


def test_another_format_is_refused_with_both_numbers(tmp_path: Path) -> None:
    content = {"classifier.safetensors": b"\0" * 8}
    save_folder(tmp_path / "m", kind="model", about={"format": 2, "classes": []}, files=content)
    for read in (class_counts, FittedModel.load):
        with pytest.raises(LoadError, match=r"format 2, and this version reads 3.*quickstudy fit"):
            read(tmp_path / "m")


def test_damaged_tensors_are_a_load_error(tmp_path: Path) -> None:
    content = {"classifier.safetensors": b"no tensors"}
    about = {"format": 3, "classes": ["oak"]}
    save_folder(tmp_path / "m", kind="model", about=about, files=content)
    with pytest.raises(LoadError, match="damaged"):
        class_counts(tmp_path / "m")
