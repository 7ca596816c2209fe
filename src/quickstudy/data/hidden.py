"""Files and folders that are left out by their names: hidden ones, and what systems leave."""

from collections.abc import Sequence
from pathlib import Path

from quickstudy.core.words import counted

# What macOS, network disks and programs leave beside the files of people, some with pictures in it.
_OF_SYSTEMS = frozenset(
    {
        "__MACOSX",
        "@eaDir",
        ".AppleDouble",
        ".DS_Store",
        ".Spotlight-V100",
        ".TemporaryItems",
        ".Trash",
        ".Trashes",
        ".cache",
        ".fseventsd",
        ".git",
        ".github",
        ".hg",
        ".idea",
        ".ipynb_checkpoints",
        ".svn",
        ".thumbnails",
        ".tox",
        ".venv",
        ".vscode",
    }
)
_MOST = 10


def is_left_out(path: Path) -> bool:
    """Whether a file or folder is passed over by its name."""
    return path.name.startswith(".") or path.name in _OF_SYSTEMS


def is_told_of(path: Path) -> bool:
    """Whether a file or folder that is left out may be somebody's own: its name begins with a dot,
    and is none that a system gives.
    """
    name = path.name
    # "._x" is what macOS keeps of x on disks of others.
    return name not in _OF_SYSTEMS and not name.startswith(("._", ".Trash-", ".nfs"))


def said_of_hidden(hidden: Sequence[Path], root: Path) -> str:
    """Which files and folders below a folder are not read, in a sentence; empty of none.

    >>> said_of_hidden([Path("pets/.cat.jpg")], Path("pets"))
    "1 file in 'pets' is not read, as its name begins with a dot: .cat.jpg. Rename it to read it."
    """
    if not hidden:
        return ""
    folders = sum(path.is_dir() for path in hidden)
    kinds = ((folders, "folder"), (len(hidden) - folders, "file"))
    many = " and ".join(counted(n, word) for n, word in kinds if n)
    shown = [path.relative_to(root).as_posix() for path in hidden[:_MOST]]
    more = [f"and {len(hidden) - _MOST} more"] if len(hidden) > _MOST else []
    names = ", ".join(shown + more)
    if len(hidden) == 1:
        why = f"is not read, as its name begins with a dot: {names}. Rename it to read it."
    else:
        why = f"are not read, as their names begin with a dot: {names}. Rename them to read them."
    return f"{many} in {str(root)!r} {why}"
