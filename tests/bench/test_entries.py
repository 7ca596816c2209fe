"""Every entry computes what a plain loop in float64 computes; at sizes that take no time."""

import functools
import importlib.util
import sys
from collections.abc import Iterator

import pytest
import torch

from quickstudy.bench import OURS, PEERS, WORKLOADS, Workload, peer_named
from quickstudy.bench.contender import step_of
from quickstudy.bench.entry import Entry, Job, Step
from quickstudy.bench.gradients import Reference
from quickstudy.core.errors import ConfigError
from quickstudy.core.setting import Setting

CPU = torch.device("cpu")
# One of each kind; made small, the others are these.
KINDS = ("W1", "W3", "W4", "W5", "W6-5way", "W7", "W8-maml", "W8-protonet")


def small(name: str) -> Workload:
    """The workload with few filters, few tasks and few steps."""
    w = WORKLOADS[name]
    size = {} if w.regression else {"width": 4, "size": 32 if w.size > 28 else 17}
    setting = w.setting if w.regression else Setting(2, min(2, w.setting.n_shot), 2)
    return w.changed(
        n_tasks=min(2, w.n_tasks), inner_steps=min(2, w.inner_steps), setting=setting, **size
    )


def pairs() -> Iterator[tuple[Entry, str]]:
    for entry in (*OURS.values(), *PEERS.values()):
        for name in KINDS:
            # Processes take seconds to start, and do what threads do.
            again = entry.name.endswith("-processes") and name != "W1"
            if entry.serves(WORKLOADS[name], CPU) and not entry.compiled and not again:
                yield entry, name
    # On a CPU vmap is not timed on W1, but it must be right there too. The compiled one is the
    # same function.
    yield PEERS["vmap"], "W1"


def installed(*names: str) -> list[Entry]:
    return [PEERS[name] for name in names if not PEERS[name].missing]


@functools.cache
def reference_of(name: str, *, steps: int = 2) -> Reference:
    workload = small(name)
    return Reference(
        workload.changed(inner_steps=min(steps, workload.inner_steps)), CPU, seeds=(1,)
    )


@pytest.mark.parametrize(
    ("entry", "name"), list(pairs()), ids=lambda v: v if isinstance(v, str) else v.name
)
def test_the_outer_gradient_is_the_plain_loops(entry: Entry, name: str) -> None:
    if entry.missing:
        pytest.skip(entry.missing)
    reference = reference_of(name)
    assert reference.error(entry).median < 1e-4
    if entry.name in OURS:
        assert reference.error(entry, dtype=torch.float64).worst < 1e-10


def test_the_outer_gradient_of_the_compiled_step_is_the_plain_loops(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # a pool of compilers takes longer to start than it saves
    monkeypatch.setattr("torch._inductor.config.compile_threads", 1)
    entry = OURS["quickstudy-compiled"]
    if entry.missing:
        pytest.skip(entry.missing)
    assert reference_of("W7").error(entry, dtype=torch.float64).worst < 1e-10


@pytest.mark.parametrize("name", ["W1", "W7"])
def test_the_outer_gradient_of_jax_is_the_plain_loops(name: str) -> None:
    if PEERS["jax"].missing:
        pytest.skip(PEERS["jax"].missing)
    least = small(name).changed(n_tasks=1, inner_steps=1)
    if not least.regression:
        least = least.changed(width=2, size=16, setting=Setting(2, 1, 1))
    assert Reference(least, CPU, seeds=(1,)).error(PEERS["jax"]).median < 1e-4


@pytest.mark.parametrize("name", ["W1", "W3", "W4", "W6-5way", "W7"])
def test_the_mean_over_tasks_is_what_is_differentiated(name: str) -> None:
    two = small(name).changed(inner_lr=0.01)
    for entry in (
        OURS["quickstudy"],
        *installed("torchopt", "higher", "easyfsl", "vmap"),
    ):
        if not entry.serves(two, CPU):
            continue
        own = entry.own(two)
        with (
            Job.of(own, CPU, dtype=torch.float64) as job,
            Job.of(own, CPU, dtype=torch.float64) as again,
        ):
            got, expected = entry.step(job)(), PEERS["plain"].step(again)()
        for key, value in got.items():
            torch.testing.assert_close(value, expected[key], rtol=1e-8, atol=1e-10)


def test_only_our_training_loop_keeps_freed_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    monkeypatch.setattr(
        "quickstudy.bench.contender.keep_freed_memory", lambda: called.append("kept")
    )
    for name, entry, times in (
        ("W6-5way", OURS["quickstudy"], 1),
        ("W8-protonet", OURS["quickstudy"], 0),
        ("W6-5way", PEERS["plain"], 0),
        ("W5", OURS["quickstudy-default-malloc"], 0),
    ):
        called.clear()
        with step_of(entry, CPU, small(name)):
            assert len(called) == times, (name, entry.name)


def test_a_step_can_be_done_again() -> None:
    for entry in (
        OURS["quickstudy"],
        *installed("plain", "torchopt", "higher"),
    ):
        with Job.of(small("W1"), CPU, dtype=torch.float64) as job:
            step = entry.step(job)
            first, second = step(), step()
        assert all(torch.equal(first[n], second[n]) for n in first), entry.name


def test_only_the_bias_of_the_convolutions_is_left_out() -> None:
    with (
        Job.of(small("W1"), CPU, dtype=torch.float64) as job,
        Job.of(small("W1"), CPU, dtype=torch.float64) as again,
    ):
        ours, plain = OURS["quickstudy"].step(job)(), PEERS["plain"].step(again)()
    left_out = {n for n in plain if n not in ours}
    assert left_out == {f"encoder.blocks.{i}.conv.bias" for i in range(4)}
    assert max(float(plain[n].abs().max()) for n in left_out) < 1e-12


def test_a_wrong_gradient_is_seen() -> None:
    def make(job: Job) -> Step:
        step = PEERS["plain"].make(job)
        return lambda: {name: 1.01 * g for name, g in step().items()}

    wrong = Entry("wrong", "a planted mistake", make, lambda workload, device: True)
    assert Reference(small("W1"), CPU).error(wrong, dtype=torch.float64).median == pytest.approx(
        0.01
    )


def test_nothing_stays_in_place_of_torchvision() -> None:
    if PEERS["easyfsl"].missing or importlib.util.find_spec("torchvision") is not None:
        pytest.skip("needs easyfsl, and no torchvision")
    with Job.of(small("W8-protonet"), CPU) as job:
        PEERS["easyfsl"].step(job)
    assert "torchvision" not in sys.modules


def test_what_is_not_installed_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        ConfigError,
        match=r"The peer 'higher' needs the package higher.*pip install 'quickstudy\[peers\]'",
    ):
        peer_named("higher")
    with (
        pytest.raises(ConfigError, match=r"pip install 'quickstudy\[jax\]'"),
        Job.of(small("W7"), CPU) as job,
    ):
        PEERS["jax"].step(job)


def test_what_needs_a_program_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(ConfigError, match="needs g\\+\\+ on the PATH"):
        peer_named("vmap-compiled")
