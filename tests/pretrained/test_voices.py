"""Encoders of recordings that come along: voices, and sounds of all kinds."""

import importlib
import importlib.util
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import audio_utils

from quickstudy.core.errors import LoadError
from quickstudy.data import Recording
from quickstudy.pretrained import SpectrumEncoder, VoiceEncoder, choose_encoder, open_encoder
from quickstudy.pretrained import voices as module
from quickstudy.pretrained.voices import mel_power, slaney_filters, voice_windows

installed = pytest.mark.skipif(
    importlib.util.find_spec("resemblyzer") is None, reason="pip install --no-deps Resemblyzer"
)


def voice(seconds: float, *, pitch: float, seed: int = 0) -> Recording:
    """Something like a voice: pulses at a wavering pitch, and breath."""
    rng, n = np.random.default_rng(seed), round(seconds * 16_000)
    phase = np.cumsum(pitch * (1 + 0.05 * np.sin(np.arange(n) / 4_000)) / 16_000)
    samples = 0.2 * (1 - 2 * (phase % 1)) ** 9 + 0.003 * rng.normal(size=n)
    return Recording(samples.astype(np.float32), 16_000)


@pytest.fixture(scope="module")
def encoder() -> VoiceEncoder:
    return VoiceEncoder(device="cpu")


def _mel(*, y: np.ndarray, sr: int, n_fft: int, hop_length: int, n_mels: int) -> np.ndarray:
    """librosa's mel spectrogram with its defaults, by transformers."""
    filters = audio_utils.mel_filter_bank(
        n_fft // 2 + 1, n_mels, 0, sr / 2, sr, norm="slaney", mel_scale="slaney"
    )
    return audio_utils.spectrogram(
        y,
        audio_utils.window_function(n_fft, "hann"),
        n_fft,
        hop_length,
        power=2.0,
        mel_filters=filters,
        pad_mode="constant",
    )


@installed
@pytest.mark.parametrize("seconds", [0.5, 1.6, 2.2, 5.0])
def test_vectors_are_those_of_the_package(
    encoder: VoiceEncoder, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What the package imports and its forward needs nothing of.
    librosa, morphology = types.ModuleType("librosa"), types.ModuleType("morphology")
    librosa.feature = types.SimpleNamespace(melspectrogram=_mel)  # pyright: ignore
    morphology.binary_dilation = None  # pyright: ignore
    monkeypatch.setitem(sys.modules, "librosa", librosa)
    monkeypatch.setitem(sys.modules, "webrtcvad", types.ModuleType("webrtcvad"))
    monkeypatch.setitem(sys.modules, "scipy.ndimage.morphology", morphology)
    package = importlib.import_module("resemblyzer.voice_encoder")
    theirs = package.VoiceEncoder("cpu", verbose=False)
    recording = voice(seconds, pitch=120)
    expected = theirs.embed_utterance(recording.samples)
    x = encoder.encode([recording])
    assert x.shape == (1, 256)
    assert x.dtype == np.float32
    np.testing.assert_allclose(x[0], expected, atol=1e-4)


def test_bands_are_librosas() -> None:
    filters = audio_utils.mel_filter_bank(
        201, 40, 0, 8_000, 16_000, norm="slaney", mel_scale="slaney"
    )
    np.testing.assert_allclose(slaney_filters(), filters.T, atol=1e-12)
    samples = np.random.default_rng(0).normal(size=5_000).astype(np.float32)
    expected = _mel(y=samples, sr=16_000, n_fft=400, hop_length=160, n_mels=40)
    np.testing.assert_allclose(mel_power(samples).numpy(), expected.T, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("seconds", "n"), [(0.3, 1), (1.6, 1), (1.9, 1), (2.0, 2), (10, 12)])
def test_windows_cover_a_recording(seconds: float, n: int) -> None:
    windows = voice_windows(voice(seconds, pitch=100).samples)
    assert windows.shape == (n, 160, 40)
    assert n == 1 or (windows[-1, :110].sum(1) > 0).all()


@installed
def test_pauses_and_loudness_change_little(encoder: VoiceEncoder) -> None:
    low, high = voice(4, pitch=95), voice(4, pitch=210)
    silence = np.full(16_000 * 6, 1e-5, np.float32)
    paused = Recording(np.concatenate((low.samples, silence, low.samples)), 16_000)
    faint = Recording(low.samples / 50, 16_000)
    x = encoder.encode([low, high, paused, faint])
    cosines = x @ x[0]
    assert cosines[2] > 0.9
    assert cosines[3] > 0.95
    assert cosines[1] < 0.8


@installed
def test_other_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"model_state": {}}, tmp_path / "pretrained.pt")
    monkeypatch.setattr(module, "package_folder", lambda _entry: tmp_path)
    with pytest.raises(LoadError, match=r"SHA-256 .* was expected"):
        VoiceEncoder()


def test_auto_without_the_package_hears_spectra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    encoder = open_encoder("auto", kind="audio")
    assert isinstance(encoder, SpectrumEncoder)
    assert "pip install --no-deps Resemblyzer" in encoder.notes[0]


def test_recordings_get_the_encoder_that_they_prefer(tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    rng, t = np.random.default_rng(0), np.arange(8_000) / 8_000
    paths, labels = [], []
    for k in range(12):
        pitches = ((1_000, 2_500), (1_040, 2_500), (1_000, 2_600))[k % 3]
        hum = sum(np.sin(2 * np.pi * f * (1 + rng.normal() / 300) * t) for f in pitches)
        paths.append(tmp_path / f"{k}.wav")
        labels.append("abc"[k % 3])
        soundfile.write(paths[-1], 0.1 * (hum + 0.3 * rng.normal(size=len(t))), 8_000)
    choice = choose_encoder(paths, labels, kind="audio")
    rights = {score.name: score.right for score in choice.scores}
    assert rights["spectrum"] > 8  # of 12
    assert rights[choice.encoder.source] >= rights["spectrum"] - 1  # it must be ahead by two
    assert f"spectrum {rights['spectrum']} of 12" in choice.reason
