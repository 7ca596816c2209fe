"""Fitted models on disk."""

import os
import pickle
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from quickstudy.algorithms import ProtoNet
from quickstudy.core.errors import ConfigError, LoadError
from quickstudy.core.saving import load_folder, save_folder
from quickstudy.encoders import MLP, Wrapped
from quickstudy.estimators import (
    Encoding,
    FewShotClassifier,
    FittedModel,
    OpenSetClassifier,
    load,
)
from quickstudy.estimators.heads import PrototypeHead
from quickstudy.pretrained import FunctionEncoder, open_encoder
from quickstudy.pretrained.encoder import AbstractPretrained
from quickstudy.pretrained.symbols import SYMBOLS
from quickstudy.testing.faults import check_faults, failing

DIM = 12


def examples(seed: int = 0, n: int = 25, k: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 1, DIM)) + 0.3 * rng.normal(size=(n, k, DIM))
    order = rng.permutation(n * k)
    return x.reshape(-1, DIM)[order], np.repeat([f"class {i:02}" for i in range(n)], k)[order]


def rows(model: Any) -> FittedModel:
    return FittedModel(
        model,
        Encoding("table", columns=tuple("abcdefghijkl"), mean=(0.5,) * DIM, std=(2.0,) * DIM),
        notes=("a note",),
    )


@pytest.mark.parametrize("head", ["prototype", "cosine", "ridge", "logistic"])
def test_what_is_loaded_answers_bit_by_bit(head: str, tmp_path: Path) -> None:
    x, y = examples(n=9)
    made = rows(
        FewShotClassifier(head, metric="euclidean", alpha=0.5, C=2.0).fit(
            x, y, np.linspace(0.5, 2, len(y))
        )
    )
    loaded = FittedModel.load(made.save(tmp_path / "m"))
    probes = np.random.default_rng(1).normal(size=(50, DIM))
    assert np.array_equal(loaded.known.class_scores(probes), made.known.class_scores(probes))
    assert np.array_equal(loaded.predict(probes), made.predict(probes))
    assert loaded.known.get_params() == made.known.get_params()
    assert (loaded.encoding, loaded.notes) == (made.encoding, made.notes)
    assert np.array_equal(loaded.vectors(probes), (probes - 0.5) / 2)


@pytest.mark.parametrize("cohort", ["none", "one each", "grouped"])
def test_unknowns_are_told_as_before(cohort: str, tmp_path: Path) -> None:
    x, y = examples()
    others = None if cohort == "none" else np.random.default_rng(2).normal(size=(120, DIM))
    groups = np.repeat([f"g{i}" for i in range(40)], 3) if cohort == "grouped" else None
    model = OpenSetClassifier(
        unknown_score="nearest", false_accept_rate=0.3, review_rate=0.5, reject_label="nobody"
    )
    model.fit(x, y, cohort=others, cohort_groups=groups).calibrate(0.2)
    loaded = FittedModel.load(rows(model).save(tmp_path / "m"))
    probes = np.random.default_rng(1).normal(size=(80, DIM))
    now = loaded.classifier
    assert isinstance(now, OpenSetClassifier)
    assert (now.threshold_, now.review_threshold_, now.rule_, now.rate_) == (
        model.threshold_,
        model.review_threshold_,
        model.rule_,
        0.2,
    )
    assert [d.label for d in loaded.decide(probes)] == [d.label for d in rows(model).decide(probes)]
    assert "nobody" in set(loaded.predict(probes).tolist())


def test_nothing_is_scored_again_at_loading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = examples(n=10)
    model = OpenSetClassifier(
        FewShotClassifier("ridge"), unknown_score="energy", false_accept_rate=0.2
    ).fit(x, y)
    likely = model.predict_proba(x)
    folder = rows(model).save(tmp_path / "m")

    def again(*_: Any) -> None:
        raise AssertionError("a thousand classes would take minutes")

    monkeypatch.setattr(OpenSetClassifier, "_each_class_left_out", again)
    loaded = FittedModel.load(folder).classifier
    assert isinstance(loaded, OpenSetClassifier)
    assert np.array_equal(loaded.calibration_scores_, model.calibration_scores_)
    assert np.array_equal(loaded.predict_proba(x), likely)
    assert loaded.set_rate(0.3).threshold_ < model.threshold_


@settings(deadline=None, max_examples=20)
@given(
    st.one_of(
        st.sets(
            st.text(min_size=1, max_size=5).filter(lambda t: "\0" not in t), min_size=2, max_size=5
        ),
        st.sets(st.integers(-(2**62), 2**62), min_size=2, max_size=5),
        st.sets(st.integers(-(2**20), 2**20).map(float), min_size=2, max_size=5),
        st.just({True, False}),
    )
)
def test_labels_of_every_kind_come_back(
    tmp_path_factory: pytest.TempPathFactory, labels: set[Any]
) -> None:
    y = np.asarray(sorted(labels))
    made = rows(FewShotClassifier().fit(np.random.default_rng(0).normal(size=(len(y), DIM)), y))
    loaded = FittedModel.load(made.save(tmp_path_factory.mktemp("labels") / "m"))
    probes = np.random.default_rng(1).normal(size=(9, DIM))
    assert loaded.predict(probes).dtype == made.predict(probes).dtype
    assert loaded.predict(probes).tolist() == made.predict(probes).tolist()
    assert [type(d.label) for d in loaded.decide(probes)] == [
        type(d.label) for d in made.decide(probes)
    ]


@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_a_learner_is_kept_with_its_weights(precision: torch.dtype, tmp_path: Path) -> None:
    torch.manual_seed(0)
    x, y = examples()
    made = rows(
        FewShotClassifier("learner", learner=ProtoNet(MLP(DIM, widths=(8,))).to(precision)).fit(
            x, y
        )
    )
    loaded = FittedModel.load(made.save(tmp_path / "m"))
    assert np.array_equal(loaded.known.class_scores(x), made.known.class_scores(x))
    assert np.array_equal(loaded.known.predict_proba(x), made.known.predict_proba(x))


def test_a_learner_around_a_network_of_torch_is_saved_and_loaded(tmp_path: Path) -> None:
    x, y = examples()
    network = torch.nn.Linear(DIM, 3)
    learner = ProtoNet(Wrapped(network, out_dim=3))
    folder = rows(FewShotClassifier("learner", learner=learner).fit(x, y)).save(tmp_path / "m")
    with pytest.raises(LoadError, match=r"modules=\{'Linear': network\}"):
        load(folder)
    with pytest.raises(LoadError, match=r"'weight' was saved with the shape \(3, 12\)"):
        load(folder, modules={"Linear": torch.nn.Linear(DIM, 4)})
    loaded = load(folder, modules={"Linear": lambda: torch.nn.Linear(DIM, 3)})
    assert isinstance(loaded, FittedModel)
    expected = FewShotClassifier("learner", learner=learner).fit(x, y).class_scores(x)
    assert np.array_equal(loaded.known.class_scores(x), expected)


def test_classes_come_and_go_on_disk(tmp_path: Path) -> None:
    x, y = examples()
    first = y == "class 00"
    made = rows(FewShotClassifier("ridge").fit((x[~first] - 0.5) / 2, y[~first]))
    made.save(tmp_path / "m")
    grown = FittedModel.load(tmp_path / "m").add_class("class 00", x[first])
    grown.save(tmp_path / "m")
    whole = FewShotClassifier("ridge").fit((x - 0.5) / 2, y)
    assert np.array_equal(
        FittedModel.load(tmp_path / "m").known.class_scores(x), whole.class_scores(x)
    )
    other = FittedModel.load(tmp_path / "m").update_class("class 00", x[first][:1])
    assert np.array_equal(other.known.support_[0], (x[first][0] - 0.5) / 2)
    shrunk = FittedModel.load(tmp_path / "m").remove_class("class 00")
    assert np.array_equal(shrunk.known.class_scores(x), made.known.class_scores(x))
    with pytest.raises(ConfigError, match="no class 'class 99'"):
        shrunk.update_class("class 99", x[:1])


def test_no_class_is_called_as_unknowns_are(tmp_path: Path) -> None:
    x, y = examples()
    model = OpenSetClassifier(false_accept_rate=0.1).fit(x, y)
    before = model.threshold_, model.classes_.tolist()
    with pytest.raises(ConfigError, match="'unknown' is a class, so it cannot mean unknown"):
        rows(model).add_class("unknown", x[:2])
    assert (model.threshold_, model.classes_.tolist()) == before
    FittedModel.load(rows(model).save(tmp_path / "m"))


def grey(key: str) -> FunctionEncoder:
    return FunctionEncoder(
        lambda ps: [[np.asarray(p.convert("L")).mean(), 255.0] for p in ps],
        key=key,
        dim=2,
        read=Image.open,
    )


def test_another_encoder_is_refused(tmp_path: Path) -> None:
    paths = []
    for i, level in enumerate((0, 40, 200, 250)):
        paths.append(tmp_path / f"{i}.png")
        Image.new("RGB", (4, 4), (level,) * 3).save(paths[-1])
    encoder = grey("one")
    encoding = Encoding("images", "one", "one")
    made = FittedModel(
        FewShotClassifier(metric="euclidean").fit(
            encoder.encode([encoder.read(p) for p in paths]), ["dark", "dark", "light", "light"]
        ),
        encoding,
        encoder,
    )
    folder = made.save(tmp_path / "m")
    loaded = FittedModel.load(folder, encoder=encoder)
    assert loaded.predict(paths).tolist() == ["dark", "dark", "light", "light"]
    with pytest.raises(
        LoadError, match=r"fitted to vectors of the encoder one .* but 'two' is two now"
    ):
        FittedModel.load(folder, encoder=grey("two"))
    with pytest.raises(
        LoadError,
        match=r"The encoder 'one', which .* cannot be opened: No encoder is called 'one'.* "
        r"--encoder",
    ):
        FittedModel.load(folder)
    with pytest.raises(ConfigError, match="No encoder is called 'three'"):
        FittedModel.load(folder, encoder="three")
    with pytest.raises(ConfigError, match=r"A list of items was expected.*0\.png"):
        loaded.predict(str(paths[0]))
    without = FittedModel.load(folder, encoder=None)
    assert without.counts == {"dark": 2, "light": 2}
    with pytest.raises(ConfigError, match="would have one class"):
        without.remove_class("dark")
    with pytest.raises(ConfigError, match="loaded without its encoder, so it cannot encode images"):
        without.predict(paths)
    symbols = open_encoder("symbols")
    assert Encoding("images", "symbols", symbols.key).open().key == symbols.key


class Lengths(AbstractPretrained):
    """The length of a sentence and its number of words."""

    kind = "text"
    source = key = "lengths"
    dim = 2

    def read(self, path: Path) -> str:
        return path.read_text()

    def encode(self, things: Any) -> np.ndarray:
        assert 0 < len(things) <= 64
        return np.asarray([[len(t), len(t.split())] for t in things], np.float32)


def test_any_number_of_sentences(tmp_path: Path) -> None:
    encoder = Lengths()
    fitted = FewShotClassifier(metric="euclidean").fit(
        encoder.encode(["a", "a b c d"]), ["short", "long"]
    )
    folder = FittedModel(
        fitted, Encoding("text", "lengths", "lengths", columns=("what",)), encoder
    ).save(tmp_path / "m")
    loaded = FittedModel.load(folder, encoder=encoder)
    assert loaded.predict(["x", "e f g h"] * 100).tolist() == ["short", "long"] * 100
    assert loaded.vectors([]).shape == (0, 2)


def test_the_path_of_an_encoder_holds_in_every_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(SYMBOLS, "my-run")
    encoder = open_encoder("my-run")
    vectors = np.random.default_rng(0).normal(size=(2, encoder.dim))
    FittedModel(
        FewShotClassifier().fit(vectors, ["a", "b"]),
        Encoding("images", encoder.source, encoder.key),
        encoder,
    ).save("m")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert FittedModel.load(tmp_path / "m").encoding.source == str(tmp_path / "my-run")
    shutil.move(tmp_path / "my-run", tmp_path / "moved")
    with pytest.raises(LoadError, match="cannot be opened"):
        FittedModel.load(tmp_path / "m")
    assert FittedModel.load(tmp_path / "m", encoder=str(tmp_path / "moved")).encoding.source == str(
        tmp_path / "moved"
    )


def test_damaged_files(tmp_path: Path) -> None:
    x, y = examples(n=3)
    folder = rows(OpenSetClassifier(false_accept_rate=0.5).fit(x, y)).save(tmp_path / "m")
    saved = load_folder(folder, kind="model")
    about, files = saved.about, dict(saved.files)

    def refused(match: str, *, without: str = "", **changes: Any) -> None:
        said = {k: v for k, v in (about | changes).items() if k != without}
        save_folder(folder, kind="model", about=said, files=files)
        with pytest.raises(LoadError, match=match):
            FittedModel.load(folder)

    encoding, known, open_set = about["encoding"], about["known"], about["open_set"]
    refused("of format 99", format=99)
    refused("damaged", without="encoding")
    refused("0 classes, but examples of 3", classes=[])
    refused("4 classes, but examples of 3", classes=["a", "b", "c", "d"])
    refused("damaged", known={})
    refused("no head 'forest'", known=known | {"head": "forest"})
    refused("damaged", temperature=None)
    refused("damaged", notes=None)
    refused("MLP", learner={"type": "MLP", "arguments": {"in_dim": 2}})
    refused("damaged", open_set={})
    refused("cannot mean unknown", open_set=open_set | {"reject_label": "class 00"})
    refused("at least 199 ", open_set=open_set | {"rate": 0.01})
    refused("damaged", encoding={"kinds": 1})
    refused("nothing encodes 'smells'", encoding=encoding | {"kind": "smells"})
    refused("in one column, not in 12", encoding=encoding | {"kind": "text"})
    refused("no usable mean and deviation", encoding=encoding | {"std": [0.0] * DIM})
    refused("no usable mean and deviation", encoding=encoding | {"mean": []})
    wide = {"columns": ["a"], "mean": [0.0], "std": [1.0]}
    refused("do not go with vectors of length 12", encoding=encoding | wide)
    image = {"size": 28, "channels": 1}
    refused("do not go with vectors", encoding=encoding | {"kind": "images", "image": image})
    files["classifier.safetensors"] = files["classifier.safetensors"][:40]
    refused("damaged or cannot be read")
    save_folder(folder, kind="model", about=about, files=saved.files)
    assert FittedModel.load(folder).predict(x).shape == y.shape


@pytest.mark.parametrize("seed", range(20))
def test_a_changed_byte_is_noticed(seed: int, tmp_path: Path) -> None:
    folder = rows(FewShotClassifier().fit(*examples(n=3))).save(tmp_path / "m")
    rng = np.random.default_rng(seed)
    files = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    file = files[seed % len(files)]
    content = bytearray(file.read_bytes())
    content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
    file.write_bytes(content)
    with pytest.raises(LoadError):
        FittedModel.load(folder)


def test_every_fault_of_a_change_leaves_the_old_model_or_the_new(tmp_path: Path) -> None:
    x, y = examples(n=3)
    base = rows(FewShotClassifier().fit(x, y))

    def change(path: Path) -> None:
        with FittedModel.editing(path) as model:
            if "new" not in model.counts:
                model.add_class("new", x[:2])

    def read(path: Path) -> Any:
        model = FittedModel.load(path)
        return model.counts, model.known.class_scores(x).tolist()

    counts = check_faults(read, change, base.save, scratch=tmp_path, faults=("full disk", "kill"))
    assert min(counts.values()) > 15


@pytest.mark.filterwarnings("ignore:.*of another class")
def test_a_save_that_failed_can_be_repeated(tmp_path: Path) -> None:
    """Also where the disk failed after the new state was there."""
    rows(FewShotClassifier().fit(*examples(n=3))).save(tmp_path / "m")
    for at in range(1, 100):
        model = FittedModel.load(tmp_path / "m").add_class(f"new {at}", np.ones((1, DIM)))
        with failing(at, "input/output error") as calls, suppress(ConfigError):
            model.save(tmp_path / "m")
        model.save(tmp_path / "m")
        assert f"new {at}" in FittedModel.load(tmp_path / "m").counts
        if len(calls) < at:
            break
    else:
        raise AssertionError("a save of so many system calls?")


def test_folders_that_hold_something_else(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none", Path(__file__)):
        with pytest.raises(LoadError):
            FittedModel.load(folder)
    save_folder(tmp_path / "p", kind="predictor", about={})
    with pytest.raises(LoadError, match="holds a predictor, but a fitted model was expected"):
        FittedModel.load(tmp_path / "p")
    x, y = examples(n=3)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("mine")
    for taken in (tmp_path / "file", tmp_path / "folder", tmp_path / "p"):
        with pytest.raises(ConfigError, match="is left alone"):
            rows(FewShotClassifier().fit(x, y)).save(taken)
    assert (tmp_path / "file").read_text() == "mine"
    with pytest.raises(ConfigError, match="is a tuple, but classes are called by a text each"):
        OpenSetClassifier(false_accept_rate=0.5, reject_label=("a", 1)).fit(x, y)


def test_vectors_take_no_more_room_than_they_need(tmp_path: Path) -> None:
    """And come back bit by bit: bytes for pixels, float32 for networks, float64 for the rest."""
    rng = np.random.default_rng(0)
    y = ["a", "a", "b", "b"]
    pixels = rng.integers(0, 256, size=(4, 500)).astype(np.float64)
    single = rng.normal(size=(4, 500)).astype(np.float32).astype(np.float64)
    for x, size in ((pixels, 1), (single, 4), (rng.normal(size=(4, 500)), 8)):
        folder = FittedModel(FewShotClassifier().fit(x, y), Encoding("table")).save(tmp_path / "m")
        assert FittedModel.load(folder).known.support_.tobytes() == x.tobytes()
        files = load_folder(folder).files
        assert len(files["classifier.safetensors"]) < 4 * 500 * size + 1000


def test_a_model_that_another_process_changed_is_not_overwritten(tmp_path: Path) -> None:
    x, y = examples(n=4)
    folder = rows(FewShotClassifier().fit(x, y)).save(tmp_path / "m")
    mine, other = FittedModel.load(folder), FittedModel.load(folder)
    other.add_class("other", x[:1]).save(folder)
    with pytest.raises(ConfigError, match="was changed by another process"):
        mine.add_class("mine", x[:1]).save(folder)
    assert "other" in FittedModel.load(folder).counts
    mine.save(tmp_path / "elsewhere")
    other.remove_class("other").save(folder)  # it is up to date, so it may go on
    with pytest.raises(ConfigError, match="no class"), FittedModel.editing(folder) as edited:
        edited.remove_class("class 01").remove_class("nobody")
    assert "class 01" in FittedModel.load(folder).counts


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    folder.mkdir(mode=0o555)
    with pytest.raises(ConfigError, match="Permission denied"):
        rows(FewShotClassifier().fit(*examples(n=3))).save(folder)
    assert not list(folder.iterdir())


# --- several threads


def while_scoring(monkeypatch: pytest.MonkeyPatch, change: Callable[[], object]) -> None:
    """Let another thread make a change after the head's first scores, before they are read."""
    scores, waiting = PrototypeHead.scores, [change]

    def interrupted(head: PrototypeHead, x: Any) -> Any:
        out = scores(head, x)
        if waiting:
            other = threading.Thread(target=waiting.pop())
            other.start()
            other.join()
        return out

    monkeypatch.setattr(PrototypeHead, "scores", interrupted)


@pytest.mark.parametrize("calibrated", [False, True])
def test_answers_are_of_the_classes_before_or_after_a_change(
    calibrated: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = np.eye(6).repeat(2, axis=0)
    known = FewShotClassifier().fit(x, np.repeat(list("abcdef"), 2))
    model = FittedModel(known, Encoding("table", columns=tuple("uvwxyz")))
    if calibrated:
        model = model.with_rate(0.5)
    asked = np.eye(6)[[5, 0]]
    before = model.answer_vectors([1, 2], asked)
    changes = (
        lambda: model.remove_class("f"),
        lambda: model.add_class("A", np.eye(6)[5:]),
        lambda: model.rename_class("a", "z"),
        lambda: model.update_class("b", -np.eye(6)[1:2]),
    )
    for change in changes:
        with monkeypatch.context() as patch:
            while_scoring(patch, change)
            answers = model.answer_vectors([1, 2], asked)
        assert answers == before
        before = model.answer_vectors([1, 2], asked)
    assert sorted(model.counts) == ["A", "b", "c", "d", "e", "z"]


def test_a_change_that_fails_leaves_the_model_as_it_was() -> None:
    known = FewShotClassifier().fit(np.eye(3), list("abc"))
    model = FittedModel(known, Encoding("table", columns=tuple("xyz")))
    with pytest.raises(ConfigError):
        model.add_class("d", np.ones((2, 7)))
    assert (model.counts, model.history) == ({"a": 1, "b": 1, "c": 1}, ())
    assert model.predict(np.eye(3)).tolist() == list("abc")
    copied = pickle.loads(pickle.dumps(model)).add_class("d", -np.eye(3)[:1])
    assert len(copied.counts) == 4
    assert len(model.counts) == 3


def test_no_change_of_several_threads_is_lost() -> None:
    model = FittedModel(
        FewShotClassifier("ridge").fit(np.eye(12), np.arange(12)),
        Encoding("table", columns=tuple("abcdefghijkl")),
    )
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda c: model.add_class(c, -np.eye(12)[c - 12 : c - 11]), range(12, 24)))
    assert list(model.counts) == list(range(24))
    assert len(model.history) == 12
