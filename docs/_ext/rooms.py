"""The pages of the API: one per room, with every public name of it."""

import ast
import importlib
import inspect
import pkgutil
from pathlib import Path
from types import ModuleType

# In the order of the floor plan; what each is for stands in its docstring.
ROOMS = (
    "core",
    "algorithms",
    "encoders",
    "pretrained",
    "estimators",
    "gallery",
    "serve",
    "export",
    "anomaly",
    "objectives",
    "augment",
    "data",
    "rl",
    "training",
    "recipes",
    "evaluation",
    "analysis",
    "tuning",
    "report",
    "testing",
    "bench",
    "inner",
    "functional",
    "metrics",
    "kernels",
)


def public_names(module: ModuleType) -> list[str]:
    """What a module offers: its ``__all__``, or else what it imports under its own name and what
    it defines without an underscore.
    """
    if "__all__" in vars(module):
        return sorted(module.__all__)
    tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
    names = set()
    # Rooms that load lazily have their imports under ``if TYPE_CHECKING``.
    lazy = [line for node in tree.body if isinstance(node, ast.If) for line in node.body]
    for node in [*tree.body, *lazy]:
        if isinstance(node, ast.ImportFrom):
            names |= {alias.name for alias in node.names if alias.asname == alias.name}
        elif isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return sorted(name for name in names if not name.startswith("_"))


def entries(room: str) -> dict[str, list[str]]:
    """The full names of the functions and classes of a room, by heading: under "" what the room
    itself offers, else under the module that they are in.
    """
    package = importlib.import_module(f"quickstudy.{room}")
    modules = [package]
    if room == "core" or not _callables(package):
        modules += [
            importlib.import_module(info.name)
            for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
            if not info.name.rpartition(".")[2].startswith("_")
        ]
    own = set(public_names(package))
    result = {}
    for module in modules:
        names = _callables(module)
        if module is not package:
            names = [
                name
                for name in names
                if getattr(module, name).__module__ == module.__name__ and name not in own
            ]
        if names:
            heading = "" if module is package else module.__name__
            result[heading] = [f"{module.__name__}.{name}" for name in names]
    return result


def write(folder: Path) -> None:
    """Write the page of each room, and of the top level, into ``folder``; a page that is as it
    should be is left alone, so that Sphinx reads it once only. What autosummary generated for names
    that are gone is removed.
    """
    listed = set[str]()
    for room in ROOMS:
        _save(folder / f"{room}.rst", _room_page(room))
        listed.update(*entries(room).values())
    _save(folder / "top_level.rst", _top_page())
    for page in (folder / "generated").glob("*.rst"):
        if page.stem not in listed:
            page.unlink()


def _callables(module: ModuleType) -> list[str]:
    return [
        name
        for name in public_names(module)
        if inspect.isclass(getattr(module, name)) or inspect.isroutine(getattr(module, name))
    ]


def _room_page(room: str) -> str:
    name = f"quickstudy.{room}"
    parts = [_title(name), f".. automodule:: {name}\n"]
    for heading, names in entries(room).items():
        if heading:
            parts += [f".. rubric:: {heading}\n", f".. automodule:: {heading}\n   :no-index:\n"]
        parts += [".. py:currentmodule:: None\n", _table(names)]
    return "\n".join(parts)


def _top_page() -> str:
    import quickstudy

    lines = []
    for name in _callables(quickstudy):
        for room in ROOMS:
            if name in public_names(importlib.import_module(f"quickstudy.{room}")):
                lines.append(f"- ``quickstudy.{name}``: :py:obj:`quickstudy.{room}.{name}`")
                break
        else:
            raise LookupError(f"quickstudy.{name} is in no room")
    return "\n".join([_title("quickstudy"), ".. automodule:: quickstudy\n", *lines, ""])


def _title(name: str) -> str:
    return f"{name}\n{'=' * len(name)}\n"


def _table(names: list[str]) -> str:
    listed = "".join(f"   {name}\n" for name in names)
    return f".. autosummary::\n   :toctree: generated\n   :nosignatures:\n\n{listed}"


def _save(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
