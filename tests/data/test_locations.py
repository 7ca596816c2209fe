from pathlib import Path

import pytest

from quickstudy.data.locations import cache_folder, data_root


@pytest.fixture(autouse=True)
def _nothing_named(monkeypatch, tmp_path):
    for name in ("QUICKSTUDY_DATA", "QUICKSTUDY_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def test_without_settings_everything_is_in_the_users_cache_folder(tmp_path):
    assert cache_folder() == data_root() == tmp_path / ".cache" / "quickstudy"


def test_the_desktops_cache_folder(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder() == data_root() == Path("/somewhere/quickstudy")


def test_folders_that_are_named(monkeypatch, tmp_path):
    monkeypatch.setenv("QUICKSTUDY_CACHE", "/fast")
    assert (cache_folder(), data_root()) == (Path("/fast"), Path("/fast"))
    monkeypatch.setenv("QUICKSTUDY_DATA", "~/data")
    assert (cache_folder(), data_root()) == (Path("/fast"), tmp_path / "data")


def test_an_empty_name_is_none(monkeypatch, tmp_path):
    for name in ("QUICKSTUDY_DATA", "QUICKSTUDY_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, "")
    assert data_root() == tmp_path / ".cache" / "quickstudy"
