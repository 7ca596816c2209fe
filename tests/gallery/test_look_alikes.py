"""Pairs that resemble each other, and two names of one person that become one."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from quickstudy.core.errors import GalleryError
from quickstudy.gallery import Gallery, OnePhotoError, Policy

DIM = 8


def near(direction: int, *, tilt: float = 0.0) -> np.ndarray:
    x = np.zeros(DIM)
    x[direction], x[DIM - 1] = 1.0, tilt
    return x


@pytest.fixture
def gallery(place: Callable[[], str]) -> Iterator[Gallery]:
    policy = Policy(threshold=0.8, review=0.8, duplicate=0.999)
    with Gallery.create(place(), encoder="e1", dim=DIM, policy=policy) as gallery:
        gallery.enrol("Ada", [near(0), near(0, tilt=0.1)], photos=["a.jpg", "party.jpg"])
        gallery.enrol("Ada L.", [near(0, tilt=0.2)], photos=["c.jpg"], consent="by letter")
        gallery.enrol("Bo", [near(1)], photos=["b.jpg"], retain_until="2030-01-01T00:00:00+00:00")
        gallery.enrol("Cy", [near(1, tilt=0.5)], photos=["party.jpg"])
        yield gallery


def test_pairs_are_those_of_a_double_loop(gallery: Gallery) -> None:
    vectors = {p["name"]: gallery.export_person(p["name"]) for p in gallery.identities()}
    own = {n: np.array([t["vector"] for t in p["templates"]]) for n, p in vectors.items()}
    expected = {
        frozenset((a, b)): float((own[a] @ own[b].T).max()) for a in own for b in own if a < b
    }
    pairs = gallery.look_alikes()
    for pair in pairs:
        similarity = expected[frozenset(pair.names)]
        assert pair.similarity == pytest.approx(similarity, abs=1e-6)
        assert pair.is_confused == (similarity > 0.8)
    assert pairs[0].names == ("Ada", "Ada L.")  # the one with more templates first
    assert set(pairs[1].names) == {"Bo", "Cy"}
    assert [pair.similarity for pair in pairs] == sorted(
        (p.similarity for p in pairs), reverse=True
    )
    assert len(gallery.look_alikes(most=1)) == 1


def test_two_names_become_one(gallery: Gallery) -> None:
    gone = gallery.merge("Ada L.", "Ada")
    assert gone.names == ("Ada L.",)
    people = {person["name"]: person for person in gallery.identities()}
    assert sorted(people) == ["Ada", "Bo", "Cy"]
    assert len(people["Ada"]["templates"]) == 3
    assert people["Ada"]["consent"] == "by letter"
    assert gallery.identify([near(0, tilt=0.2)])[0].identity == "Ada"
    gallery.merge("Cy", "Bo")
    assert gallery.export_person("Bo")["retain_until"].startswith("2030-01-01")
    check = gallery.check_audit()
    assert not check.problems
    entries = [entry for entry in gallery.audit() if entry["action"] == "merge"]
    assert [(e["identity"], e["photo"]) for e in entries] == [("Ada", "c.jpg"), ("Bo", "party.jpg")]


def test_two_faces_of_one_photo_are_never_merged(gallery: Gallery) -> None:
    gallery.enrol("Cy", [near(0, tilt=0.3)], photos=["late.jpg"], force=True)
    (pair,) = [p for p in gallery.look_alikes() if set(p.names) == {"Ada", "Cy"}]
    assert pair.photo == "party.jpg"
    before = gallery.identities()
    with pytest.raises(OnePhotoError, match=r"party\.jpg"):
        gallery.merge("Cy", "Ada")
    assert gallery.identities() == before
    # Also where the photo came to one of them by an earlier merge.
    gallery.merge("Ada", "Ada L.")
    with pytest.raises(OnePhotoError):
        gallery.merge("Cy", "Ada L.")
    gallery.merge("Cy", "Ada L.", force=True)
    assert [p["name"] for p in gallery.identities()] == ["Ada L.", "Bo"]


def test_what_cannot_be_merged(gallery: Gallery) -> None:
    for names in (("Ada", "Ada"), ("Ada", "Nobody"), ("Nobody", "Ada")):
        with pytest.raises(GalleryError):
            gallery.merge(*names)


def test_an_empty_gallery_has_no_pairs(tmp_path: Path) -> None:
    with Gallery.create(tmp_path / "empty.db", encoder="e1", dim=DIM) as gallery:
        assert gallery.look_alikes() == []
        gallery.enrol("Ada", [near(0)])
        assert gallery.look_alikes() == []
