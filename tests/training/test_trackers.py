"""Trackers of others are told what the log of the training's own folder says."""

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from quickstudy.algorithms import ProtoNet
from quickstudy.core.errors import ConfigError
from quickstudy.core.setting import Setting
from quickstudy.data import Glyphs
from quickstudy.encoders import Conv4
from quickstudy.training import (
    AbstractLogger,
    Advanced,
    MLflow,
    Plan,
    TensorBoard,
    WeightsAndBiases,
    train,
)
from quickstudy.training.log import read_log
from quickstudy.training.trackers import tracker_named

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"
)


LINES = [
    {"step": 1, "loss": 1.5, "lr": 0.1},
    {"step": 2, "loss": 1.25, "lr": 0.1},
    {"step": 2, "val": 0.5, "val_ci95": 0.1},
    {"step": 3, "loss": 1.0, "lr": 0.05},
    {"step": 4, "loss": 0.75, "lr": 0.05},
    {"step": 4, "val": 0.75, "val_ci95": 0.1},
]


class Recorder(AbstractLogger):
    def __init__(self, fails_at: int = 0) -> None:
        self.fails_at = fails_at
        self.settings: dict[str, Any] = {}
        self.lines: list[dict[str, Any]] = []
        self.done: list[int] = []
        self.ended = 0

    def begin(self, about: Mapping[str, Any], *, done: int) -> None:
        self.settings = dict(about)
        self.done.append(done)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        if step == self.fails_at:
            raise ConnectionError("the server is gone")
        self.lines.append({"step": step, **values})

    def end(self) -> None:
        self.ended += 1


@pytest.fixture(scope="module")
def trained() -> Callable[..., list[dict[str, Any]]]:
    data = Glyphs()

    def run(out: Path, *trackers: AbstractLogger, steps: int = 4, **more: Any) -> list[Any]:
        learner = ProtoNet(Conv4(size=28, in_channels=1, width=4))
        train(
            learner,
            data.tasks("train", Setting(3, 1, 2)),
            plan=Plan(steps=steps, log_every=1, validate_every=2, n_val_tasks=2),
            val_tasks=data.tasks("val", Setting(3, 1, 2)),
            out=out,
            advanced=Advanced(trackers=trackers),
            **more,
        )
        return read_log(out / "log.jsonl")

    return run


def test_a_logger_is_told_every_line_and_one_that_fails_is_given_up(
    trained: Callable[..., list[dict[str, Any]]], tmp_path: Path
) -> None:
    good, bad = Recorder(), Recorder(fails_at=2)
    with pytest.warns(UserWarning, match="the server is gone"):
        lines = trained(tmp_path, bad, good)
    assert [line["step"] for line in lines] == [1, 2, 2, 3, 4, 4]
    assert good.lines == lines
    assert [line["step"] for line in bad.lines] == [1]
    assert (good.ended, bad.ended) == (1, 0)
    assert good.settings["learner"] == "ProtoNet"
    assert good.settings["setting.n_way"] == 3
    again = Recorder()
    trained(tmp_path, again, resume=True)
    assert again.done == [4]
    assert again.lines == []


def tell(tracker: AbstractLogger) -> None:
    tracker.begin({"plan.steps": 4, "learner": "ProtoNet"}, done=0)
    for line in LINES:
        tracker.write(line["step"], {name: v for name, v in line.items() if name != "step"})
    tracker.end()


def points(name: str) -> list[tuple[int, Any]]:
    return [(line["step"], pytest.approx(line[name])) for line in LINES if name in line]


def test_tensorboard_holds_the_curves(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tell(TensorBoard(tmp_path))
    events = EventAccumulator(str(tmp_path)).Reload()
    for name in ("loss", "val"):
        assert [(e.step, e.value) for e in events.Scalars(name)] == points(name)


def test_mlflow_holds_curves_and_settings(tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    uri = f"sqlite:///{tmp_path / 'runs.db'}"
    tracker = MLflow("glyphs", uri=uri)
    tell(tracker)
    client = mlflow.MlflowClient(tracking_uri=uri)
    run = client.get_run(tracker.run)
    assert run.info.status == "FINISHED"
    assert run.data.params == {"plan.steps": "4", "learner": "ProtoNet"}
    kept = client.get_metric_history(tracker.run, "loss")
    assert [(m.step, m.value) for m in kept] == points("loss")


def test_weights_and_biases_is_written_without_a_network(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    tell(WeightsAndBiases(folder=tmp_path, mode="offline"))
    (file,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    until = time.monotonic() + 30  # another process writes the file
    while _steps_of(file) != [1, 2, 3, 4] and time.monotonic() < until:
        time.sleep(0.1)
    assert _steps_of(file) == [1, 2, 3, 4]


def test_a_tracker_that_is_not_there_is_said_before_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="tensorboard, wandb, mlflow"):
        tracker_named("comet", tmp_path)
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError, match=r"quickstudy\[wandb\]"):
        tracker_named("wandb", tmp_path)


def _steps_of(file: Path) -> list[int]:
    """The steps in the file that ``wandb sync`` would send."""
    from wandb.proto.wandb_internal_pb2 import Record

    content = file.read_bytes()
    assert len(content) < 32_768  # one block of the log's format
    steps, at = [], 7
    while at + 7 < len(content):
        size = int.from_bytes(content[at + 4 : at + 6], "little")
        record = Record.FromString(content[at + 7 : at + 7 + size])
        if record.HasField("history"):
            steps.append(record.history.step.num)
        at += 7 + size
    return steps
