import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from quickstudy.core.errors import ConfigError, DataError, DownloadError
from quickstudy.core.setting import Setting
from quickstudy.data import omniglot
from quickstudy.data.class_index import check_disjoint
from quickstudy.data.omniglot import Omniglot

needs_data = pytest.mark.skipif(
    "QUICKSTUDY_DATA" not in os.environ,
    reason="QUICKSTUDY_DATA does not name a folder with the archives",
)

# Frozen: the lists of characters and their sizes. A change here makes old and new numbers
# incomparable.
COUNTS = {
    "vinyals": {"train": 1028, "val": 172, "test": 423, "trainval": 1200},
    "maml": {"train": 1100, "val": 100, "test": 423, "trainval": 1200},
    "lake": {"train": 867, "val": 97, "test": 659, "trainval": 964},
}
HASHES = {
    ("vinyals", True): {
        "train": "4cb9a2c203b3",
        "val": "f349f6ee9f96",
        "test": "b503f916541a",
        "trainval": "558db38969ea",
    },
    ("vinyals", False): {
        "train": "79ba6c108a4e",
        "val": "4d73dee67546",
        "test": "c8521177ef3c",
        "trainval": "782cb535d6ba",
    },
    ("maml", True): {
        "train": "a64eb8f3c215",
        "val": "931083030a18",
        "test": "cce09a26ba60",
        "trainval": "4d5498baa53d",
    },
    ("maml", False): {
        "train": "eec9fd3660b7",
        "val": "e3a7e86bef28",
        "test": "0a74bd5c6314",
        "trainval": "128d909912b7",
    },
    ("lake", True): {
        "train": "b41580fbd9ba",
        "val": "267610562a83",
        "test": "76b2db4e05f7",
        "trainval": "82b4c87566f1",
    },
    ("lake", False): {
        "train": "1d22ce8cee18",
        "val": "f755aa0adb64",
        "test": "28149ba295c4",
        "trainval": "0827940b77e0",
    },
}


@pytest.fixture
def blank(monkeypatch):
    """All characters and all splits, on drawings of one pixel of ink."""
    x = torch.zeros(1623 * 20, 1, 28, 28, dtype=torch.uint8)
    x[:, 0, 3, 7] = 255
    monkeypatch.setattr(omniglot, "find_or_download", lambda file, published: Path(file))
    monkeypatch.setattr(omniglot, "prepared", lambda name, sources, make: {"x": x})


# --- splits


@pytest.mark.parametrize("rotations", [True, False])
@pytest.mark.parametrize("protocol", sorted(COUNTS))
def test_every_protocol_has_its_classes_and_its_name(blank, protocol, rotations):
    data = Omniglot(protocol=protocol, rotations=rotations)
    for split, n in COUNTS[protocol].items():
        part = data.split(split)
        assert len(part.index) == n * (4 if rotations else 1)
        assert (part.index.counts == 20).all()
        assert part.split_hash == HASHES[protocol, rotations][split]
        assert (part.name, part.split) == ("omniglot", f"{protocol}/{split}")
        assert part.x.shape == (len(part.index) * 20, *Omniglot.shape)


@pytest.mark.parametrize("protocol", sorted(COUNTS))
def test_no_character_is_in_two_splits_and_together_they_are_all(blank, protocol):
    data = Omniglot(protocol=protocol, rotations=False)
    splits = {s: data.split(s) for s in ("train", "val", "test")}
    check_disjoint(splits)
    assert sum(len(s.index) for s in splits.values()) == 1623
    assert set(data.split("trainval").index.names) == {
        *splits["train"].index.names,
        *splits["val"].index.names,
    }


def test_lake_keeps_alphabets_apart_and_takes_every_tenth_character_for_validation(blank):
    data = Omniglot(protocol="lake", rotations=False)
    alphabets = {
        s: {name.split("/")[0] for name in data.split(s).index.names} for s in ("trainval", "test")
    }
    assert len(alphabets["trainval"]) == 30
    assert len(alphabets["test"]) == 20
    assert not alphabets["trainval"] & alphabets["test"]
    background = [n for n, row in omniglot._names().items() if row["set"] == "background"]
    assert list(data.split("val").index.names) == background[::10]


def test_rotations_are_turned_drawings(blank):
    test = Omniglot().split("test")
    for quarter, at in ((0, (3, 7)), (1, (20, 3)), (2, (24, 20)), (3, (7, 24))):
        name = test.index.names[423 * quarter]
        assert name.endswith(f"/rot{90 * quarter}") == bool(quarter)
        drawing = test.gather(test.index.rows_of(423 * quarter)[:1])[0, 0]
        assert drawing.nonzero().tolist() == [list(at)]
        assert drawing[at] == 1


def test_the_protocols_differ(blank):
    names = {p: Omniglot(protocol=p, rotations=False).split("test").index.names for p in COUNTS}
    assert len({frozenset(n) for n in names.values()}) == 3


def rows_of(drawn):
    """Support and query of each class, of a task with one of each."""
    return np.stack((drawn.support, drawn.query), 1).tolist()


def test_tasks_never_change(blank):
    tasks = Omniglot().tasks("test", Setting(5, 1, 1))
    assert rows_of(tasks._draw(0)) == [
        [1363, 1377],
        [6650, 6654],
        [29824, 29836],
        [17154, 17143],
        [2026, 2033],
    ]
    assert rows_of(tasks._draw(99_999)) == [
        [32501, 32509],
        [32901, 32906],
        [1447, 1459],
        [14221, 14225],
        [28065, 28076],
    ]
    assert (tasks.data, tasks.split, tasks.split_hash) == (
        "omniglot",
        "vinyals/test",
        HASHES["vinyals", True]["test"],
    )
    assert tasks.batch([0]).support.x.shape == (1, 5, *Omniglot.shape)


def test_unknown_names_get_the_nearest_spelling(blank):
    with pytest.raises(
        ConfigError,
        match=r"no protocol 'vinals'\. Did you mean 'vinyals'\? Known: lake, maml, vinyals\.",
    ):
        Omniglot(protocol="vinals")
    with pytest.raises(DataError, match=r"no split 'tests'\. Did you mean 'test'\?"):
        Omniglot().split("tests")


def test_offline_without_archives(monkeypatch, tmp_path):
    monkeypatch.setenv("QUICKSTUDY_DATA", str(tmp_path))
    monkeypatch.setenv("QUICKSTUDY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(omniglot, "_URL", "http://127.0.0.1:9/")
    with pytest.raises(DownloadError, match=r"images_background\.zip is neither in"):
        Omniglot().split("test")


# --- the reader, on two characters of three drawings


def png(ink_at, *, mode="L", size=105):
    """Black ink on white, as the authors distribute it: a square of ink around a point."""
    image = Image.new(mode, (size, size), color=1 if mode == "1" else 255)
    column, row = ink_at
    image.paste(0, (column - 10, row - 10, column + 10, row + 10))
    file = io.BytesIO()
    image.save(file, "png")
    return file.getvalue()


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Archives in the authors' form, and where each drawing's ink is."""
    monkeypatch.setattr(
        omniglot, "_names", lambda: {"Elvish/character02": {}, "Runic/character01": {}}
    )
    monkeypatch.setattr(omniglot, "_DRAWINGS", 3)
    files = [tmp_path / "images_background.zip", tmp_path / "images_evaluation.zip"]
    for file, name in zip(files, ("Runic/character01", "Elvish/character02"), strict=True):
        with zipfile.ZipFile(file, "w") as z:
            z.writestr(f"{file.stem}/{name}/", b"")
            z.writestr("__MACOSX/readme.txt", b"no drawing")
            for drawing in (3, 1, 2):
                where = (20 + 10 * drawing, 20 if "Runic" in name else 80)
                z.writestr(
                    f"{file.stem}/{name}/0007_{drawing:02}.png",
                    png(where, mode="1" if drawing == 2 else "L"),
                    zipfile.ZIP_DEFLATED,
                )
    return files


def test_drawings_come_in_the_order_of_the_table_and_of_their_file_names(small):
    x = omniglot._read(small)
    assert x.shape == (6, 1, 28, 28)
    assert x.dtype == torch.uint8
    ink = (x > 127)[:, 0].double()
    columns = (ink.sum(1) * torch.arange(28)).sum(1) / ink.sum((1, 2))
    rows = (ink.sum(2) * torch.arange(28)).sum(1) / ink.sum((1, 2))
    expected = [(20 + 10 * d) * 28 / 105 - 0.5 for d in (1, 2, 3)]
    assert columns.tolist() == pytest.approx(expected * 2, abs=0.3)
    assert rows.tolist() == pytest.approx(
        [80 * 28 / 105 - 0.5] * 3 + [20 * 28 / 105 - 0.5] * 3, abs=0.3
    )


def test_ink_is_one_and_paper_is_zero(small):
    x = omniglot._read(small)
    assert (x[:, 0, 0] < 10).all()
    assert (x.flatten(1).max(1).values == 255).all()
    assert (x > 127).double().mean() == pytest.approx(20 * 20 / 105**2, rel=0.2)


def test_a_missing_drawing_is_named(small):
    with zipfile.ZipFile(small[0], "w") as z:
        z.writestr("images_background/Runic/character01/0007_01.png", png((50, 50)))
    with pytest.raises(
        DataError, match=r"1 characters differ, the first being Runic/character01 with 1"
    ):
        omniglot._read(small)


@pytest.mark.parametrize("damage", ["cut", "no zip", "flipped", "no image"])
def test_broken_archives_are_data_errors(small, damage):
    content = bytearray(small[1].read_bytes())
    if damage == "flipped":
        start = content.find(b"0007_03.png") + 20
        content[start : start + 40] = bytes(255 - b for b in content[start : start + 40])
    if damage == "no image":
        with zipfile.ZipFile(small[1], "w") as z:
            z.writestr(
                "images_evaluation/Elvish/character02/0007_01.png",
                b"\x89PNG\r\n\x1a\n" + b"text" * 10,
            )
    else:
        small[1].write_bytes(
            {
                "cut": content[: len(content) // 2],
                "no zip": b"<html>404</html>",
                "flipped": content,
            }[damage]
        )
    with pytest.raises(DataError) as caught:
        omniglot._read(small)
    assert str(caught.value).startswith(f"{small[1]}")
    assert any(
        words in str(caught.value)
        for words in ("not a readable archive", "missing or damaged", "is damaged or incomplete")
    )


# --- the real archives (read once, then from the cache folder)


@needs_data
def test_the_real_drawings_are_white_ink_on_black():
    data = Omniglot(rotations=False)
    test = data.split("test")
    drawings = test.gather(np.arange(0, len(test.x), 7))
    assert drawings.shape[1:] == Omniglot.shape
    assert drawings.min() == 0
    assert drawings.max() == 1
    assert 0.05 < drawings.mean() < 0.12
    assert (drawings == 0).float().mean() > 0.6
    assert (drawings.flatten(1).max(1).values > 0.5).all()


@needs_data
@pytest.mark.parametrize("c", [0, 100, 422])
def test_the_real_drawings_are_where_their_names_say(c):
    test = Omniglot(rotations=False).split("test")
    name = test.index.names[c]
    part = omniglot._names()[name]["set"]
    with zipfile.ZipFile(
        omniglot.find_or_download(f"images_{part}.zip", omniglot._ARCHIVES[f"images_{part}.zip"])
    ) as z:
        entries = sorted(e for e in z.namelist() if f"/{name}/" in e and e.endswith(".png"))
        for row, entry in zip(test.index.rows_of(c), entries, strict=True):
            assert torch.equal(test.x[row], omniglot._drawing(z.read(entry), entry))


@needs_data
def test_real_tasks_can_be_told_apart_by_their_pixels():
    e = Omniglot().tasks("test", Setting(5, 5, 5)).batch(range(20))
    x, q = e.support.x.flatten(2), e.query.x.flatten(2)
    nearest = e.support.y.gather(1, torch.cdist(q, x).argmin(-1))
    assert (nearest == e.query.y).float().mean() > 0.55  # chance is 0.2
