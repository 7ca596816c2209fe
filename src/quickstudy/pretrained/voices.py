"""The encoder of voices: GE2E, the weights of the package Resemblyzer."""

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import DataError, LoadError
from quickstudy.data.sounds import Recording, read_recording
from quickstudy.pretrained.encoder import AbstractPretrained, hash_of
from quickstudy.pretrained.photographs import check_weights
from quickstudy.pretrained.registry import entry_of, package_folder
from quickstudy.training import pick_device

_FILE = "pretrained.pt"
RATE, _WINDOW, _HOP, _BANDS = 16_000, 400, 160, 40
_OUT, _LAYERS = 256, 3
# Of one window of the network and from one to the next, in frames of 10 ms; the last window is
# left out where the recording fills less of it than this share.
_FRAMES, _STEP, _FILLED = 160, 77, 0.75
# Fainter recordings are made as loud as this, of full scale.
_LOUDNESS = 10 ** (-30 / 20)
# Windows of less than this share of the loudest one's power are pauses and are left out.
_PAUSE = 1e-3
_AT_ONCE = 64  # windows


class VoiceNetwork(nn.Module):
    """Windows of a mel spectrogram ``[n 160 40]`` to vectors ``[n 256]`` of length 1, none of whose
    coordinates is negative.

    Three layers of LSTM and a linear one (Wan et al. 2018, "Generalized end-to-end loss for
    speaker verification", arXiv:1710.10467).
    """

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(_BANDS, _OUT, _LAYERS, batch_first=True)
        self.linear = nn.Linear(_OUT, _OUT)

    def forward(self, x: Float[Tensor, "n T M"]) -> Float[Tensor, "n D"]:
        hidden = self.lstm(x)[1][0]
        return F.normalize(F.relu(self.linear(hidden[-1])), dim=1)


class VoiceEncoder(AbstractPretrained):
    """Recordings of speech to vectors ``[n 256]`` of who speaks: works without a network.

    The weights were trained with the GE2E loss (Wan et al. 2018, arXiv:1710.10467) by the authors
    of Resemblyzer on LibriSpeech and VoxCeleb, and come with that package under Apache-2.0; the
    package itself is not imported. A recording becomes windows of 1.6 s, every 0.77 s, of power
    spectra in 40 mel bands; its vector is the mean of theirs, of length 1. Vectors are compared by
    their cosine.

    Differs: Resemblyzer cuts pauses out with the package webrtcvad. Here windows that are 30 dB
    fainter than the loudest one are left out.

    Args:
        device: "auto", "cpu" or "cuda".

    Raises:
        ConfigError: when the package with the weights is not installed.
        LoadError: when the file of weights is not the one that is expected.
    """

    kind = "audio"

    def __init__(self, *, device: str = "auto") -> None:
        entry = entry_of("voices")
        assert entry is not None
        file = package_folder(entry) / _FILE
        check_weights(file, entry.checksum)
        self.device = pick_device(device)
        weights = torch.load(file, map_location="cpu", weights_only=True)["model_state"]
        network = VoiceNetwork()
        parts = {name: weights[name] for name in network.state_dict() if name in weights}
        try:
            network.load_state_dict(parts)
        except RuntimeError as error:
            raise LoadError(f"The weights {file} are not those of this network: {error}") from error
        self.network = network.requires_grad_(False).eval().to(self.device)
        self.source, self.dim = "voices", _OUT
        self.key = hash_of(
            "voices", RATE, _WINDOW, _HOP, _BANDS, _FRAMES, _STEP, _FILLED, _PAUSE, entry.checksum
        )
        self.notes = (
            "voices knows people by how they sound; whether a living person or a loudspeaker is "
            "in front of the microphone it does not tell.",
            "It heard mostly English, read or from interviews: measure it on people, microphones "
            "and languages like yours. For sounds other than speech take another encoder.",
        )

    def read(self, path: Path | bytes) -> Recording:
        return read_recording(path)

    def encode(self, items: Sequence[Any]) -> Float[NDArray[np.float32], "n 256"]:
        """The vectors of recordings (`quickstudy.data.Recording`).

        Raises:
            DataError: when a recording is so far from speech that the network gives zeros.
        """
        return np.stack([self._vector(recording) for recording in items])

    def _vector(self, recording: Recording) -> Float[NDArray[np.float32], " D"]:
        windows = voice_windows(recording.at_rate(RATE))
        power = windows.mean((1, 2))
        windows = windows[power >= _PAUSE * power.max()].to(self.device)
        with torch.inference_mode():
            x = torch.cat([self.network(part) for part in windows.split(_AT_ONCE)])
        mean = x.mean(0)
        if not float(mean.norm()) > 0:
            raise DataError(
                f"A recording of {recording.seconds:.1f} s holds nothing that the encoder of "
                "voices takes for speech. Record the voice again, or remove it."
            )
        return F.normalize(mean, dim=0).cpu().numpy()


def voice_windows(samples: Float[NDArray[np.float32], " n"]) -> Float[Tensor, "k 160 40"]:
    """Windows of 1.6 s of the mel spectrogram of samples at 16 kHz; the end is filled with silence.

    They begin every 0.77 s; a last one that the recording fills by less than three quarters is left
    out, unless it is the only one.
    """
    # Frames of the package: one more than there are whole hops.
    n_frames = math.ceil((len(samples) + 1) / _HOP)
    starts = list(range(0, max(1, n_frames - _FRAMES + _STEP + 1), _STEP))
    if len(starts) > 1 and len(samples) - starts[-1] * _HOP < _FILLED * _FRAMES * _HOP:
        starts.pop()
    missing = max(0, (starts[-1] + _FRAMES) * _HOP - len(samples))
    loudness = float(np.sqrt(np.mean(samples.astype(np.float64) ** 2)))
    louder = max(1.0, _LOUDNESS / max(loudness, 1e-9))
    mel = mel_power(np.pad(samples * np.float32(louder), (0, missing)))
    return torch.stack([mel[start : start + _FRAMES] for start in starts])


def mel_power(samples: Float[NDArray[np.float32], " n"]) -> Float[Tensor, "T 40"]:
    """Power in 40 mel bands, of windows of 25 ms every 10 ms; samples at 16 kHz.

    Windows are centred on their frame, and beyond the ends is silence, as in librosa.
    """
    spectrum = torch.stft(
        torch.from_numpy(np.asarray(samples, dtype=np.float32)),
        _WINDOW,
        _HOP,
        window=torch.hann_window(_WINDOW),
        center=True,
        pad_mode="constant",
        return_complex=True,
    )
    filters = torch.from_numpy(slaney_filters()).float()
    return (filters @ spectrum.abs().square()).T.contiguous()


@cache
def slaney_filters() -> Float[NDArray[np.float64], "40 201"]:
    """The filter bank of Slaney's Auditory Toolbox, librosa's default: linear up to 1 kHz,
    logarithmic above; triangles of area 1 from 0 to 8 kHz.

    >>> slaney_filters().shape
    (40, 201)
    """
    spacing, knee, log_step = 200 / 3, 1000.0, math.log(6.4) / 27
    highest = knee / spacing + math.log(RATE / 2 / knee) / log_step
    mels = np.linspace(0, highest, _BANDS + 2)
    above = np.maximum(mels - knee / spacing, 0)
    edges = np.minimum(mels * spacing, knee) * np.exp(log_step * above)
    low, centre, high = (edges[i : i + _BANDS, None] for i in range(3))
    f = np.linspace(0, RATE / 2, _WINDOW // 2 + 1)
    triangles = np.minimum((f - low) / (centre - low), (high - f) / (high - centre))
    return np.maximum(0, triangles) * 2 / (high - low)
