"""What older versions wrote."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load, save, save_file
from sqlalchemy import text

from quickstudy.core.errors import GalleryError
from quickstudy.core.saving import load_folder, save_folder
from quickstudy.gallery import Gallery
from quickstudy.gallery.vectors import unit

DIM = 4


def made(place: str) -> Gallery:
    gallery = Gallery.create(place, encoder="e1", dim=DIM, source="runs/x")
    gallery.enrol("Ada", np.eye(DIM)[:2])
    return gallery


def test_the_source_is_kept(place: Callable[[], str]) -> None:
    gallery = made(place())
    assert gallery.source == Gallery.open(gallery.place).source == "runs/x"
    assert Gallery.create(place(), encoder="e1", dim=DIM).source == ""


def test_a_gallery_of_an_earlier_version_is_refused_with_what_to_do(tmp_path: Path) -> None:
    for columns in ("source TEXT, token BIGINT", "other TEXT"):
        file = tmp_path / f"{columns[:5]}.db"
        with sqlite3.connect(file) as connection:
            connection.execute(
                f"CREATE TABLE gallery (format INT, encoder TEXT, dim INT, changes INT, {columns})"
            )
        connection.close()
        with pytest.raises(GalleryError, match=r"made by an older version .*gallery export"):
            Gallery.open(file)


def test_a_later_format_is_refused(place: Callable[[], str]) -> None:
    gallery = made(place())
    with gallery._access.engine.begin() as connection:
        connection.execute(text("UPDATE quickstudy_gallery SET format = 4"))
    with pytest.raises(
        GalleryError,
        match=r"is of format 4, and this version reads 3\. Install the version that made it",
    ):
        Gallery.open(gallery.place)


def test_exports_of_other_versions(tmp_path: Path) -> None:
    gallery = made(str(tmp_path / "a.db"))
    gallery.enrol("Ben", np.eye(DIM)[2:3])
    gallery.remove("Ada")
    gallery.enrol("Ada", np.eye(DIM)[:2])
    gallery.enrol("Ben", np.eye(DIM)[3:])
    saved = load_folder(gallery.export(tmp_path / "out"), kind="gallery export")
    about = saved.about
    moved = Gallery.import_from(tmp_path / "out", tmp_path / "b.db")
    assert moved.source == "runs/x"
    assert [d.candidates[0][0] for d in moved.identify(np.eye(DIM))] == ["Ada", "Ada", "Ben", "Ben"]
    older = {key: about[key] for key in ("encoder", "dim", "identities")}
    policy = {"threshold": 0.5, "review": 0.6, "duplicate": 0.9, "score": "nearest", "rate": 0.1}
    policy["rule"] = "leave one class out"
    (tmp_path / "older").mkdir()
    (tmp_path / "older" / "gallery.json").write_text(
        json.dumps({**older, "format": 1, "policy": policy}), encoding="utf-8"
    )
    tensors = load(saved.files["vectors.safetensors"])
    del tensors["cohort_persons"]
    save_file(tensors, tmp_path / "older" / "gallery.safetensors")
    first = Gallery.import_from(tmp_path / "older", tmp_path / "c.db")
    assert first.identities() == moved.identities()
    assert (first.source, first.kind) == ("", "images")
    assert first.policy.rule == "leave one identity out"
    ada = about["identities"][0]
    twice = [{**person, "name": "Ada"} for person in about["identities"]]
    for wrong, why in (
        ({"format": 4}, "it is of format 4, and this version reads up to 3"),
        ({"format": True, "kind": "fish"}, "A gallery is of images"),
        ({"identities": [{"name": "Ada", "templates": 4}]}, "consent"),
        ({"identities": {"Ada": 4}}, "its identities are no list"),
        ({"identities": [{**ada, "templates": 0}]}, "needs at least one"),
        ({"identities": [ada]}, "they have 2 templates, but the file holds 4"),
        ({"identities": [{**ada, "retain_until": "soon"}]}, "Invalid isoformat"),
        ({"identities": [{**ada, "details": 3}]}, "no JSON object"),
        ({"identities": twice}, "there are two called 'Ada'"),
        ({"dim": 5}, "should be vectors of 5 numbers"),
        ({"policy": {"threshold": 80}}, "is a cosine"),
        ({"policy": {"threshold": "0.5"}}, "must be a number|violates type hint"),
    ):
        forged = {**about, **wrong}
        save_folder(tmp_path / "out", kind="gallery export", about=forged, files=saved.files)
        with pytest.raises(GalleryError, match=f"holds no gallery that can be imported: .*({why})"):
            Gallery.import_from(tmp_path / "out", tmp_path / "d.db")
        assert not (tmp_path / "d.db").exists()  # nothing half made stays


def test_vectors_of_an_export_are_checked(tmp_path: Path) -> None:
    gallery = made(str(tmp_path / "a.db"))
    saved = load_folder(gallery.export(tmp_path / "out"), kind="gallery export")
    tensors = load(saved.files["vectors.safetensors"])
    for wrong in (2 * tensors["templates"], tensors["templates"] + np.float32(np.nan)):
        files = {"vectors.safetensors": save({**tensors, "templates": wrong})}
        save_folder(tmp_path / "out", kind="gallery export", about=saved.about, files=files)
        with pytest.raises(GalleryError, match="not length 1, or is not of finite numbers"):
            Gallery.import_from(tmp_path / "out", tmp_path / "b.db")
        assert not (tmp_path / "b.db").exists()


def test_texts_that_no_database_takes_are_refused(tmp_path: Path) -> None:
    saved = load_folder(made(str(tmp_path / "a.db")).export(tmp_path / "out"))
    about = {**saved.about, "encoder": "\ud800"}
    save_folder(tmp_path / "out", kind="gallery export", about=about, files=dict(saved.files))
    with pytest.raises(GalleryError, match="holds no gallery that can be imported"):
        Gallery.import_from(tmp_path / "out", tmp_path / "b.db")


def test_an_export_that_is_written_anew_forgets_who_was_removed(tmp_path: Path) -> None:
    gallery = made(str(tmp_path / "a.db"))
    vector = unit(np.asarray([[0.3, -0.5, 0.7, 0.2]]), DIM)
    gallery.enrol("Benedict", vector)
    gallery.export(tmp_path / "out")
    assert f"The export {tmp_path / 'out'}" in gallery.remove("Benedict").remains[0]
    gallery.export(tmp_path / "out")
    for path in (tmp_path / "out").iterdir():
        content = path.read_bytes()
        assert b"Benedict" not in content
        assert vector.tobytes() not in content
