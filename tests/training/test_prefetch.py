import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from quickstudy.algorithms import ProtoNet
from quickstudy.augment import TRANSFORMS, Affine
from quickstudy.core.objective import MetaStep
from quickstudy.core.rng import generator, seed_everything
from quickstudy.core.setting import Setting
from quickstudy.core.tasks import AbstractTasks
from quickstudy.data import ClassDataset, ClassIndex, Episodes, Glyphs, Sinusoid, VariableEpisodes
from quickstudy.encoders import Conv4
from quickstudy.objectives import QueryLoss
from quickstudy.training import run, train
from quickstudy.training.log import read_log
from quickstudy.training.prefetch import Prefetch

sys.path.insert(0, str(Path(__file__).parent))

from test_loop import OPTIMISER, PLAN, Dies, same, step_of, tasks, weights


class Foreground:
    """Draws when it is asked."""

    waited = 0.0

    def __init__(self, draw, first, last):
        self._drawn = map(draw, range(first, last))

    def __enter__(self):
        return self

    def __next__(self):
        return next(self._drawn)

    def __exit__(self, *_):
        pass


def images() -> Episodes:
    x = torch.rand(40, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    return Episodes(
        ClassDataset("noise", "all", x, ClassIndex([i // 10 for i in range(40)], list("abcd"))),
        Setting(3, 1, 2),
    )


def test_what_is_drawn_ahead_trains_to_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = []
    for drawer in (Prefetch, Foreground):
        monkeypatch.setattr(run, "Prefetch", drawer)
        seed_everything("test")
        step = MetaStep(ProtoNet(Conv4(size=16, width=4)), QueryLoss())
        train(
            step,
            images(),
            plan=replace(PLAN, validate_every=0),
            optimiser=OPTIMISER,
            transform=Affine(probability=1.0),
        )
        ends.append(weights(step))
    assert same(*ends)


def streams() -> list[AbstractTasks]:
    setting = Setting(3, 1, 2)
    return [
        images(),
        VariableEpisodes(tasks().dataset),
        Glyphs().tasks("train", setting),
        Sinusoid().tasks("train", Setting(0, 5, 5)),
    ]


@pytest.mark.parametrize("stream", streams(), ids=lambda s: type(s).__name__ + s.data)
def test_data_leave_the_global_generators_alone(stream: AbstractTasks) -> None:
    before = torch.get_rng_state()
    stream.batch([3])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", list(TRANSFORMS))
def test_transforms_leave_the_global_generators_alone(name: str) -> None:
    before = torch.get_rng_state()
    TRANSFORMS[name]()(images().batch([0, 1]), generator("test"))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_next_is_drawn_while_the_last_is_used() -> None:
    in_time = threading.Event()

    def draw(step: int) -> int:
        if step == 1:
            in_time.set()
        return step

    with Prefetch(draw, 0, 3) as drawn:
        assert next(drawn) == 0
        assert in_time.wait(20)
        assert list(drawn) == [1, 2]


def test_no_more_is_drawn_than_is_needed() -> None:
    asked: list[int] = []
    with Prefetch(asked.append, 5, 7) as drawn:
        assert list(drawn) == [None, None]
    assert asked == [5, 6]
    with Prefetch(asked.append, 7, 7) as drawn:
        assert list(drawn) == []
    assert asked == [5, 6]


def test_an_error_comes_out_at_its_step_and_the_thread_ends(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    with pytest.raises(RuntimeError, match="killed"):
        train(
            step_of(),
            Dies(6),
            plan=replace(PLAN, log_every=1, validate_every=0),
            optimiser=OPTIMISER,
            out=tmp_path,
        )
    assert [line["step"] for line in read_log(tmp_path / "log.jsonl")] == [1, 2]
    assert not [t.name for t in threading.enumerate() if t.name.startswith("prefetch")]
    assert torch.get_num_threads() == threads


def test_the_log_tells_what_part_of_the_time_was_spent_waiting(tmp_path: Path) -> None:
    class Slow(Episodes):
        def batch(self, numbers):
            time.sleep(0.05)
            return super().batch(numbers)

    plan = replace(PLAN, steps=4, validate_every=0)
    train(
        step_of(),
        Slow(tasks().dataset, tasks().setting),
        plan=plan,
        optimiser=OPTIMISER,
        out=tmp_path,
    )
    waiting = [line["waiting"] for line in read_log(tmp_path / "log.jsonl")]
    assert len(waiting) == 2
    assert all(0.3 < share <= 1 for share in waiting)
