import json
import os
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quickstudy.core.errors import ConfigError, GalleryError
from quickstudy.gallery import DuplicateError, Gallery, Policy
from quickstudy.gallery.database import explained
from quickstudy.gallery.location import Location

DIM = 8


def vectors(seed: int, n: int = 2, spread: float = 0.1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=DIM) + spread * rng.normal(size=(n, DIM))


def made(place: Callable[[], str], people: int = 5, **policy: object) -> Gallery:
    gallery = Gallery.create(
        place(),
        encoder="e1",
        dim=DIM,
        policy=Policy(**{"threshold": 0.8, "review": 0.8, "duplicate": 0.95, **policy}),
    )
    for i in range(people):
        gallery.enrol(f"p{i}", vectors(i))
    return gallery


def close(gallery: Gallery) -> None:
    gallery.close()


def test_identification_equals_a_double_loop(place: Callable[[], str]) -> None:
    for score in ("nearest", "mean"):
        gallery = made(place, score=score)
        probes = np.r_[vectors(0, 3), vectors(99, 3)]
        for probe, decision in zip(probes, gallery.identify(probes, top_k=3), strict=True):
            found = {}
            for i in range(5):
                templates = [t / np.linalg.norm(t) for t in vectors(i)]
                if score == "mean":
                    mean = np.sum(templates, 0)
                    templates = [mean / np.linalg.norm(mean)]
                found[f"p{i}"] = max(float(probe @ t / np.linalg.norm(probe)) for t in templates)
            ranked = sorted(found.items(), key=lambda item: -item[1])[:3]
            assert [c[0] for c in decision.candidates] == [r[0] for r in ranked]
            np.testing.assert_allclose(
                [c[1] for c in decision.candidates], [r[1] for r in ranked], atol=1e-5
            )
            assert decision.identity == (ranked[0][0] if ranked[0][1] > 0.8 else None)
        assert gallery.verify(vectors(1)[0], "p1").identity == "p1"
        assert gallery.verify(vectors(2)[0], "p1").identity is None
        close(gallery)


def test_enrolling_warns_and_refuses(place: Callable[[], str]) -> None:
    gallery = made(place)
    assert gallery.enrol("new", vectors(50, 1)).warnings[-1].startswith("new has one template")
    with pytest.raises(
        DuplicateError, match=r"Photo 2 of thief looks like p3 \(similarity"
    ) as error:
        gallery.enrol("thief", np.r_[vectors(60, 1), vectors(3)[:1]])
    assert (error.value.identity, error.value.other) == ("thief", "p3")
    assert "thief" not in [p["name"] for p in gallery.identities()]
    forced = gallery.enrol("thief", vectors(3)[:1], force=True)
    assert "enrolled because it was forced" in forced.warnings[0]
    unlike = gallery.enrol("p0", vectors(70, 1)).warnings
    assert "Photo 1 is unlike the others of p0" in unlike[-1]
    assert not gallery.enrol("p1", vectors(1, 3)[2:]).warnings
    close(gallery)


def test_people_come_and_go(place: Callable[[], str]) -> None:
    gallery = made(place)
    gallery.rename("p0", "Ada")
    assert gallery.identify(vectors(0)[:1])[0].identity == "Ada"
    with pytest.raises(GalleryError, match="There is a p1 already"):
        gallery.rename("Ada", "p1")
    for name, why in (("Ada", "is called so already"), (" ", "needs a name"), ("a\nb", "control")):
        with pytest.raises(GalleryError, match=why):
            gallery.rename("Ada", name)
    first, second = gallery.identities()[0]["templates"]
    gallery.remove_template(first)
    assert gallery.identities()[0]["templates"] == [second]
    gallery.remove_template(second)
    assert [p["name"] for p in gallery.identities()] == ["p1", "p2", "p3", "p4"]
    gallery.remove("p1")
    assert gallery.identify(vectors(1)[:1])[0].identity is None
    with pytest.raises(GalleryError, match=r"Nobody is called 'p1' here"):
        gallery.remove("p1")
    with pytest.raises(GalleryError, match="no template 999"):
        gallery.remove_template(999)
    close(gallery)


@settings(
    deadline=None, max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seeds=st.lists(st.integers(100, 10_000), min_size=1, max_size=4, unique=True))
def test_enrolling_and_removing_restores_every_answer(
    place: Callable[[], str], seeds: list[int]
) -> None:
    gallery, probes = made(place, rate=None), np.r_[vectors(0, 3), vectors(99, 3)]
    before = gallery.identify(probes)
    for seed in seeds:
        gallery.enrol(f"guest {seed}", vectors(seed), force=True)
    for seed in seeds:
        gallery.remove(f"guest {seed}")
    assert gallery.identify(probes) == before
    close(gallery)


def test_consent_and_retention(place: Callable[[], str]) -> None:
    gallery = made(place)
    soon = datetime.now(UTC) + timedelta(days=1)
    gallery.enrol(
        "p0", vectors(0, 3)[2:], consent="signed 2026-01-02", retain_until=soon, details={"door": 3}
    )
    told = gallery.identities()[0]
    assert (told["consent"], told["details"]) == ("signed 2026-01-02", {"door": 3})
    assert told["retain_until"] == soon.isoformat()
    assert gallery.expire().names == ()
    assert gallery.expire(soon + timedelta(days=1)).names == ("p0",)
    assert len(gallery.identities()) == 4
    close(gallery)


def test_everything_is_on_record_without_vectors(place: Callable[[], str]) -> None:
    gallery = made(place, people=2, review=0.95)
    gallery.identify(np.r_[vectors(0)[:1], vectors(99)[:1]])
    gallery.verify(vectors(1)[0], "p1")
    gallery.set_policy(Policy(threshold=0.1, review=0.2))
    gallery.remove("p0")
    told = gallery.audit()
    assert [row["action"] for row in told] == [
        "enrol",
        "enrol",
        "identify",
        "identify",
        "verify",
        "policy",
        "remove",
    ]
    assert [row["identity"] for row in told[3:5]] == [None, "p1"]
    assert told[2]["identity"].startswith("identity-")  # who is removed has a pseudonym
    assert told[2]["threshold"] == 0.8
    assert all(datetime.fromisoformat(row["time"]).tzinfo is not None for row in told)
    assert told[2]["policy"] == 1
    assert told[5]["policy"] == 2
    assert not any(isinstance(v, bytes) for row in told for v in row.values())
    assert [row["action"] for row in gallery.audit(last=2)] == ["policy", "remove"]
    close(gallery)


def test_the_threshold_follows_who_is_there(place: Callable[[], str]) -> None:
    gallery = made(place, people=3)
    rng = np.random.default_rng(0)
    cohort = rng.normal(size=(200, DIM))
    first = gallery.calibrate(0.05, cohort=cohort).policy
    assert (first.rule, first.rate) == ("cohort", 0.05)
    for i in range(3, 12):
        gallery.enrol(f"p{i}", vectors(i), force=True)
    many = gallery.policy
    assert many.threshold is not None
    assert first.threshold is not None
    assert many.threshold > first.threshold
    anew = gallery.calibrate(0.05).policy
    assert anew.threshold == many.threshold
    accepted = sum(d.identity is not None for d in gallery.identify(rng.normal(size=(2000, DIM))))
    assert accepted / 2000 < 0.12
    for i in range(3, 12):
        gallery.remove(f"p{i}")
    assert gallery.policy.threshold == pytest.approx(first.threshold)
    close(gallery)


def test_without_a_cohort_each_identity_is_left_out(place: Callable[[], str]) -> None:
    gallery = made(place, people=15)
    policy = gallery.calibrate(0.2).policy
    assert policy.rule == "leave one identity out"
    scores = []
    for i in range(15):
        for t in vectors(i):
            t = t / np.linalg.norm(t)
            scores.append(
                max(
                    float(t @ u / np.linalg.norm(u))
                    for j in range(15)
                    if j != i
                    for u in vectors(j)
                )
            )
    # Two scores of each of 15, and one of 16 sixteenths is kept for the impostor to come, one for
    # whom it looks like: 28 · ½ / 16 is the first above 0.8 + 1 / 16.
    assert policy.threshold == pytest.approx(sorted(scores)[27], abs=1e-6)
    with pytest.raises(ConfigError, match=r"at least 199 identities .*, but there are 15"):
        gallery.calibrate(0.01)
    assert gallery.policy == policy
    close(gallery)


def test_export_and_import(place: Callable[[], str], tmp_path: Path) -> None:
    gallery = made(place)
    gallery.calibrate(0.2, cohort=np.random.default_rng(0).normal(size=(50, DIM)))
    gallery.enrol("p0", vectors(0, 3)[2:], consent="yes", retain_until=datetime(2030, 1, 1))
    probes = np.r_[vectors(0, 3), vectors(99, 3)]
    other = Gallery.import_from(gallery.export(tmp_path / "out"), place())
    assert [d.candidates for d in other.identify(probes)] == [
        d.candidates for d in gallery.identify(probes)
    ]
    assert other.policy == gallery.policy
    assert [p["consent"] for p in other.identities()] == [
        p["consent"] for p in gallery.identities()
    ]
    assert other.calibrate(0.2).policy.threshold == gallery.policy.threshold
    with pytest.raises(GalleryError, match="holds a gallery already"):
        Gallery.import_from(tmp_path / "out", gallery.place)
    next((tmp_path / "out").glob("vectors*")).write_bytes(b"x")
    with pytest.raises(GalleryError, match="holds no gallery that can be imported"):
        Gallery.import_from(tmp_path / "out", place())
    close(gallery)
    close(other)


def test_other_processes_are_seen(place: Callable[[], str]) -> None:
    one = made(place)
    other = Gallery.open(one.place, encoder="e1")
    assert other.identify(vectors(80)[:1])[0].identity is None
    one.enrol("late", vectors(80))
    assert other.identify(vectors(80)[:1])[0].identity == "late"
    close(one)
    close(other)


def test_erase(place: Callable[[], str]) -> None:
    gallery = made(place)
    gallery.erase()
    with pytest.raises(GalleryError, match="without a gallery"):
        Gallery.open(gallery.place)
    if "://" not in gallery.place:
        raw = Path(gallery.place).read_bytes()
        assert not any(
            (t / np.linalg.norm(t)).astype(np.float32).tobytes()[:16] in raw
            for t in vectors(0).astype(np.float32)
        )
    close(gallery)


def test_what_cannot_be_is_refused(place: Callable[[], str]) -> None:
    gallery = made(place)
    for bad, why in (
        (np.ones((1, 3)), r"\[n 8\]"),
        (np.full((1, DIM), np.nan), "not of finite numbers"),
        (np.full((1, DIM), np.inf), "not of finite numbers"),
        (np.zeros((1, DIM)), "is zero"),
        (np.ones(DIM), r"shape \(8,\)"),
        ([["a"] * DIM], "vectors of 8 numbers"),
    ):
        with pytest.raises(GalleryError, match=why):
            gallery.identify(bad)
        with pytest.raises(GalleryError, match=why):
            gallery.enrol("x", bad)
    with pytest.raises(GalleryError, match="needs a name"):
        gallery.enrol(" ", vectors(9))
    with pytest.raises(GalleryError, match="holds templates of the encoder 'e1', not of 'e2'"):
        Gallery.open(gallery.place, encoder="e2")
    with pytest.raises(GalleryError, match="holds a gallery already"):
        Gallery.create(gallery.place, encoder="e1", dim=DIM)
    with pytest.raises(GalleryError, match="threshold cannot lie above review"):
        Policy(threshold=0.5, review=0.4)
    with pytest.raises(GalleryError, match=r"no similarity 'nearst'.*nearest"):
        Policy(score="nearst")
    empty = Gallery.create(place(), encoder="e1", dim=DIM)
    assert empty.identify(vectors(0))[0].candidates == ()
    with pytest.raises(GalleryError, match="fewer than two identities"):
        empty.calibrate(0.1)
    assert len(gallery.identities()) == 5
    close(gallery)
    close(empty)


def test_bad_places(tmp_path: Path) -> None:
    with pytest.raises(GalleryError, match="There is no gallery at"):
        Gallery.open(tmp_path / "none.db")
    (tmp_path / "text.db").write_text("no database " * 100, encoding="utf-8")
    with pytest.raises(GalleryError, match="is damaged"):
        Gallery.open(tmp_path / "text.db")
    with sqlite3.connect(tmp_path / "other.db") as connection:
        connection.execute("CREATE TABLE t (x)")
    connection.close()
    with pytest.raises(GalleryError, match="without a gallery"):
        Gallery.open(tmp_path / "other.db")
    with pytest.raises(GalleryError, match="cannot be written"):
        Gallery.create(tmp_path / "no folder" / "a.db", encoder="e", dim=2)
    for address in ("mysterydb://x", "mysql://me@host/name", "sqlite://"):
        with pytest.raises(GalleryError, match=r"is no (database|address)"):
            Gallery.create(address, encoder="e", dim=2)


def test_a_disk_that_fails_is_said_to_be_perhaps_full() -> None:
    # So SQLite speaks where there is no room for the file beside the gallery, also of reading.
    said = r"a\.db cannot be read or written, as when it is full: disk I/O error\. Look at the room"
    with pytest.raises(GalleryError, match=said), explained(Location.of("a.db")):
        raise sqlite3.OperationalError("disk I/O error")


def test_a_gallery_on_a_full_disk_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(lambda: str(tmp_path / "a.db")).close()
    before, disk = sorted(tmp_path.iterdir()), os.statvfs(tmp_path)
    full = os.statvfs_result((*disk[:3], 1, 1, *disk[5:]))  # one block is free
    monkeypatch.setattr(os, "statvfs", lambda path: full)
    gallery = Gallery.open(tmp_path / "a.db")
    assert gallery.identities()
    assert gallery.info()["identities"] == len(gallery.identities())
    assert sorted(tmp_path.iterdir()) == before  # SQLite would write beside it
    with pytest.raises(GalleryError, match="is full"):
        gallery.enrol("Zoe", vectors(9, 1), force=True)
    gallery.close()


def test_a_full_disk_changes_nothing(tmp_path: Path) -> None:
    gallery = made(lambda: str(tmp_path / "a.db"))
    with gallery._access.engine.connect() as connection:
        raw = connection.connection.dbapi_connection
        assert raw is not None
        pages = raw.execute("PRAGMA page_count").fetchone()[0]
        raw.execute(f"PRAGMA max_page_count={pages}")

    def fill() -> None:
        for i in range(200):
            gallery.enrol(f"more {i}", vectors(200 + i, 20), force=True)

    with pytest.raises(GalleryError, match=r"disk .* is full\. Nothing was changed"):
        fill()
    names = {p["name"] for p in gallery.identities()}
    assert all(
        len(p["templates"]) == 20 for p in gallery.identities() if p["name"].startswith("more")
    )
    assert {"p0", "p1"} <= names
    close(gallery)


def test_exports_are_plain(tmp_path: Path) -> None:
    gallery = made(lambda: str(tmp_path / "a.db"), people=2)
    file = gallery.export(tmp_path / "out") / "quickstudy.json"
    about = json.loads(file.read_text(encoding="utf-8"))["about"]
    assert [p["name"] for p in about["identities"]] == ["p0", "p1"]
    assert about["encoder"] == "e1"
    close(gallery)
