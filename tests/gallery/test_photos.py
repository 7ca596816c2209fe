"""Photos in memory, wherever the path of one may stand."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from quickstudy.core.errors import DataError
from quickstudy.data import read_picture
from quickstudy.gallery import Gallery
from quickstudy.pretrained import FunctionEncoder

pytest.importorskip("sqlalchemy")

FORMS = ("path", "text", "bytes", "stream", "file", "image", "array", "floats")


def looks() -> FunctionEncoder:
    """An encoder that sees the mean colour of four quarters."""

    def quarters(pictures: list[Any]) -> list[Any]:
        small = [p.convert("RGB").resize((2, 2), Image.Resampling.BOX) for p in pictures]
        return [np.asarray(p, np.float64).reshape(-1) - 127 for p in small]

    return FunctionEncoder(quarters, key="quarters", dim=12, read=read_picture)


def photo(path: Path, who: int) -> Path:
    rng = np.random.default_rng(who)
    blocks = np.kron(rng.integers(0, 255, (2, 2, 3)), np.ones((64, 64, 1)))
    noise = np.random.default_rng(len(path.stem) + 10 * who).normal(scale=20, size=blocks.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(blocks + noise, 0, 255).astype(np.uint8)).save(path)
    return path


def as_form(path: Path, form: str) -> Any:
    image = Image.open(path)
    image.load()
    written = io.BytesIO()
    image.save(written, "PNG")  # at its end, as after writing
    return {
        "path": path,
        "text": str(path),
        "bytes": path.read_bytes(),
        "stream": written,
        "file": io.BufferedReader(io.BytesIO(path.read_bytes())),
        "image": image,
        "array": np.asarray(image),
        "floats": np.asarray(image) / 255,
    }[form]


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[Gallery]:
    with Gallery.create_for(tmp_path / "door.db", looks()) as made:
        for who in range(3):
            made.enrol_files(f"p{who}", [photo(tmp_path / f"p{who}" / "a.png", who)])
        yield made


@pytest.mark.parametrize("form", FORMS)
def test_a_photo_is_asked_about_in_every_form(gallery: Gallery, tmp_path: Path, form: str) -> None:
    path = photo(tmp_path / "new" / "bbb.png", 1)
    expected = gallery.identify_files(path)[0].decision
    assert expected is not None
    (answer,) = gallery.identify_files(as_form(path, form))  # one needs no list
    several = gallery.identify_files([as_form(path, form), b"no photo", as_form(path, form)])
    name = str(path) if form in ("path", "text") else "<item 1>"
    assert [str(one.path) for one in several] == [
        name,
        "<item 2>",
        name.replace("<item 1>", "<item 3>"),
    ]
    for one in (answer, several[0], several[2]):
        assert one.decision is not None
        assert one.decision.candidates[0][0] == "p1"
        assert one.decision.similarity == pytest.approx(expected.similarity, abs=1e-6)
    assert several[1].error.startswith("<item 2>: ")
    verified = gallery.verify_file(as_form(path, form), "p1")
    assert verified.similarity == pytest.approx(expected.similarity, abs=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_somebody_is_enrolled_by_photos_in_every_form(
    gallery: Gallery, tmp_path: Path, form: str
) -> None:
    path = photo(tmp_path / "new" / "ccc.png", 7)
    dark = tmp_path / "dark.png"
    Image.new("RGB", (128, 128), (9, 5, 7)).save(dark)
    result = gallery.enrol_files(
        "Eve", [as_form(path, form), as_form(dark, form)], on_poor="skip", force=True
    )
    assert len(result.templates) == 1
    # The quality of a photo in memory is looked at as that of a file.
    assert [str(name) for name, _ in result.skipped] == [
        str(dark) if form in ("path", "text") else "<item 2>"
    ]
    assert gallery.enrol_files("Eve", as_form(path, form)).known == 1


def test_photos_in_memory_and_folders_stand_beside_each_other(
    gallery: Gallery, tmp_path: Path
) -> None:
    for who in range(20, 26):
        photo(tmp_path / "others" / f"n{who}" / "a.png", who)
        photo(tmp_path / "others" / f"n{who}" / "bb.png", who)
    more = [as_form(photo(tmp_path / "more" / f"{who}.png", who), "bytes") for who in (30, 31)]
    in_folders = gallery.calibrate_files(0.2, cohort=tmp_path / "others")
    both = gallery.calibrate_files(0.2, cohort=[tmp_path / "others", *more])
    assert (in_folders.persons, both.persons) == (6, 8)
    with pytest.raises(DataError, match="in memory"):
        gallery.calibrate_files(0.2, cohort=[b"no photo"], on_bad="skip")


def test_a_folder_of_people_that_cannot_be_read_is_refused(
    gallery: Gallery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: Path) -> None:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(DataError, match="cannot be read: Permission denied"):
        gallery.enrol_folder(tmp_path)


def test_what_is_no_open_file_of_bytes(gallery: Gallery, tmp_path: Path) -> None:
    path = photo(tmp_path / "new" / "bbb.png", 1)
    closed = path.open("rb")
    closed.close()
    given: list[Any] = [io.StringIO("text"), closed]
    errors = [one.error for one in gallery.identify_files(given)]
    assert "Open it with mode 'rb'" in errors[0]
    assert "Open it again" in errors[1]
