"""What older versions wrote."""

import json
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import inspect, text

from quickstudy.core.errors import GalleryError
from quickstudy.gallery import Gallery

DIM = 4


def made(place: str) -> Gallery:
    gallery = Gallery.create(place, encoder="e1", dim=DIM, source="runs/x")
    gallery.enrol("Ada", np.eye(DIM)[:2])
    return gallery


def age(gallery: Gallery) -> None:
    """Make it what the first version made."""
    with gallery._access.engine.begin() as connection:
        for statement in (
            "DROP TABLE change",
            "ALTER TABLE gallery DROP COLUMN source",
            "ALTER TABLE gallery DROP COLUMN token",
        ):
            connection.execute(text(statement))
        connection.execute(text("UPDATE gallery SET format = 1"))
    gallery.close()


def test_the_source_is_kept(place: Callable[[], str]) -> None:
    gallery = made(place())
    assert gallery.source == Gallery.open(gallery.place).source == "runs/x"
    assert Gallery.create(place(), encoder="e1", dim=DIM).source == ""


def test_a_gallery_of_the_first_format_opens(place: Callable[[], str]) -> None:
    gallery = made(place())
    age(gallery)
    opened = Gallery.open(gallery.place)
    assert opened.source == ""
    assert opened.identify(np.eye(DIM)[:1])[0].identity == "Ada"
    with opened._access.engine.connect() as connection:
        assert inspect(connection).has_table("change")
    other = Gallery.open(gallery.place)
    other.enrol("Ben", np.eye(DIM)[2:])
    assert opened.identify(np.eye(DIM)[3:])[0].identity == "Ben"


def test_several_bring_it_up_to_date_at_once(place: Callable[[], str]) -> None:
    gallery = made(place())
    age(gallery)
    found, gate = list[str](), threading.Barrier(4)

    def open_it() -> None:
        gate.wait()
        opened = Gallery.open(gallery.place)
        found.append(opened.identify(np.eye(DIM)[:1])[0].identity or "")
        opened.close()

    threads = [threading.Thread(target=open_it) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["Ada"] * 4


@pytest.mark.parametrize("looks", [True, False])
def test_changes_by_a_version_without_a_log_are_seen(place: Callable[[], str], looks: bool) -> None:
    """One that had the gallery open before it was brought up to date counts its changes, and no
    more.
    """
    gallery = made(place())
    gallery.enrol("Ben", np.eye(DIM)[2:])
    other = Gallery.open(gallery.place)
    other.identify(np.eye(DIM))
    with gallery._access.engine.begin() as connection:
        connection.execute(text("UPDATE gallery SET changes = changes + 1"))
        connection.execute(
            text(
                "DELETE FROM template WHERE identity = (SELECT id FROM identity WHERE name = 'Ada')"
            )
        )
        connection.execute(text("DELETE FROM identity WHERE name = 'Ada'"))
    if looks:
        assert [name for name, _ in other.identify(np.eye(DIM)[:1])[0].candidates] == ["Ben"]
    gallery.enrol("Cleo", np.eye(DIM)[:1])
    assert [name for name, _ in other.identify(np.eye(DIM)[:1])[0].candidates] == ["Cleo", "Ben"]


def test_a_later_format_is_refused(place: Callable[[], str]) -> None:
    gallery = made(place())
    with gallery._access.engine.begin() as connection:
        connection.execute(text("UPDATE gallery SET format = 3"))
    with pytest.raises(
        GalleryError,
        match=r"is of format 3, and this version reads 2\. Install the version that made it",
    ):
        Gallery.open(gallery.place)


def test_exports_of_other_versions(tmp_path: Path) -> None:
    gallery = made(str(tmp_path / "a.db"))
    gallery.enrol("Ben", np.eye(DIM)[2:3])
    gallery.remove("Ada")
    gallery.enrol("Ada", np.eye(DIM)[:2])
    gallery.enrol("Ben", np.eye(DIM)[3:])
    file = gallery.export(tmp_path / "out") / "gallery.json"
    about = json.loads(file.read_text(encoding="utf-8"))
    moved = Gallery.import_from(tmp_path / "out", tmp_path / "b.db")
    assert moved.source == "runs/x"
    assert [d.identity for d in moved.identify(np.eye(DIM))] == ["Ada", "Ada", "Ben", "Ben"]
    assert sorted(f.name for f in (tmp_path / "out").iterdir()) == [
        "gallery.json",
        "gallery.safetensors",
    ]
    del about["source"]
    file.write_text(json.dumps({**about, "format": 1}), encoding="utf-8")
    assert Gallery.import_from(tmp_path / "out", tmp_path / "c.db").source == ""
    for wrong, why in (
        ({"format": 3}, "it is of format 3, and this version reads up to 2"),
        ({"identities": [{"name": "Ada", "templates": 4}]}, "retain_until"),
        ({"dim": 5}, "the number or the length of the templates is wrong"),
    ):
        file.write_text(json.dumps({**about, **wrong}), encoding="utf-8")
        with pytest.raises(GalleryError, match=f"holds no gallery that can be imported: .*{why}"):
            Gallery.import_from(tmp_path / "out", tmp_path / "d.db")
    twice = [{**p, "name": "Ada"} for p in about["identities"]]
    file.write_text(json.dumps({**about, "identities": twice}), encoding="utf-8")
    with pytest.raises(GalleryError, match="UNIQUE constraint failed"):
        Gallery.import_from(tmp_path / "out", tmp_path / "d.db")
    with pytest.raises(GalleryError, match="without a gallery"):
        Gallery.open(tmp_path / "d.db")  # nothing half made stays
