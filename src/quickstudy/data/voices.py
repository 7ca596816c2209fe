"""Voices: hundreds of speakers that do not exist, spoken on the spot by eSpeak NG, so that there is
nothing to download and no licence to ask for.
"""

import csv
import hashlib
import io
import re
import shutil
import subprocess
import tempfile
import wave
from functools import cache, cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from quickstudy.core.arrays import NDArray
from quickstudy.core.describe import Described
from quickstudy.core.errors import ConfigError, DataError, did_you_mean
from quickstudy.core.rng import uniform
from quickstudy.core.setting import Setting
from quickstudy.core.tasks import AbstractData, AbstractTasks
from quickstudy.data.archives import cached
from quickstudy.data.class_index import ClassDataset, ClassIndex
from quickstudy.data.episodes import Episodes
from quickstudy.data.locations import cache_folder
from quickstudy.data.sounds import LogMel, Recording

SPLITS = ("train", "val", "test")
LIST = resources.files("quickstudy.data") / "splits" / "voices-sentences.csv"

VERSION = 1
"""Of the way of speaking; to be raised with every change of it, as spectrograms are cached."""

_SHARE = {"val": 1 / 8, "test": 1 / 4}  # of the speakers; the rest is for training
_PROGRAM = "espeak-ng"
_GET = (
    "Install it: apt-get install espeak-ng (Debian, Ubuntu), or see github.com/espeak-ng/espeak-ng."
)

# The lines by which eSpeak NG's own English voices differ from each other.
_ACCENTS = (
    ("en-gb",),
    ("en-us", "phonemes en-us", "dictrules 3 6", "stressLength 140 120 190 170 0 0 255 300"),
    (
        "en-gb-scotland",
        "phonemes en-sc",
        "dictrules 2 5 6 7",
        "stressLength 180 130 200 200 0 0 250 270",
    ),
    ("en-gb-x-rp", "phonemes en-rp"),
    ("en-gb-x-gbclan", "phonemes en-n", "stressLength 160 150 180 180 220 220 290 290"),
    ("en-gb-x-gbcwmd", "phonemes en-wm", "dictrules 6", "intonation 4"),
    ("en-029", "phonemes en-wi", "dictrules 8", "stressLength 175 175 175 175 220 220 250 290"),
)

# A vocal tract of another length moves all formants by one factor; each then deviates by itself.
# Half widths of the ranges, as logarithms.
_TRACT, _FORMANT, _STRENGTH, _WIDTH, _PITCH = 0.22, 0.05, 0.35, 0.3, 0.45
_FORMANTS = 7
_MIDDLE = 120.0  # Hz, of a tract of middle length; a shorter tract mostly comes with a higher pitch
# of the curve by which a microphone differs from a perfect one, each of up to _UNEVEN decibels
_PEAKS = 6
_UNEVEN, _NOISE = 6.0, (15.0, 40.0)  # decibels below the voice


class Voices(Described, AbstractData):
    """Synthetic speakers as log-mel spectrograms of 64 filters × 64 windows (1.6 s), a class per
    speaker: for learning to know a voice again.

    A speaker is a length of the vocal tract, deviations of its formants, a pitch and how far it
    moves, roughness, flutter, breath, an accent and a
    pace, all drawn at random: a voice of its own for eSpeak NG, not one of its variants. Utterances
        of a speaker differ in text, a little in
    pitch and pace, in the curve of the microphone and in noise, and in where in the sentence the
    window lies. Speakers of training, validation and testing are drawn apart, and what they say
    differs too. What is learned of such voices is not measured on people's.

    They are made in about a minute at the first use and kept in the cache folder; with the same
    eSpeak NG they are the same everywhere. The sentences were written for this data set. eSpeak NG
    (GPL 3) is run as a program of its own; nothing of it comes with this package.

    Args:
        speakers: of all splits: an eighth for validation, a quarter for testing.
        utterances: of each speaker; a longer series starts with the shorter one.
        seed: of the speakers and what they say.

    Raises:
        ConfigError: for less than 8 speakers, or less than 1 utterance or more than there are texts
            for (20).
        DataError: from `split`, `tasks` and `recording`, where eSpeak NG is not installed.
    """

    name, shape = "voices", LogMel().shape
    sound_format = LogMel().to_json()

    def __init__(self, *, speakers: int = 240, utterances: int = 16, seed: int = 0) -> None:
        most = min(len(texts(split)) for split in SPLITS)
        if speakers < 8 or not 1 <= utterances <= most:
            raise ConfigError(
                f"Voices needs at least 8 speakers and 1 … {most} utterances of each, got "
                f"speakers={speakers} and utterances={utterances}."
            )
        self.utterances, self.seed = utterances, seed
        counts = {split: round(share * speakers) for split, share in _SHARE.items()}
        self._counts = {"train": speakers - sum(counts.values()), **counts}

    def split(self, name: str) -> ClassDataset:
        """The speakers of ``train``, ``val`` or ``test``."""
        self._check(name)
        at = [sum(self._counts[s] for s in SPLITS[:i]) for i in range(len(SPLITS) + 1)]
        i, u = SPLITS.index(name), self.utterances
        x = self._everything[at[i] * u : at[i + 1] * u]
        return ClassDataset(
            self.name,
            f"speakers/{name}",
            x,
            ClassIndex(np.repeat(np.arange(self._counts[name]), u), self.speakers(name)),
        )

    def tasks(self, split: str, setting: Setting, *, seed: int = 0) -> AbstractTasks:
        return Episodes(self.split(split), setting, seed=seed)

    def speakers(self, split: str) -> list[str]:
        """Their names."""
        self._check(split)
        return [f"{split} {i:03d}" for i in range(self._counts[split])]

    def recording(self, speaker: str, utterance: int) -> Recording:
        """A whole utterance, from which its example was cut.

        Raises:
            DataError: for a speaker or an utterance that is not there, or where eSpeak NG is not
                installed.
        """
        split = speaker.partition(" ")[0]
        if split not in SPLITS or speaker not in self.speakers(split):
            known = ", ".join(f"'{self.speakers(s)[0]}' … '{self.speakers(s)[-1]}'" for s in SPLITS)
            raise DataError(f"Voices has no speaker '{speaker}'; they are called {known}.")
        if not 0 <= utterance < self.utterances:
            raise DataError(
                f"Speaker '{speaker}' has utterances 0 … {self.utterances - 1}, not {utterance}. "
                "Ask for one of these."
            )
        text = texts(split)[
            int(np.argsort(uniform(len(texts(split)), *self._key(speaker), "texts"))[utterance])
        ]
        u = uniform(3, *self._key(speaker), utterance)
        with tempfile.TemporaryDirectory() as scratch:
            voice, wav = Path(scratch) / "voice", Path(scratch) / "out.wav"
            voice.write_text(self.voice(speaker), encoding="utf-8")
            pace = self._pace(speaker) * (0.88 + 0.24 * u[0])
            _run(
                "--load",
                "-v",
                voice,
                "-p",
                round(45 + 10 * u[1]),
                "-s",
                round(pace),
                "-w",
                wav,
                text,
            )
            samples, rate = _read(wav)
        return Recording(_through_microphone(samples, rate, *self._key(speaker), utterance), rate)

    def voice(self, speaker: str) -> str:
        """The speaker as a voice file of eSpeak NG (see its docs/voices.md)."""
        u = uniform(10 + 3 * _FORMANTS, *self._key(speaker), "voice")
        s = 2 * u - 1
        tract = np.exp(_TRACT * s[0])
        pitch = _MIDDLE * tract**2 * np.exp(_PITCH * s[1])
        of_formants = s[10:].reshape(3, _FORMANTS)
        frequency = 100 * tract * np.exp(_FORMANT * of_formants[0])
        strength = 100 * np.exp(_STRENGTH * of_formants[1])
        width = 100 * np.exp(_WIDTH * of_formants[2])
        language, *accent = _ACCENTS[int(u[2] * len(_ACCENTS))]
        breath = round(max(0.0, 8 * u[3] - 4))  # half of them have none
        lines = (
            "name speaker",
            f"language {language}",
            *accent,
            f"pitch {pitch:.0f} {pitch * (1.2 + 0.7 * u[4]):.0f}",
            f"roughness {6 * u[5]:.0f}",
            f"flutter {12 * u[6]:.0f}",
            f"voicing {80 + 40 * u[7]:.0f}",
            f"consonants {70 + 60 * u[8]:.0f}",
            f"breath 0 {breath} {breath} {breath} {breath}",
            *(
                f"formant {i} {f:.0f} {a:.0f} {w:.0f}"
                for i, (f, a, w) in enumerate(zip(frequency, strength, width, strict=True))
            ),
        )
        return "\n".join(lines) + "\n"

    def _pace(self, speaker: str) -> float:
        """Words per minute."""
        return 140 + 50 * float(uniform(1, *self._key(speaker), "pace")[0])

    def _key(self, speaker: str) -> tuple[str | int, ...]:
        return ("voices", self.seed, speaker)

    def _check(self, split: str) -> None:
        if split not in SPLITS:
            raise DataError(f"Voices has no split '{split}'. {did_you_mean(split, SPLITS)}")

    @cached_property
    def _everything(self) -> Float[Tensor, "m 1 M F"]:
        """All examples, split by split, speaker by speaker; half precision, as its error is a
        thousandth of a deviation.
        """
        listed = [texts(split) for split in SPLITS]
        depends = (
            VERSION,
            listed,
            self._counts,
            self.utterances,
            self.seed,
            self.sound_format,
            installed(),
        )
        file = (
            cache_folder()
            / f"voices-{hashlib.sha256(repr(depends).encode()).hexdigest()[:12]}.safetensors"
        )
        return cached(
            file,
            lambda: {
                "x": torch.stack(
                    [
                        self._example(s, k)
                        for split in SPLITS
                        for s in self.speakers(split)
                        for k in range(self.utterances)
                    ]
                )
            },
        )["x"]

    def _example(self, speaker: str, utterance: int) -> Float[Tensor, "1 M F"]:
        fmt = LogMel()
        whole = fmt.spectrogram(self.recording(speaker, utterance))
        start = int(
            uniform(1, *self._key(speaker), "window", utterance)[0]
            * (whole.shape[1] - fmt.frames + 1)
        )
        return whole[None, :, start : start + fmt.frames].half()


@cache
def texts(split: str) -> tuple[str, ...]:
    """What is said in a split, in the order of the list that comes with the package."""
    rows = csv.DictReader(io.StringIO(LIST.read_text(encoding="utf-8")))
    return tuple(row["text"] for row in rows if row["split"] == split)


def installed() -> str:
    """The version of eSpeak NG.

    Raises:
        DataError: when it is not installed.
    """
    match = re.search(r"\d+(\.\d+)+\S*", _run("--version"))
    return match[0] if match else "unknown"


def _run(*arguments: object) -> str:
    if shutil.which(_PROGRAM) is None:
        raise DataError(f"Voices are spoken by {_PROGRAM}, which is not installed here. {_GET}")
    done = subprocess.run(
        [_PROGRAM, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        raise _mute(done.stderr.strip() or f"it ended with {done.returncode}")
    return done.stdout


def _mute(why: str) -> DataError:
    return DataError(f"{_PROGRAM} could not speak: {why}. Version 1.50 or later is needed. {_GET}")


def _read(wav: Path) -> tuple[NDArray[np.float64], int]:
    """What was spoken, without the silence around it."""
    if not wav.is_file():
        raise _mute("it wrote no sound")
    with wave.open(str(wav)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2") / 32768
        rate = file.getframerate()
    loud = np.flatnonzero(np.abs(samples) > 0.02 * np.abs(samples).max(initial=1e-9))
    return (samples[loud[0] : loud[-1] + 1] if len(loud) else samples), rate


def _through_microphone(
    samples: NDArray[np.float64], rate: int, *key: str | int
) -> Float[NDArray[np.float32], " n"]:
    """Each time another microphone in another room: a smooth curve over the octaves, noise, and
    loudness.
    """
    from scipy.fft import irfft, next_fast_len, rfft

    u = uniform(_PEAKS + 2, *key, "microphone")
    n: Any = next_fast_len(len(samples), real=True)
    # octaves above 62.5 Hz
    at, centres = (
        np.linspace(0, np.log2(rate / 125), 128),
        np.linspace(0, 7, _PEAKS),
    )
    curve = (
        _UNEVEN * (2 * u[:_PEAKS] - 1) * np.exp(-(((at[:, None] - centres) / 1.2) ** 2) / 2)
    ).sum(1)
    gain = 10 ** (np.interp(np.fft.rfftfreq(n, 1 / rate), 62.5 * 2**at, curve) / 20)
    heard = np.asarray(irfft(np.asarray(rfft(samples, n)) * gain, n))[: len(samples)]
    level = np.sqrt((heard**2).mean())
    noise = np.sqrt(12) * (uniform(len(samples), *key, "noise") - 0.5)  # of unit variance
    heard = heard + level * 10 ** (-(_NOISE[0] + (_NOISE[1] - _NOISE[0]) * u[-2]) / 20) * noise
    return (heard * (0.05 + 0.9 * u[-1]) / np.abs(heard).max()).astype(np.float32)
