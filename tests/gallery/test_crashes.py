"""Processes that are killed while they write, and processes that write at once: nothing
acknowledged is lost, nothing is half done.
"""

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quickstudy.gallery import Gallery

from .writer import DIM, templates

CHANGES = 200
KILLS = 8


@pytest.fixture
def empty(place: Callable[[], str]) -> str:
    gallery = Gallery.create(place(), encoder="e1", dim=DIM)
    gallery.close()
    return gallery.place


def done(log: Path) -> int:
    return log.read_text(encoding="utf-8").count("done ") if log.exists() else 0


def wait_for(
    log: Path, changes: int, *, meanwhile: Callable[[], object] = lambda: time.sleep(0.001)
) -> None:
    until = time.monotonic() + 60
    while done(log) < changes:
        assert time.monotonic() < until, (
            f"a writer has stopped: {log.read_text(encoding='utf-8')[-200:]}"
        )
        meanwhile()


def told(log: Path) -> tuple[list[tuple[str, str, int]], tuple[str, str, int] | None]:
    """The changes that were acknowledged, and the one that was begun and was not."""
    acknowledged, begun = [], None
    for line in log.read_text(encoding="utf-8").splitlines():
        when, what, name, n = line.split(" ")
        if when == "begin":
            begun = (what, name, int(n))
        else:
            assert begun == (what, name, int(n))
            acknowledged.append(begun)
            begun = None
    return acknowledged, begun


def after(people: dict[str, int], changes: list[tuple[str, str, int]]) -> dict[str, int]:
    there = dict(people)
    for what, name, n in changes:
        if what == "enrol":
            there[name] = n
        else:
            del there[name]
    return there


def check(gallery: Gallery, people: dict[str, int]) -> None:
    """Everybody is there with all templates, and these are the right ones."""
    if people:
        names = [name for name, n in people.items() for _ in range(n)]
        found = gallery.identify(
            np.concatenate([templates(name, n) for name, n in people.items()]), top_k=1
        )
        # too few people to promise anything are not named, only likened
        assert [d.candidates[0][0] for d in found] == names
        assert [d.similarity for d in found] == pytest.approx([1] * len(names), abs=1e-6)


def test_what_was_acknowledged_survives_kills_in_200_changes(
    empty: str, writers: Any, tmp_path: Path
) -> None:
    people, acknowledged, kills, killed_amid = dict[str, int](), 0, 0, 0
    while acknowledged < CHANGES:
        log = tmp_path / f"{kills}.log"
        process = writers.start(empty, kills, 10 * CHANGES, log)
        until = random.Random(kills).randint(1, 2 * CHANGES // KILLS)
        wait_for(log, until)
        time.sleep(random.Random(kills).uniform(0, 0.01))
        os.kill(process, signal.SIGKILL)
        assert writers.wait(process) == -signal.SIGKILL
        changes, begun = told(log)
        gallery = Gallery.open(empty)
        found = {p["name"]: len(p["templates"]) for p in gallery.identities()}
        expected = after(people, changes)
        if begun is not None and found != expected:
            expected = after(expected, [begun])
        assert found == expected
        assert sum(
            row["action"] in ("enrol", "remove") for row in gallery.audit(last=10**6)
        ) >= acknowledged + len(changes)
        check(gallery, expected)
        gallery.close()
        people, acknowledged, kills = expected, acknowledged + len(changes), kills + 1
        killed_amid += begun is not None
    assert kills > 2
    assert killed_amid  # or the kills came at moments when nothing was being done


def test_three_processes_writing_at_once_lose_nothing(
    empty: str, writers: Any, tmp_path: Path
) -> None:
    logs = {seed: tmp_path / f"{seed}.log" for seed in (1, 2, 3)}
    processes = [writers.start(empty, seed, 40, log) for seed, log in logs.items()]
    watching = Gallery.open(empty)
    for log in logs.values():
        # a reader that keeps up while they write
        wait_for(log, 40, meanwhile=lambda: watching.identify(np.ones((1, DIM))))
    assert [writers.wait(process) for process in processes] == [0, 0, 0]
    people = dict[str, int]()
    for log in logs.values():
        changes, begun = told(log)
        assert begun is None
        people = after(people, changes)
    for gallery in (watching, Gallery.open(empty)):
        assert {p["name"]: len(p["templates"]) for p in gallery.identities()} == people
        assert sum(row["action"] in ("enrol", "remove") for row in gallery.audit(last=10**6)) == 120
        check(gallery, people)
        gallery.close()
