"""Pictures, sentences and recordings to vectors, in scikit-learn's form."""

import io
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline

from quickstudy.algorithms import ProtoNet, maml
from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import ConfigError, DataError, LoadError
from quickstudy.data import Glyphs, ImageFormat
from quickstudy.encoders import MLP, Conv4
from quickstudy.estimators import AudioEncoder, FewShotClassifier, ImageEncoder, TextEncoder
from quickstudy.pretrained import AbstractPretrained
from quickstudy.recipes import save_learner

FORMAT = ImageFormat(size=28, channels=1, invert=True)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    return save_learner(
        ProtoNet(Conv4(size=28, width=8)).eval(),
        tmp_path_factory.mktemp("run"),
        extra={"image": FORMAT.to_json()},
    )


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder, test = tmp_path_factory.mktemp("images"), Glyphs().split("test")
    paths = []
    for c in range(3):
        for k, row in enumerate(test.index.rows_of(c)[:4]):
            paths.append(folder / f"{c}-{k}.png")
            Image.fromarray(255 - np.asarray(test.x[int(row), 0])).save(paths[-1])
    return paths


def test_a_picture_has_the_vector_of_the_encoder_whatever_is_beside_it(
    run: Path, pictures: list[Path]
) -> None:
    encoder = ImageEncoder(run, batch_size=5).fit()
    x = encoder.transform(pictures)
    assert x.shape == (12, 64 // 8)
    with torch.no_grad():
        expected = encoder.encoder_.encoder(FORMAT.normalise(FORMAT.read(pictures[3])[None])[None])[
            0, 0
        ]
    np.testing.assert_allclose(x[3], expected.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        encoder.transform([Image.open(pictures[3])])[0], x[3], rtol=1e-5, atol=1e-6
    )
    assert encoder.transform([]).shape == (0, 8)


def test_it_goes_before_a_classifier(run: Path, pictures: list[Path]) -> None:
    labels = [p.name[0] for p in pictures]
    model = make_pipeline(ImageEncoder(run), FewShotClassifier())
    assert model.fit(pictures, labels).score(pictures, labels) > 0.6
    assert clone(ImageEncoder(run, invert=True)).invert is True


def test_the_key_tells_encoders_apart(run: Path, tmp_path: Path) -> None:
    key = ImageEncoder(run).fit().key_
    assert ImageEncoder(run, batch_size=3).fit().key_ == key
    assert ImageEncoder(run, invert=False).fit().key_ != key
    torch.manual_seed(1)
    save_learner(
        ProtoNet(Conv4(size=28, width=8)).eval(), tmp_path, extra={"image": FORMAT.to_json()}
    )
    assert ImageEncoder(tmp_path).fit().key_ != key


def test_mistakes(run: Path, tmp_path: Path) -> None:
    save_learner(ProtoNet(MLP(4)), tmp_path / "vectors")
    with pytest.raises(LoadError, match="has no encoder of images"):
        ImageEncoder(tmp_path / "vectors").fit()
    save_learner(
        maml(Conv4(size=28, width=8, norm="batch"), n_out=5),
        tmp_path / "maml",
        extra={"image": FORMAT.to_json()},
    )
    with pytest.raises(ConfigError, match="normalises by the batch"):
        ImageEncoder(tmp_path / "maml").fit()
    (tmp_path / "x.png").write_bytes(b"x")
    with pytest.raises(
        DataError, match=r"1 of 1 files cannot be encoded:\n'.*x\.png' is not an image"
    ):
        ImageEncoder(run).fit().transform([tmp_path / "x.png"])
    with pytest.raises(NotFittedError):
        ImageEncoder(run).transform([tmp_path / "x.png"])
    with pytest.raises(
        ConfigError,
        match=r"A list of images was expected, but one came: 'x\.png'\. Put it in brackets: "
        r"\['x\.png'\]\.",
    ):
        ImageEncoder(run).fit().transform("x.png")
    with pytest.raises(ConfigError, match="batch_size must be at least 1, got 0"):
        ImageEncoder(run, batch_size=0).fit()


# --- what all three have in common


class Lengths(AbstractPretrained):
    """The vector of a thing is its length, and the length of its file's name; it can be neither
    copied nor pickled.
    """

    def __init__(self, kind: str) -> None:
        self.kind, self.source, self.key, self.dim, self.notes = (
            kind,
            "lengths",
            f"lengths of {kind}",
            2,
            ("Only the length counts.",),
        )  # pyright: ignore
        self.read_files: list[str] = []
        self.lock = threading.Lock()

    def read(self, path: Path | bytes) -> str:
        if isinstance(path, bytes):
            return path.decode()
        self.read_files.append(path.name)
        return path.read_text()

    def encode(self, things: Sequence[Any]) -> NDArray[np.float32]:
        return np.array([(len(t), 1) for t in things], dtype=np.float32)


MAKERS = [(ImageEncoder, "images"), (TextEncoder, "text"), (AudioEncoder, "audio")]


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    for n in range(6):
        (tmp_path / f"{n}.txt").write_text("x" * (n + 1))
    return sorted(tmp_path.glob("*.txt"))


@pytest.mark.parametrize(("make", "kind"), MAKERS)
def test_files_and_things_in_memory_in_their_order(make: Any, kind: str, files: list[Path]) -> None:
    encoder = make(Lengths(kind), batch_size=2).fit()
    x = encoder.transform([files[4], ["in"] * 9, files[0], ["in"] * 8, ["in"] * 7, files[5]])
    assert x[:, 0].tolist() == [5, 9, 1, 8, 7, 6]
    assert (x.dtype, encoder.key_, encoder.n_features_out_) == (np.float32, f"lengths of {kind}", 2)
    assert encoder.notes_ == ("Only the length counts.",)
    assert encoder.transform(iter(files[:2]))[:, 0].tolist() == [1, 2]
    assert encoder.transform([]).shape == (0, 2)
    for other, _ in MAKERS:
        if other is not make:
            with pytest.raises(ConfigError, match=f"'lengths' encodes {kind}, not"):
                other(Lengths(kind)).fit()


@pytest.mark.parametrize(("make", "kind"), MAKERS)
def test_open_files_and_contents_are_read_as_files_are(
    make: Any, kind: str, files: list[Path]
) -> None:
    encoder = make(Lengths(kind)).fit()
    content = files[4].read_bytes()
    assert encoder.transform([content, io.BytesIO(content)])[:, 0].tolist() == [5, 5]
    with pytest.raises(ConfigError, match="brackets"):
        encoder.transform(io.BytesIO(content))


def test_text_is_a_file_for_pictures_and_a_sentence_for_sentences(files: list[Path]) -> None:
    assert TextEncoder(Lengths("text")).fit_transform([str(files[2]), files[2]])[:, 0].tolist() == [
        len(str(files[2])),
        3,
    ]
    for make, kind in (MAKERS[0], MAKERS[2]):
        assert make(Lengths(kind)).fit_transform(np.array([str(files[2])]))[:, 0].tolist() == [3]


@pytest.mark.parametrize(("make", "kind"), MAKERS)
def test_columns_have_names(make: Any, kind: str, files: list[Path]) -> None:
    pytest.importorskip("pandas")
    encoder = make(Lengths(kind)).set_output(transform="pandas").fit()
    name = make.__name__.lower()
    assert encoder.get_feature_names_out().tolist() == [f"{name}0", f"{name}1"]
    frame = encoder.transform(files)
    assert frame.columns.tolist() == [f"{name}0", f"{name}1"]
    assert frame[f"{name}0"].tolist() == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(("make", "kind"), MAKERS)
def test_the_cache_keeps_files_and_its_trouble_is_noted(
    make: Any, kind: str, files: list[Path], tmp_path: Path
) -> None:
    lengths = Lengths(kind)
    for _ in range(2):
        assert make(lengths, cache=tmp_path / "cache").fit_transform(files)[:, 0].tolist() == [
            1,
            2,
            3,
            4,
            5,
            6,
        ]
    assert sorted(lengths.read_files) == [f.name for f in files]
    encoder = make(lengths, cache=files[0] / "cache").fit()
    encoder.transform(files)
    encoder.transform(files)
    assert len(encoder.notes_) == 2
    assert "The feature cache" in encoder.notes_[1]


@pytest.mark.parametrize(("make", "kind"), MAKERS)
def test_it_is_a_part_of_a_search(make: Any, kind: str, files: list[Path], tmp_path: Path) -> None:
    lengths = Lengths(kind)
    encoder = make(lengths, cache=tmp_path / "cache")
    parameters = encoder.get_params()
    assert {"encoder", "batch_size", "cache"} <= set(parameters)
    copy = clone(encoder)
    assert type(copy) is make
    assert copy is not encoder
    assert copy.get_params() == parameters
    assert not vars(copy).get("key_")
    for n, file in enumerate(files[3:]):
        file.write_text("x" * (50 + n))
    pipeline = Pipeline([("encode", encoder), ("head", FewShotClassifier())])
    search = GridSearchCV(
        pipeline, {"encode__batch_size": [1, 64], "head__metric": ["cosine", "euclidean"]}, cv=3
    )
    search.fit(files, ["short", "short", "short", "long", "long", "long"])
    assert search.best_score_ == 1
    assert search.predict([files[0], ["in"] * 40]).tolist() == ["short", "long"]
    assert len(lengths.read_files) == 6


def test_clones_share_what_was_opened_until_it_changes(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    first = ImageEncoder(tmp_path / "run")
    second = clone(first)
    assert first.fit().encoder_ is second.fit().encoder_
    assert clone(second).fit().encoder_ is first.encoder_
    assert clone(first).set_params(invert=False).fit().encoder_ is not second.encoder_
    torch.manual_seed(1)
    save_learner(
        ProtoNet(Conv4(size=28, width=16)).eval(),
        tmp_path / "run",
        extra={"image": FORMAT.to_json()},
    )
    assert first.fit().n_features_out_ == 16
    assert second.n_features_out_ == 8
