"""Faces are found, turned upright and known again; what is no usable photograph is said."""

import io
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from quickstudy.core.errors import ConfigError, DataError, ImageError, LoadError
from quickstudy.data.locations import data_root
from quickstudy.estimators import fit_folder
from quickstudy.pretrained import FaceEncoder, encode_files, open_encoder
from quickstudy.pretrained import faces as module
from quickstudy.pretrained.registry import entry_of

pytest.importorskip("dlib")
ARCHIVE = data_root() / "orl-faces.zip"


@pytest.fixture(scope="module")
def encoder() -> FaceEncoder:
    return FaceEncoder()


@pytest.fixture(scope="module")
def people() -> list[list[Image.Image]]:
    """Three photographs each of four people."""
    if not ARCHIVE.is_file():
        pytest.skip(f"{ARCHIVE} is not there")
    with zipfile.ZipFile(ARCHIVE) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".png"))
        return [
            [Image.open(io.BytesIO(archive.read(names[10 * i + k]))) for k in range(3)]
            for i in range(4)
        ]


def beside(*images: Image.Image) -> Image.Image:
    out = Image.new("L", (sum(i.width for i in images) + 60, 200), 128)
    x = 20
    for image in images:
        out.paste(image, (x, 40))
        x += image.width + 20
    return out


def test_people_are_known_again(encoder: FaceEncoder, people: list[list[Image.Image]]) -> None:
    x = encoder.encode([image for photographs in people for image in photographs])
    assert x.shape == (12, 128)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    similarity = unit @ unit.T
    same = np.equal.outer(np.arange(12) // 3, np.arange(12) // 3)
    assert similarity[same].min() > similarity[~same].max()
    assert module.MEASURED.threshold(0.01) is not None
    assert encoder.measured is module.MEASURED


def test_a_turned_and_enlarged_face_is_the_same(
    encoder: FaceEncoder, people: list[list[Image.Image]]
) -> None:
    one, other = people[0][0], people[1][0]
    changed = beside(one).rotate(12, fillcolor=128).resize((720, 900))
    x = encoder.encode([one, other, changed])
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    assert unit[2] @ unit[0] > unit[2] @ unit[1] + 0.05


def test_what_is_no_usable_photograph_is_said_by_name(
    encoder: FaceEncoder, people: list[list[Image.Image]], tmp_path: Path
) -> None:
    face = people[0][0].convert("L")
    images = {
        "good.png": beside(face),
        "nobody.png": Image.new("L", (200, 200), 128),
        "two.png": beside(face, people[1][0]),
        "far.png": beside(face).resize((76, 100)),
        "cut.png": face.crop((42, 0, 92, 112)),
    }
    for name, image in images.items():
        image.save(tmp_path / name)
    found = encode_files(encoder, sorted(tmp_path.iterdir()), on_bad="skip")
    assert [path.name for path in found.paths] == ["good.png"]
    reasons = {path.name: reason for path, reason in found.skipped}
    assert "shows no face that was found" in reasons["nobody.png"]
    assert "shows 2 faces, but one was expected" in reasons["two.png"]
    assert all(str(tmp_path / name) in reason for name, reason in reasons.items())
    assert "no face" in reasons["far.png"] or "at least 40" in reasons["far.png"]
    assert "cuts off" in reasons["cut.png"] or "no face" in reasons["cut.png"]
    with pytest.raises(ImageError, match="Image 2 shows no face"):
        encoder.encode([images["good.png"], images["nobody.png"]])
    with pytest.raises(DataError, match=r"two\.png' shows 2 faces"):
        encode_files(encoder, [tmp_path / "two.png"])


def test_the_largest_of_several_or_all(people: list[list[Image.Image]]) -> None:
    large = people[1][0].convert("L").resize((138, 168))
    both = Image.new("L", (320, 240), 128)
    both.paste(people[0][0], (10, 60))
    both.paste(large, (140, 40))
    encoder = open_encoder("faces:largest")
    assert isinstance(encoder, FaceEncoder)
    assert encoder.source == "faces:largest"
    assert encoder.key == open_encoder("faces").key
    faces = encoder.faces(both)
    assert len(faces) == 2
    assert faces[0].side > faces[1].side
    assert faces[0].left > 120
    x = encoder.encode([both, large, people[0][0]])
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    assert unit[0] @ unit[1] > unit[0] @ unit[2]
    every = encoder.encode([face.chip for face in faces])
    every = every / np.linalg.norm(every, axis=1, keepdims=True)
    assert every[1] @ unit[2] > every[1] @ unit[1]
    np.testing.assert_allclose(every[0], unit[0], atol=1e-5)


def test_mistakes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="choose cannot be 'smallest'"):
        FaceEncoder(choose="smallest")
    with pytest.raises(ConfigError, match="works on the CPU"):
        FaceEncoder(device="cuda")
    with pytest.raises(ConfigError, match="No encoder is called 'faces:smallest'"):
        open_encoder("faces:smallest")
    real: Any = module.package_folder
    monkeypatch.setattr(module, "package_folder", lambda _entry: tmp_path)
    with pytest.raises(LoadError, match="cannot be read"):
        FaceEncoder()
    monkeypatch.setattr(module, "package_folder", real)
    monkeypatch.setitem(sys.modules, "dlib", None)
    with pytest.raises(ConfigError, match=r"pip install 'quickstudy\[faces\]'"):
        FaceEncoder()


def test_the_file_of_68_landmarks_is_never_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = entry_of("faces")
    assert entry is not None
    checked: list[str] = []
    monkeypatch.setattr(module, "check_weights", lambda file, _sum: checked.append(file.name))
    FaceEncoder()
    assert len(checked) == 3
    assert not any("68" in name for name in checked)


def test_photographs_of_people_get_this_encoder_in_a_new_gallery(
    encoder: FaceEncoder, people: list[list[Image.Image]], tmp_path: Path
) -> None:
    pytest.importorskip("sqlalchemy")
    from quickstudy.gallery import Gallery

    for name, photographs in enumerate(people):
        (tmp_path / "people" / str(name)).mkdir(parents=True)
        photographs[0].save(tmp_path / "people" / str(name) / "1.png")
        (tmp_path / "drawings" / str(name)).mkdir(parents=True)
        drawing = Image.new("L", (90, 90), 255)
        drawing.paste(0, (10, 10 + 10 * name, 70, 20 + 10 * name))
        drawing.save(tmp_path / "drawings" / str(name) / "1.png")
        assert encoder.shows_face(photographs[0])
        assert not encoder.shows_face(drawing)
    sources = {}
    for kind in ("people", "drawings"):
        place = tmp_path / f"{kind}.db"
        with Gallery.create_for(place, photographs=[tmp_path / kind]) as gallery:
            sources[kind] = gallery.source
            notes = gallery.pretrained().notes
            assert any("4 photographs 4 show a face" in n for n in notes) is (kind == "people")
    assert sources["people"] == "faces"
    assert sources["drawings"] != "faces"


def test_a_folder_of_people_is_pointed_to_this_encoder(
    people: list[list[Image.Image]], tmp_path: Path
) -> None:
    """A general encoder sees what is there, and not who; it is the one that a fit takes."""
    for name, photographs in enumerate(people):
        for k, photograph in enumerate(photographs):
            for kind, image in (("people", photograph), ("flat", Image.effect_noise((90, 90), 40))):
                (tmp_path / kind / str(name)).mkdir(parents=True, exist_ok=True)
                image.save(tmp_path / kind / str(name) / f"{k}.png")
    assert "show a face" in " ".join(fit_folder(tmp_path / "people").notes)
    assert "show a face" not in " ".join(fit_folder(tmp_path / "flat").notes)
    assert "show a face" not in " ".join(fit_folder(tmp_path / "people", encoder="faces").notes)
