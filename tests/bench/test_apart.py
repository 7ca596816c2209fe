"""Contenders in processes of their own: what is said between them and the benchmark, whatever else
happens.
"""

import sys

import pytest
import torch

from quickstudy.bench import OURS, WORKLOADS
from quickstudy.bench.apart import Contender, contenders, last_words, rounds_of
from quickstudy.core.errors import TrainingError
from quickstudy.core.setting import Setting

CPU = torch.device("cpu")
TINY = WORKLOADS["W8-protonet"].changed(width=2, setting=Setting(2, 1, 1))

# A contender that prints wherever it can, and that dies of a workload with more than 2 tasks.
NOISY = """
import contextlib, os, subprocess, sys, torch
from quickstudy.bench.contender import serve

@contextlib.contextmanager
def prepared(workload):
    print("getting ready")
    subprocess.run(["echo", "a compiler"])
    def step():
        print("working", flush=True)
        os.write(1, b"native noise without an end")
        if workload.n_tasks > 2:
            os.write(2, b"\\nValueError: 3 tasks are too many\\n")
            os._exit(7)
        return {}
    yield step

serve(prepared, torch.device("cpu"))
"""


def test_an_entry_in_a_process_of_its_own() -> None:
    with contenders([OURS["quickstudy"]], CPU) as them:
        first = rounds_of(them, TINY, rounds=2)
        second = rounds_of(them, TINY.changed(n_tasks=2), rounds=1)
    assert [len(first["quickstudy"]), len(second["quickstudy"])] == [2, 1]
    assert all(seconds > 0 for seconds in first["quickstudy"] + second["quickstudy"])


def test_noise_is_not_taken_for_an_answer_and_a_death_says_why() -> None:
    with Contender("noisy", [sys.executable, "-c", NOISY]) as noisy:
        for n_tasks in (1, 2):
            noisy.prepare(TINY.changed(n_tasks=n_tasks))
            assert all(0 <= noisy.seconds() < 60 for _ in range(2))
        noisy.prepare(TINY.changed(n_tasks=3))
        with pytest.raises(
            TrainingError,
            match="process of noisy ended with status 7: ValueError: 3 tasks are too many",
        ):
            noisy.seconds()
        with pytest.raises(TrainingError, match="status 7"):
            noisy.seconds()


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["false"], "process of it ended with status 1: it said nothing"),
        (["sh", "-c", "echo first >&2; echo no such thing >&2; exit 3"], "status 3: no such thing"),
        (["sh", "-c", "kill -9 $$"], "status -9"),
    ],
)
def test_a_process_that_does_not_start(command: list[str], message: str) -> None:
    with Contender("it", command) as it, pytest.raises(TrainingError, match=message):
        it.prepare(TINY)


def test_last_words() -> None:
    torchrun = (
        "[rank0]: ValueError: no such task\ntorch.distributed.ChildFailedError:\n====\n  "
        "rank : 0\n  error_file: <N/A>\n====\n"
    )
    assert last_words(torchrun) == "[rank0]: ValueError: no such task"
    assert last_words("Killed\n") == "Killed"
    assert last_words("") == "it said nothing"
