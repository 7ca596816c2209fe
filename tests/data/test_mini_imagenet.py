import io
import os
import zipfile
import zlib
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

from quickstudy.core.errors import DataError
from quickstudy.core.setting import Setting
from quickstudy.data import mini_imagenet
from quickstudy.data.class_index import split_hash
from quickstudy.data.mini_imagenet import MiniImageNet

needs_data = pytest.mark.skipif(
    "QUICKSTUDY_DATA" not in os.environ,
    reason="QUICKSTUDY_DATA does not name a folder with mini-imagenet.zip",
)

CLASSES = {"train": ["n03", "n01", "n07"], "val": ["n05"], "test": ["n02", "n06"]}
EACH = 3


def picture(seed, *, size=(84, 84), mode="RGB", kind="png"):
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, kind)
    return file.getvalue()


def table(rows):
    return "filename,label\n" + "".join(f"{name},{label}\n" for name, label in rows)


def write(folder, pictures=None, tables=None):
    """A zip in the form that is promised, with some of its content replaced (or, where None, left
    out).
    """
    content = {}
    for split, classes in CLASSES.items():
        # the classes alternate
        rows = [(f"{label}{i:04}.jpg", label) for i in range(EACH) for label in classes]
        content[f"{split}.csv"] = table(rows)
        content |= {f"images/{name}": picture(zlib.crc32(name.encode())) for name, _ in rows}
    content |= {f"{split}.csv": text for split, text in (tables or {}).items()}
    content |= {f"images/{name}": data for name, data in (pictures or {}).items()}
    with zipfile.ZipFile(folder / "mini-imagenet.zip", "w") as z:
        for name, data in content.items():
            if data is not None:
                z.writestr(name, data)


@pytest.fixture
def root(monkeypatch, tmp_path):
    monkeypatch.setenv("QUICKSTUDY_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("QUICKSTUDY_CACHE", str(tmp_path / "cache"))
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def decoded(root, name):
    with zipfile.ZipFile(root / "mini-imagenet.zip") as z:
        return torch.from_numpy(
            np.array(Image.open(io.BytesIO(z.read(f"images/{name}"))).convert("RGB"))
        ).permute(2, 0, 1)


def test_the_splits_are_those_of_the_tables(root):
    write(root)
    data = MiniImageNet()
    for split, classes in CLASSES.items():
        part = data.split(split)
        assert part.index.names == tuple(sorted(classes))
        assert (part.index.counts == EACH).all()
        assert (part.name, part.split) == ("mini-imagenet", f"own/{split}")
        assert part.x.shape == (len(classes) * EACH, *MiniImageNet.shape)
    assert data.split("trainval").index.names == (*sorted(CLASSES["train"]), *CLASSES["val"])


def test_every_row_is_the_picture_of_its_file(root):
    write(root)
    data = MiniImageNet()
    for split, classes in CLASSES.items():
        part = data.split(split)
        for c, label in enumerate(sorted(classes)):
            for i, row in enumerate(part.index.rows_of(c)):
                assert torch.equal(part.x[row], decoded(root, f"{label}{i:04}.jpg"))


def test_pictures_are_normalised_as_torchvision_does(root):
    write(root)
    part = MiniImageNet().split("val")
    out = part.gather(np.array([1]))[0]
    for c, (mean, std) in enumerate(zip((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True)):
        torch.testing.assert_close(out[c], (part.x[1, c] / 255 - mean) / std)


def test_pictures_of_any_size_kind_and_colour_are_brought_into_form(root):
    grey, wide, palette = picture(1, mode="L"), picture(2, size=(100, 60)), picture(3, mode="P")
    write(root, {"n050000.jpg": grey, "n050001.jpg": wide, "n050002.jpg": palette})
    part = MiniImageNet().split("val")
    assert torch.equal(part.x[0, 0], part.x[0, 2])
    assert part.x.shape[1:] == (3, 84, 84)
    resized = Image.open(io.BytesIO(wide)).resize((84, 84), Image.Resampling.LANCZOS)
    assert torch.equal(part.x[1], torch.from_numpy(np.array(resized)).permute(2, 0, 1))


def test_they_are_read_once_and_then_come_from_the_cache(root, monkeypatch):
    write(root)
    before = MiniImageNet().split("test")
    monkeypatch.setattr(mini_imagenet, "_read", lambda *_: pytest.fail("read again"))
    after = MiniImageNet().split("test")
    assert torch.equal(before.x, after.x)
    assert before.split_hash == after.split_hash


def test_tasks(root):
    write(root)
    e = MiniImageNet().tasks("train", Setting(3, 1, 2), seed=1).batch([0, 1])
    assert e.support.x.shape == (2, 3, *MiniImageNet.shape)
    assert e.query.x.shape == (2, 6, *MiniImageNet.shape)


def refused(root, **content):
    write(root, **content)
    with pytest.raises(DataError) as caught:
        MiniImageNet().split("train")
    return str(caught.value)


def test_without_the_zip_it_says_what_to_make(root):
    with pytest.raises(DataError) as caught:
        MiniImageNet().split("train")
    message = str(caught.value)
    assert message.startswith(f"mini-imagenet.zip is not in {root}.")
    for part in (
        "images/",
        "train.csv, val.csv, test.csv",
        "filename,label",
        "QUICKSTUDY_DATA",
        "--data-root",
    ):
        assert part in message


def test_a_file_that_is_no_zip(root):
    (root / "mini-imagenet.zip").write_bytes(b"<html>not found</html>")
    with pytest.raises(
        DataError, match=r"mini-imagenet\.zip must hold train\.csv, val\.csv and test\.csv"
    ):
        MiniImageNet().split("train")


@pytest.mark.parametrize("text", [None, "name,class\na.jpg,n01\n", b"\xff\xfe\x80"])
def test_tables_that_are_missing_or_of_another_form(root, text):
    assert (
        "must hold train.csv, val.csv and test.csv with the columns filename and label"
        in refused(root, tables={"val": text})
    )


def test_a_class_in_two_splits(root):
    message = refused(root, tables={"test": table([("n010000.jpg", "n01")])})
    assert "Class 'n01' is in both the train and the test split" in message


def test_a_picture_that_is_missing(root):
    assert "images/n010001.jpg is missing or damaged" in refused(
        root, pictures={"n010001.jpg": None}
    )


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"text",
        b"\xff\xd8\xff\xe0" + bytes(100),
        picture(1)[:200],
        picture(1, kind="jpeg")[:300],
    ],
)
def test_a_picture_that_is_damaged(root, damage):
    message = refused(root, pictures={"n010001.jpg": damage})
    assert "mini-imagenet.zip: images/n010001.jpg is " in message
    assert any(word in message for word in ("empty", "damaged", "not an image"))


def test_a_zip_that_is_damaged_in_the_middle(root):
    write(root)
    file = root / "mini-imagenet.zip"
    content = bytearray(file.read_bytes())
    at = content.find(b"images/n010001.jpg") + 300
    content[at] ^= 255
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"images/n010001\.jpg is missing or damaged: Bad CRC-32"):
        MiniImageNet().split("train")
    assert not list((root.parent / "cache").glob("*"))


def test_an_unknown_split(root):
    write(root)
    with pytest.raises(
        DataError,
        match=r"miniImageNet has no split 'valid'\. Did you mean 'val'\? Known: test, train, "
        r"trainval, val\.",
    ):
        MiniImageNet().split("valid")


# --- the real zip: its tables, and a few of its pictures (all of them take 1.3 GB)


@needs_data
def test_the_real_tables_are_the_split_of_ravi_and_larochelle():
    data = MiniImageNet()
    assert {s: len(classes) for s, classes in data._lists.items()} == {
        "train": 64,
        "val": 16,
        "test": 20,
    }
    counts = {s: Counter(label for _, label in rows) for s, rows in data._tables.items()}
    assert all(set(c.values()) == {600} for c in counts.values())
    frozen = {"train": "932c42e1258c", "val": "ad082636ce7c", "test": "45b35a6021b0"}
    assert {s: split_hash(c) for s, c in counts.items()} == frozen
    files = [f for rows in data._tables.values() for f, _ in rows]
    assert len(set(files)) == 60_000
    assert data._split_name == "ravi"


@needs_data
def test_real_pictures_can_be_read():
    data = MiniImageNet()
    files = [f for rows in data._tables.values() for f, _ in rows[::2000]]
    x = mini_imagenet._read(data._archive, files)
    assert x.shape == (len(files), *MiniImageNet.shape)
    assert x.dtype == torch.uint8
    pixels = x.float().div(255)
    for c, (mean, std) in enumerate(zip(mini_imagenet._MEAN, mini_imagenet._STD, strict=True)):
        assert pixels[:, c].mean() == pytest.approx(mean, abs=0.12)
        assert pixels[:, c].std() == pytest.approx(std, abs=0.1)
    assert len({p.numpy().tobytes() for p in x}) == len(files)
