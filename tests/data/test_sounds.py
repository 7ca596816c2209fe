"""Recordings, and the pictures of their sound."""

import sys
import wave
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quickstudy.core.errors import ConfigError, DataError, LoadError
from quickstudy.data import LogMel, Recording, read_recording
from quickstudy.data.sounds import mel_filters


def tone(hertz: float, seconds: float = 1.0, rate: int = 16_000, level: float = 0.5) -> Recording:
    return Recording(
        (level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(
            np.float32
        ),
        rate,
    )


def saved(path: Path, samples: np.ndarray, rate: int = 16_000, kind: str = "PCM_16") -> Path:
    soundfile = pytest.importorskip("soundfile")
    soundfile.write(path, samples, rate, subtype=kind)
    return path


def test_a_wav_file_as_the_standard_library_reads_it(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.wav", tone(440).samples)
    with wave.open(str(path)) as file:
        expected = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2") / 32768
    read = read_recording(path)
    assert (read.rate, read.seconds) == (16_000, 1.0)
    np.testing.assert_allclose(read.samples, expected, atol=1e-7)


def test_channels_are_averaged(tmp_path: Path) -> None:
    left, right = tone(440, level=0.5).samples, tone(660, level=0.2).samples
    read = read_recording(saved(tmp_path / "a.flac", np.stack([left, right], 1)))
    np.testing.assert_allclose(read.samples, (left + right) / 2, atol=1e-4)


def test_channels_of_opposite_phase_do_not_cancel(tmp_path: Path) -> None:
    """LOG m5."""
    left, quiet = tone(440, level=0.5).samples, tone(440, level=0.49).samples
    for right in (-left, -quiet):
        read = read_recording(saved(tmp_path / "a.wav", np.stack([left, right], 1)))
        np.testing.assert_allclose(read.samples, left, atol=1e-4)


@pytest.mark.parametrize(("rate", "to"), [(44_100, 16_000), (8_000, 16_000), (16_000, 16_000)])
def test_another_rate_keeps_the_tone(rate: int, to: int) -> None:
    heard = tone(440, rate=rate).at_rate(to)
    assert heard.dtype == np.float32
    assert len(heard) == to
    middle = slice(to // 10, -to // 10)  # the filter's ends
    np.testing.assert_allclose(heard[middle], tone(440, rate=to).samples[middle], atol=5e-3)


@pytest.mark.parametrize(
    ("samples", "rate", "message"),
    [
        (
            np.zeros(16_000),
            16_000,
            r"is silent: its loudest sample is 0 of full scale, and 0\.0001 was expected at least",
        ),
        (np.ones(1_599), 16_000, r"lasts 0\.0999 s, but at least 0\.1 s is needed"),
        (np.ones(40), 16_000, r"lasts 0\.0025 s, but at least 0\.1 s is needed"),
        (np.ones(601), 1, r"lasts 601 s, but at most 600 s is read"),
        (np.full(16_000, np.nan), 16_000, "holds values that are not finite numbers"),
        (np.ones(16_000), 0, "has 0 samples per second, but at least 1 was expected"),
    ],
)
def test_what_is_no_recording_is_refused(samples: np.ndarray, rate: int, message: str) -> None:
    with pytest.raises(DataError, match=f"The recording given {message}"):
        Recording(samples.astype(np.float32), rate)


@pytest.mark.parametrize("samples", [np.ones(16_000, np.int16), np.ones((16_000, 2), np.float32)])
def test_samples_of_another_form_are_refused(samples: np.ndarray) -> None:
    # Past the constructor, whose annotations refuse first in tests; users run without that check.
    made = object.__new__(Recording)
    for name, value in (("samples", samples), ("rate", 16_000)):
        object.__setattr__(made, name, value)
    with pytest.raises(
        DataError,
        match=rf"has samples of shape \({len(samples)},.* and type {samples.dtype}, but one axis "
        r"of float32 was expected",
    ):
        made.__post_init__()


def test_what_is_no_recording_is_refused_by_the_name_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "no.wav").write_bytes(b"RIFF or so")
    (tmp_path / "no.mp3").write_bytes(b"hello")
    (tmp_path / "empty.wav").write_bytes(b"")
    cut = saved(tmp_path / "cut.wav", tone(440).samples)
    cut.write_bytes(cut.read_bytes()[:44])
    files = {
        "no.wav": "is not a sound file that can be read here .* Export it as WAV or FLAC",
        "no.mp3": r"is not a sound file .* \(its content is of no known format\)",
        "empty.wav": r"is empty \(0 bytes\)",
        "gone.wav": "is not there; a sound file was expected",
        "": "is a folder; a sound file was expected",
        "cut.wav": r"lasts 0 s, but at least 0\.1 s is needed",
        "silent.wav": "is silent",
        "nan.wav": "holds values that are not finite",
        "long.wav": "lasts 610 s, but at most 600 s is read",
    }
    saved(tmp_path / "silent.wav", np.zeros(16_000))
    saved(tmp_path / "nan.wav", np.full(16_000, np.nan), kind="FLOAT")
    saved(tmp_path / "long.wav", np.zeros(610_000, np.int16), rate=1_000)
    for name, message in files.items():
        with pytest.raises(DataError, match=f"{name}' {message}"):
            read_recording(tmp_path / name)


def test_without_soundfile_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(ConfigError, match=r"pip install 'quickstudy\[sound\]'"):
        read_recording(tmp_path / "a.wav")


@pytest.mark.parametrize(("rate", "n_mels", "window"), [(16_000, 64, 1024), (22_050, 40, 512)])
def test_the_filters_are_those_of_htk(rate: int, n_mels: int, window: int) -> None:
    audio_utils = pytest.importorskip("transformers.audio_utils")
    expected = audio_utils.mel_filter_bank(
        window // 2 + 1, n_mels, 0.0, rate / 2, rate, mel_scale="htk"
    )
    np.testing.assert_allclose(mel_filters(rate, n_mels, window), expected.T, atol=1e-12)


def test_the_spectrogram_as_a_slow_loop_computes_it() -> None:
    fmt = LogMel(rate=8_000, n_mels=8, window=128, hop=50, frames=6)
    recording = tone(700, 0.2, rate=8_000)
    noisy = Recording(
        recording.samples + np.random.default_rng(0).normal(size=1_600).astype(np.float32) / 10,
        8_000,
    )
    hann = np.sin(np.pi * np.arange(128) / 128) ** 2
    power = np.array(
        [
            np.abs(np.fft.rfft(hann * noisy.samples[s : s + 128])) ** 2
            for s in range(0, 1_600 - 127, 50)
        ]
    )
    level = 10 * np.log10(power @ mel_filters(8_000, 8, 128).T).T
    level = np.maximum(level, level.max() - 80)
    expected = (level - level.mean()) / level.std(ddof=1)
    np.testing.assert_allclose(fmt.spectrogram(noisy).numpy(), expected, rtol=1e-3, atol=1e-4)


def test_a_tone_is_a_line_at_its_mel() -> None:
    picture = LogMel().pictures(tone(1_000))[0, 0]
    edges = np.linspace(0, 2595 * np.log10(1 + 8_000 / 700), 66)[1:-1]
    assert picture.mean(1).argmax() == np.abs(edges - 2595 * np.log10(1 + 1_000 / 700)).argmin()


@settings(max_examples=20)
@given(st.floats(0.1, 8.0), st.floats(0.01, 1.9))
def test_pictures_cover_the_recording_whatever_its_length_and_loudness(
    seconds: float, louder: float
) -> None:
    fmt = LogMel(rate=4_000, n_mels=16, window=256, hop=100, frames=16)
    one = tone(300, seconds, rate=4_000)
    pictures, whole = fmt.pictures(one), fmt.spectrogram(one)
    assert pictures.shape == (-(-whole.shape[1] // 16), *fmt.shape)
    assert torch.equal(pictures[0, 0], whole[:, :16])
    assert torch.equal(pictures[-1, 0], whole[:, -16:])
    torch.testing.assert_close(
        fmt.pictures(Recording(one.samples * np.float32(louder), 4_000)),
        pictures,
        rtol=1e-3,
        atol=1e-2,
    )


def test_what_is_too_short_is_repeated() -> None:
    fmt, short = LogMel(), tone(250, 0.2)  # a whole number of waves
    torch.testing.assert_close(
        fmt.pictures(short), fmt.pictures(tone(250, fmt.seconds)), rtol=1e-3, atol=1e-2
    )


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"n_mels": 0}, "n_mels of a LogMel must be at least 1, got 0"),
        ({"window": 100, "hop": 200}, "Windows of 100 samples every 200 leave gaps"),
        (
            {"n_mels": 128, "window": 256, "hop": 100},
            "With n_mels=128 and window=256 some filters lie between two frequencies",
        ),
    ],
)
def test_sizes_that_cannot_be(sizes: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LogMel(**sizes)
    with pytest.raises(LoadError, match=f"The sound format cannot be used: {message}"):
        LogMel.from_json({**asdict(LogMel()), **sizes})


def test_the_format_survives_json() -> None:
    fmt = LogMel(n_mels=32)
    assert LogMel.from_json(fmt.to_json()) == fmt
    with pytest.raises(LoadError, match=r"no entry 'n_mel'. Did you mean 'n_mels'"):
        LogMel.from_json({"n_mel": 3})
    with pytest.raises(
        LoadError, match=r"'rate' of a sound format must be a whole number, got 1.5"
    ):
        LogMel.from_json({"rate": 1.5})
    with pytest.raises(
        LoadError, match="needs the entries n_mels, window, hop, frames, got only rate"
    ):
        LogMel.from_json({"rate": 16_000})
