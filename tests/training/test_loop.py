import io
import json
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from quickstudy.algorithms import ProtoNet, maml
from quickstudy.augment import Affine
from quickstudy.core import batching, workers
from quickstudy.core.compiled import CompiledGradient
from quickstudy.core.errors import ConfigError, LoadError, TrainingError
from quickstudy.core.objective import MetaStep
from quickstudy.core.rng import seed_everything
from quickstudy.core.saving import save_record
from quickstudy.core.setting import Setting
from quickstudy.core.worker_pool import WorkerPool
from quickstudy.data import ClassDataset, ClassIndex, Episodes, VariableEpisodes
from quickstudy.encoders import MLP, Conv4
from quickstudy.evaluation import evaluate
from quickstudy.objectives import QueryLoss
from quickstudy.training import Advanced, Optimiser, Plan, TrainResult, train, trial
from quickstudy.training.checkpoint import load_checkpoint, save_checkpoint
from quickstudy.training.log import read_log

PLAN = Plan(
    steps=12,
    tasks_per_step=3,
    chunk=1,
    validate_every=4,
    n_val_tasks=6,
    checkpoint_every=3,
    log_every=2,
)
OPTIMISER = Optimiser(lr=1e-2, schedule="one_cycle")


def tasks(seed: int = 0, n_way: int = 3) -> Episodes:
    g = torch.Generator().manual_seed(1)
    centres = torch.randn(8, 5, generator=g)
    x = (centres[:, None] + 0.6 * torch.randn(8, 10, 5, generator=g)).flatten(0, 1)
    data = ClassDataset(
        "blobs", "all", x, ClassIndex([i // 10 for i in range(80)], [f"c{i}" for i in range(8)])
    )
    return Episodes(data, Setting(n_way, 1, 4), seed=seed)


class Dies(Episodes):
    """Fails at the first batch that begins with ``number`` or a later one."""

    def __init__(self, number: int) -> None:
        super().__init__(tasks().dataset, tasks().setting)
        self.number = number

    def batch(self, numbers):
        if numbers[0] >= self.number:
            raise RuntimeError("killed")
        return super().batch(numbers)


class Sizes(Episodes):
    """Remembers the sizes of the batches that were drawn."""

    def __init__(self) -> None:
        super().__init__(tasks().dataset, tasks().setting)
        self.sizes: set[int] = set()

    def batch(self, numbers):
        self.sizes.add(len(numbers))
        return super().batch(numbers)


def step_of(kind: str = "protonet") -> MetaStep:
    seed_everything("test")
    encoder = MLP(5, widths=(16,))
    return MetaStep(
        ProtoNet(encoder)
        if kind == "protonet"
        else maml(encoder, n_out=3, inner_lr=0.1, inner_steps=2),
        QueryLoss(),
    )


def weights(step: MetaStep) -> list[torch.Tensor]:
    return [t.clone() for t in step.state_dict().values()]


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def trained(
    step: MetaStep, on: Episodes | None = None, *, plan: Plan = PLAN, **options: Any
) -> TrainResult:
    """The training of these tests, with validation."""
    return train(step, on or tasks(), plan=plan, optimiser=OPTIMISER, val_tasks=tasks(5), **options)


@pytest.mark.parametrize("kind", ["protonet", "maml"])
def test_training_learns(kind: str) -> None:
    step = step_of(kind)
    before = evaluate(step.learner, tasks(9), n_tasks=40).mean
    result = train(
        step, tasks(), plan=replace(PLAN, steps=60, validate_every=0), optimiser=OPTIMISER
    )
    assert result.finished
    assert result.tasks == 180
    assert evaluate(step.learner, tasks(9), n_tasks=40).mean > before + 0.02


def test_chunks_and_workers_do_not_change_the_result() -> None:
    ends = []
    for chunk, n in ((1, 1), (1, 2), (1, 3)):
        step = step_of("maml")
        trained(step, plan=replace(PLAN, chunk=chunk, workers=n))
        ends.append(weights(step))
    assert same(ends[0], ends[1])
    assert same(ends[0], ends[2])
    whole = step_of("maml")
    trained(whole, plan=replace(PLAN, chunk=3))
    for a, b in zip(ends[0], weights(whole), strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("compiled", ["", "trace"])
def test_a_killed_worker_process_costs_no_step(
    compiled: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, broken, resumed = step_of("maml"), step_of("maml"), step_of("maml")
    plan = replace(PLAN, workers=2, workers_kind="processes", compile=compiled)
    trained(alone, plan=replace(plan, workers=1))
    pools: list[WorkerPool] = []

    class Noted(WorkerPool):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            pools.append(self)

    monkeypatch.setattr(workers, "WorkerPool", Noted)

    def kill(step: int, report: object) -> None:
        os.kill(pools[0].pids[0], signal.SIGKILL)

    with pytest.raises(TrainingError, match=r"killed by signal 9.*after 4 of 12 steps.*resume"):
        trained(
            broken,
            plan=plan,
            out=tmp_path,
            on_validation=kill,
        )
    assert not pools[0].pids
    trained(resumed, plan=plan, out=tmp_path, resume=True)
    assert same(weights(alone), weights(resumed))


def test_a_recorded_step_may_be_left_to_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Waiting(WorkerPool):
        def is_ready(self, *, wait: bool = False) -> bool:
            return super().is_ready(wait=True)

    monkeypatch.setattr(workers, "WorkerPool", Waiting)
    monkeypatch.setattr(workers, "_SECONDS_TO_COME", 0.0)
    monkeypatch.setattr(workers, "_N_TIMED", 1)
    monkeypatch.setattr(workers._Trial, "seconds", (2.0, 1.0))
    plan = replace(PLAN, workers=2, compile="trace")
    alone, chosen = step_of("maml"), step_of("maml")
    trained(alone, plan=replace(plan, workers=1))
    trained(chosen, plan=plan, out=tmp_path)
    said = [
        line["worker_processes"]
        for line in read_log(tmp_path / "log.jsonl")
        if "worker_processes" in line
    ]
    assert said == [1.0]
    assert same(weights(alone), weights(chosen))


def test_resumed_training_is_bit_equal(tmp_path: Path) -> None:
    straight = step_of()
    trained(straight, out=tmp_path / "a")
    with pytest.raises(RuntimeError, match="killed"):
        trained(step_of(), Dies(21), out=tmp_path / "b")
    fresh = step_of()
    with torch.no_grad():
        for p in fresh.parameters():
            p.zero_()
    result = trained(fresh, out=tmp_path / "b", resume=True)
    assert result.finished
    assert same(weights(straight), weights(fresh))
    a, b = (load_checkpoint(tmp_path / d / "last.pt") for d in "ab")
    for key in ("done", "best_step", "best_val"):
        assert a[key] == b[key]
    for p, q in zip(
        a["optimiser"]["state"].values(), b["optimiser"]["state"].values(), strict=True
    ):
        assert torch.equal(p["exp_avg_sq"], q["exp_avg_sq"])
    logs = [
        [
            {k: v for k, v in line.items() if k not in ("seconds", "waiting")}
            for line in read_log(tmp_path / d / "log.jsonl")
        ]
        for d in "ab"
    ]
    # The line of a step that straddles the kill averages over fewer steps; all others are the same.
    assert [line["step"] for line in logs[0]] == [line["step"] for line in logs[1]]
    assert [line for line in logs[0] if "val" in line] == [
        line for line in logs[1] if "val" in line
    ]


SCRIPT = """
import sys, time
from pathlib import Path
sys.path.insert(0, {here!r})
from test_loop import PLAN, step_of, tasks, trained
from dataclasses import replace
from quickstudy.data import Episodes

class Slow(Episodes):
    def batch(self, numbers):
        time.sleep({pause})
        return super().batch(numbers)

t = Slow(tasks().dataset, tasks().setting)
r = trained(step_of(), t, plan=replace(PLAN, steps=40), out=Path(sys.argv[1]))
print(r.finished, r.steps)
"""


def test_a_recorded_step_trains_to_the_same_weights() -> None:
    ends = []
    for how in ("", "trace"):
        step = step_of("maml")
        train(
            step,
            tasks(),
            plan=replace(PLAN, chunk=1, workers=2, compile=how, validate_every=0),
            optimiser=Optimiser(name="sgd", lr=0.01),
        )
        ends.append(weights(step))
    assert same(*ends)


@pytest.fixture
def every_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps are tried as recordings in short trainings too, and kept however little it gains."""
    monkeypatch.setattr(trial, "SECONDS_WORTH_A_TRIAL", 0.0)
    monkeypatch.setattr(trial, "GRADIENTS_WORTH_A_TRIAL", 0)
    monkeypatch.setattr(trial, "WORTH_RECORDING", 0.0)


def ends_of(how: str, *, workers: int = 1) -> tuple[list[torch.Tensor], str]:
    """Weights after a training, and what it printed."""
    step, printed = step_of("maml"), io.StringIO()
    plan = replace(PLAN, chunk=1, workers=workers, compile=how)
    trained(step, plan=plan, console=Console(file=printed, width=200))
    return weights(step), printed.getvalue()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_step_that_pays_is_recorded_without_being_asked(every_trial: None, workers: int) -> None:
    (plain, before), (recorded, after) = (ends_of(how, workers=workers) for how in ("", "auto"))
    assert "are recorded" not in before
    assert "are recorded" in after
    assert same(plain, recorded)


def test_short_trainings_are_not_recorded() -> None:
    assert "are recorded" not in ends_of("auto")[1]


def test_a_recording_with_other_gradients_is_not_kept(
    every_trial: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    played = CompiledGradient.__call__

    def off(self: CompiledGradient, *given: Any) -> Any:
        loss, gradient = played(self, *given)
        return loss, tuple(g if g is None else g * 1.000001 for g in gradient)

    monkeypatch.setattr(CompiledGradient, "__call__", off)
    found, text = ends_of("auto")
    assert "are recorded" not in text
    assert same(found, ends_of("")[0])


def test_a_step_that_cannot_be_recorded_is_not(
    every_trial: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise TrainingError("no")

    monkeypatch.setattr(CompiledGradient, "__call__", refused)
    assert "are recorded" not in ends_of("auto")[1]


def test_padded_tasks_are_not_recorded() -> None:
    episode = tasks().batch([0])
    mask = torch.ones(episode.support.y.shape, dtype=torch.bool)
    padded = replace(episode, support=replace(episode.support, mask=mask))
    with pytest.raises(TrainingError, match="cannot leave out padding"):
        CompiledGradient(step_of(), how="trace")(step_of(), padded)


def _start(script: Path, out: Path) -> "subprocess.Popen[str]":
    started = subprocess.Popen(
        [sys.executable, str(script), str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    import time

    for _ in range(1200):
        if (out / "last.pt").exists() or started.poll() is not None:
            break
        time.sleep(0.05)
    assert started.poll() is None, started.communicate()
    return started


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_process_is_resumed_to_the_same_weights(
    tmp_path: Path, how: signal.Signals
) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(SCRIPT).format(here=str(Path(__file__).parent), pause=0.02),
        encoding="utf-8",
    )
    out = tmp_path / "run"
    process = _start(script, out)
    os.kill(process.pid, how)
    said, _ = process.communicate(timeout=60)
    if how == signal.SIGINT:
        assert process.returncode == 0
        finished, steps = said.split()
        assert finished == "False"
        assert load_checkpoint(out / "last.pt")["done"] == int(steps)
    else:
        assert process.returncode == -signal.SIGKILL
    step = step_of()
    plan = replace(PLAN, steps=40)
    assert trained(step, plan=plan, out=out, resume=True).finished
    straight = step_of()
    trained(straight, plan=plan)
    assert same(weights(straight), weights(step))


def test_the_best_weights_are_kept() -> None:
    step = step_of()
    result = trained(step)
    assert result.best_step in (4, 8, 12)
    assert evaluate(step.learner, tasks(5), n_tasks=6).mean == result.best_val


def test_augmentation_depends_on_the_step_alone() -> None:
    x = torch.rand(40, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    data = ClassDataset("noise", "all", x, ClassIndex([i // 10 for i in range(40)], list("abcd")))
    ends = []
    for _ in range(2):
        seed_everything("test")
        step = MetaStep(ProtoNet(Conv4(size=16, width=4)), QueryLoss())
        torch.rand(7)
        train(
            step,
            Episodes(data, Setting(3, 1, 2)),
            plan=replace(PLAN, steps=3, validate_every=0),
            optimiser=OPTIMISER,
            transform=Affine(probability=1.0),
        )
        ends.append(weights(step))
    assert same(*ends)


def test_bf16_trains() -> None:
    step = step_of()
    assert train(
        step, tasks(), plan=replace(PLAN, precision="bf16", validate_every=0), optimiser=OPTIMISER
    ).finished


def test_gradients_are_clipped() -> None:
    step = step_of()
    before = weights(step)
    plan = replace(PLAN, steps=1, clip_value=1e-12, validate_every=0)
    train(step, tasks(), plan=plan, optimiser=Optimiser(name="sgd", lr=1.0))
    assert (
        max(float((a - b).abs().max()) for a, b in zip(before, weights(step), strict=True)) < 1e-10
    )


def test_a_loss_that_is_no_number_stops_the_training() -> None:
    step = step_of("maml")
    with torch.no_grad():
        next(step.parameters()).fill_(float("nan"))
    with pytest.raises(TrainingError, match=r"At step 1 the loss is nan.*Lower the learning rate"):
        train(step, tasks(), plan=replace(PLAN, validate_every=0), optimiser=OPTIMISER)


def test_resuming_needs_a_checkpoint_of_the_same_training(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="nothing to resume"):
        trained(step_of(), out=tmp_path, resume=True)
    first, other = (Advanced(identity={"a": number}) for number in (1, 2))
    trained(step_of(), out=tmp_path, advanced=first)
    with pytest.raises(LoadError, match="other settings"):
        trained(step_of(), out=tmp_path, advanced=other, resume=True)
    (tmp_path / "last.pt").write_bytes(b"PK\x03\x04 broken")
    with pytest.raises(LoadError, match=r"last\.pt"):
        trained(step_of(), out=tmp_path, advanced=first, resume=True)


def test_a_checkpoint_never_executes_code(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self):
            return (os.system, (f"touch {tmp_path / 'owned'}",))

    content = {"identity": Evil()}
    save_record(
        tmp_path / "last.pt",
        kind="checkpoint",
        content=lambda stream: torch.save(content, stream),
    )
    with pytest.raises(LoadError, match="not a readable checkpoint"):
        load_checkpoint(tmp_path / "last.pt")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("steps", 0, "train.steps must be at least 1, got 0"),
        ("clip_norm", -1.0, "train.clip_norm must be 0 or more"),
        ("chunk", -1, "train.chunk must be 0 or more, got -1"),
        ("workers", -1, "train.workers must be 0 or more, got -1"),
        ("workers_kind", "process", "Did you mean 'processes'"),
        ("precision", "16", "train.precision is '32' or 'bf16'"),
        ("n_val_tasks", 1, "at least 2, got 1"),
        ("compile", "indctor", "Did you mean 'inductor'"),
    ],
)
def test_plans_refuse_what_cannot_be(field: str, value: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(PLAN, **{field: value})


def test_a_recorded_step_in_half_precision_is_refused() -> None:
    with pytest.raises(ConfigError, match="single precision only"):
        replace(PLAN, compile="trace", precision="bf16")


def test_an_inner_loop_in_half_precision_is_refused() -> None:
    with pytest.raises(ConfigError, match="inner loop does not run in half precision"):
        train(
            step_of("maml"),
            tasks(),
            plan=replace(PLAN, precision="bf16", validate_every=0),
            optimiser=OPTIMISER,
        )


def test_a_checkpoint_of_an_older_version_is_refused(tmp_path: Path) -> None:
    trained(step_of(), out=tmp_path)
    saved = load_checkpoint(tmp_path / "last.pt")
    del saved["chunk"]
    save_checkpoint(tmp_path / "last.pt", saved)
    with pytest.raises(LoadError, match=r"lacks chunk\. Start again"):
        trained(step_of(), out=tmp_path, resume=True)


def test_a_second_request_to_end_does_not_interrupt(tmp_path: Path) -> None:
    """A scheduler and a launcher may each send one; only a second Ctrl-C stops at once."""
    step, stream = step_of(), tasks()
    batch, asked = stream.batch, []

    def batch_and_ask(numbers):
        if numbers[0] >= 9 and not asked:
            asked.append(numbers[0])
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)
        return batch(numbers)

    stream.batch = batch_and_ask  # type: ignore[method-assign]
    result = train(
        step,
        stream,
        plan=replace(PLAN, steps=200, validate_every=0),
        optimiser=OPTIMISER,
        out=tmp_path,
    )
    assert not result.finished
    assert load_checkpoint(tmp_path / "last.pt")["done"] == result.steps


def test_the_chunk_is_chosen_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = replace(PLAN, tasks_per_step=6, chunk=0)
    straight = step_of("maml")
    trained(straight, plan=plan, out=tmp_path / "a")
    # all of the tasks: they are small
    assert load_checkpoint(tmp_path / "a" / "last.pt")["chunk"] == 6
    monkeypatch.setattr(batching, "_NUMBERS_PER_GRAPH", 0)
    with pytest.raises(RuntimeError, match="killed"):
        trained(step_of("maml"), Dies(36), plan=plan, out=tmp_path / "b")
    monkeypatch.undo()
    drawn = Sizes()
    trained(step_of("maml"), drawn, plan=plan, out=tmp_path / "b", resume=True)
    assert drawn.sizes == {1}
    assert load_checkpoint(tmp_path / "b" / "last.pt")["chunk"] == 1
    other = replace(plan, chunk=2)
    with pytest.raises(
        LoadError, match=r"was trained with train.chunk=1, not 2. Leave it out, or use that"
    ):
        trained(step_of("maml"), plan=other, out=tmp_path / "b", resume=True)


def test_validation_needs_tasks_and_names_are_known() -> None:
    with pytest.raises(ConfigError, match="no validation tasks"):
        train(step_of(), tasks(), plan=PLAN, optimiser=OPTIMISER)
    with pytest.raises(ConfigError, match=r"Did you mean 'adamw'"):
        train(
            step_of(),
            tasks(),
            plan=replace(PLAN, validate_every=0),
            optimiser=Optimiser(name="adam"),
        )
    with pytest.raises(ConfigError, match=r"Did you mean 'cosine'"):
        train(
            step_of(),
            tasks(),
            plan=replace(PLAN, validate_every=0),
            optimiser=Optimiser(schedule="cosin"),
        )


def test_a_chunk_larger_than_a_step_and_tasks_of_varying_size_are_resumed(tmp_path: Path) -> None:
    streams = {"large": tasks(), "varying": VariableEpisodes(tasks().dataset)}
    for name, stream in streams.items():
        plan, step = replace(PLAN, chunk=9, validate_every=0), step_of()
        train(step, stream, plan=plan, optimiser=OPTIMISER, out=tmp_path / name)
        assert load_checkpoint(tmp_path / name / "last.pt")["chunk"] == (
            3 if name == "large" else 1
        )
        assert train(
            step_of(), stream, plan=plan, optimiser=OPTIMISER, out=tmp_path / name, resume=True
        ).finished


def test_a_log_cut_short_by_a_kill_is_read_up_to_there(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    file.write_text(json.dumps({"step": 1, "loss": 2.0}) + '\n{"step": 2, "lo', encoding="utf-8")
    assert read_log(file) == [{"step": 1, "loss": 2.0}]
