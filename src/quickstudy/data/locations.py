"""Where data lies and where caches go."""

import os
from pathlib import Path


def data_root() -> Path:
    """The folder with the data sets: ``QUICKSTUDY_DATA``, else the cache folder."""
    named = os.environ.get("QUICKSTUDY_DATA")
    return Path(named).expanduser() if named else cache_folder()


def cache_folder() -> Path:
    """The folder for downloads and prepared data: ``QUICKSTUDY_CACHE``, else ``quickstudy`` in the
    user's cache folder.
    """
    named = os.environ.get("QUICKSTUDY_CACHE")
    if named:
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "quickstudy"
