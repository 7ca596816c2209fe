"""Vectors on disk: what was put in comes back, bit by bit, or not at all."""

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from quickstudy.core.arrays import NDArray
from quickstudy.pretrained import FeatureCache, cache

KEY = "0123456789abcdef"


def contents(n: int) -> list[bytes]:
    return [i.to_bytes(32, "big") for i in range(n)]


def vectors(n: int, dim: int = 8) -> dict[bytes, NDArray[np.float32]]:
    rng = np.random.default_rng(0)
    return {c: rng.standard_normal(dim, dtype=np.float32) for c in contents(n)}


def same(
    found: dict[bytes, NDArray[np.float32]], expected: dict[bytes, NDArray[np.float32]]
) -> bool:
    return {c: v.tobytes() for c, v in found.items()} == {
        c: v.tobytes() for c, v in expected.items()
    }


@given(arrays(np.float32, (3, 5), elements=st.floats(width=32)))
@settings(max_examples=20)
def test_what_was_put_in_comes_back_bit_by_bit(
    tmp_path_factory: pytest.TempPathFactory, x: NDArray[np.float32]
) -> None:
    folder = tmp_path_factory.mktemp("cache")
    put = dict(zip(contents(3), x, strict=True))
    with FeatureCache(folder, key=KEY, dim=5) as one:
        one.put(put)
    with FeatureCache(folder, key=KEY, dim=5) as other:
        assert same(other.get(contents(5)), put)
        assert other.count() == 3
        assert other.notes == []


def test_more_than_are_asked_for_at_once(tmp_path: Path) -> None:
    put = vectors(1234)
    with FeatureCache(tmp_path, key=KEY, dim=8) as one:
        one.put(put)
        assert same(one.get(contents(1300)), put)
        one.put({contents(1)[0]: np.zeros(8, np.float32)})
        assert not one.get(contents(1))[contents(1)[0]].any()
        assert one.count() == 1234


def test_encoders_do_not_mix(tmp_path: Path) -> None:
    # Keys of one's own may be no file names, and some disks take A for a.
    kinds = [(KEY, 8), (KEY, 4), ("a", 8), ("A", 8), ("a/b", 8), ("../a", 8), ("ä" * 300, 8)]
    for n, (key, dim) in enumerate(kinds):
        with FeatureCache(tmp_path / "cache", key=key, dim=dim) as one:
            one.put({contents(1)[0]: np.full(dim, n, np.float32)})
    for n, (key, dim) in enumerate(kinds):
        with FeatureCache(tmp_path / "cache", key=key, dim=dim) as one:
            assert one.get(contents(1))[contents(1)[0]].tolist() == [n] * dim
            assert one.file.parent == tmp_path / "cache"
    assert len({file.name.lower() for file in (tmp_path / "cache").glob("*.sqlite")}) == len(kinds)


@pytest.mark.parametrize(
    "damaged",
    [lambda whole: whole[: len(whole) // 2], lambda whole: b"no database" * 500],
    ids=["cut", "other"],
)
def test_a_damaged_file_is_set_aside_and_begun_anew(
    tmp_path: Path, damaged: Callable[[bytes], bytes]
) -> None:
    with FeatureCache(tmp_path, key=KEY, dim=8) as one:
        one.put(vectors(300))
        file = one.file
    file.write_bytes(damaged(file.read_bytes()))
    with FeatureCache(tmp_path, key=KEY, dim=8) as one:
        one.get(contents(300))
        one.put(vectors(300))
        one.put(vectors(300))  # a damage that shows only at the first writing costs that one
        assert same(one.get(contents(300)), vectors(300))
        assert len(one.notes) == 1
        assert (
            f"The feature cache {file} was damaged. It is now called {file.name}.damaged and may "
            "be deleted; a new one was begun." in one.notes
        )
    assert (tmp_path / f"{file.name}.damaged").exists()
    with FeatureCache(tmp_path, key=KEY, dim=8) as one:
        assert same(one.get(contents(300)), vectors(300))
        assert one.notes == []
    one.put(vectors(1))
    assert (one.get(contents(1)), one.count()) == ({}, 0)  # closed is closed


def test_damage_anywhere_never_gives_another_vector(tmp_path: Path) -> None:
    put = vectors(200, dim=64)
    with FeatureCache(tmp_path, key=KEY, dim=64) as one:
        one.put(put)
        file = one.file
    whole, rng, survived = file.read_bytes(), np.random.default_rng(0), []
    for at in rng.integers(0, len(whole), 40):
        for rest in tmp_path.iterdir():
            rest.unlink()
        file.write_bytes(
            whole[:at] + bytes(b ^ 0xFF for b in whole[at : at + 40]) + whole[at + 40 :]
        )
        with FeatureCache(tmp_path, key=KEY, dim=64) as one:
            found = one.get(contents(200))
            survived.append(len(found))
            assert same(found, {c: put[c] for c in found})
            one.put(put)
    assert any(0 < n < 200 for n in survived)


def test_of_two_that_find_the_damage_only_one_begins_anew(tmp_path: Path) -> None:
    with FeatureCache(tmp_path, key=KEY, dim=8) as one:
        one.put(vectors(300))
        file = one.file
    first, second = (FeatureCache(tmp_path, key=KEY, dim=8) for _ in range(2))
    assert first.count() == second.count() == 300
    whole = file.read_bytes()
    with file.open("r+b") as stream:  # in place, so that both have the damaged file open
        stream.write(b"\0" * len(whole))
    with first, second:
        first.get(contents(300))
        first.put(vectors(300))
        second.get(contents(300))
        assert len(first.notes) == 1
        assert same(second.get(contents(300)), vectors(300))
        assert same(first.get(contents(300)), vectors(300))


def test_a_full_disk_stops_the_writing_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = sqlite3.connect

    def small(*a: object, **k: object) -> sqlite3.Connection:
        connection = real(*a, **k)  # pyright: ignore
        connection.execute("PRAGMA max_page_count=20")
        return connection

    monkeypatch.setattr(cache.sqlite3, "connect", small)
    with FeatureCache(tmp_path, key=KEY, dim=8) as one:
        one.put(vectors(100))
        one.put(dict(list(vectors(5000).items())[100:]))
        one.put(vectors(5000))
        assert one.notes == [
            f"The feature cache {one.file} cannot be written (database or disk is full), so new "
            "vectors are not kept."
        ]
        assert same(one.get(contents(5000)), vectors(100))


def test_without_a_folder_there_is_no_cache(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with FeatureCache(tmp_path / "file" / "cache", key=KEY, dim=8) as one:
        assert one.get(contents(3)) == {}
        one.put(vectors(3))
        assert one.get(contents(3)) == {}
        assert one.count() == 0
        (note,) = one.notes
    assert note.startswith(f"The feature cache {one.file} cannot be read (")
    assert note.endswith("), so everything is encoded anew.")


def test_what_may_not_be_written_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with FeatureCache(tmp_path, key=KEY, dim=8) as one:
        one.put(vectors(3))
    real = sqlite3.connect
    monkeypatch.setattr(
        cache.sqlite3, "connect", lambda file, **k: real(f"file:{file}?mode=ro", uri=True, **k)
    )
    with FeatureCache(tmp_path, key=KEY, dim=8) as one:
        one.put({contents(4)[3]: np.ones(8, np.float32)})
        assert len(one.notes) == 1
        assert "readonly" in one.notes[0]


def test_many_at_once(tmp_path: Path) -> None:
    # Connections lock each other out in the same way whether they are of one process or of several.
    n, ready, found = 8, threading.Barrier(8), []

    def work(own: int) -> None:
        mine = {c: np.full(4, own, np.float32) for c in contents(400)[own::n]}
        with FeatureCache(tmp_path, key=KEY, dim=4) as one:
            ready.wait()
            for content, vector in mine.items():
                one.put({content: vector})
            ready.wait()
            found.append((one.get(contents(400)), one.notes))

    threads = [threading.Thread(target=work, args=(own,)) for own in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    expected = {c: np.full(4, i % n, np.float32) for i, c in enumerate(contents(400))}
    assert len(found) == n
    for got, notes in found:
        assert notes == []
        assert same(got, expected)


def test_the_oldest_go_where_they_fill_too_much(tmp_path: Path) -> None:
    contents = [bytes([i]) * 32 for i in range(9)]
    vector = np.ones(4, dtype=np.float32)
    with FeatureCache(tmp_path, key="0" * 16, dim=4, largest=5 * (16 + 100)) as cache:
        for content in contents[:6]:
            cache.put({content: vector})
        assert set(cache.get(contents)) == set(contents[1:6])
        cache.put(dict.fromkeys(contents[6:], vector))
        assert set(cache.get(contents)) == set(contents[4:])
        assert cache.count() == 5
