import hashlib
import os
import random
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import torch

from quickstudy.core.errors import DataError, DownloadError
from quickstudy.data.archives import (
    Published,
    cached,
    find_or_download,
    member,
    opened_archive,
    prepared,
)
from quickstudy.testing.faults import failing

CONTENT = bytes(range(256)) * 50
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def folders(monkeypatch, tmp_path):
    """The data root and the cache folder."""
    data, cache = tmp_path / "data", tmp_path / "deep" / "cache"
    data.mkdir()
    monkeypatch.setenv("QUICKSTUDY_DATA", str(data))
    monkeypatch.setenv("QUICKSTUDY_CACHE", str(cache))
    monkeypatch.setenv("no_proxy", "*")
    return data, cache


@pytest.fixture
def server():
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.asked.append(self.path)
            if self.path == "/file.zip":
                self.send_response(200)
                self.send_header("Content-Length", str(len(CONTENT)))
                self.end_headers()
                self.wfile.write(CONTENT)
            elif self.path == "/cut.zip":
                self.send_response(200)
                self.send_header("Content-Length", str(len(CONTENT)))
                self.end_headers()
                self.wfile.write(CONTENT[:1000])
            elif self.path == "/nonsense.zip":
                self.wfile.write(b"this is not HTTP\r\n\r\n")
            else:
                self.send_error(404)

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as made:
        made.asked = []
        made.url = f"http://127.0.0.1:{made.server_port}/"
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def fetch(server, name="file.zip", *, sha256=SHA256, size=None, seconds=60.0):
    published = Published(server.url + name, sha256, size or len(CONTENT))
    return find_or_download("file.zip", published, seconds=seconds)


def nothing_kept(cache):
    return not cache.exists() or not list(cache.iterdir())


# --- find_or_download


def test_a_download_is_checked_and_kept(server, folders):
    _, cache = folders
    file = fetch(server)
    assert file == cache / "file.zip"
    assert file.read_bytes() == CONTENT
    assert [p.name for p in cache.iterdir()] == ["file.zip"]
    assert fetch(server) == file
    assert server.asked == ["/file.zip"]


@pytest.mark.parametrize("where", [0, 1])
def test_what_is_there_is_taken_as_it_is(server, folders, where):
    folders[where].mkdir(parents=True, exist_ok=True)
    (folders[where] / "file.zip").write_bytes(b"repacked")
    assert fetch(server) == folders[where] / "file.zip"
    assert server.asked == []


def test_the_data_root_comes_first(server, folders):
    fetch(server)
    (folders[0] / "file.zip").write_bytes(b"mine")
    assert fetch(server) == folders[0] / "file.zip"


def test_a_folder_of_that_name_is_no_file(server, folders):
    (folders[0] / "file.zip").mkdir()
    assert fetch(server) == folders[1] / "file.zip"


def test_a_wrong_checksum_is_refused_with_both_and_nothing_is_kept(server, folders):
    with pytest.raises(DownloadError) as caught:
        fetch(server, sha256="0" * 64)
    assert SHA256 in str(caught.value)
    assert "0" * 64 in str(caught.value)
    assert "Nothing was kept" in str(caught.value)
    assert nothing_kept(folders[1])


def test_a_download_that_was_cut_off_is_refused(server, folders):
    with pytest.raises(DownloadError):
        fetch(server, "cut.zip")
    assert nothing_kept(folders[1])


@pytest.mark.parametrize(("size", "said"), [(1000, "more than the 1,000"), (20_000, "20,000")])
def test_a_file_of_another_size_is_refused(server, folders, size, said):
    with pytest.raises(DownloadError, match=said):
        fetch(server, size=size)
    assert nothing_kept(folders[1])


def test_a_server_that_is_too_slow_is_not_waited_for(server, folders):
    with pytest.raises(DownloadError, match=r"too slow: 12,800 of 12,800 bytes"):
        fetch(server, seconds=0.0)
    assert nothing_kept(folders[1])


@pytest.mark.parametrize("name", ["missing.zip", "nonsense.zip"])
def test_what_cannot_be_fetched_says_what_to_do(server, folders, name):
    with pytest.raises(DownloadError) as caught:
        fetch(server, name)
    message = str(caught.value)
    assert message.startswith(
        f"file.zip is neither in {folders[0]} nor could it be fetched from {server.url}{name}"
    )
    assert "by hand" in message
    assert "QUICKSTUDY_DATA or --data-root" in message
    assert nothing_kept(folders[1])
    if name == "missing.zip":
        assert "404" in message


def test_offline(folders):
    # nobody listens on the discard port
    with pytest.raises(
        DownloadError, match=r"nor could it be fetched from http://127\.0\.0\.1:9/file\.zip"
    ):
        find_or_download("file.zip", Published("http://127.0.0.1:9/file.zip", SHA256, 1))
    assert nothing_kept(folders[1])


def test_a_cache_folder_that_cannot_be_made(server, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("QUICKSTUDY_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.delenv("QUICKSTUDY_DATA", raising=False)
    with pytest.raises(DownloadError, match="QUICKSTUDY_DATA"):
        fetch(server)


# --- cached


class Maker:
    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return {"x": torch.arange(6, dtype=torch.uint8).view(2, 3), "y": torch.tensor([1.5])}


def same(tensors):
    return sorted(tensors) == ["x", "y"] and all(
        torch.equal(t, Maker()()[name]) and t.dtype == Maker()()[name].dtype
        for name, t in tensors.items()
    )


def test_made_once(tmp_path):
    make, file = Maker(), tmp_path / "new" / "file.safetensors"
    assert same(cached(file, make))
    assert same(cached(file, make))
    assert make.calls == 1
    assert [p.name for p in file.parent.iterdir()] == ["file.safetensors"]


@pytest.mark.parametrize("keep", [0, 4, 60, -1])
def test_a_damaged_cache_is_made_anew(tmp_path, keep):
    make, file = Maker(), tmp_path / "file.safetensors"
    cached(file, make)
    file.write_bytes(file.read_bytes()[:keep])
    assert same(cached(file, make))
    assert same(cached(file, make))
    assert make.calls == 2


def test_another_program_s_file_is_made_anew(tmp_path):
    make, file = Maker(), tmp_path / "file.safetensors"
    file.write_bytes(b"\x89PNG" + b"text" * 100)
    assert same(cached(file, make))
    assert make.calls == 1


def test_where_the_folder_cannot_be_made_nothing_is_cached(tmp_path):
    (tmp_path / "file").write_text("in the way")
    make, file = Maker(), tmp_path / "file" / "cache" / "file.safetensors"
    assert same(cached(file, make))
    assert same(cached(file, make))
    assert make.calls == 2


@pytest.mark.skipif(
    os.name == "nt" or (hasattr(os, "geteuid") and os.geteuid() == 0),
    reason="the superuser may write anywhere",
)
def test_where_the_folder_cannot_be_written_nothing_is_cached(tmp_path):
    folder = tmp_path / "read-only"
    folder.mkdir(mode=0o500)
    make = Maker()
    assert same(cached(folder / "file.safetensors", make))
    assert not list(folder.iterdir())


def test_where_the_file_cannot_be_replaced_nothing_is_cached(tmp_path):
    make, file = Maker(), tmp_path / "file.safetensors"
    (file / "a folder of that name").mkdir(parents=True)
    assert same(cached(file, make))
    assert [p.name for p in tmp_path.iterdir()] == ["file.safetensors"]


def test_where_the_part_cannot_be_written_nothing_is_cached(tmp_path):
    make, file = Maker(), tmp_path / "file.safetensors"
    with failing(1, "full disk"):
        assert same(cached(file, make))
    assert not file.exists()


def test_an_error_of_the_maker_comes_out_and_nothing_is_cached(tmp_path):
    def fail():
        raise KeyError("no such image")

    with pytest.raises(KeyError, match="no such image"):
        cached(tmp_path / "file.safetensors", fail)
    assert not list(tmp_path.iterdir())


# --- archives


def test_members_of_archives_are_bounded(tmp_path):
    file = tmp_path / "bomb.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", b"\0" * 10_000_000)
        archive.writestr("small", b"text")
    assert file.stat().st_size < 20_000
    with opened_archive(file) as archive:
        assert member(archive, "small") == b"text"
        assert len(member(archive, "zeros")) == 10_000_000
        with pytest.raises(DataError, match="unpacks to more than 9,999,999 bytes"):
            member(archive, "zeros", largest=9_999_999)
        with pytest.raises(DataError, match="none is missing"):
            member(archive, "none")


def test_damaged_archives_are_errors_in_words(tmp_path):
    """More of it: raise the number of rounds; 3,000 take a minute."""
    file = tmp_path / "a.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(3):
            archive.writestr(f"{i}.txt", bytes(range(256)) * 4)
    whole, draw = file.read_bytes(), random.Random(0)
    noticed = 0
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(draw.randrange(1, 4)):
            damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        file.write_bytes(damaged[: draw.choice([len(damaged), draw.randrange(len(damaged))])])
        try:
            with opened_archive(file) as archive:
                for name in archive.namelist():
                    member(archive, name)
        except DataError:
            noticed += 1
    assert noticed > 150


# --- prepared


def test_prepared_tensors_belong_to_the_content_of_their_sources(folders, tmp_path):
    a, b = tmp_path / "a.zip", tmp_path / "b.zip"
    a.write_bytes(b"one"), b.write_bytes(b"two")
    make = Maker()
    assert same(prepared("toy", [a, b], make))
    assert same(prepared("toy", [a, b], make))
    assert make.calls == 1
    (file,) = folders[1].iterdir()
    assert file.name.startswith("toy-")
    assert file.suffix == ".tensors"
    b.write_bytes(b"three")
    prepared("toy", [a, b], make)
    assert make.calls == 2
    b.write_bytes(b"two")
    prepared("toy", [a, b], make)
    assert make.calls == 2
    prepared("toy", [b, a], make)
    prepared("other", [a, b], make)
    assert make.calls == 4
