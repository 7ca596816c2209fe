"""Files and databases: what lies where, who may read it, what is left of what was removed."""

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import unicodedata
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import inspect, text
from sqlalchemy.exc import OperationalError

from quickstudy.core.errors import GalleryError
from quickstudy.gallery import Gallery, Policy
from quickstudy.gallery.access import Access
from quickstudy.gallery.location import Location

DIM = 16


def vectors(seed: int, n: int = 2) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=DIM) + 0.1 * rng.normal(size=(n, DIM))


def made(place: str | Path, people: int = 4) -> Gallery:
    gallery = Gallery.create(place, encoder="e1", dim=DIM)
    for i in range(people):
        gallery.enrol(f"person number {i:02d}", vectors(i), consent=f"signed by number {i:02d}")
    return gallery


# --- names of files, and of people


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1, max_size=9))
def test_a_file_is_called_as_was_said(tmp_path: Path, name: str) -> None:
    if name in (".", ".."):
        return
    folder = Path(subprocess.check_output(["mktemp", "-d", "-p", tmp_path], text=True).strip())
    with Gallery.create(folder / name, encoder="e", dim=3) as gallery:
        gallery.enrol("Ada", [[1.0, 0, 0]])
    assert [path.name for path in folder.iterdir()] == [name]
    with Gallery.open(folder / name) as gallery:
        assert len(gallery.identities()) == 1


@pytest.mark.parametrize("name", ["who?.db", "100%41.db", "a#b.db", "~x.db", "file:x.db"])
def test_names_that_mean_something_in_addresses(tmp_path: Path, name: str) -> None:
    with made(tmp_path / name, 1):
        assert (tmp_path / name).is_file()
    with pytest.raises(GalleryError, match="There is no gallery at"):
        Gallery.open(tmp_path / f"{name}?")


def test_a_tilde_is_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    made("~/g.db", 1).close()
    assert (tmp_path / "g.db").is_file()


@given(name=st.text(max_size=30))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_name_is_one_identity_however_it_is_written(name: str, shared: Gallery) -> None:
    spellings = {
        f" {unicodedata.normalize(form, name)}\N{NO-BREAK SPACE}" for form in ("NFC", "NFD")
    }
    letters = unicodedata.normalize("NFC", name).strip()
    is_refused = not letters or any(unicodedata.category(x) in ("Cc", "Cs") for x in letters)
    for i, spelling in enumerate(spellings):
        with pytest.raises(GalleryError, match="name") if is_refused else nullcontext():
            shared.enrol(spelling, vectors(50, 5)[i : i + 1], force=True)
    if is_refused:
        assert not shared.identities()
        return
    assert len(shared.identities()) == 1
    for spelling in spellings:
        assert shared.verify(vectors(50)[0], spelling).candidates
    shared.rename(next(iter(spellings)), "somebody else")
    shared.remove("somebody else ")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Gallery:
    place = tmp_path_factory.mktemp("names") / "g.db"
    return Gallery.create(place, encoder="e1", dim=DIM)


# --- who may read what


def test_only_the_owner_can_read_the_files(tmp_path: Path) -> None:
    before = os.umask(0o002)
    try:
        gallery = made(tmp_path / "g.db")
        gallery.export(tmp_path / "out")
        gallery.backup(tmp_path / "backup.db")
        gallery.identify(vectors(0))
    finally:
        os.umask(before)
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size]
    assert {"g.db", "backup.db"} < {path.name for path in files}
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in files}
    assert {name: mode for name, mode in modes.items() if mode & 0o077} == {}
    gallery.close()


READER = """
import os, sys, warnings
from quickstudy.gallery import Gallery
from quickstudy.core.errors import GalleryError
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    gallery = Gallery.open(sys.argv[1])
    found = [d.candidates[0][0] for d in gallery.identify([[float(x) for x in sys.argv[2:]]])]
    gallery.close()
try:
    gallery.remove(found[0])
except GalleryError as error:
    found.append("refused" if "cannot be opened or written" in str(error) else str(error))
print(found, len(gallery.identities()), ["no entry" in str(w.message) for w in caught])
"""


@pytest.mark.parametrize("is_in_use", [False, True])
def test_asking_needs_no_permission_to_write(tmp_path: Path, is_in_use: bool) -> None:
    if os.getuid() == 0 and not os.access(sys.prefix, os.R_OK):
        pytest.skip("this Python cannot be run by others")
    place = tmp_path / "door.db"
    gallery = made(place)
    if not is_in_use:
        gallery.close()
    for path in (*tmp_path.parents[:3], tmp_path):
        if path != Path("/tmp") and os.access(path, os.W_OK):
            path.chmod(0o755)
    for path in tmp_path.iterdir():
        path.chmod(0o444)
    if os.getuid():
        tmp_path.chmod(0o555)
    probe = [str(x) for x in vectors(2)[0]]
    done = subprocess.run(
        [sys.executable, "-c", READER, place, *probe], capture_output=True, text=True
    )
    tmp_path.chmod(0o755)
    assert done.stdout.strip() == "['person number 02', 'refused'] 4 [True]", done.stderr
    gallery.close()


def test_readers_do_not_wait_for_writers(tmp_path: Path) -> None:
    gallery = made(tmp_path / "g.db")
    gallery._access.flush()
    with sqlite3.connect(tmp_path / "g.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")  # somebody writes, and takes his time
        decision = gallery.identify(vectors(1)[:1])[0]
        assert decision.candidates[0][0] == "person number 01"
        assert other.execute("SELECT COUNT(*) FROM quickstudy_audit").fetchone() == (4,)
        other.execute("COMMIT")
    other.close()
    assert [row["action"] for row in gallery.audit()] == ["enrol"] * 4 + ["identify"]
    gallery.close()


def test_a_password_is_never_shown() -> None:
    address = "postgresql://me:pa%20ss@/name?host=/nowhere&password=other"
    location = Location.of(address)
    assert "pa" not in location.shown.replace("password=", "")
    assert "other" not in location.shown
    assert location.masked("wrong: pa ss, other") == "wrong: ***, ***"
    pytest.importorskip("psycopg")
    with pytest.raises(GalleryError) as error:
        Gallery.open(address)
    assert "pa ss" not in str(error.value) + repr(error.value)
    with pytest.raises(GalleryError) as error:
        Location.of("postgresql://me:secret@host:port/name")
    assert "secret" not in str(error.value)


# --- what is not ours


def test_tables_of_others_are_left_alone(place: Callable[[], str]) -> None:
    location = Location.of(place())
    if location.path is not None:
        location.path.touch()
    from quickstudy.gallery.database import engine_for

    engine = engine_for(location)
    names = ["audit", "identity", "policy", "template", "change", "cohort", "gallery"]
    with engine.begin() as connection:
        for name in names:
            connection.execute(text(f"CREATE TABLE {name} (what TEXT)"))
            connection.execute(text(f"INSERT INTO {name} VALUES ('a row of another program')"))
    gallery = made(location.place)
    gallery.erase()
    with engine.connect() as connection:
        assert set(inspect(connection).get_table_names()) - {"sqlite_sequence"} == set(names)
        for name in names:
            rows = connection.execute(text(f"SELECT what FROM {name}")).scalars().all()
            assert rows == ["a row of another program"]
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE quickstudy_cohort (what TEXT)"))
    with pytest.raises(GalleryError, match=r"but has no gallery: quickstudy_cohort\. Choose"):
        Gallery.create(location.place, encoder="e", dim=3)
    engine.dispose()


# --- damage


@pytest.mark.parametrize("column", ["vector", "identity", "checksum"])
def test_a_flipped_bit_is_noticed(place: Callable[[], str], column: str) -> None:
    gallery = made(place())
    gallery.calibrate(0.5, cohort=vectors(90, 3))
    with gallery._access.engine.begin() as connection:
        query = text("SELECT vector FROM quickstudy_template WHERE id = 3")
        content = bytearray(connection.execute(query).scalar_one())
        content[7] ^= 64
        value = {"vector": bytes(content), "identity": 1, "checksum": 5}[column]
        connection.execute(
            text(f"UPDATE quickstudy_template SET {column} = :value WHERE id = 3"), {"value": value}
        )
    with pytest.raises(GalleryError, match=r"is damaged: a vector is not as it was written"):
        Gallery.open(gallery.place).identify(vectors(0))


def test_a_vector_of_the_right_checksum_is_still_checked(tmp_path: Path) -> None:
    from quickstudy.gallery.checksums import checksum

    gallery = made(tmp_path / "g.db")
    for wrong in (np.full(DIM, 3.0), np.full(DIM, np.nan), np.zeros(DIM)):
        content = wrong.astype(np.float32).tobytes()
        with gallery._access.engine.begin() as connection:
            connection.execute(
                text("UPDATE quickstudy_template SET vector = :v, checksum = :c WHERE id = 3"),
                {"v": content, "c": checksum(content, 2)},
            )
        with pytest.raises(GalleryError, match="has not length 1, or is not of finite numbers"):
            Gallery.open(gallery.place).identify(vectors(0))


# --- copies


def test_a_copy_of_the_file_alone_is_whole(tmp_path: Path) -> None:
    gallery = made(tmp_path / "door.db", 10)
    gallery.remove("person number 03")
    shutil.copy(tmp_path / "door.db", tmp_path / "copy.db")
    assert Gallery.open(tmp_path / "copy.db").identities() == gallery.identities()
    gallery.close()


def test_a_backup_is_of_one_moment(tmp_path: Path) -> None:
    gallery = made(tmp_path / "door.db")
    with sqlite3.connect(tmp_path / "door.db") as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT COUNT(*) FROM quickstudy_template").fetchone()
        gallery.enrol("late", vectors(30), force=True)  # is in the write-ahead log only
        gallery.backup(tmp_path / "backup.db")
    reader.close()
    copy = Gallery.open(tmp_path / "backup.db")
    assert copy.identities() == gallery.identities()
    assert copy.check_audit().problems == ()
    with pytest.raises(GalleryError, match="exists already; it is left alone"):
        gallery.backup(tmp_path / "backup.db")
    with pytest.raises(GalleryError, match="cannot be written"):
        gallery.backup(tmp_path / "no folder" / "backup.db")


# --- deletion


def traces(folder: Path, needles: dict[str, bytes]) -> dict[str, list[str]]:
    """In which files of a folder something is."""
    found = {}
    for path in sorted(folder.rglob("*")):
        content = path.read_bytes() if path.is_file() else b""
        names = [name for name, needle in needles.items() if needle in content]
        if names:
            found[path.name] = names
    return found


def needles_of(name: str, seed: int) -> dict[str, bytes]:
    unit = (vectors(seed).T / np.linalg.norm(vectors(seed), axis=1)).T.astype(np.float32)
    parts = {f"vector {i}": v.tobytes()[:24] for i, v in enumerate(unit)}
    return {**parts, "name": name.encode(), "consent": b"signed by number %02d" % seed}


@pytest.mark.parametrize("how", ["remove", "expire", "templates", "rename", "erase"])
def test_nothing_is_left_of_who_was_removed(tmp_path: Path, how: str) -> None:
    gallery = made(tmp_path / "g.db", 40)
    name, needles = "person number 07", needles_of("person number 07", 7)
    other = Gallery.open(tmp_path / "g.db")  # a second one, which has read
    other.identify(vectors(7), photos=["person number 07.png", "door.png"])
    other._access.flush()
    assert traces(tmp_path, needles)
    if how == "remove":
        assert gallery.remove(name).remains == ()
    elif how == "expire":
        gallery.enrol(name, vectors(7), retain_until=datetime(2001, 1, 1, tzinfo=UTC))
        assert gallery.expire().names == (name,)
    elif how == "templates":
        last = [gallery.remove_template(t) for t in gallery.identities()[36]["templates"]][-1]
        assert last.names == ("person number 36",)
        needles = needles_of(last.names[0], 36)
    elif how == "rename":
        gallery.rename(name, "nobody")
        needles = {"name": needles["name"]}
    else:
        gallery.erase()
    assert traces(tmp_path, needles) == {}
    if how != "erase":
        assert gallery.check_audit().problems == ()
    other.close()
    gallery.close()
    assert traces(tmp_path, needles) == {}


def test_what_a_reader_keeps_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from quickstudy.gallery import maintenance

    monkeypatch.setattr(maintenance, "_WAIT_FOR_READERS", 0.05)
    gallery, needles = made(tmp_path / "g.db", 40), needles_of("person number 07", 7)
    reader = sqlite3.connect(tmp_path / "g.db", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT COUNT(*) FROM quickstudy_template").fetchone()
    (remains,) = gallery.remove("person number 07").remains
    assert "g.db-wal still holds what was removed" in remains
    reader.execute("COMMIT")
    assert gallery.purge() == ()
    assert traces(tmp_path, needles) == {}
    reader.close()
    gallery.close()


def test_large_files_are_written_anew_where_something_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from quickstudy.gallery import maintenance

    monkeypatch.setattr(maintenance, "SMALL", 0)
    gallery = made(tmp_path / "g.db", 40)
    for i in range(0, 40, 2):
        gallery.remove(f"person number {i:02d}")
        needles = needles_of(f"person number {i:02d}", i)
        assert traces(tmp_path, needles) == {}
    gallery.close()


def test_postgresql_says_what_its_server_keeps(
    place: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    location = place()
    if "://" not in location:
        pytest.skip("is about PostgreSQL")
    from quickstudy.gallery import maintenance

    gallery = made(location)
    (remains,) = gallery.remove("person number 01").remains
    assert "write-ahead log of the PostgreSQL server" in remains
    with gallery._access.engine.connect() as connection:
        for table in ("identity", "template", "audit"):
            rows = connection.execute(text(f"SELECT * FROM quickstudy_{table}")).all()
            assert "number 01" not in str(rows)
    monkeypatch.setattr(maintenance, "_WAIT_FOR_READERS", 1)
    with gallery._access.engine.connect() as reader:
        reader.execute(text("SELECT COUNT(*) FROM quickstudy_template")).scalar_one()
        remains = gallery.purge()
        assert "could not be written anew" in remains[0]
    gallery.close()


# --- commits whose outcome is unknown


@pytest.mark.parametrize("is_made", [True, False])
def test_the_outcome_of_a_broken_commit_is_found_out(
    place: Callable[[], str], monkeypatch: pytest.MonkeyPatch, is_made: bool
) -> None:
    gallery = made(place())
    _break_commits(monkeypatch, is_made=is_made)
    if is_made:
        gallery.enrol("late", vectors(60))
    else:
        with pytest.raises(GalleryError, match=r"Nothing was changed\.$"):
            gallery.enrol("late", vectors(60))
    monkeypatch.undo()
    assert len(gallery.identities()) == 4 + is_made
    assert len(gallery.identify(vectors(60), top_k=9)[0].candidates) == 4 + is_made


def test_an_unknown_outcome_is_called_unknown(
    place: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = made(place())
    _break_commits(monkeypatch, is_made=True)
    monkeypatch.setattr(Access, "_is_made", lambda *_: None)
    with pytest.raises(GalleryError, match="It is unknown whether the change was made") as error:
        gallery.enrol("late", vectors(60))
    assert "Nothing was changed" not in str(error.value)
    monkeypatch.undo()
    assert len(gallery.identify(vectors(60), top_k=9)[0].candidates) == 5


def _break_commits(monkeypatch: pytest.MonkeyPatch, *, is_made: bool) -> None:
    from sqlalchemy.engine import RootTransaction

    commit = RootTransaction.commit

    def broken(self: RootTransaction) -> None:
        if self.connection.get_execution_options().get("writes"):
            commit(self) if is_made else self.rollback()
            raise OperationalError("COMMIT", {}, Exception("disk I/O error"))
        commit(self)

    monkeypatch.setattr(RootTransaction, "commit", broken)


def test_no_entry_of_the_audit_is_lost_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = made(tmp_path / "g.db")
    monkeypatch.setattr(
        gallery._access._questions, "_write", lambda _: (_ for _ in ()).throw(GalleryError("full"))
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        gallery.identify(vectors(0))
        gallery.close()
    assert any("2 decisions left no entry" in str(w.message) for w in caught)


def test_policies_are_kept_in_their_order(tmp_path: Path) -> None:
    gallery = made(tmp_path / "g.db")
    assert gallery.set_policy(Policy(threshold=0.5)) == 2
    assert gallery.identify(vectors(0))[0].policy == 2
