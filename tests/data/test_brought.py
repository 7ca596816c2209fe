"""CIFAR-FS, FC100, CUB and tieredImageNet, from small archives of the published layouts."""

import io
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from quickstudy.core.errors import DataError, ImageError
from quickstudy.core.setting import Setting
from quickstudy.data import CUB, FC100, CifarFS, TieredImageNet, cifar, cub, tiered_imagenet
from quickstudy.data.brought import check_published, split_table

TABLE = split_table("cifar-100.csv")
CLASSES = sorted(row["class"] for row in TABLE)
EACH = 2


@pytest.fixture
def root(monkeypatch, tmp_path):
    monkeypatch.setenv("QUICKSTUDY_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("QUICKSTUDY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cifar, "_EACH", EACH)
    monkeypatch.setattr(cifar, "_PUBLISHED", {})
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def pixels(number: int, side: int = 32) -> np.ndarray:
    """[H W 3]; each number gives another picture."""
    return np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)


def png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "png")
    return file.getvalue()


def write(path: Path, files: dict[str, bytes]) -> None:
    """A folder, a zip or a tar.gz, by the name of the path."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
    elif path.suffix in (".gz", ".tgz", ".tar"):
        with tarfile.open(path, "w" if path.suffix == ".tar" else "w:gz") as archive:
            for name, content in files.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    else:
        for name, content in files.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(content)


# --- CIFAR-100 in its forms: picture 2c + i is the i-th of class c


def binary() -> dict[str, bytes]:
    def records(i: int) -> bytes:
        return b"".join(
            bytes([0, c]) + pixels(2 * c + i).transpose(2, 0, 1).tobytes() for c in range(100)
        )

    return {
        "cifar-100-binary/train.bin": records(0),
        "cifar-100-binary/test.bin": records(1),
        "cifar-100-binary/fine_label_names.txt": "\n".join(CLASSES).encode(),
    }


def python() -> dict[str, bytes]:
    def part(i: int) -> bytes:
        data = np.stack([pixels(2 * c + i).transpose(2, 0, 1).ravel() for c in range(100)])
        return pickle.dumps({b"data": data, b"fine_labels": list(range(100))}, protocol=2)

    return {
        "cifar-100-python/train": part(0),
        "cifar-100-python/test": part(1),
        "cifar-100-python/meta": pickle.dumps({"fine_label_names": CLASSES}, protocol=2),
    }


def folders() -> dict[str, bytes]:
    return {
        f"cifar100/data/{name}/{name}_{i}.png": png(pixels(2 * c + i))
        for c, name in enumerate(CLASSES)
        for i in range(EACH)
    } | {"cifar100/splits/bertinetto/train.txt": b"apple\n"}


def numbers_of(column: str, split: str) -> list[int]:
    """The classes of a split, as numbers in the order of their names."""
    return sorted(CLASSES.index(row["class"]) for row in TABLE if row[column] == split)


def split_pickles(prefix: str, column: str) -> dict[str, bytes]:
    files = {}
    for split in ("train", "val", "test"):
        rows = numbers_of(column, split)
        data = np.stack([pixels(2 * c + i) for c in rows for i in range(EACH)])
        labels = [k for k in range(len(rows)) for _ in range(EACH)]
        content = pickle.dumps({"data": data, "labels": labels}, protocol=2)
        files[f"{prefix}_{split}.pickle"] = content
    return files


FORMS = [
    ("cifar-100-binary.tar.gz", binary),
    ("cifar-100-binary", lambda: {n.partition("/")[2]: c for n, c in binary().items()}),
    ("cifar-100-python.tar.gz", python),
    ("cifar100.zip", folders),
]


@pytest.mark.parametrize(("file", "files"), FORMS, ids=[f for f, _ in FORMS])
def test_every_form_of_cifar_100_gives_the_same_pictures(root, file, files) -> None:
    write(root / file, files())
    for data, sizes in ((CifarFS(), (64, 16, 20)), (FC100(), (60, 20, 20))):
        parts = {split: data.split(split) for split in ("train", "val", "test")}
        assert tuple(len(part.index) for part in parts.values()) == sizes
        for split, part in parts.items():
            assert part.split == f"{data._authors}/{split}"
            for c, name in enumerate(part.index.names):
                rows = part.index.rows_of(c)
                expected = [pixels(2 * CLASSES.index(name) + i) for i in range(EACH)]
                np.testing.assert_array_equal(
                    part.x[rows], np.stack(expected).transpose(0, 3, 1, 2)
                )
        assert not set(parts["train"].index.names) & set(parts["test"].index.names)


@pytest.mark.parametrize(
    ("data", "file", "prefix"),
    [(CifarFS, "CIFAR_FS.zip", "CIFAR_FS"), (FC100, "FC100", "FC100")],
)
def test_pickles_by_split(root, data, file, prefix) -> None:
    write(root / file, split_pickles(prefix, data.name))
    part = data().split("val")
    rows = numbers_of(data.name, "val")
    assert (part.split, len(part.index)) == (f"{data._authors}/val", len(rows))
    np.testing.assert_array_equal(part.x[0], pixels(2 * rows[0]).transpose(2, 0, 1))
    e = data().tasks("train", Setting(3, 1, 1)).batch([0])
    assert e.support.x.shape == (1, 3, 3, 32, 32)


def test_the_lists_are_those_of_the_papers() -> None:
    of = {s: {r["class"] for r in TABLE if r["cifar-fs"] == s} for s in ("val", "test")}
    assert {"otter", "tractor", "sea"} < of["val"]
    assert {"baby", "worm", "rocket"} < of["test"]
    superclasses = sorted({r["superclass"] for r in TABLE})
    fc100 = {r["superclass"]: r["fc100"] for r in TABLE}
    # by number, as TADAM's script has them
    for split, numbers in (("val", (8, 11, 13, 16)), ("test", (0, 7, 12, 14))):
        assert [n for n, s in enumerate(superclasses) if fc100[s] == split] == list(numbers)
    assert all(sum(r["superclass"] == s for r in TABLE) == 5 for s in superclasses)
    tiered = split_table("tiered-imagenet-ren.csv")
    assert {s: sum(r["split"] == s for r in tiered) for s in ("train", "val", "test")} == {
        "train": 351,
        "val": 97,
        "test": 160,
    }
    categories = {s: {r["category"] for r in tiered if r["split"] == s} for s in ("train", "test")}
    assert [len(c) for c in categories.values()] == [20, 8]
    assert not categories["train"] & categories["test"]


def test_what_is_missing_is_named(root) -> None:
    for data in (CifarFS(), FC100(), CUB(), TieredImageNet()):
        with pytest.raises(DataError, match=r"is not in .* Put it there as .*--set data\.path"):
            data.split("train")
    with pytest.raises(DataError, match=r"there is no .*nowhere"):
        CifarFS(path=str(root / "nowhere")).split("train")


def test_pictures_that_are_missing(root) -> None:
    files = folders()
    del files["cifar100/data/worm/worm_1.png"]
    write(root / "cifar100.zip", files)
    with pytest.raises(DataError, match="of worm there are 1 images where 2 were published"):
        CifarFS().split("train")
    assert CifarFS(check=False).split("train").split == "own/train"


def test_another_file_than_was_published(root, monkeypatch) -> None:
    archive = root / "cifar-100-binary.tar.gz"
    write(archive, binary())
    known = {"cifar-100-binary.tar.gz": ("md5", "0" * 32)}
    monkeypatch.setattr(cifar, "_PUBLISHED", known)
    with pytest.raises(DataError, match=r"its md5 is [0-9a-f]{32}, and 0{32} was expected"):
        CifarFS().split("train")
    assert len(CifarFS(check=False).split("train").index) == 64
    check_published(root, known)  # a folder has no checksum


def test_damaged_archives_of_cifar(root) -> None:
    archive = root / "cifar-100-binary.tar.gz"
    write(archive, binary())
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="cifar-100-binary"):
        CifarFS().split("train")
    files = binary()
    files["cifar-100-binary/test.bin"] = files["cifar-100-binary/test.bin"][:-5]
    write(archive, files)
    with pytest.raises(DataError, match=r"test\.bin has 307,395 bytes, no multiple of 3,074"):
        CifarFS().split("train")
    write(archive, {"notes.txt": b"nothing"})
    with pytest.raises(DataError, match=r"holds neither .* it holds notes\.txt"):
        CifarFS().split("train")


def test_damaged_pickles_of_cifar(root) -> None:
    files = split_pickles("FC100", "fc100")
    whole = files["FC100_val.pickle"]
    for content, message in (
        (whole[: len(whole) // 2], "is no pickle of plain data"),
        (pickle.dumps([1]), "must be a dictionary with 'data', but has list"),
        (pickle.dumps({"data": np.zeros((4, 9)), "labels": [0] * 4}), r"but holds float64 of the"),
        (
            pickle.dumps({"data": np.zeros((4, 3072), np.uint8), "labels": [0] * 3}),
            "has 4 images and 3 labels",
        ),
    ):
        write(root / "fc100.zip", {**files, "FC100_val.pickle": content})
        with pytest.raises(DataError, match=message):
            FC100().split("val")


# --- CUB


def birds(n: int = 8) -> dict[str, bytes]:
    return {
        f"CUB_200_2011/images/{c:03}.Bird_{c}/Bird_{c}_{i:04}.jpg": png(pixels(10 * c + i, 40))
        for c in range(1, n + 1)
        for i in range(EACH)
    } | {"CUB_200_2011/images.txt": b"1 x.jpg", "attributes.txt": b"1 a"}


@pytest.mark.parametrize("file", ["CUB_200_2011.tgz", "CUB_200_2011", "cub.zip"])
def test_birds(root, monkeypatch, file) -> None:
    monkeypatch.setattr(cub, "_PUBLISHED", {})
    monkeypatch.setattr(cub, "_CLASSES", 8)
    monkeypatch.setattr(cub, "_PICTURES", 8 * EACH)
    write(root / file, birds())
    data = CUB(size=40)
    train, val, test = (data.split(s) for s in ("train", "val", "test"))
    assert [int(n[:3]) for n in train.index.names] == [1, 3, 5, 7]
    assert [int(n[:3]) for n in val.index.names] == [2, 6]
    assert [int(n[:3]) for n in test.index.names] == [4, 8]
    assert (train.split, test.split) == ("chen/train", "chen/test")
    np.testing.assert_array_equal(test.x[1], pixels(41, 40).transpose(2, 0, 1))
    assert CUB(size=20).split("val").x.shape == (4, 3, 20, 20)


def test_birds_that_are_incomplete_or_damaged(root, monkeypatch) -> None:
    write(root / "CUB_200_2011", birds())
    with pytest.raises(DataError, match="192 of 200 classes"):
        CUB().split("train")
    assert CUB(check=False, size=16).split("train").split == "own/train"
    monkeypatch.setattr(cub, "_CLASSES", 8)
    with pytest.raises(DataError, match="holds 16 images where 11,788 were published"):
        CUB().split("train")
    picture = root / "CUB_200_2011" / "CUB_200_2011/images/002.Bird_2/Bird_2_0001.jpg"
    picture.write_bytes(picture.read_bytes()[:90])
    with pytest.raises(ImageError, match=r"Bird_2_0001\.jpg is damaged"):
        CUB(check=False).split("train")
    write(root / "flat", {"a.jpg": png(pixels(0))})
    with pytest.raises(DataError, match="no images in folders called like the classes"):
        CUB(path=str(root / "flat")).split("train")


# --- tieredImageNet

SYNSETS = [r["class"] for r in split_table("tiered-imagenet-ren.csv") if r["split"] == "val"]


def in_folders(classes: list[str]) -> dict[str, bytes]:
    return {
        f"val/{name}/{name}_{i}.JPEG": png(pixels(2 * c + i, 84))
        for c, name in enumerate(classes)
        for i in range(EACH)
    }


@pytest.mark.parametrize("file", ["tiered_imagenet", "tiered-imagenet.zip", "tiered.tar"])
def test_tiered_imagenet_in_folders(root, monkeypatch, file) -> None:
    monkeypatch.setattr(tiered_imagenet, "_PICTURES", {"val": 97 * EACH})
    write(root / file, in_folders(SYNSETS))
    part = TieredImageNet(path=str(root / file)).split("val")
    assert (part.split, set(part.index.names)) == ("ren/val", set(SYNSETS))
    c = part.index.names.index(SYNSETS[5])
    np.testing.assert_array_equal(
        part.x[part.index.rows_of(c)[1]], pixels(11, 84).transpose(2, 0, 1)
    )
    with pytest.raises(DataError, match=r"neither train_labels\.pkl nor folders"):
        TieredImageNet(path=str(root / file)).split("train")


def caches(*, compressed: bool, key: str) -> dict[str, bytes]:
    images = [pixels(i, 84) for i in range(6)]
    files = {"val_labels.pkl": pickle.dumps({key: np.array([0, 0, 1, 1, 2, 2])}, protocol=2)}
    if compressed:
        encoded = [np.frombuffer(png(image), np.uint8)[:, None] for image in images]
        files["val_images_png.pkl"] = pickle.dumps(encoded, protocol=2)
    else:
        stored = np.stack(images)
        content = io.BytesIO()
        np.savez(content, images=stored[..., ::-1] if key == "label_specific" else stored)
        files["val_images.npz"] = content.getvalue()
    return files


@pytest.mark.parametrize(
    ("compressed", "key"), [(True, "label_specific"), (False, "label_specific"), (False, "labels")]
)
def test_tiered_imagenet_in_caches(root, compressed, key) -> None:
    write(root / "tiered-imagenet", caches(compressed=compressed, key=key))
    with pytest.raises(DataError, match="val has 6 images of 3 classes where 124,261 of 97"):
        TieredImageNet().split("val")
    data = TieredImageNet(check=False)
    part = data.split("val")
    assert (part.split, part.index.names) == ("own/val", ("val-000", "val-001", "val-002"))
    np.testing.assert_array_equal(part.x[4], pixels(4, 84).transpose(2, 0, 1))
    assert torch.equal(TieredImageNet(check=False).split("val").x, part.x)  # from the cache folder
    assert data.tasks("val", Setting(2, 1, 1)).batch([0]).query.x.shape == (1, 2, 3, 84, 84)


def test_damaged_caches_of_tiered_imagenet(root) -> None:
    files = caches(compressed=True, key="label_specific")
    data = TieredImageNet(check=False)
    for change, message in (
        ({"val_images_png.pkl": files["val_images_png.pkl"][:-300]}, "is no pickle of plain data"),
        ({"val_images_png.pkl": pickle.dumps([])}, "holds 0 images for 6 labels"),
        ({"val_images_png.pkl": b""}, "is empty"),
        ({"val_labels.pkl": pickle.dumps({"a": 1})}, "must hold 'label_specific' or 'labels'"),
        ({"val_labels.pkl": pickle.dumps([1])}, "must be a dictionary"),
    ):
        write(root / "tiered-imagenet", {**files, **change})
        with pytest.raises(DataError, match=message):
            data.split("val")
        assert not list((root.parent / "cache").glob("*.pixels"))
    write(root / "other", {"val_labels.pkl": files["val_labels.pkl"], "val_images.npz": b"text"})
    with pytest.raises(DataError, match="must hold an array 'images' of bytes"):
        TieredImageNet(path=str(root / "other"), check=False).split("val")
