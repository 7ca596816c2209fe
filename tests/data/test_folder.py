import os
import random
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from quickstudy.core.describe import describe, rebuild
from quickstudy.core.errors import ConfigError, DataError, EpisodeError, PassedOverWarning
from quickstudy.core.setting import Setting
from quickstudy.data import folder, image_files
from quickstudy.data.folder import (
    FolderContent,
    ImageFolder,
    find_classes,
    find_images,
    natural_key,
    read_folder,
)
from quickstudy.data.image_files import picture_endings
from quickstudy.data.images import ImageFormat
from quickstudy.data.locations import data_root

GREY = ImageFormat(6, 1)


def picture(path: Path, seed: int | None = None) -> Path:
    """A picture that no other seed makes; by default the path is the seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn = random.Random(repr(path) if seed is None else seed)
    Image.frombytes("L", (6, 6), drawn.randbytes(36)).save(path)
    return path


def classes(root: Path, names: str, n: int = 2) -> Path:
    for name in names.split():
        for i in range(n):
            picture(root / name / f"{i}.png")
    return root


def refused(root: Path, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        read_folder(root, GREY, **options)
    return str(caught.value)


# --- read_folder: what is found


def test_classes_are_folders_in_natural_order(tmp_path: Path) -> None:
    content = read_folder(classes(tmp_path, "b10 B9 a", 3), GREY)
    assert content.dataset.index.names == ("a", "B9", "b10")
    assert content.dataset.index.counts.tolist() == [3, 3, 3]
    assert content.dataset.x.shape == (9, 1, 6, 6)
    assert content.dataset.x.dtype == torch.uint8
    assert (content.dataset.name, content.dataset.split) == (tmp_path.name, "folder/all")
    assert (content.skipped, content.duplicates, content.ignored) == ([], [], 0)


def test_paths_name_the_file_of_each_row(tmp_path: Path) -> None:
    content = read_folder(classes(tmp_path, "a b", 12), GREY)
    assert [path.name for path in content.paths[:12]] == [f"{i}.png" for i in range(12)]
    for c, name in enumerate(content.dataset.index.names):
        for row in content.dataset.index.rows_of(c):
            assert content.paths[row].parent.name == name
            assert torch.equal(content.dataset.x[row], GREY.read(content.paths[row]))


def test_pictures_in_deeper_folders_belong_to_the_class(tmp_path: Path) -> None:
    classes(tmp_path, "a b", 1)
    picture(tmp_path / "a" / "monday" / "morning" / "x.png")
    assert read_folder(tmp_path, GREY).dataset.index.counts.tolist() == [2, 1]


def test_what_is_hidden_and_may_be_somebodys_own_is_named(tmp_path: Path) -> None:
    classes(tmp_path, "a b .c .ipynb_checkpoints .git __MACOSX")
    for name in ("a/.0.png", "b/.more/1.png", "a/._0.png", "b/.cache/1.png"):
        picture(tmp_path / name)
    (tmp_path / "a" / ".notes").write_text("text")
    with pytest.warns(PassedOverWarning, match="not read") as said:
        found = find_classes(tmp_path)
    assert list(found) == ["a", "b"]
    (message,) = [str(one.message) for one in said]
    assert message == (
        f"2 folders and 1 file in {str(tmp_path)!r} are not read, as their names begin with a dot: "
        ".c, a/.0.png, b/.more. Rename them to read them."
    )
    with pytest.warns(PassedOverWarning, match=r"1 file in .* is not read.*: \.0\.png\."):
        find_images([tmp_path / "a"])


@pytest.mark.filterwarnings("error")
def test_names_that_systems_give_are_passed_over_in_silence(tmp_path: Path) -> None:
    classes(tmp_path, "a b .git .ipynb_checkpoints .cache __MACOSX")
    for name in (".gitignore", "a/.DS_Store"):
        (tmp_path / name).write_text("text")
    picture(tmp_path / "a" / "._0.png")
    assert list(find_classes(tmp_path)) == ["a", "b"]


def test_where_only_hidden_folders_are_the_error_names_them(tmp_path: Path) -> None:
    classes(tmp_path, ".a .b")
    with pytest.raises(DataError, match=r"no sub-folders.* 2 folders .* dot: \.a, \.b\."):
        find_classes(tmp_path)


def test_what_is_hidden_or_no_picture_is_passed_over(tmp_path: Path) -> None:
    classes(tmp_path, "a b __MACOSX")
    for name in ("README.md", "a/Thumbs.db", "a/notes.txt", "b/no ending"):
        (tmp_path / name).write_text("text")
    for name in (".DS_Store", "a/.0.txt", "a/._0.png"):
        (tmp_path / name).write_text("text")
    picture(tmp_path / "a" / "@eaDir" / "0.png")
    message = r"^4 files in .* 1 \.db, 1 \.md, 1 \.txt, 1 no ending\.$"
    with pytest.warns(PassedOverWarning, match=message):
        content = read_folder(tmp_path, GREY)
    assert content.dataset.index.names == ("a", "b")
    assert content.dataset.index.counts.tolist() == [2, 2]
    assert content.ignored == 4


def test_photos_that_cannot_be_read_are_counted_with_what_would_read_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classes(tmp_path, "a b")
    for name in ("a/IMG_1.HEIC", "b/IMG_2.heic", "b/notes.txt"):
        (tmp_path / name).write_text("text")
    readable = picture_endings() - {".heic", ".heif", ".hif"}
    monkeypatch.setattr(image_files, "picture_endings", lambda: readable)
    monkeypatch.setattr(folder, "picture_endings", lambda: readable)
    message = r"2 \.heic, 1 \.txt\. To read them: pip install 'quickstudy\[heic\]'\.$"
    for look in (lambda: find_classes(tmp_path), lambda: find_images([tmp_path])):
        with pytest.warns(PassedOverWarning, match=message):
            look()


def test_endings_in_capital_letters(tmp_path: Path) -> None:
    classes(tmp_path, "a b", 1)
    picture(tmp_path / "a" / "DSC001.PNG")
    assert read_folder(tmp_path, GREY).dataset.index.counts.tolist() == [2, 1]


@pytest.mark.parametrize(
    "name", ["two words", "Käfer", "甲虫", "犬\u3000猫", "می\u200cخواهم", "🐞", "a'b", "100%"]
)
def test_any_class_name(tmp_path: Path, name: str) -> None:
    classes(tmp_path, "z", 1)
    picture(tmp_path / name / "0.png")
    content = read_folder(tmp_path, GREY)
    assert name in content.dataset.index.names
    assert len(content.dataset.split_hash) == 12


def test_accents_of_macos_are_the_same_class(tmp_path: Path) -> None:
    classes(tmp_path, "z", 1)
    picture(tmp_path / "Ka\u0308fer" / "0.png")
    assert "K\u00e4fer" in read_folder(tmp_path, GREY).dataset.index.names


def test_two_folders_that_differ_in_invisible_ways(tmp_path: Path) -> None:
    classes(tmp_path, "z Ka\u0308fer K\u00e4fer", 1)
    if len(list(tmp_path.iterdir())) == 2:
        pytest.skip("this disk cannot hold both")
    assert "has two folders whose names look the same, 'Käfer'" in refused(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
@pytest.mark.parametrize("name", [b"tab\there", b"caf\xe9"])
def test_a_class_name_that_is_not_text(tmp_path: Path, name: bytes) -> None:
    classes(tmp_path, "a b", 1)
    try:
        picture(tmp_path / os.fsdecode(name) / "0.png")
    except OSError:
        pytest.skip("this disk has no such names")
    assert "holds control characters or is not valid Unicode. Rename it." in refused(tmp_path)


def test_files_that_are_the_same_picture_in_two_classes(tmp_path: Path) -> None:
    classes(tmp_path, "a b c")
    twins = [picture(tmp_path / name, seed=7) for name in ("a/twin.png", "b/twin.png")]
    picture(tmp_path / "c" / "x.png", seed=8)
    picture(tmp_path / "c" / "y.png", seed=8)
    assert read_folder(tmp_path, GREY).duplicates == [tuple(twins)]


def test_the_root_may_be_text_and_start_at_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    classes(tmp_path / "pets", "a b")
    assert read_folder("~/pets", GREY).dataset.name == "pets"


# --- links


def test_links_to_classes_are_followed(tmp_path: Path) -> None:
    classes(tmp_path / "disk", "a b")
    (tmp_path / "root").mkdir()
    for name in ("a", "b"):
        (tmp_path / "root" / name).symlink_to(tmp_path / "disk" / name)
    assert read_folder(tmp_path / "root", GREY).dataset.index.counts.tolist() == [2, 2]


def test_loops_of_links_end_and_bring_in_nothing(tmp_path: Path) -> None:
    classes(tmp_path, "a b")
    (tmp_path / "a" / "self").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "sub").mkdir()
    (tmp_path / "a" / "sub" / "back").symlink_to(tmp_path / "a")
    (tmp_path / "b" / "none.txt").symlink_to(tmp_path / "b" / "none.txt")
    with pytest.warns(PassedOverWarning, match=r"1 \.txt"):
        assert read_folder(tmp_path, GREY).dataset.index.counts.tolist() == [2, 2]
    with pytest.warns(PassedOverWarning, match=r"1 \.txt"):
        assert len(find_images([tmp_path])) == 4


def test_a_link_to_a_missing_picture_is_a_bad_file(tmp_path: Path) -> None:
    classes(tmp_path, "a b")
    (tmp_path / "a" / "gone.png").symlink_to(tmp_path / "gone.png")
    assert "is a link to a file that does not exist" in refused(tmp_path)


# --- read_folder: what is refused


def test_no_such_folder(tmp_path: Path) -> None:
    assert f"There is no folder '{tmp_path / 'none'}'" in refused(tmp_path / "none")


def test_a_file_as_root(tmp_path: Path) -> None:
    (tmp_path / "pictures.zip").touch()
    message = refused(tmp_path / "pictures.zip")
    assert (
        "is a file, but a folder of images was expected. If it is an archive, unpack it first."
        in message
    )


def test_an_empty_folder(tmp_path: Path) -> None:
    message = refused(tmp_path)
    assert "has no sub-folders, but one per class was expected" in message
    assert str(tmp_path / "CLASS" / "image.jpg") in message


def test_loose_pictures(tmp_path: Path) -> None:
    picture(tmp_path / "b.png")
    picture(tmp_path / "a.png")
    message = refused(tmp_path)
    assert (
        "holds 2 images that belong to no class, the first being 'a.png', beside 0 sub-folders. "
        "Give each class a sub-folder" in message
    )
    assert str(tmp_path / "CLASS" / "image.jpg") in message


def test_all_empty_classes_are_named_with_what_they_hold(tmp_path: Path) -> None:
    classes(tmp_path, "a b")
    (tmp_path / "empty").mkdir()
    (tmp_path / "phone").mkdir()
    for i in range(3):
        (tmp_path / "phone" / f"{i}.CR2").touch()
    message = refused(tmp_path, on_bad="skip")
    assert (
        "hold no file with the ending of images: 'empty', 'phone' (3 files with the ending "
        ".cr2)." in message
    )


def test_one_class(tmp_path: Path) -> None:
    message = refused(classes(tmp_path, "a"))
    assert "holds one class, 'a', but a classifier needs at least two" in message
    assert "did you mean" not in message


def test_the_folder_above_the_classes(tmp_path: Path) -> None:
    classes(tmp_path / "pets", "cat dog")
    assert f"Or did you mean '{tmp_path / 'pets'}', which has 2 sub-folders?" in refused(tmp_path)


def test_the_folder_above_splits(tmp_path: Path) -> None:
    for split in ("train", "test"):
        classes(tmp_path / split, "cat dog")
    message = refused(tmp_path)
    assert "holds the splits train, test, but a sub-folder per class was expected" in message
    assert f"Give one of them, such as '{tmp_path / 'train'}'" in message


def test_a_class_of_trains_is_no_split(tmp_path: Path) -> None:
    assert read_folder(classes(tmp_path, "bus train"), GREY).dataset.index.names == ("bus", "train")


def test_too_few_pictures(tmp_path: Path) -> None:
    classes(tmp_path, "a b", 3)
    classes(tmp_path, "c", 2)
    classes(tmp_path, "d", 1)
    assert "have fewer than min_per_class=3 images: 'c' (2), 'd' (1)." in refused(
        tmp_path, min_per_class=3
    )


def test_a_folder_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classes(tmp_path, "a b")
    listed = Path.iterdir

    def iterdir(path: Path) -> object:
        if path.name == "b":
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    assert f"The folder '{tmp_path / 'b'}' cannot be read: Permission denied" in refused(tmp_path)


# --- pictures that cannot be read


def spoil(root: Path, *names: str) -> None:
    for name in names:
        (root / name).write_text("no image")


def test_all_bad_pictures_are_named_at_once(tmp_path: Path) -> None:
    classes(tmp_path, "a b", 3)
    spoil(tmp_path, "a/1.png", "b/0.png")
    (tmp_path / "b" / "2.png").write_bytes(b"")
    message = refused(tmp_path)
    assert message.startswith(f"3 of 6 images in '{tmp_path}' cannot be read:")
    for name in ("a/1.png", "b/0.png", "b/2.png"):
        assert f"'{tmp_path / name}'" in message
    assert message.endswith("(on the command line: --on-bad skip).")


def test_of_many_bad_pictures_ten_are_named(tmp_path: Path) -> None:
    classes(tmp_path, "a b", 15)
    spoil(tmp_path, *(f"a/{i}.png" for i in range(13)))
    message = refused(tmp_path)
    assert message.startswith("13 of 30 images")
    assert message.count("is not an image") == 10
    assert "\nand 3 more\n" in message


def test_skipping_bad_pictures(tmp_path: Path) -> None:
    classes(tmp_path, "a b", 3)
    spoil(tmp_path, "a/1.png")
    content = read_folder(tmp_path, GREY, on_bad="skip")
    assert content.dataset.index.counts.tolist() == [2, 3]
    assert len(content.paths) == len(content.dataset.x) == 5
    ((path, reason),) = content.skipped
    assert path == tmp_path / "a" / "1.png"
    assert "is not an image" in reason
    assert all(
        torch.equal(content.dataset.x[row], GREY.read(path))
        for row, path in enumerate(content.paths)
    )


def test_skipping_may_not_empty_a_class(tmp_path: Path) -> None:
    classes(tmp_path, "a b c")
    spoil(tmp_path, "a/0.png", "a/1.png", "c/0.png", "c/1.png")
    message = refused(tmp_path, on_bad="skip")
    assert "these classes have no image that can be read: 'a', 'c'. Repair" in message
    assert "0.png' is not an image" in message


def test_skipped_pictures_count_as_missing(tmp_path: Path) -> None:
    classes(tmp_path, "a b")
    spoil(tmp_path, "a/0.png")
    assert "'a' (1)" in refused(tmp_path, on_bad="skip", min_per_class=2)


def test_on_bad_has_two_values(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"on_bad cannot be 'skipp'. Did you mean 'skip'\?"):
        read_folder(tmp_path, GREY, on_bad="skipp")
    with pytest.raises(ConfigError, match="on_bad"):
        ImageFolder("anywhere", on_bad="ignore")


# --- find_images


def test_find_images_keeps_files_as_given_and_searches_folders(tmp_path: Path) -> None:
    for name in (
        "box/img10.png",
        "box/img9.jpg",
        "box/sub/a.png",
        "box/._img9.png",
        "box/__MACOSX/x.png",
        "z.png",
    ):
        picture(tmp_path / name)
    for name in ("box/notes.txt", "odd.dat"):
        (tmp_path / name).write_text("text")
    with pytest.warns(PassedOverWarning, match=r"1 file .* 1 \.txt"):
        found = find_images([tmp_path / "z.png", str(tmp_path / "box"), tmp_path / "odd.dat"])
    assert [path.relative_to(tmp_path).as_posix() for path in found] == [
        "z.png",
        "box/img9.jpg",
        "box/img10.png",
        "box/sub/a.png",
        "odd.dat",
    ]


def test_find_images_names_what_does_not_exist(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"no such file or folder: '.*b\.png', '.*c'\. Check"):
        find_images([tmp_path / "a.png", tmp_path / "b.png", tmp_path / "c"])


def test_find_images_without_pictures(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"There is no image in '{re.escape(str(tmp_path))}'"):
        find_images([tmp_path])
    with pytest.raises(DataError, match="There is no image in an empty list of paths"):
        find_images([])


@settings(deadline=None)
@given(st.lists(st.text(alphabet=st.sampled_from("aB2٣²10 _ß"), max_size=6), max_size=8))
def test_natural_order_is_an_order(names: list[str]) -> None:
    once = sorted(names, key=natural_key)
    backwards = names[::-1]
    assert sorted(backwards, key=natural_key) == once
    assert all(natural_key(a) != natural_key(b) for a in names for b in names if a != b)


# --- ImageFolder


def test_image_folder_splits_classes_not_pictures(tmp_path: Path) -> None:
    root = classes(tmp_path, "a b c d e f g h i j", 4)
    data = ImageFolder(str(root), size=6, channels=1)
    splits = {name: data.split(name) for name in ("train", "val", "test")}
    assert [len(split.index) for split in splits.values()] == [6, 2, 2]
    assert sorted(name for split in splits.values() for name in split.index.names) == list(
        "abcdefghij"
    )
    assert {name: split.split for name, split in splits.items()} == {
        n: f"folder/{n}" for n in splits
    }
    assert all(split.name == tmp_path.name for split in splits.values())
    assert (data.name, data.shape) == (tmp_path.name, (1, 6, 6))
    assert ImageFormat.from_json(data.image_format or {}) == GREY
    for split in splits.values():
        for c, name in enumerate(split.index.names):
            first = split.x[split.index.rows_of(c)[0]]
            assert torch.equal(first, GREY.read(root / name / "0.png"))


def test_image_folder_gives_tasks(tmp_path: Path) -> None:
    data = ImageFolder(str(classes(tmp_path, "a b c d e f g h i j", 4)), size=6, channels=1)
    episode = data.tasks("train", Setting(n_way=5, n_shot=1, n_query=3), seed=3).batch([0, 1])
    assert episode.support.x.shape == (2, 5, 1, 6, 6)
    assert episode.query.x.shape == (2, 15, 1, 6, 6)
    with pytest.raises(EpisodeError, match=r"has 2 classes but an episode needs n_way = 5"):
        data.tasks("test", Setting(n_way=5, n_shot=1, n_query=3))


def test_the_same_folder_elsewhere_gives_the_same_tasks(tmp_path: Path) -> None:
    first, second = (
        classes(tmp_path / place / "pets", "a b c d e", 3) for place in ("here", "there")
    )
    for path in first.rglob("*.png"):
        (second / path.relative_to(first)).write_bytes(path.read_bytes())
    tasks = [
        ImageFolder(str(root), size=6).tasks("train", Setting(2, 1, 1)) for root in (first, second)
    ]
    assert torch.equal(*(t.batch([5]).support.x for t in tasks))


def test_splits_that_the_folder_brings(tmp_path: Path) -> None:
    for split, names in {"train": "a b c", "val": "d e", "test": "f g"}.items():
        classes(tmp_path / split, names)
    data = ImageFolder(str(tmp_path), size=6)
    assert {s: data.split(s).index.names for s in ("train", "val", "test")} == {
        "train": tuple("abc"),
        "val": tuple("de"),
        "test": tuple("fg"),
    }
    assert (data.split("val").name, data.split("val").split) == (tmp_path.name, "folder/val")


def test_a_split_that_the_folder_does_not_bring(tmp_path: Path) -> None:
    for split, names in {"train": "a b c", "test": "f g"}.items():
        classes(tmp_path / split, names)
    with pytest.raises(DataError, match=r"has no split 'val'\. Known: test, train\."):
        ImageFolder(str(tmp_path), size=6).split("val")


def test_splits_may_not_share_a_class(tmp_path: Path) -> None:
    for split, names in {"train": "a b c", "val": "d e", "test": "a g"}.items():
        classes(tmp_path / split, names)
    with pytest.raises(DataError, match="Class 'a' is in both the train and the test split"):
        ImageFolder(str(tmp_path), size=6).split("train")


def test_small_classes_are_left_out(tmp_path: Path) -> None:
    classes(tmp_path, "a b c d e", 3)
    classes(tmp_path, "few", 2)
    data = ImageFolder(str(tmp_path), size=6, min_per_class=3)
    assert data.left_out == ["few"]
    assert sum(len(data.split(s).index) for s in ("train", "val", "test")) == 5


def test_an_image_folder_is_described_without_being_read(tmp_path: Path) -> None:
    data = ImageFolder(str(tmp_path / "gone"), size=6, invert=True, seed=4)
    again = rebuild(describe(data))
    assert isinstance(again, ImageFolder)
    assert describe(again) == describe(data)
    with pytest.raises(DataError, match="There is no folder"):
        again.split("train")


def test_options_of_an_image_folder_are_checked_at_once() -> None:
    with pytest.raises(ConfigError, match=r"got val=0\.6 and test=0\.5"):
        ImageFolder("anywhere", val=0.6, test=0.5)
    with pytest.raises(ConfigError, match="channels"):
        ImageFolder("anywhere", channels=4)


def test_contents_tell_what_was_skipped(tmp_path: Path) -> None:
    classes(tmp_path, "a b c d e")
    spoil(tmp_path, "a/0.png")
    data = ImageFolder(str(tmp_path), size=6, on_bad="skip")
    assert [path.name for path, _ in data.contents["all"].skipped] == ["0.png"]


def test_real_pictures(tmp_path: Path) -> None:
    archive = data_root() / "neu-steel-defects.zip"
    if "QUICKSTUDY_DATA" not in os.environ or not archive.exists():
        pytest.skip("QUICKSTUDY_DATA names no folder with neu-steel-defects.zip")
    with zipfile.ZipFile(archive) as z:
        z.extractall(tmp_path)
    content: FolderContent = read_folder(tmp_path / "neu-steel-defects", ImageFormat(84, 1))
    assert len(content.dataset.index) == 6
    assert np.array_equal(content.dataset.index.counts, [60] * 6)
    assert content.skipped == []
    assert content.duplicates == []
    tasks = ImageFolder(str(tmp_path / "neu-steel-defects"), size=28, channels=1).tasks(
        "train", Setting(3, 5, 15)
    )
    assert 0.2 < float(tasks.batch([0]).support.x.mean()) < 0.8
