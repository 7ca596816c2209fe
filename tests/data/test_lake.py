"""The 20-way runs within one alphabet: those that are drawn, and the official layout."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from quickstudy.core.errors import DataError
from quickstudy.data import ClassDataset, ClassIndex, LakeArchive, LakeRuns
from quickstudy.data.images import ImageFormat

_DRAWERS = 6
_FORMAT = ImageFormat(size=28, channels=1, invert=True)


def _alphabets(n: int, characters: int = 23) -> ClassDataset:
    """Characters whose only pixel is the number of the character and the drawer."""
    names = [f"alphabet{a}/character{c:02}" for a in range(n) for c in range(characters)]
    labels = np.repeat(np.arange(len(names)), _DRAWERS)
    x = torch.stack((torch.from_numpy(labels % 256), torch.arange(len(labels)) % _DRAWERS), 1)
    return ClassDataset("omniglot", "lake/test", x.to(torch.uint8), ClassIndex(labels, names))


def test_a_run_holds_twenty_characters_of_one_alphabet_by_two_drawers() -> None:
    runs = LakeRuns(_alphabets(12))
    episode = runs.batch(range(20))
    support, query = (255 * part.x.round(decimals=6) for part in (episode.support, episode.query))
    assert support.shape == (20, 20, 2)
    assert support[..., 0].equal(query[..., 0])
    assert episode.support.y.equal(episode.query.y)
    for i in range(20):
        characters = runs.characters(i)
        assert len(set(characters)) == 20
        assert len({name.partition("/")[0] for name in characters}) == 1
        drawers = (
            support[i, :, 1].round().unique().tolist(),
            query[i, :, 1].round().unique().tolist(),
        )
        assert len(drawers[0]) == len(drawers[1]) == 1
        assert drawers[0] != drawers[1]
    alphabets = [runs.characters(i)[0].partition("/")[0] for i in range(20)]
    assert all(alphabets.count(name) == 2 for name in alphabets)


def test_two_runs_of_an_alphabet_have_other_drawers_and_a_seed_names_them_all() -> None:
    data = _alphabets(12)
    runs = LakeRuns(data)
    for first in range(0, 20, 2):
        pair = runs.batch([first, first + 1])
        drawers = torch.cat((pair.support.x[:, 0, 1], pair.query.x[:, 0, 1]))
        assert len(drawers.unique()) == 4
    again = LakeRuns(data).batch([7])
    assert again.support.x[0].equal(runs.batch([3, 7]).support.x[1])
    assert not again.support.x.equal(LakeRuns(data, seed=1).batch([7]).support.x)


def test_small_alphabets_are_no_source_of_runs() -> None:
    with pytest.raises(DataError, match="has 9"):
        LakeRuns(_alphabets(9))
    with pytest.raises(DataError, match="has 0"):
        LakeRuns(_alphabets(12, characters=19))


@pytest.fixture
def all_runs(tmp_path: Path) -> Path:
    """Two official runs of three characters; a test file is as dark as its training file."""
    folder = tmp_path / "all_runs"
    for run in ("run01", "run02"):
        lines = []
        for part in ("training", "test"):
            (folder / run / part).mkdir(parents=True)
        for item in range(3):
            training = (item + 1) % 3
            for name, shade in (
                (f"training/class0{training + 1}", training),
                (f"test/item0{item + 1}", training),
            ):
                Image.new("1" if shade > 2 else "L", (105, 105), 60 * shade).save(
                    folder / run / f"{name}.png"
                )
            lines.append(f"{run}/test/item0{item + 1}.png {run}/training/class0{training + 1}.png")
        (folder / run / "class_labels.txt").write_text("\n".join(lines) + "\n")
    return folder


def test_the_official_layout_is_read(all_runs: Path) -> None:
    for folder in (all_runs, all_runs.parent):
        tasks = LakeArchive(folder, _FORMAT)
        episode = tasks.batch([0, 1])
        assert len(tasks.runs) == 2
        assert tasks.setting.n_way == 3
        assert episode.support.x.shape == episode.query.x.shape == (2, 3, 1, 28, 28)
        matching = episode.support.x.gather(
            1, episode.query.y[..., None, None, None].expand_as(episode.query.x)
        )
        assert matching.equal(episode.query.x)
        assert episode.query.y[0].tolist() == [1, 2, 0]


def test_labels_that_do_not_fit_the_files_are_named(all_runs: Path) -> None:
    labels = all_runs / "run02" / "class_labels.txt"
    good = labels.read_text()
    for text, message in (
        (good.replace("item03", "item09"), r"line 3: .*item09\.png is not there"),
        (good.replace("run02/training/class02.png", "../secret.png"), "line 1: expected"),
        ("run02/test/item01.png\n", "line 1: expected"),
        ("", "different numbers"),
    ):
        labels.write_text(text)
        with pytest.raises(DataError, match=message):
            LakeArchive(all_runs, _FORMAT)
    labels.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        LakeArchive(all_runs, _FORMAT)
    with pytest.raises(DataError, match="no run"):
        LakeArchive(all_runs / "run01", _FORMAT)
