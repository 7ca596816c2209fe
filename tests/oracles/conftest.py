"""What every comparison with golden numbers shares, and the table that is made of them."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from .golden import Golden

_KNOWN = json.loads((Path(__file__).parent / "known.json").read_text(encoding="utf-8"))
_MADE = list[Golden]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--oracles-json", help="Write all comparisons to this file.")


@pytest.fixture
def golden() -> Iterator[Callable[[str], Golden]]:
    """Opens a file of golden numbers; what was compared with it is judged at the end of the
    test.
    """
    opened = list[Golden]()

    def read(name: str) -> Golden:
        opened.append(Golden(name))
        return opened[-1]

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield read
    torch.set_num_threads(threads)
    _MADE.extend(opened)
    for file in opened:
        judge(file)


def judge(file: Golden) -> None:
    """Everything agrees, or differs as ``known.json`` says: by its cause, and about as much."""
    assert file.comparisons
    known = _KNOWN.get(file.name, {})
    causes = set[str]()
    for c in file.comparisons:
        if not c.cause:
            assert c.agrees, f"{file.name}, {c.quantity}: {c.absolute:.1e} ({c.relative:.1e})"
            continue
        causes.add(c.cause)
        assert not c.agrees, f"{file.name}, {c.quantity} agrees now: it is no known difference"
        assert c.cause in known, f"{file.name}: no size is stated for '{c.cause}'"
    for cause in causes:
        largest = max(c.absolute for c in file.comparisons if c.cause == cause)
        assert largest == pytest.approx(known[cause], rel=0.2), f"{file.name}: {cause}"


def pytest_sessionfinish(session: pytest.Session) -> None:
    path = session.config.getoption("--oracles-json", default=None)
    if path:
        rows = [
            {
                "file": g.name,
                **{k: getattr(c, k) for k in ("quantity", "absolute", "relative", "cause")},
            }
            for g in sorted(_MADE, key=lambda g: g.name)
            for c in g.comparisons
        ]
        Path(path).write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
