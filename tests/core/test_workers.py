"""Workers as threads and as processes: the same numbers, and nothing left behind."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from quickstudy.algorithms import MatchingNet, ProtoNet, maml
from quickstudy.core import workers as module_of_workers
from quickstudy.core.clock import Clock
from quickstudy.core.compiled import CompiledGradient
from quickstudy.core.errors import TrainingError
from quickstudy.core.objective import MetaStep
from quickstudy.core.worker_pool import WorkerLostError, WorkerPool
from quickstudy.core.workers import Workers
from quickstudy.encoders import MLP, Conv4
from quickstudy.objectives import QueryLoss
from quickstudy.testing import toy_episode

# What processes are sent must be importable there: this file's folder is on the path of its tests.
sys.path.insert(0, str(Path(__file__).parent))

from work_for_workers import (
    Counted,
    Recorded,
    answered,
    clock_of,
    drawn,
    fail,
    gradient,
    kill_others,
    mode,
    pid,
    shaped,
    threads,
    unsendable,
)

USUAL = Counted()


def pieces(shape=(6,), n=5, **sizes):
    return [toy_episode(n_tasks=1, shape=shape, seed=i, **sizes) for i in range(n)]


def is_there(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return True


def convolutional(*, first_order: bool, inner_steps: int = 2) -> MetaStep:
    torch.manual_seed(0)
    learner = maml(
        Conv4(size=16, width=4, norm="batch"),
        n_out=4,
        inner_lr=0.1,
        inner_steps=inner_steps,
        first_order=first_order,
    )
    return MetaStep(learner, QueryLoss())


def same(ours, theirs) -> bool:
    return all(
        torch.equal(a, b)
        for one, other in zip(ours, theirs, strict=True)
        for a, b in zip(one, other, strict=True)
    )


@pytest.fixture(scope="module")
def pool():
    """Two processes with some modules, for whatever leaves them as they are."""
    module = nn.ModuleDict(
        {
            "second order": convolutional(first_order=False),
            "first order": convolutional(first_order=True),
            "metric": MetaStep(MatchingNet(MLP(256, widths=(8,))), QueryLoss()),
            "clock": Clock(),
        }
    )
    made = WorkerPool(module, 2, usual=USUAL)
    made.is_ready(wait=True)
    yield made, module
    before = [p.clone() for p in module.parameters()]
    numbers = made.pids
    made.close()
    assert not any(is_there(number) for number in numbers)
    assert all(torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))


@pytest.mark.parametrize("name", ["second order", "first order", "metric"])
def test_gradients_of_processes_are_those_of_threads_and_of_one_worker(pool, name) -> None:
    made, module = pool
    work = [(name, piece) for piece in pieces((256,) if name == "metric" else (1, 16, 16))]
    alone = [gradient(module, piece) for piece in work]
    assert same(made.map(gradient, work), alone)
    with Workers(module, 2) as workers:
        assert same(workers.map(gradient, work), alone)
    with torch.no_grad():
        for p in module[name].parameters():
            p.mul_(0.5)
    changed = made.map(gradient, work)
    assert same(changed, [gradient(module, piece) for piece in work])
    assert not same(changed, alone)


def test_recorded_gradients_of_processes_are_those_of_one_worker() -> None:
    module = nn.ModuleDict(
        {
            "second order": convolutional(first_order=False, inner_steps=5),
            "metric": MetaStep(ProtoNet(Conv4(size=16, width=4, norm="batch")), QueryLoss()),
        }
    )
    usual = Recorded({name: CompiledGradient(part, how="trace") for name, part in module.items()})
    with Workers(module, 2, kind="processes", usual=usual) as workers:
        # The last shape comes when others have been recorded.
        for name, n_shot in (
            ("second order", 1),
            ("metric", 1),
            ("second order", 1),
            ("metric", 2),
        ):
            work = [(name, piece) for piece in pieces((1, 16, 16), n=3, n_shot=n_shot)]
            found = workers.map(usual, work)
            assert same(found, [usual(module, piece) for piece in work])
            assert same(found, [gradient(module, piece) for piece in work])
            with torch.no_grad():
                for p in module[name].parameters():
                    p.mul_(0.9)


def test_the_usual_function_keeps_what_it_has_and_is_sent_once(pool) -> None:
    made, _ = pool
    assert made.map(USUAL, range(3)) == [1, 1, 1]
    assert made.map(Counted(), range(3)) == [1, 1, 1]
    assert made.map(USUAL, range(6)) == [2, 2, 2, 3, 3, 3]


@pytest.mark.parametrize("length", [0, 1, 2, 3, 7])
def test_results_come_in_the_order_of_the_pieces(pool, length) -> None:
    assert pool[0].map(answered, range(length)) == [i**2 for i in range(length)]


def test_each_worker_is_a_process_with_one_thread(pool) -> None:
    seen = pool[0].map(pid, range(6))
    assert set(seen) == {os.getpid(), *pool[0].pids}
    assert seen[:3] == seen[3:]
    assert pool[0].map(threads, range(6)) == [1] * 6


def test_gradient_mode_is_that_of_who_asks(pool) -> None:
    assert pool[0].map(mode, range(4)) == [True] * 4
    with torch.no_grad():
        assert pool[0].map(mode, range(4)) == [False] * 4


def test_buffers_are_shared_and_seeds_belong_to_the_piece(pool) -> None:
    made, module = pool
    module["clock"].steps.fill_(41)
    assert made.map(clock_of, range(3)) == [41] * 3
    numbers = made.map(drawn, [3, 4, 3, 5, 3])
    assert torch.equal(numbers[0], numbers[2])
    assert torch.equal(numbers[0], numbers[4])
    assert not torch.equal(numbers[0], numbers[1])


def test_tensors_arrive_as_they_are(pool) -> None:
    base = torch.arange(24.0).reshape(2, 3, 4)
    sent = [
        base,
        base.transpose(0, 2),
        base[0, 1:, ::2],
        torch.zeros(1, 3, 4, 4).to(memory_format=torch.channels_last),
        torch.empty(0, 5),
        torch.tensor(3),
        torch.tensor([True, False]),
        base[:1].expand(5, 3, 4),
    ]
    for ours, theirs in zip(sent, pool[0].map(shaped, sent), strict=True):
        assert torch.equal(ours, theirs[0])
        assert ours.dtype == theirs[0].dtype
    assert pool[0].map(shaped, sent)[1][1] == base.transpose(0, 2).stride()


def test_results_outlive_the_next_call(pool) -> None:
    first = pool[0].map(drawn, [1, 2, 3])
    kept = [t.clone() for t in first]
    pool[0].map(drawn, [4, 5, 6])
    assert all(torch.equal(a, b) for a, b in zip(first, kept, strict=True))


def test_tied_parameters_stay_tied() -> None:
    tied: Any = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    tied[1].weight = tied[0].weight
    tied.register_buffer("view", tied[0].bias.detach()[1:])
    content = tied[0].weight.detach().clone()
    made = WorkerPool(tied, 1)
    try:
        assert torch.equal(tied[1].weight, content)
        with torch.no_grad():
            tied[0].bias.fill_(5.0)
        assert torch.equal(tied.view, torch.full((2,), 5.0))
    finally:
        made.close()
    with torch.no_grad():
        tied[0].bias.fill_(6.0)
    assert torch.equal(tied.view, torch.full((2,), 6.0))
    assert tied[1].weight is tied[0].weight


def test_an_error_in_a_process_comes_out_with_where_it_happened() -> None:
    made = WorkerPool(nn.Linear(1, 1), 1)
    made.is_ready(wait=True)
    (number,) = made.pids
    with pytest.raises(ValueError, match="piece 1") as caught:
        made.map(fail, range(2))
    assert "in fail" in "".join(caught.value.__notes__)
    assert not is_there(number)


def test_a_killed_worker_is_named_and_not_there_any_more() -> None:
    made = WorkerPool(nn.Linear(1, 1), 1)
    made.is_ready(wait=True)
    (number,) = made.pids
    with pytest.raises(WorkerLostError, match=f"{number}.*was killed by signal 9"):
        made.map(kill_others, [0, number, 0])
    assert not is_there(number)


def test_a_pool_that_is_closed_before_it_is_ready_leaves_nothing() -> None:
    made = WorkerPool(nn.Linear(1, 1), 1)
    (number,) = made.pids
    made.close()
    assert not is_there(number)


def test_what_cannot_be_sent_says_so() -> None:
    locked: Any = nn.Linear(1, 1)
    locked.hook = lambda x: x
    before = locked.weight.detach().clone()
    with pytest.raises(TrainingError, match="workers_kind='threads'"):
        Workers(locked, 2, kind="processes")
    assert torch.equal(locked.weight, before)


def test_auto_starts_no_process_for_little_work_and_chooses_by_time(monkeypatch) -> None:
    said: list[tuple[str, str]] = []

    def note(kind: str, text: str) -> None:
        said.append((kind, text))

    step = MetaStep(ProtoNet(MLP(6, widths=(8,))), QueryLoss())
    short = nn.ModuleDict({"step": step})
    work = [("step", episode) for episode in pieces(n=3)]
    alone = [gradient(short, piece) for piece in work]
    with Workers(short, 2, kind="auto", n_maps=50, on_choice=note) as workers:
        for _ in range(50):
            assert same(workers.map(gradient, work), alone)
    assert not said
    monkeypatch.setattr(module_of_workers, "_SECONDS_TO_COME", 0.0)
    monkeypatch.setattr(module_of_workers, "_N_TIMED", 1)
    until = time.monotonic() + 120
    with Workers(short, 2, kind="auto", n_maps=10**6, on_choice=note) as workers:
        while not said and time.monotonic() < until:
            assert same(workers.map(gradient, work), alone)
        for _ in range(2):
            assert same(workers.map(gradient, work), alone)
    ((kind, text),) = said
    assert text.startswith(f"Workers are {kind}: 2 workers as processes take")


def test_auto_stays_with_threads_where_nothing_can_be_sent(monkeypatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(module_of_workers, "_SECONDS_TO_COME", 0.0)
    module: Any = nn.Linear(1, 1)
    module.hook = lambda x: x
    with Workers(
        module, 2, kind="auto", n_maps=9, on_choice=lambda kind, text: said.append(kind)
    ) as workers:
        for _ in range(4):
            assert workers.map(lambda _, piece: piece**2, range(3)) == [0, 1, 4]
    assert said == ["threads"]


def test_an_error_of_the_learner_is_raised_once_and_not_done_again_by_threads(monkeypatch) -> None:
    monkeypatch.setattr(module_of_workers, "_SECONDS_TO_COME", 0.0)
    monkeypatch.setattr(module_of_workers, "_N_TIMED", 10**6)
    said: list[str] = []
    until = time.monotonic() + 120
    with Workers(
        nn.Linear(1, 1), 2, kind="auto", n_maps=10**9, on_choice=lambda _, text: said.append(text)
    ) as workers:
        here = {os.getpid()}
        while set(workers.map(pid, range(2))) == here and time.monotonic() < until:
            pass
        assert set(workers.map(pid, range(2))) == here  # they take turns
        with pytest.raises(ValueError, match="piece 1") as caught:
            workers.map(fail, range(2))
    assert "In a worker process" in caught.value.__notes__[0]
    assert not said


def test_results_that_cannot_be_sent_leave_the_work_to_threads(monkeypatch) -> None:
    monkeypatch.setattr(module_of_workers, "_SECONDS_TO_COME", 0.0)
    said: list[str] = []
    until = time.monotonic() + 120
    with Workers(
        nn.Linear(1, 1), 2, kind="auto", n_maps=10**9, on_choice=lambda _, text: said.append(text)
    ) as workers:
        while not said and time.monotonic() < until:
            assert [answer(3) for answer in workers.map(unsendable, [1, 2, 4])] == [3, 6, 12]
    assert said[0].startswith("Workers are threads: A result cannot be sent")


def test_workers_end_with_the_program_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import sys, time
            from torch import nn
            from work_for_workers import slow
            from quickstudy.core.worker_pool import WorkerPool

            pool = WorkerPool(nn.Linear(1, 1), 1)
            pool.is_ready(wait=True)
            print(*pool.pids, flush=True)
            pool.map(slow, [5, 0.2])
            """
        )
    )
    folder = os.pathsep.join((str(Path(__file__).parent), *filter(None, sys.path)))
    program = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": folder},
    )
    assert program.stdout is not None
    worker = int(program.stdout.readline())
    # Ctrl-C in a terminal reaches both: the worker leaves it to the program.
    os.kill(worker, signal.SIGINT)
    time.sleep(0.1)
    assert is_there(worker)
    program.kill()
    program.wait()
    program.stdout.close()
    until = time.monotonic() + 30
    while is_there(worker) and time.monotonic() < until:
        time.sleep(0.05)
    assert not is_there(worker)
