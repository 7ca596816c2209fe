"""Recordings to vectors by the encoder of a run of ours."""

from pathlib import Path

import numpy as np
import pytest
import torch

from quickstudy.algorithms import ProtoNet, maml
from quickstudy.core.errors import ConfigError, DataError, LoadError
from quickstudy.core.setting import Setting
from quickstudy.core.tasks import AbstractData, AbstractTasks
from quickstudy.data import DATA, ClassDataset, ClassIndex, Episodes, LogMel, Recording
from quickstudy.encoders import Conv4
from quickstudy.estimators import FewShotClassifier
from quickstudy.pretrained import RunEncoder, SpectrogramEncoder
from quickstudy.recipes import recipe_named, save_learner, train_recipe

FORMAT = LogMel(rate=4_000, n_mels=16, window=256, hop=100, frames=16)  # 0.44 s


def run_folder(
    folder: Path, *, norm: str = "running", sound: dict | None = None, seed: int = 0
) -> Path:
    torch.manual_seed(seed)
    learner = ProtoNet(Conv4(size=16, width=8, norm=norm)).eval()
    return save_learner(
        learner,
        folder,
        extra={"image": None, "sound": FORMAT.to_json() if sound is None else sound},
    )


def noise(seconds: float, seed: int, rate: int = 4_000) -> Recording:
    return Recording(
        np.random.default_rng(seed).normal(size=round(seconds * rate)).astype(np.float32) / 4, rate
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_folder(tmp_path_factory.mktemp("run"))


def test_a_vector_is_the_mean_over_the_pictures_whatever_is_beside_it(run: Path) -> None:
    encoder = SpectrogramEncoder(run)
    long, short = noise(31, 0), noise(0.2, 1)
    x = encoder.encode([long, short])
    assert x.shape == (2, encoder.dim) == (2, 8)
    assert x.dtype == np.float32
    pictures = FORMAT.pictures(long)
    assert len(pictures) > 64  # more than are encoded at once
    with torch.no_grad():
        expected = np.mean(
            [encoder.encoder(picture[None, None])[0, 0].numpy() for picture in pictures], axis=0
        )
    np.testing.assert_allclose(x[0], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(encoder.encode([short])[0], x[1])


def test_files_of_any_rate(run: Path, tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    encoder = SpectrogramEncoder(run)
    t = np.arange(32_000) / 16_000
    low, high = (np.sin(2 * np.pi * f * t).astype(np.float32) for f in (200, 700))
    soundfile.write(tmp_path / "low.wav", low / 2, 16_000)
    soundfile.write(tmp_path / "stereo.flac", np.stack([low, low], 1) / 8, 16_000)
    soundfile.write(tmp_path / "high.wav", high / 2, 16_000)
    x = encoder.encode(
        [encoder.read(tmp_path / name) for name in ("low.wav", "stereo.flac", "high.wav")]
    )
    same, other = np.abs(x[0] - x[1]).max(), np.abs(x[0] - x[2]).max()
    assert same < 0.01 * other
    (tmp_path / "text.wav").write_text("no sound")
    with pytest.raises(DataError, match=r"text\.wav"):
        encoder.read(tmp_path / "text.wav")


def test_the_key_tells_encoders_apart(run: Path, tmp_path: Path) -> None:
    key = SpectrogramEncoder(run).key
    assert SpectrogramEncoder(run_folder(tmp_path / "copy")).key == key
    assert SpectrogramEncoder(run_folder(tmp_path / "weights", seed=1)).key != key
    assert (
        SpectrogramEncoder(
            run_folder(tmp_path / "format", sound={**FORMAT.to_json(), "hop": 120})
        ).key
        != key
    )


def test_mistakes(run: Path, tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="has no encoder of recordings of its own"):
        SpectrogramEncoder(run_folder(tmp_path / "images", sound={}))
    with pytest.raises(LoadError, match="has no encoder of recordings of its own"):
        SpectrogramEncoder(save_learner(maml(Conv4(size=16, width=8), n_out=5), tmp_path / "older"))
    with pytest.raises(
        ConfigError,
        match=r"normalises by the support, so one recording has no vector of its own\. Train with "
        r"encoder\.norm=running",
    ):
        SpectrogramEncoder(run_folder(tmp_path / "support", norm="support"))
    with pytest.raises(LoadError, match="no encoder of images"):
        RunEncoder(run)


class Tones(AbstractData):
    """Eight classes of noisy hums."""

    name, shape, sound_format = "tones", FORMAT.shape, FORMAT.to_json()

    def tasks(self, split: str, setting: Setting, *, seed: int = 0) -> AbstractTasks:
        x = torch.cat([FORMAT.pictures(hum(c, k)) for c in range(8) for k in range(6)])
        return Episodes(
            ClassDataset("tones", split, x, ClassIndex(np.repeat(range(8), 6), [*"abcdefgh"])),
            setting,
            seed=seed,
        )


def hum(c: int, k: int) -> Recording:
    t, draw = np.arange(round(FORMAT.seconds * 4_000)) / 4_000, np.random.default_rng([c, k])
    wave = np.sin(2 * np.pi * 120 * 1.3**c * (1 + 0.02 * draw.normal()) * t) + 0.3 * draw.normal(
        size=len(t)
    )
    return Recording(wave.astype(np.float32) / 4, 4_000)


def test_a_trained_run_carries_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DATA, "tones", Tones)
    changes = {
        "data": "tones",
        "encoder.size": "16",
        "encoder.width": "8",
        "episodes.n_way": "4",
        "train.steps": "20",
        "train.validate_every": "0",
    }
    recipe = recipe_named("voices-protonet").with_changes(changes)
    train_recipe(recipe_without_evaluations(recipe), tmp_path / "run", device="cpu")
    encoder = SpectrogramEncoder(tmp_path / "run")
    x = encoder.encode([hum(c, k) for c in range(8) for k in range(6, 10)])
    y = np.repeat(range(8), 4)
    first = np.arange(32) % 4 == 0
    # chance is 1/8
    assert FewShotClassifier().fit(x[first], y[first]).score(x[~first], y[~first]) > 0.5


def recipe_without_evaluations(recipe):
    from dataclasses import replace

    return replace(recipe, evaluations=())
