import contextlib
from typing import Any

import pytest
import torch

from quickstudy.bench.apart import Contender
from quickstudy.bench.contender import step_of
from quickstudy.bench.entry import Entry
from quickstudy.bench.timing import old_objects_left_alone, timed
from quickstudy.bench.workloads import Workload


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Contenders that do their steps here: `test_apart` has those in processes of their own, which
    take seconds to start.
    """

    def of(cls: Any, entry: Entry, device: torch.device) -> Contender:
        made: Any = object.__new__(Contender)
        made.entry, made.device, made.now = entry, device, contextlib.ExitStack()
        return made

    def prepare(self: Any, workload: Workload) -> None:
        self.now.close()
        self.step = self.now.enter_context(step_of(self.entry, self.device, workload))
        self.now.enter_context(old_objects_left_alone())

    # it would last for all other tests
    monkeypatch.setattr("quickstudy.bench.contender.keep_freed_memory", lambda: True)
    monkeypatch.setattr(Contender, "of", classmethod(of))
    monkeypatch.setattr(Contender, "prepare", prepare)
    monkeypatch.setattr(Contender, "seconds", lambda self: timed(self.step, self.device))
    monkeypatch.setattr(Contender, "__exit__", lambda self, *_: self.now.close())
