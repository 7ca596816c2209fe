"""Files to vectors: as one by one, in their order, none twice, and no more of them in memory than a
few batches.
"""

import gc
import os
import threading
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import ConfigError, DataError
from quickstudy.pretrained import (
    AbstractPretrained,
    EncodedFiles,
    FeatureCache,
    FunctionEncoder,
    encode_files,
    stream_files,
)
from quickstudy.pretrained import files as module
from quickstudy.pretrained.files import find_sources


class Reader:
    """An encoder of text files that counts: the vector of a file is its number, and that number
    squared.
    """

    def __init__(
        self, *, key: str = "squares", on_read: Callable[[Path], None] = lambda path: None
    ) -> None:
        self.read_files: list[str] = []
        self.batches: list[int] = []
        self.on_read = on_read
        self.encoder = FunctionEncoder(self.encode, key=key, dim=2, read=self.read)

    def read(self, path: Path) -> float:
        self.read_files.append(path.name)
        self.on_read(path)
        try:
            return float(path.read_text())
        except (OSError, ValueError):
            raise DataError(f"'{path}' holds no number.") from None

    def encode(self, numbers: Sequence[float]) -> NDArray[np.float32]:
        self.batches.append(len(numbers))
        return np.array([(n, n * n) for n in numbers], dtype=np.float32)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{n}.txt" for n in range(40)]
    for n, path in enumerate(paths):
        path.write_text(str(n))
    return paths


def numbers(found: EncodedFiles) -> list[int]:
    assert np.array_equal(found.vectors[:, 1], found.vectors[:, 0] ** 2)
    return found.vectors[:, 0].astype(int).tolist()


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("batch_size", [1, 7, 8, 39, 40, 41])
def test_as_one_by_one_in_their_order(
    files: list[Path], tmp_path: Path, batch_size: int, cached: bool
) -> None:
    reader, calls, order = Reader(), [], list(reversed(files))
    found = encode_files(
        reader.encoder,
        order,
        batch_size=batch_size,
        cache=tmp_path / "c" if cached else None,
        progress=lambda *c: calls.append(c),
    )
    assert numbers(found) == list(range(39, -1, -1))
    assert found.paths == order
    assert (found.skipped, found.notes, found.vectors.dtype) == ([], (), np.float32)
    assert sorted(reader.read_files) == sorted(p.name for p in files)
    assert max(reader.batches) == min(batch_size, 40)
    assert sum(reader.batches) == 40
    assert calls == [(min(done, 40), 40) for done in range(batch_size, 40 + batch_size, batch_size)]


def test_paths_as_text_and_no_paths(files: list[Path]) -> None:
    assert numbers(encode_files(Reader().encoder, [str(p) for p in files[:3]])) == [0, 1, 2]
    none = encode_files(Reader().encoder, [])
    assert (none.vectors.shape, none.vectors.dtype, none.paths) == ((0, 2), np.float32, [])


def test_an_array_of_paths_is_several_files(files: list[Path]) -> None:
    texts = [str(p) for p in files[:3]]
    assert find_sources(np.array(texts), kind="images") == files[:3]
    assert find_sources(np.array(files[:3], dtype=object), kind="images") == files[:3]


def test_what_cannot_be_read_is_skipped_with_the_reason(files: list[Path]) -> None:
    files[3].write_text("three")
    files[5].unlink()
    found = encode_files(Reader().encoder, files, on_bad="skip", batch_size=4)
    assert numbers(found) == [n for n in range(40) if n not in (3, 5)]
    assert found.paths == [p for n, p in enumerate(files) if n not in (3, 5)]
    assert found.skipped == [(files[n], f"'{files[n]}' holds no number.") for n in (3, 5)]


def test_batches_of_nothing_are_passed_over(files: list[Path]) -> None:
    for path in files[4:8]:
        path.write_text("x")
    batches = list(stream_files(Reader().encoder, files[:12], batch_size=4, on_bad="skip"))
    assert [(len(paths), x.shape) for paths, x in batches] == [(4, (4, 2))] * 2


def test_all_are_looked_at_before_the_refusal_and_the_good_ones_are_kept(
    files: list[Path], tmp_path: Path
) -> None:
    for path in files[::3]:
        path.write_text("x")
    reader = Reader()
    with pytest.raises(DataError) as refused:
        encode_files(reader.encoder, files, cache=tmp_path / "cache", batch_size=4)
    said = str(refused.value).split("\n")
    assert said[0] == "14 of 40 files cannot be encoded:"
    assert said[1:11] == [f"'{p}' holds no number." for p in files[::3][:10]]
    assert said[11] == "and 4 more"
    assert (
        said[12]
        == 'Repair or remove them, or leave them out with on_bad="skip" (on the command line: '
        "--on-bad skip)."
    )
    assert len(reader.read_files) == 40
    again = Reader()
    assert (
        len(encode_files(again.encoder, files, cache=tmp_path / "cache", on_bad="skip").paths) == 26
    )
    assert sorted(again.read_files) == sorted(p.name for p in files[::3])


def test_no_file_is_encoded_twice(files: list[Path], tmp_path: Path) -> None:
    first = encode_files(Reader().encoder, files[:30], cache=tmp_path / "cache")
    again = Reader()
    files[7].rename(tmp_path / "seven.txt")
    files[7] = tmp_path / "seven.txt"
    files[8].write_text("88")
    found = encode_files(again.encoder, files[:31], cache=tmp_path / "cache", batch_size=9)
    assert sorted(again.read_files) == ["30.txt", "8.txt"]
    assert numbers(found) == [*range(8), 88, *range(9, 31)]
    others = [n for n in range(30) if n != 8]
    assert found.vectors[others].tobytes() == first.vectors[others].tobytes()
    other = Reader(key="another")
    encode_files(other.encoder, files[:5], cache=tmp_path / "cache")
    assert len(other.read_files) == 5


def test_true_is_the_users_cache_folder(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUICKSTUDY_CACHE", str(tmp_path / "home"))
    encode_files(Reader().encoder, files, cache=True)
    (file,) = (tmp_path / "home" / "features").glob("*.sqlite")
    with FeatureCache(file.parent, key="squares", dim=2) as kept:
        assert kept.count() == 40
        again = Reader()
        encode_files(again.encoder, files, cache=kept)
        assert again.read_files == []
        assert kept.count() == 40  # one that was given is not closed
    encode_files(again.encoder, files, cache=False)
    assert len(again.read_files) == 40


def test_an_interrupted_run_goes_on(files: list[Path], tmp_path: Path) -> None:
    reader = Reader()
    with FeatureCache(tmp_path, key="squares", dim=2) as kept:
        for n, _ in enumerate(stream_files(reader.encoder, files, cache=kept, batch_size=4)):
            if n == 5:
                break
    again = Reader()
    assert numbers(encode_files(again.encoder, files, cache=tmp_path, batch_size=4)) == list(
        range(40)
    )
    assert len(again.read_files) == 40 - 6 * 4


def test_who_stops_early_leaves_no_thread_behind(files: list[Path]) -> None:
    stream = stream_files(Reader().encoder, files, batch_size=2)
    next(stream)
    assert any(t.name.startswith("quickstudy-read") for t in threading.enumerate())
    stream.close()  # pyright: ignore[reportAttributeAccessIssue] - it is a generator
    assert not any(t.name.startswith("quickstudy-read") for t in threading.enumerate())


def test_a_broken_cache_is_told_and_does_not_matter(files: list[Path]) -> None:
    found = encode_files(Reader().encoder, files, cache=files[0] / "cache")
    assert numbers(found) == list(range(40))
    assert len(found.notes) == 1
    assert "so everything is encoded anew" in found.notes[0]


def test_a_file_that_is_written_to_meanwhile_is_not_kept(files: list[Path], tmp_path: Path) -> None:
    def change(path: Path) -> None:
        if path == files[2]:
            path.write_text("222")

    assert numbers(
        encode_files(Reader(on_read=change).encoder, files[:4], cache=tmp_path / "c")
    ) == [0, 1, 222, 3]
    files[2].write_text("2")
    again = Reader()
    assert numbers(encode_files(again.encoder, files[:4], cache=tmp_path / "c")) == [0, 1, 2, 3]
    assert again.read_files == ["2.txt"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_does_not_hold_it_up(files: list[Path], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    def refuse(path: Path) -> None:
        if not path.is_file():
            raise DataError(f"'{path}' is no file.")

    found = encode_files(
        Reader(on_read=refuse).encoder,
        [tmp_path / "pipe", tmp_path],
        cache=tmp_path / "c",
        on_bad="skip",
    )
    assert found.skipped == [(p, f"'{p}' is no file.") for p in (tmp_path / "pipe", tmp_path)]


def test_a_thing_that_cannot_be_encoded_does_not_take_the_others_with_it(
    files: list[Path], tmp_path: Path
) -> None:
    reader = Reader()

    def encode(things: Sequence[float]) -> NDArray[np.float32]:
        if 6.0 in things:
            raise DataError("Six is too short.")
        x = reader.encode(things)
        x[x == 9] = np.nan
        return x

    found = encode_files(
        FunctionEncoder(encode, key="k", dim=2, read=reader.read),
        files,
        on_bad="skip",
        batch_size=5,
        cache=tmp_path / "c",
    )
    assert numbers(found) == [n for n in range(40) if n not in (3, 6, 9)]
    assert [why for _, why in found.skipped] == [
        f"'{files[3]}' became a vector with values that are not finite numbers, so it can be "
        "compared with nothing. Remove the file.",
        f"'{files[6]}' cannot be encoded: Six is too short.",
        f"'{files[9]}' became a vector with values that are not finite numbers, so it can be "
        "compared with nothing. Remove the file.",
    ]
    with FeatureCache(tmp_path / "c", key="k", dim=2) as kept:
        assert kept.count() == 37


def test_other_errors_are_not_hidden(files: list[Path]) -> None:
    def fail(path: Path) -> None:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        encode_files(Reader(on_read=fail).encoder, files, on_bad="skip")


def test_three_thousand_files_and_a_few_batches_in_memory(tmp_path: Path) -> None:
    class Thing:
        pass

    paths = [tmp_path / str(n) for n in range(3000)]
    for n, path in enumerate(paths):
        path.write_bytes(n.to_bytes(2, "big"))
    alive, most, lock = 0, 0, threading.Lock()

    def gone() -> None:
        nonlocal alive
        with lock:
            alive -= 1

    def read(path: Path) -> Thing:
        nonlocal alive, most
        thing = Thing()
        weakref.finalize(thing, gone)
        with lock:
            alive += 1
            most = max(most, alive)
        return thing

    def encode(things: Sequence[Any]) -> NDArray[np.float32]:
        return np.ones((len(things), 3), np.float32)

    batches: list[Any] = []
    most_batches, total = 0, 0
    with FeatureCache(tmp_path, key="things", dim=3) as kept:
        for some, x in stream_files(
            FunctionEncoder(encode, key="things", dim=3, read=read),
            paths,
            cache=kept,
            batch_size=20,
        ):
            batches.append(weakref.ref(x))
            total += len(some)
            most_batches = max(most_batches, sum(b() is not None for b in batches))
    gc.collect()
    assert (total, alive) == (3000, 0)
    assert most <= (module._AHEAD + 1) * 20
    assert most_batches <= 2


def test_large_files_come_in_smaller_batches(
    files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LARGEST", 100)
    for n in (4, 5, 9, 10, 11):
        files[n].write_text(f"{n}{' ' * 59}")
    files[6].write_text(f"{6}{' ' * 500}")
    batches = [
        x[:, 0].astype(int).tolist()
        for _, x in stream_files(Reader().encoder, files[:13], batch_size=6)
    ]
    assert batches == [[0, 1, 2, 3, 4], [5], [6], [7, 8, 9], [10], [11, 12]]


def test_mistakes(files: list[Path], tmp_path: Path) -> None:
    encoder = Reader().encoder
    with pytest.raises(ConfigError, match="batch_size must be at least 1, got 0"):
        encode_files(encoder, files, batch_size=0)
    with pytest.raises(ConfigError, match=r"on_bad cannot be 'skp'\. Did you mean 'skip'"):
        stream_files(encoder, files, on_bad="skp")
    with (
        FeatureCache(tmp_path, key="other", dim=3) as kept,
        pytest.raises(
            ConfigError,
            match=r"3 numbers per file by the encoder other, but 'squares' gives 2 and its key is "
            r"squares",
        ),
    ):
        stream_files(encoder, files, cache=kept)

    class Narrow(AbstractPretrained):
        kind, source, key, dim = "text", "narrow", "k", 3

        def read(self, path: Path) -> str:
            return path.read_text()

        def encode(self, things: Sequence[Any]) -> NDArray[np.float32]:
            return np.ones((len(things), 2), np.float32)

    with pytest.raises(
        ConfigError,
        match=r"The encoder 'narrow' gave vectors of shape \(5, 2\) for 5 files, not \(5, 3\)",
    ):
        encode_files(Narrow(), files[:5])
