"""Fitted models on disk."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from quickstudy.algorithms import ProtoNet
from quickstudy.core.errors import ConfigError, LoadError
from quickstudy.embedders import Wrapped, open_embedder
from quickstudy.encoders import MLP, PerExample
from quickstudy.estimator import Encoding, FewShotClassifier, FittedModel, OpenSetClassifier

DIM = 12


def examples(seed: int = 0, n: int = 25, k: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 1, DIM)) + 0.3 * rng.normal(size=(n, k, DIM))
    order = rng.permutation(n * k)
    return x.reshape(-1, DIM)[order], np.repeat([f"class {i:02}" for i in range(n)], k)[order]


def rows(model: Any) -> FittedModel:
    return FittedModel(model, Encoding("rows", columns=tuple("abcdefghijkl"), mean=(0.5,) * DIM, std=(2.0,) * DIM), notes=("a note",))


@pytest.mark.parametrize("head", ["prototype", "cosine", "ridge", "logistic"])
def test_what_is_loaded_answers_bit_by_bit(head: str, tmp_path: Path) -> None:
    x, y = examples()
    made = rows(FewShotClassifier(head, metric="euclidean", alpha=0.5, C=2.0).fit(x, y, np.linspace(0.5, 2, len(y))))
    loaded = FittedModel.load(made.save(tmp_path / "m"))
    probes = np.random.default_rng(1).normal(size=(50, DIM))
    assert np.array_equal(loaded.known.class_scores(probes), made.known.class_scores(probes))
    assert np.array_equal(loaded.predict(probes), made.predict(probes))
    assert loaded.known.get_params() == made.known.get_params()
    assert (loaded.encoding, loaded.notes) == (made.encoding, made.notes)
    assert np.array_equal(loaded.vectors(probes), (probes - 0.5) / 2)


@pytest.mark.parametrize("cohort", ["none", "one each", "grouped"])
def test_strangers_are_told_as_before(cohort: str, tmp_path: Path) -> None:
    x, y = examples()
    others = None if cohort == "none" else np.random.default_rng(2).normal(size=(120, DIM))
    groups = np.repeat([f"g{i}" for i in range(40)], 3) if cohort == "grouped" else None
    model = OpenSetClassifier(known_by="nearest", false_accept_rate=0.1, review_rate=0.5, reject_label="nobody")
    model.fit(x, y, cohort=others, cohort_groups=groups).calibrate(0.2)
    loaded = FittedModel.load(rows(model).save(tmp_path / "m"))
    probes = np.random.default_rng(1).normal(size=(80, DIM))
    now = loaded.classifier
    assert isinstance(now, OpenSetClassifier)
    assert (now.threshold_, now.review_threshold_, now.rule_, now.rate_) == (model.threshold_, model.review_threshold_, model.rule_, 0.2)
    assert [d.label for d in loaded.decide(probes)] == [d.label for d in rows(model).decide(probes)]
    assert "nobody" in set(loaded.predict(probes).tolist())


def test_labels_that_are_numbers_stay_numbers(tmp_path: Path) -> None:
    x, y = examples(n=4)
    for labels in (np.unique(y, return_inverse=True)[1], np.unique(y, return_inverse=True)[1] > 1):
        made = rows(FewShotClassifier().fit(x, labels))
        loaded = FittedModel.load(made.save(tmp_path / "m"))
        assert loaded.known.classes_.dtype == made.known.classes_.dtype
        assert loaded.decide(x[:1])[0].label == made.decide(x[:1])[0].label


def test_a_learner_is_kept_with_its_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    x, y = examples()
    made = rows(FewShotClassifier("learner", learner=ProtoNet(MLP(DIM, widths=(8,)))).fit(x, y))
    loaded = FittedModel.load(made.save(tmp_path / "m"))
    assert np.array_equal(loaded.known.class_scores(x), made.known.class_scores(x))
    odd = rows(FewShotClassifier("learner", learner=ProtoNet(PerExample(torch.nn.Linear(DIM, 3), out_dim=3))).fit(x, y))
    with pytest.raises(ConfigError, match="cannot be written to JSON"):
        odd.save(tmp_path / "odd")


def test_classes_come_and_go_on_disk(tmp_path: Path) -> None:
    x, y = examples()
    first = y == "class 00"
    made = rows(FewShotClassifier("ridge").fit((x[~first] - 0.5) / 2, y[~first]))
    made.save(tmp_path / "m")
    grown = FittedModel.load(tmp_path / "m").changed("add", "class 00", x[first])
    grown.save(tmp_path / "m")
    whole = FewShotClassifier("ridge").fit((x - 0.5) / 2, y)
    assert np.array_equal(FittedModel.load(tmp_path / "m").known.class_scores(x), whole.class_scores(x))
    shrunk = FittedModel.load(tmp_path / "m").changed("remove", "class 00")
    assert np.array_equal(shrunk.known.class_scores(x), made.known.class_scores(x))
    with pytest.raises(ValueError, match="no class 'class 99'"):
        shrunk.changed("update", "class 99", x[:1])


def grey(key: str) -> Wrapped:
    return Wrapped(lambda ps: [[np.asarray(p.convert("L")).mean(), 255.0] for p in ps], key=key, dim=2, read=Image.open)


def test_another_encoder_is_refused(tmp_path: Path) -> None:
    paths = []
    for i, level in enumerate((0, 40, 200, 250)):
        paths.append(tmp_path / f"{i}.png")
        Image.new("RGB", (4, 4), (level,) * 3).save(paths[-1])
    encoder = grey("one")
    encoding = Encoding("pictures", "one", "one")
    made = FittedModel(
        FewShotClassifier(metric="euclidean").fit(encoder.embed([encoder.read(p) for p in paths]), ["dark", "dark", "light", "light"]),
        encoding,
        encoder,
    )
    folder = made.save(tmp_path / "m")
    loaded = FittedModel.load(folder, encoder=encoder)
    assert loaded.predict(paths).tolist() == ["dark", "dark", "light", "light"]
    with pytest.raises(LoadError, match=r"fitted to vectors of the encoder one .* but 'two' is two now"):
        FittedModel.load(folder, encoder=grey("two"))
    with pytest.raises(ConfigError, match="No encoder is called 'one'"):
        FittedModel.load(folder)
    symbols = open_embedder("symbols")
    assert Encoding("pictures", "symbols", symbols.key).open().key == symbols.key


def test_damaged_files_and_places(tmp_path: Path) -> None:
    x, y = examples(n=3)
    folder = rows(FewShotClassifier().fit(x, y)).save(tmp_path / "m")
    about = json.loads((folder / "classifier.json").read_text())
    with pytest.raises(LoadError, match=r"holds no fitted model \(classifier\.json is missing\)"):
        FittedModel.load(tmp_path)
    for wrong in ({**about, "format": 99}, {"kind": "classifier"}, []):
        (folder / "classifier.json").write_text(json.dumps(wrong))
        with pytest.raises(LoadError, match="not of format 1"):
            FittedModel.load(folder)
    for wrong in ({**about, "classes": []}, {**about, "known": {}}, {**about, "encoding": {"kinds": 1}}):
        (folder / "classifier.json").write_text(json.dumps(wrong))
        with pytest.raises(LoadError, match="is damaged"):
            FittedModel.load(folder)
    (folder / "classifier.json").write_text("{")
    with pytest.raises(LoadError, match="is damaged"):
        FittedModel.load(folder)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        rows(FewShotClassifier().fit(x, y)).save(tmp_path / "file")
    with pytest.raises(ConfigError, match="A label of type tuple"):
        rows(OpenSetClassifier(false_accept_rate=0.5, reject_label=("a", 1)).fit(x, y)).save(tmp_path / "n")


def test_a_full_disk_leaves_the_older_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = examples(n=3)
    made = rows(FewShotClassifier().fit(x, y))
    folder = made.save(tmp_path / "m")

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("quickstudy.estimator.saved.save_file", full)
    with pytest.raises(ConfigError, match="No space left on device"):
        rows(FewShotClassifier().fit(x + 1, y)).save(folder)
    assert np.array_equal(FittedModel.load(folder).known.support_, made.known.support_)
    assert sorted(p.name for p in folder.iterdir()) == ["classifier.json", "classifier.safetensors"]
