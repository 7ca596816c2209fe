"""Synthetic speakers."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from quickstudy.core.describe import describe, rebuild
from quickstudy.core.errors import ConfigError, DataError
from quickstudy.core.setting import Setting
from quickstudy.data import LogMel, Voices
from quickstudy.data.class_index import check_disjoint
from quickstudy.data.voices import SPLITS, installed, texts

spoken = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
SMALL = {"speakers": 8, "utterances": 3}


@pytest.fixture(scope="module")
def voices(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Voices]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QUICKSTUDY_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield Voices(**SMALL)


def test_what_is_said_in_one_split_is_said_in_no_other() -> None:
    said = [text for split in SPLITS for text in texts(split)]
    assert [len(texts(split)) for split in SPLITS] == [60, 20, 20]
    assert len(set(said)) == len(said)
    assert all(text == text.strip() and not text.startswith("-") for text in said)


def test_every_speaker_has_a_voice_of_its_own() -> None:
    data = Voices()
    everybody = [s for split in SPLITS for s in data.speakers(split)]
    assert [len(data.speakers(split)) for split in SPLITS] == [150, 30, 60]
    assert len({data.voice(s) for s in everybody}) == len(everybody) == 240
    assert (
        data.voice("test 000")
        == Voices(speakers=8).voice("test 000")
        != Voices(seed=1).voice("test 000")
    )
    lines = [line.split() for line in data.voice("train 007").splitlines()]
    assert [line[0] for line in lines].count("formant") == 7
    assert all(not line[0].startswith(("<", "#")) for line in lines)


@spoken
def test_splits_have_their_speakers_and_their_size(voices: Voices) -> None:
    splits = {name: voices.split(name) for name in SPLITS}
    check_disjoint(splits)
    assert [len(data.index) for data in splits.values()] == [5, 1, 2]
    for name, data in splits.items():
        assert data.split == f"speakers/{name}"
        assert data.x.shape == (3 * len(data.index), *Voices.shape)
    episode = voices.tasks("test", Setting(2, 1, 2)).batch([0, 1])
    assert episode.query.x.shape == (2, 4, 1, 64, 64)
    assert episode.query.x.dtype == torch.float32
    assert LogMel.from_json(Voices.sound_format).shape == Voices.shape


@spoken
def test_an_example_is_a_window_of_its_utterance(voices: Voices) -> None:
    data = voices.split("test")
    whole = LogMel().spectrogram(voices.recording("test 001", 2))
    example = data.x[int(data.index.rows_of(1)[2]), 0].float()
    gaps = [(whole[:, s : s + 64] - example).abs().max() for s in range(whole.shape[1] - 63)]
    assert min(gaps) < 2e-3


@spoken
def test_the_same_is_spoken_everywhere_and_a_longer_series_starts_with_the_shorter(
    voices: Voices, tmp_path: Path, monkeypatch
) -> None:
    x = voices.split("train").x
    monkeypatch.setenv("QUICKSTUDY_CACHE", str(tmp_path))
    longer = Voices(speakers=8, utterances=4).split("train")
    for c in range(5):
        assert torch.equal(
            longer.x[torch.from_numpy(longer.index.rows_of(c)[:3])], x[3 * c : 3 * c + 3]
        )
    (file,) = tmp_path.iterdir()
    written = file.stat().st_mtime_ns
    assert torch.equal(Voices(speakers=8, utterances=4).split("train").x, longer.x)
    assert file.stat().st_mtime_ns == written


@spoken
def test_utterances_differ_less_within_a_speaker_than_between(voices: Voices) -> None:
    x = voices.split("train").x.float().mean(3)[:, 0].view(5, 3, 64)  # the mean spectrum
    x = (x - x.mean((0, 1))).flatten(0, 1)
    apart = torch.cdist(x, x).view(5, 3, 5, 3).transpose(1, 2)  # [S S U U]
    within = apart[torch.arange(5), torch.arange(5)].sum() / (5 * 3 * 2)
    between = apart[~torch.eye(5, dtype=torch.bool)].mean()
    assert 0 < 1.2 * within < between


@spoken
def test_what_is_heard_is_a_voice(voices: Voices) -> None:
    one, other = (voices.recording("val 000", k) for k in (0, 1))
    assert one.rate == 22_050
    assert 1.6 < one.seconds < 8
    assert np.abs(one.samples).max() <= 0.95 + 1e-6
    assert one.samples.shape != other.samples.shape


def test_mistakes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for wrong in ({"speakers": 7}, {"utterances": 0}, {"utterances": 21}):
        with pytest.raises(
            ConfigError,
            match=r"at least 8 speakers and 1 … 20 utterances of each, got speakers=.* and "
            r"utterances=",
        ):
            Voices(**wrong)
    with pytest.raises(DataError, match=r"Voices has no split 'tets'. Did you mean 'test'"):
        Voices().split("tets")
    for wrong in ("val 030", "nobody", "train x", "tests 001", ""):
        with pytest.raises(
            DataError,
            match=f"Voices has no speaker '{wrong}'; they are called 'train 000' … 'train 149', "
            "'val 000' …",
        ):
            Voices().recording(wrong, 0)
    with pytest.raises(DataError, match="Speaker 'val 000' has utterances 0 … 15, not 16"):
        Voices().recording("val 000", 16)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("QUICKSTUDY_CACHE", str(tmp_path))
    with pytest.raises(
        DataError,
        match=r"spoken by espeak-ng, which is not installed here. Install it: apt-get install "
        r"espeak-ng",
    ):
        Voices().split("train")
    program = tmp_path / "espeak-ng"
    program.write_text(
        "#!/bin/sh\n[ $1 = --version ] && echo eSpeak NG text-to-speech: 1.48  Data at: /x && "
        "exit\necho no such option >&2; exit 3\n"
    )
    program.chmod(0o755)
    assert installed() == "1.48"
    with pytest.raises(
        DataError,
        match=r"espeak-ng could not speak: no such option\. Version 1\.50 or later is needed",
    ):
        Voices().recording("val 000", 0)
    program.write_text("#!/bin/sh\n")
    with pytest.raises(
        DataError, match=r"espeak-ng could not speak: it wrote no sound\. Version 1\.50"
    ):
        Voices().recording("val 000", 0)


def test_it_can_be_described() -> None:
    again = rebuild(describe(Voices(speakers=16, seed=3)))
    assert describe(again) == describe(Voices(speakers=16, seed=3))
    assert again.speakers("test") == ["test 000", "test 001", "test 002", "test 003"]
