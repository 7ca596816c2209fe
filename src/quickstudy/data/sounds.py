"""One recording to samples, and samples to a small picture of their sound, the same way at training
and at use.
"""

import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import ConfigError, DataError, LoadError, did_you_mean
from quickstudy.data.open_files import OpenFile, content_of

SHORTEST, LONGEST = 0.1, 600.0
"""Seconds that a recording lasts at least and at most."""

_SILENT = 1e-4  # of full scale, −80 dB: the noise of a converter with nothing plugged in
_CANCELLED = 1e-3  # of the power of the channels, that is left of it in their mean
_RANGE = 80.0  # dB below a recording's loudest place; what is fainter is noise


@dataclass(frozen=True)
class Recording:
    """One channel of sound.

    Args:
        samples: ``[n]``, full scale = 1.
        rate: samples per second.

    Raises:
        DataError: when it is no float32 array of one axis, nothing is to be heard, or it is too
            short or too long.

    Example:
        >>> Recording(np.sin(np.arange(8000) / 10).astype(np.float32), rate=8000).seconds
        1.0
    """

    samples: Float[NDArray[np.float32], " n"]
    rate: int

    def __post_init__(self) -> None:
        wrong = (
            _form(self.samples) or _length(len(self.samples), self.rate) or _content(self.samples)
        )
        if wrong:
            raise DataError(f"The recording given {wrong}")

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return len(self.samples) / self.rate

    def at_rate(self, rate: int) -> Float[NDArray[np.float32], " m"]:
        """The samples at another rate, by scipy's polyphase filter; ``m`` = ⌈n · rate /
        self.rate⌉.
        """
        if rate == self.rate:
            return self.samples
        from scipy.signal import resample_poly

        shared = gcd(rate, self.rate)
        return np.asarray(
            resample_poly(self.samples, rate // shared, self.rate // shared), dtype=np.float32
        )


def read_recording(path: str | Path | bytes | bytearray | OpenFile) -> Recording:
    """The recording in a sound file, in its content or in an open file (WAV, FLAC, Ogg, MP3 and
    others that libsndfile reads), its channels averaged; where they cancel each other, as in stereo
    of opposite phase, the loudest.

    Raises:
        DataError: when there is no such file, no sound in it, or it is too short or too long; the
            message names the file.
        ConfigError: without the package soundfile.
    """
    soundfile = _soundfile()
    if isinstance(path, bytes | bytearray | OpenFile):
        path = content_of(path)
        shown, size = f"the recording given as {len(path)} bytes", len(path)
    else:
        shown = repr(str(path))
        if not Path(path).is_file():
            raise DataError(
                f"{shown} is {'a folder' if Path(path).is_dir() else 'not there'}; a sound file "
                "was expected. Check the path."
            )
        size = Path(path).stat().st_size
    if not size:
        raise DataError(f"{shown} is empty (0 bytes). Copy or download it again, or remove it.")
    try:
        with soundfile.SoundFile(
            io.BytesIO(path) if isinstance(path, bytes) else str(path)
        ) as file:
            # before all of it is in memory
            rate, wrong = (
                file.samplerate,
                _length(file.frames, file.samplerate),
            )
            samples: Any = (
                np.empty(0) if wrong else _mixed(file.read(dtype="float32", always_2d=True))
            )
    except (soundfile.SoundFileError, RuntimeError) as error:
        reason = str(getattr(error, "error_string", error)).rstrip(".")
        if "does not exist" in reason:  # what libsndfile says of a file whose format it cannot tell
            reason = "its content is of no known format"
        raise DataError(
            f"{shown} is not a sound file that can be read here ({reason}). Export it as WAV or "
            "FLAC with a sound editor, or remove it."
        ) from None
    # A file cut short tells fewer samples than its header promises.
    wrong = wrong or _length(len(samples), rate) or _content(samples)
    if wrong:
        raise DataError(f"{shown} {wrong}")
    return Recording(samples, rate)


def _mixed(channels: NDArray[np.float32]) -> NDArray[np.float32]:
    """One channel ``[n]`` of several ``[n c]``."""
    mean = channels.mean(1)
    power = np.square(channels, dtype=np.float64).mean(0)
    if np.square(mean, dtype=np.float64).mean() < _CANCELLED * power.mean():
        return np.ascontiguousarray(channels[:, power.argmax()])
    return mean


@dataclass(frozen=True)
class LogMel:
    """How a recording becomes pictures of its sound (log-mel spectrograms of a fixed size); kept
    with every run that was trained on them.

    Power spectra of overlapping Hann windows; triangular filters, evenly spaced on the mel scale of
    HTK, m = 2595 log₁₀(1 + f/700), from 0 to half the rate, of height 1; decibels, cut off 80 below
    the loudest; less their mean over the recording, divided by their standard deviation, so that
    loudness does not matter. A recording is cut into pictures of equal length that cover it evenly
    and may overlap; one that is shorter than a picture is repeated until it is long enough.

    Args:
        rate: samples per second that recordings are brought to.
        n_mels: filters: the height of a picture.
        window, hop: samples per window, and from one window to the next.
        frames: windows side by side: the width of a picture.

    Raises:
        ConfigError: for sizes that cannot be.

    Example:
        >>> hum = Recording(np.sin(np.arange(48_000) / 10).astype(np.float32), rate=16_000)
        >>> LogMel().pictures(hum).shape, round(LogMel().seconds, 2)
        (torch.Size([2, 1, 64, 64]), 1.64)
    """

    rate: int = 16_000
    n_mels: int = 64
    window: int = 1024
    hop: int = 400
    frames: int = 64

    def __post_init__(self) -> None:
        for f in fields(self):
            if getattr(self, f.name) < 1:
                raise ConfigError(
                    f"{f.name} of a LogMel must be at least 1, got {getattr(self, f.name)}."
                )
        if self.hop > self.window:
            raise ConfigError(
                f"Windows of {self.window} samples every {self.hop} leave gaps. Lower hop, or "
                "raise window."
            )
        if not mel_filters(self.rate, self.n_mels, self.window).any(1).all():
            raise ConfigError(
                f"With n_mels={self.n_mels} and window={self.window} some filters lie between two "
                "frequencies. Lower n_mels, or raise window."
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one picture."""
        return (1, self.n_mels, self.frames)

    @property
    def seconds(self) -> float:
        """What one picture covers."""
        return self._needed / self.rate

    @property
    def _needed(self) -> int:
        return self.window + (self.frames - 1) * self.hop

    def spectrogram(self, recording: Recording) -> Float[Tensor, "M n"]:
        """The whole recording, at least one picture wide."""
        x = recording.at_rate(self.rate)
        x = torch.from_numpy(np.resize(x, max(len(x), self._needed)))  # repeats what is too short
        spectrum = torch.stft(
            x,
            self.window,
            self.hop,
            window=torch.hann_window(self.window),
            center=False,
            return_complex=True,
        )
        # [M n]
        power = (
            torch.from_numpy(mel_filters(self.rate, self.n_mels, self.window)).float()
            @ spectrum.abs().square()
        )
        decibel = 10 * torch.log10(
            power.clamp_min(power.max() * 10 ** (-_RANGE / 10)).clamp_min(1e-30)
        )
        return (decibel - decibel.mean()) / decibel.std().clamp_min(1e-3)

    def pictures(self, recording: Recording) -> Float[Tensor, "k 1 M F"]:
        """As few as cover all of it, ⌈n / frames⌉, evenly spaced."""
        whole = self.spectrogram(recording)
        n = whole.shape[1]
        starts = np.linspace(0, n - self.frames, -(-n // self.frames)).round().astype(int)
        return torch.stack([whole[None, :, s : s + self.frames] for s in starts.tolist()])

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain values, for `from_json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "LogMel":
        """The format that `to_json` wrote.

        Raises:
            LoadError: for an unknown, missing or unusable entry.
        """
        known = [f.name for f in fields(cls)]
        for name, value in values.items():
            if name not in known:
                raise LoadError(
                    f"A sound format has no entry '{name}'. {did_you_mean(name, known)}"
                )
            if type(value) is not int:
                raise LoadError(
                    f"The entry '{name}' of a sound format must be a whole number, got {value!r}."
                )
        missing = [n for n in known if n not in values]
        if missing:
            raise LoadError(
                f"A sound format needs the entries {', '.join(missing)}, got only "
                f"{', '.join(values) or 'none'}. The file is damaged."
            )
        try:
            return cls(**values)
        except ConfigError as error:
            raise LoadError(f"The sound format cannot be used: {error}") from error


@cache
def mel_filters(rate: int, n_mels: int, window: int) -> Float[NDArray[np.float64], "M F"]:
    """The filter bank of HTK: filter m rises from the centre of m − 1 to its own, and falls to that
    of m + 1; F = ⌊window/2⌋ + 1.

    >>> mel_filters(16_000, 64, 1024).shape
    (64, 513)
    """
    edges = 700 * (
        10 ** (np.linspace(0, 2595 * np.log10(1 + rate / 2 / 700), n_mels + 2) / 2595) - 1
    )
    low, centre, high = (edges[i : i + n_mels, None] for i in range(3))
    f = np.linspace(0, rate / 2, window // 2 + 1)
    return np.maximum(0, np.minimum((f - low) / (centre - low), (high - f) / (high - centre)))


def _form(samples: NDArray[Any]) -> str:
    if samples.ndim == 1 and samples.dtype == np.float32:
        return ""
    return (
        f"has samples of shape {samples.shape} and type {samples.dtype}, but one axis of float32 "
        "was expected. Average the channels, and bring whole "
        "numbers to −1 … 1: samples.astype(np.float32) / 32768 for 16 bits."
    )


def _length(n: int, rate: int) -> str:
    """What is wrong with it, or nothing."""
    seconds = n / rate if rate >= 1 else 0.0
    if rate < 1:
        return (
            f"has {rate} samples per second, but at least 1 was expected. Give the rate that "
            "it "
            "was recorded with."
        )
    if seconds < SHORTEST:
        return (
            f"lasts {seconds:.3g} s, but at least {SHORTEST:g} s is needed. Record it again, "
            "or "
            "remove it."
        )
    if seconds > LONGEST:
        return (
            f"lasts {seconds:.0f} s, but at most {LONGEST:.0f} s is read. Cut out the part "
            "that "
            "matters."
        )
    return ""


def _content(samples: NDArray[np.floating]) -> str:
    if not np.isfinite(samples).all():
        return "holds values that are not finite numbers. Export it again, or remove it."
    loudest = float(np.abs(samples).max())
    if loudest < _SILENT:
        return (
            f"is silent: its loudest sample is {loudest:.1g} of full scale, and {_SILENT:g} "
            "was "
            "expected at least. Check the microphone."
        )
    return ""


def _soundfile() -> Any:
    try:
        import soundfile
    except ImportError as error:
        raise ConfigError(
            "Reading sound files needs the package soundfile: pip install 'quickstudy[sound]'."
        ) from error
    return soundfile
