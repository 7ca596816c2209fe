import json
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import jaxtyping
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quickstudy.core import saving
from quickstudy.core.disk import as_path, write_file
from quickstudy.core.errors import ConfigError, ContractError, LoadError
from quickstudy.core.lock import LOCK, locked
from quickstudy.core.saving import (
    MANIFEST,
    holds,
    load_folder,
    load_record,
    save_folder,
    save_record,
    what_is,
)
from quickstudy.testing.faults import FAULTS, check_damage, check_faults

OLD = {"a.bin": b"old" * 1000, "b.bin": b"same"}
NEW = {"a.bin": b"new" * 2000, "b.bin": b"same", "c": b""}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


def save_old(path):
    return save_folder(path, kind="model", about={"state": "old"}, files=OLD)


def save_new(path):
    return save_folder(path, kind="model", about={"state": "new"}, files=NEW)


def read(path):
    saved = load_folder(path, kind="model")
    return saved.about, dict(saved.files)


# --- folders


def test_what_is_saved_comes_back(tmp_path):
    folder = save_new(tmp_path / "a" / "b")
    assert read(folder) == ({"state": "new"}, NEW)
    assert what_is(folder) == "model"
    assert load_folder(folder, files=("c",)).files == {"c": b""}
    assert load_folder(folder, files=()).files == {}


@given(about=json_values)
def test_every_json_value_comes_back(tmp_path_factory, about):
    folder = tmp_path_factory.mktemp("values")
    assert load_folder(save_folder(folder, kind="run", about=about)).about == about


def test_the_same_content_makes_the_same_folder(tmp_path):
    def content(folder):
        return {f.name: f.read_bytes() for f in save_new(folder).iterdir()}

    assert content(tmp_path / "a") == content(tmp_path / "b")


def test_files_that_are_not_ours_are_left_alone(tmp_path):
    others = ["notes.txt", "a.bin", "photo-0123456789abcdef.png", "run.part", ".hidden"]
    for name in others:
        (tmp_path / name).write_text("mine")
    save_old(tmp_path)
    save_new(tmp_path)
    assert all((tmp_path / name).read_text() == "mine" for name in others)
    assert len(list(tmp_path.iterdir())) == len(others) + len(NEW) + len([MANIFEST, LOCK])


@pytest.mark.parametrize("about", [object(), {1: "a", "1": "b"}, {"a": b"bytes"}, {("a",): 1}])
def test_what_is_no_json_is_refused_before_anything_is_written(about, tmp_path):
    with pytest.raises(ConfigError, match="JSON"):
        save_folder(tmp_path / "new", kind="run", about=about)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["../a", "a/b", "", ".hidden", "ä", "a\n"])
def test_names_of_files_are_plain(name, tmp_path):
    with pytest.raises(ConfigError, match="plain name"):
        save_folder(tmp_path, kind="run", about={}, files={name: b""})


def test_kinds_are_known(tmp_path):
    with pytest.raises(ConfigError, match=r"'cat'\. Known: predictor"):
        save_folder(tmp_path, kind="cat", about={})


def test_something_of_another_kind_is_not_replaced(tmp_path):
    save_old(tmp_path)
    with pytest.raises(ConfigError, match="holds a fitted model, which a training run would"):
        save_folder(tmp_path, kind="run", about={})
    assert read(tmp_path) == ({"state": "old"}, OLD)


def test_something_else_is_not_read(tmp_path):
    save_folder(tmp_path, kind="run", about={})
    with pytest.raises(LoadError, match="holds a training run, but a fitted model was expected"):
        read(tmp_path)
    assert load_folder(tmp_path, kind=("model", "run")).kind == "run"


def test_places_where_nothing_was_saved(tmp_path):
    for place, words in (
        (tmp_path, "nothing that quickstudy saved"),
        (tmp_path / "none", "does not exist"),
        (Path(__file__), "was not written by quickstudy"),
    ):
        assert not holds(place, "model")
        with pytest.raises(LoadError, match=words):
            what_is(place)
    (tmp_path / "learner.json").touch()
    with pytest.raises(LoadError, match=r"older version of quickstudy \(learner.json\)"):
        load_folder(tmp_path)


def test_a_folder_of_a_newer_version(tmp_path):
    save_old(tmp_path)
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    (tmp_path / MANIFEST).write_text(json.dumps({**manifest, "format": 2, "quickstudy": "9.1"}))
    with pytest.raises(LoadError, match=r"by quickstudy 9.1 in format 2.*Install the version"):
        load_folder(tmp_path)


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"null", b"3", b"{}", b"\xff\xfe\x00", b"[" * 100_000, b"9" * 10_000]
)
def test_manifests_that_are_something_else(text, tmp_path):
    (tmp_path / MANIFEST).write_bytes(text)
    with pytest.raises(LoadError, match=str(tmp_path)):
        load_folder(tmp_path)
    save_old(tmp_path)
    assert read(tmp_path) == ({"state": "old"}, OLD)


@pytest.mark.parametrize(
    "entries", [[], {"../../x": {}}, {"a": {"bytes": 1, "sha256": "../" * 21 + "a"}}, {"a": 3}]
)
def test_a_manifest_with_a_right_checksum_and_wrong_entries(entries, tmp_path):
    manifest = {"quickstudy": "0", "format": 1, "kind": "run", "about": 0, "files": entries}
    (tmp_path / MANIFEST).write_bytes(saving._manifest_bytes(manifest))
    with pytest.raises(LoadError, match="does not say which files"):
        load_folder(tmp_path)


# --- what goes wrong


@pytest.mark.parametrize(("older", "faults"), [(save_old, FAULTS), (None, ("kill",))])
def test_every_fault_leaves_the_old_folder_or_the_new(older, faults, tmp_path):
    counts = check_faults(read, save_new, older, scratch=tmp_path, faults=faults)
    assert min(counts.values()) > 25


def test_every_damaged_byte_of_a_folder_is_noticed_or_harmless(tmp_path):
    (tmp_path / "scratch").mkdir()
    counts = check_damage(
        read,
        save_new(tmp_path / "saved"),
        scratch=tmp_path / "scratch",
        changes=300,
        truncations=60,
    )
    assert counts["noticed"] > 300


def save_torch(path):
    state = {"weights": torch.arange(50_000.0), "step": 3}
    return save_record(path, kind="checkpoint", content=lambda stream: torch.save(state, stream))


def save_small(path):
    return save_record(path, kind="checkpoint", content=b"small")


def read_record(path):
    return load_record(path, kind="checkpoint")


@pytest.mark.parametrize("older", [save_small, None])
def test_every_fault_leaves_the_old_record_or_the_new(older, tmp_path):
    counts = check_faults(read_record, save_torch, older, scratch=tmp_path)
    assert min(counts.values()) > 8


def test_every_damaged_byte_of_a_record_is_noticed(tmp_path):
    (tmp_path / "scratch").mkdir()
    counts = check_damage(
        read_record,
        save_small(tmp_path / "saved"),
        scratch=tmp_path / "scratch",
        changes=300,
        truncations=60,
    )
    assert counts == {"noticed": 360, "harmless": 0}


def test_faults_of_a_careless_save_are_found(tmp_path):
    def careless(path):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.write(descriptor, b"new" * 100)
        os.close(descriptor)

    with pytest.raises(ContractError, match="neither old nor new"):
        check_faults(
            lambda path: path.read_bytes(), careless, save_small, scratch=tmp_path, faults=("kill",)
        )


def test_damage_that_nobody_notices_is_found(tmp_path):
    (tmp_path / "scratch").mkdir()
    (tmp_path / "plain").write_bytes(b"content")
    with pytest.raises(ContractError, match="something else is read"):
        check_damage(
            lambda path: path.read_bytes(), tmp_path / "plain", scratch=tmp_path / "scratch"
        )


@pytest.mark.parametrize("limit", [0, 5, 3000, 6100])
def test_a_disk_that_takes_no_more(limit, tmp_path):
    """By the kernel itself, not by a shim: no file may grow beyond the limit."""
    save_old(tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(ConfigError, match=r"File too large.*as it was"):
            save_folder(tmp_path, kind="model", about={}, files={"a.bin": b"x" * 9000})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert read(tmp_path) == ({"state": "old"}, OLD)
    assert len(list(tmp_path.iterdir())) == len(OLD) + 2


def test_an_error_of_the_content_leaves_nothing(tmp_path):
    def breaks(stream):
        stream.write(b"half")
        raise ZeroDivisionError

    for path, save in (
        (tmp_path / "folder", lambda p: save_folder(p, kind="run", about={}, files={"a": breaks})),
        (tmp_path / "record", lambda p: save_record(p, kind="cache", content=breaks)),
        (tmp_path / "page", lambda p: write_file(p, breaks)),
    ):
        with pytest.raises(ZeroDivisionError):
            save(path)
        assert list(tmp_path.iterdir()) == []


# --- writers beside each other

WRITER = """
import sys
from quickstudy.core.lock import locked
from quickstudy.core.saving import load_folder, save_folder
for _ in range(10):
    with locked(sys.argv[1]):
        names = load_folder(sys.argv[1]).about
        save_folder(
            sys.argv[1], kind="model", about=[*names, sys.argv[2]],
            files={"names": " ".join(names).encode()},
        )
"""


def test_changes_under_the_lock_are_never_lost(tmp_path):
    save_folder(tmp_path, kind="model", about=[])
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), name]) for name in "abc"
    ]
    while any(writer.poll() is None for writer in writers):
        load_folder(tmp_path)  # a reader is never held up, and never meets a half
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert sorted(load_folder(tmp_path).about) == sorted("abc" * 10)
    assert len(list(tmp_path.iterdir())) == 3


def test_threads_are_kept_apart_too(tmp_path):
    save_folder(tmp_path, kind="model", about=0)

    def add():
        for _ in range(20):
            with locked(tmp_path):
                save_folder(tmp_path, kind="model", about=load_folder(tmp_path).about + 1)

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert load_folder(tmp_path).about == 80


def test_a_writer_that_does_not_end_is_not_waited_for_for_ever(tmp_path):
    save_old(tmp_path)
    tries = []

    def other():
        with pytest.raises(ConfigError, match="Another process is writing into"):
            save_folder(tmp_path, kind="model", about={}, patience=0.05)
        tries.append(1)

    with locked(tmp_path):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert tries == [1]
    assert read(tmp_path) == ({"state": "old"}, OLD)


def test_leftovers_of_a_file_go_but_not_those_of_a_living_writer(tmp_path):
    file = tmp_path / "a.txt"
    (tmp_path / ".a.txt.99-1.qs-part").write_text("left behind")

    def slow(stream):
        stream.write(b"first")
        write_file(file, b"second")

    write_file(file, slow)
    assert file.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [file]


# --- modes and links


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_new_files_get_what_the_umask_gives(umask, mode, tmp_path):
    before = os.umask(umask)
    try:
        save_old(tmp_path / "folder")
        write_file(tmp_path / "file", b"")
    finally:
        os.umask(before)
    files = [tmp_path / "file", *(tmp_path / "folder").glob("[!.]*")]
    assert {stat.S_IMODE(f.stat().st_mode) for f in files} == {mode}


def test_what_is_private_stays_private(tmp_path):
    save_old(tmp_path)
    (tmp_path / MANIFEST).chmod(0o600)
    save_new(tmp_path)
    assert {stat.S_IMODE(f.stat().st_mode) for f in tmp_path.glob("[!.]*")} == {0o600}
    file = write_file(tmp_path / "page", b"1")
    file.chmod(0o640)
    write_file(file, b"2")
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


def test_links_are_followed(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    save_old(tmp_path / "link")
    assert read(tmp_path / "real") == ({"state": "old"}, OLD)
    (tmp_path / "page").symlink_to(tmp_path / "real" / "page")
    write_file(tmp_path / "page", b"text")
    assert (tmp_path / "page").is_symlink()
    assert (tmp_path / "real" / "page").read_bytes() == b"text"


def test_a_folder_whose_name_is_taken_by_a_file(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ConfigError, match="cannot be written"):
        save_old(tmp_path / "file")
    with pytest.raises(ConfigError, match="cannot be written"):
        save_old(tmp_path / "file" / "deeper")
    assert (tmp_path / "file").read_text() == "mine"


# --- records


def test_records_come_back_and_say_what_they_are(tmp_path):
    file = save_torch(tmp_path / "deep" / "state")
    assert what_is(file) == "checkpoint"
    assert holds(file, "checkpoint")
    assert not holds(file, "cache")
    with pytest.raises(LoadError, match="is a checkpoint, but a cache was expected"):
        load_record(file, kind="cache")
    with pytest.raises(LoadError, match="No such file"):
        load_record(tmp_path / "none", kind="cache")


def test_it_is_light():
    code = "import sys; import quickstudy.core.saving; print('torch' in sys.modules)"
    package = Path(saving.__file__).parents[1]
    alone = (
        f"import sys, types; m = types.ModuleType('quickstudy'); m.__path__ = [{str(package)!r}]"
    )
    result = subprocess.run(
        [sys.executable, "-c", f"{alone}; sys.modules['quickstudy'] = m; {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout == "False\n"


@pytest.mark.parametrize("value", [["a"], None, 3, b"a"])
def test_what_is_no_path_is_refused_by_name(value, tmp_path, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    calls = (lambda: load_folder(value), lambda: what_is(value), lambda: holds(value, "run"))
    for call in calls:
        with pytest.raises(ConfigError, match=rf"must be a str .*, got {type(value).__name__}\."):
            call()
    with pytest.raises(ConfigError, match=r"^folder must be a str"):
        save_folder(value, kind="run", about={})
    assert as_path(str(tmp_path), "folder") == as_path(tmp_path, "folder") == tmp_path
