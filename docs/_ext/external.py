"""What other projects' pages are linked to: their inventory where there is a network, else a short
list of the names that our pages use.
"""

import zlib
from pathlib import Path

NAMES = {
    "python": (
        "https://docs.python.org/3/",
        {"py:class": ("pathlib.Path", "collections.abc.Callable", "collections.abc.Sequence")},
        "library/{page}.html#$",
    ),
    "numpy": (
        "https://numpy.org/doc/stable/",
        {"py:class": ("numpy.ndarray", "numpy.random.Generator")},
        "reference/generated/$.html#$",
    ),
    "torch": (
        "https://docs.pytorch.org/docs/stable/",
        {
            "py:class": (
                "torch.nn.Module",
                "torch.nn.Parameter",
                "torch.optim.Optimizer",
                "torch.utils.data.Dataset",
            )
        },
        "generated/$.html#$",
    ),
    "sklearn": (
        "https://scikit-learn.org/stable/",
        {"py:class": ("sklearn.base.BaseEstimator", "sklearn.base.ClassifierMixin")},
        "modules/generated/$.html#$",
    ),
}


def mapping(folder: Path) -> dict[str, tuple[str, tuple[str | None, str]]]:
    """The value of ``intersphinx_mapping``; the local lists are written into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    result: dict[str, tuple[str, tuple[str | None, str]]] = {}
    for project, (url, names, page) in NAMES.items():
        path = folder / f"{project}.inv"
        path.write_bytes(_inventory(project, names, page))
        result[project] = (url, (None, str(path)))
    return result


def _inventory(project: str, names: dict[str, tuple[str, ...]], page: str) -> bytes:
    head = f"# Sphinx inventory version 2\n# Project: {project}\n# Version: \n"
    head += "# The remainder of this file is compressed using zlib.\n"
    lines = [
        f"{name} {role} 1 {page.replace('{page}', name.rpartition('.')[0])} -\n"
        for role, listed in names.items()
        for name in listed
    ]
    return head.encode() + zlib.compress("".join(lines).encode())
