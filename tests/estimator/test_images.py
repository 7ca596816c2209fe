"""Pictures to vectors by the encoder of a run."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from quickstudy.algorithms import ProtoNet, maml
from quickstudy.core.errors import ConfigError, ImageError, LoadError
from quickstudy.data import Glyphs, ImageFormat
from quickstudy.encoders import MLP, Conv4
from quickstudy.estimator import FewShotClassifier, ImageEncoder
from quickstudy.recipes import save_learner

FORMAT = ImageFormat(size=28, channels=1, invert=True)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    return save_learner(ProtoNet(Conv4(size=28, width=8)).eval(), tmp_path_factory.mktemp("run"), extra={"image": FORMAT.to_json()})


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder, test = tmp_path_factory.mktemp("pictures"), Glyphs().split("test")
    paths = []
    for c in range(3):
        for k, row in enumerate(test.index.rows_of(c)[:4]):
            paths.append(folder / f"{c}-{k}.png")
            Image.fromarray(255 - np.asarray(test.x[int(row), 0])).save(paths[-1])
    return paths


def test_a_picture_has_the_vector_of_the_encoder_whatever_is_beside_it(run: Path, pictures: list[Path]) -> None:
    encoder = ImageEncoder(run, batch_size=5).fit()
    x = encoder.transform(pictures)
    assert x.shape == (12, 64 // 8)
    with torch.no_grad():
        expected = encoder.embedder_.encoder(FORMAT.normalise(FORMAT.read(pictures[3])[None])[None])[0, 0]
    np.testing.assert_allclose(x[3], expected.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(encoder.transform([Image.open(pictures[3])])[0], x[3], rtol=1e-5, atol=1e-6)
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
    save_learner(ProtoNet(Conv4(size=28, width=8)).eval(), tmp_path, extra={"image": FORMAT.to_json()})
    assert ImageEncoder(tmp_path).fit().key_ != key


def test_mistakes(run: Path, tmp_path: Path) -> None:
    save_learner(ProtoNet(MLP(4)), tmp_path / "vectors")
    with pytest.raises(LoadError, match="has no encoder of pictures"):
        ImageEncoder(tmp_path / "vectors").fit()
    save_learner(maml(Conv4(size=28, width=8, norm="batch"), n_out=5), tmp_path / "maml", extra={"image": FORMAT.to_json()})
    with pytest.raises(ConfigError, match="normalises by the batch"):
        ImageEncoder(tmp_path / "maml").fit()
    (tmp_path / "x.png").write_bytes(b"x")
    with pytest.raises(ImageError, match=r"x\.png"):
        ImageEncoder(run).fit().transform([tmp_path / "x.png"])
