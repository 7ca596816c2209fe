"""``train --track`` with all three trackers: each holds the losses of the run's own log."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from quickstudy.training.log import read_log

STEPS = 6
CHANGES = (
    f"train.steps={STEPS}",
    "train.log_every=1",
    "train.validate_every=3",
    "train.n_val_tasks=4",
)
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"
)


def test_every_tracker_is_told_what_the_log_says(
    quickstudy: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("wandb")
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    uri = f"sqlite:///{tmp_path / 'runs.db'}"
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    out = tmp_path / "tracked"
    trackers = ["--track", "tensorboard", "--track", "wandb", "--track", "mlflow"]
    changes = [word for change in CHANGES for word in ("--set", change)]
    quickstudy("train", "glyphs-protonet", "--out", out, "--n-tasks", "4", *changes, *trackers)
    log = {line["step"]: line["loss"] for line in read_log(out / "log.jsonl") if "loss" in line}
    assert len(log) == STEPS

    events = EventAccumulator(str(out / "tensorboard")).Reload()
    assert {e.step: e.value for e in events.Scalars("loss")} == pytest.approx(log)
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("quickstudy")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("tracked", "FINISHED")
    history = client.get_metric_history(run.info.run_id, "loss")
    assert {m.step: m.value for m in history} == pytest.approx(log)
    (file,) = out.glob("wandb/offline-run-*/run-*.wandb")
    assert file.stat().st_size > 0
