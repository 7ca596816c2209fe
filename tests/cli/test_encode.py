"""`quickstudy encode`: a folder of pictures in, vectors out; stopped, killed and gone on with."""

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from quickstudy.data import find_images
from quickstudy.pretrained import FeatureCache, RunEncoder, SymbolEncoder

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache folder, empty."""
    monkeypatch.setenv("QUICKSTUDY_CACHE", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the pictures that are read."""
    names, real = [], RunEncoder.read

    def counting(self: RunEncoder, path: Path) -> object:
        names.append(path.name)
        return real(self, path)

    monkeypatch.setattr(RunEncoder, "read", counting)
    return names


def kept(home: Path) -> int:
    encoder = SymbolEncoder()
    with FeatureCache(home / "features", key=encoder.key, dim=encoder.dim) as cache:
        return cache.count()


def test_a_folder_becomes_vectors(
    quickstudy: Command, drawings: Path, home: Path, read: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "new folder" / "out"
    encoder = SymbolEncoder()
    paths = find_images([drawings])
    done = quickstudy("encode", drawings, "-o", out, "--encoder", "symbols", "--batch-size", "5")
    assert all(f"Note: {note}\n" in done.stdout for note in encoder.notes)
    assert (
        f"Encoded 18 images with symbols, 64 numbers each: {out / 'vectors.npy'}, "
        f"{out / 'paths.txt'}." in done.stdout
    )
    assert done.stderr == ""
    x = np.load(out / "vectors.npy", mmap_mode="r")
    assert (x.shape, x.dtype) == ((18, 64), np.float32)
    assert (out / "paths.txt").read_text(encoding="utf-8").splitlines() == [str(p) for p in paths]
    for row, path in zip(x, paths, strict=True):
        np.testing.assert_allclose(
            row, encoder.encode([encoder.read(path)])[0], rtol=1e-4, atol=1e-5
        )
    about = json.loads((out / "encoder.json").read_text(encoding="utf-8"))
    assert about | {"quickstudy": ""} == {
        "format": 1,
        "source": "symbols",
        "key": encoder.key,
        "kind": "images",
        "dim": 64,
        "n": 18,
        "quickstudy": "",
        "notes": list(encoder.notes),
        "skipped": [],
    }
    assert sorted(p.name for p in out.glob("[!.]*")) == ["encoder.json", "paths.txt", "vectors.npy"]
    read.clear()
    before = (out / "vectors.npy").read_bytes()
    quickstudy("encode", drawings, "-o", out, "--encoder", "symbols")
    assert (out / "vectors.npy").read_bytes() == before
    assert read == []
    quickstudy(
        "encode", drawings / "new", "-o", out, "--encoder", "symbols", "--invert", "--no-cache"
    )
    assert np.load(out / "vectors.npy").shape == (6, 64)
    assert len(read) == 6


def test_pictures_that_cannot_be_read(
    quickstudy: Command, drawings: Path, home: Path, tmp_path: Path
) -> None:
    for n in range(12):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / f"{n}.png").write_bytes(b"x" * (n + 1))
    out = tmp_path / "out"
    refused = quickstudy(
        "encode", drawings, tmp_path / "in", "-o", out, "--encoder", "symbols", status=2
    )
    assert "12 of 30 files cannot be encoded:" in refused.stderr
    assert "--on-bad skip" in refused.stderr
    assert not out.exists()
    assert kept(home) == 18
    done = quickstudy(
        "encode", drawings, tmp_path / "in", "-o", out, "--encoder", "symbols", "--on-bad", "skip"
    )
    assert done.stdout.count("\nskipped ") + done.stdout.startswith("skipped ") == 10
    assert f"and 2 more, all in {out / 'encoder.json'}" in done.stdout
    skipped = json.loads((out / "encoder.json").read_text(encoding="utf-8"))["skipped"]
    assert [s["path"] for s in skipped] == [str(tmp_path / "in" / f"{n}.png") for n in range(12)]
    assert all("is not an image" in s["reason"] for s in skipped)
    assert np.load(out / "vectors.npy").shape == (18, 64)
    before = (out / "vectors.npy").read_bytes()
    quickstudy("encode", tmp_path / "in", drawings, "-o", out, "--encoder", "symbols", status=2)
    assert (out / "vectors.npy").read_bytes() == before


def test_a_stop_is_told_and_gone_on_with(
    quickstudy: Command,
    drawings: Path,
    home: Path,
    read: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, calls, out = RunEncoder.encode, [], tmp_path / "my out"

    def stopping(self: RunEncoder, things: list[object]) -> object:
        calls.append(len(things))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(self, things)

    command = ("encode", drawings, "-o", out, "--encoder", "symbols", "--batch-size", "4")
    with monkeypatch.context() as patch:
        patch.setattr(RunEncoder, "encode", stopping)
        done = quickstudy(*command, status=130)
        assert (
            "Stopped after 8 of 18 images; they are kept in the cache. Go on with: quickstudy "
            "encode" in done.stdout
        )
        assert shlex.split(done.stdout.split("Go on with: ")[1])[1:] == [str(c) for c in command]
        assert not out.exists()
        calls.clear()
        done = quickstudy(
            *command[:3],
            tmp_path / "other",
            "--encoder",
            "symbols",
            "--batch-size",
            "1",
            "--no-cache",
            status=130,
        )
        assert "Stopped after 2 of 18 images; they are lost, as there is no cache." in done.stdout
    read.clear()
    quickstudy(*command)
    assert len(read) == 10


def test_killed_in_the_middle(
    quickstudy: Command, drawings: Path, home: Path, read: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = ["encode", str(drawings), "-o", str(out), "--encoder", "symbols", "--batch-size", "4"]
    script = f"""
import os, signal, sys
from quickstudy.cli import main
from quickstudy.pretrained import RunEncoder
real, calls = RunEncoder.encode, []
def dying(self, things):
    calls.append(len(things))
    if len(calls) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(self, things)
RunEncoder.encode = dying
sys.argv = {["quickstudy", *command]!r}
main()
"""
    died = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert sorted(p.name for p in out.glob("[!.]*")) == ["paths.txt.part", "vectors.npy.part"]
    assert kept(home) == 8
    read.clear()
    quickstudy(*command)
    assert len(read) == 10
    quickstudy(
        "encode",
        drawings,
        "-o",
        tmp_path / "at once",
        "--encoder",
        "symbols",
        "--no-cache",
        "--batch-size",
        "4",
    )
    np.testing.assert_allclose(
        np.load(out / "vectors.npy"),
        np.load(tmp_path / "at once" / "vectors.npy"),
        rtol=1e-5,
        atol=1e-6,
    )
    assert sorted(p.name for p in out.glob("[!.]*")) == ["encoder.json", "paths.txt", "vectors.npy"]


def test_a_broken_cache_is_told(
    quickstudy: Command, drawings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("QUICKSTUDY_CACHE", str(tmp_path / "file"))
    done = quickstudy("encode", drawings, "-o", tmp_path / "out", "--encoder", "symbols")
    assert done.stdout.count("Note: The feature cache") == 1
    assert "Encoded 18 images" in done.stdout


def test_mistakes(quickstudy: Command, drawings: Path, home: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    for place in (tmp_path / "mine", tmp_path / "mine" / "letter.txt"):
        done = quickstudy("encode", drawings, "-o", place, "--encoder", "symbols", status=2)
        assert (
            f"{place} exists and holds no vectors of `encode`; it is left alone. Choose another "
            "name for -o." in done.stderr
        )
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["letter.txt"]
    done = quickstudy(
        "encode",
        drawings,
        "-o",
        tmp_path / "mine" / "letter.txt" / "out",
        "--encoder",
        "symbols",
        status=2,
    )
    assert "The vectors cannot be written to" in done.stderr
    (tmp_path / "in").mkdir()
    Image.new("L", (28, 28)).save(tmp_path / "in" / "two\nlines.png")
    done = quickstudy(
        "encode", tmp_path / "in", "-o", tmp_path / "out", "--encoder", "symbols", status=2
    )
    assert "1 file names hold a line break, and paths.txt has a line per file" in done.stderr
    done = quickstudy(
        "encode",
        drawings,
        "-o",
        tmp_path / "out",
        "--encoder",
        "symbols",
        "--kind",
        "audio",
        status=2,
    )
    assert "There is no" in done.stderr
    done = quickstudy(
        "encode",
        drawings,
        "-o",
        tmp_path / "out",
        "--encoder",
        "symbols",
        "--on-bad",
        "skp",
        status=2,
    )
    assert "Invalid value for '--on-bad'" in done.stderr
    assert not (tmp_path / "out").exists()
