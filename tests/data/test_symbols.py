"""Handwritten and printed characters in one data set."""

from pathlib import Path

import pytest
import torch

from quickstudy.core.describe import describe, rebuild
from quickstudy.core.setting import Setting
from quickstudy.data import DATA, Glyphs, Omniglot, Symbols, omniglot
from quickstudy.data.class_index import check_disjoint

# Frozen: a change here makes old and new numbers incomparable.
HASHES = {"train": "2f4e5ecdbdfe", "val": "6f1d60fdbebd", "test": "caa0ddeffcbd"}


@pytest.fixture
def handwriting(monkeypatch: pytest.MonkeyPatch) -> torch.Tensor:
    """All characters of Omniglot, without needing its archives: drawing m has the number m in its
    first pixels.
    """
    x = torch.zeros(1623 * 20, 1, 28, 28, dtype=torch.uint8)
    number = torch.arange(len(x))
    for at in range(3):
        x[:, 0, 0, at] = (number >> 8 * at) & 255
    monkeypatch.setattr(omniglot, "find_or_download", lambda file, published: Path(file))
    monkeypatch.setattr(omniglot, "prepared", lambda name, sources, make: {"x": x})
    return x


def test_each_split_is_that_of_both(handwriting: torch.Tensor) -> None:
    hand, print_, data = Omniglot(), Glyphs(rotations=True), Symbols()
    splits = {name: data.split(name) for name in ("train", "val", "test")}
    for name, got in splits.items():
        parts = [hand.split(name), print_.split(name)]
        assert (got.name, got.split, got.split_hash) == ("symbols", name, HASHES[name])
        assert got.index.names == tuple(
            f"{part.name}/{n}" for part in parts for n in part.index.names
        )
        for c in (0, 7, len(parts[0].index) - 1):
            assert torch.equal(got.x[got.index.rows_of(c)], parts[0].x[parts[0].index.rows_of(c)])
        for c in (0, 7, len(parts[1].index) - 1):
            assert torch.equal(
                got.x[got.index.rows_of(len(parts[0].index) + c)],
                parts[1].x[parts[1].index.rows_of(c)],
            )
    check_disjoint(splits)


def test_tasks_mix_both_kinds(handwriting: torch.Tensor) -> None:
    data = DATA["symbols"]()
    tasks = data.tasks("train", Setting(n_way=60, n_shot=1, n_query=2), seed=3)
    episode = tasks.batch([0, 1])
    assert episode.support.x.shape == (2, 60, *Symbols.shape)
    assert (tasks.data, tasks.split, tasks.seed) == ("symbols", "train", 3)
    assert torch.equal(
        episode.support.x,
        data.tasks("train", Setting(n_way=60, n_shot=1, n_query=2), seed=3).batch([0, 1]).support.x,
    )
    # What stands in for handwriting here is black but for three pixels.
    printed = (episode.support.x > 0).sum((2, 3, 4)) > 3
    assert 0 < printed.sum() < printed.numel()


def test_its_description_makes_it_again() -> None:
    about = describe(Symbols(drawings=7))
    assert about == {"type": "Symbols", "arguments": {"drawings": 7}}
    assert rebuild(about).drawings == 7
