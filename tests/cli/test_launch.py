"""`quickstudy train` in several processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from quickstudy.core.errors import ConfigError
from quickstudy.evaluation import Report
from quickstudy.recipes import load_run, saved_recipe
from quickstudy.training import pick_device
from quickstudy.training.log import read_log

TWO = [
    sys.executable,
    "-m",
    "torch.distributed.run",
    "--standalone",
    "--nproc-per-node",
    "2",
    "-m",
    "quickstudy",
]
SMALL = [
    "train",
    "glyphs-fomaml",
    "--set",
    "train.steps=4",
    "--set",
    "train.tasks_per_step=3",
    "--set",
    "train.validate_every=2",
    "--set",
    "train.n_val_tasks=10",
    "--n-tasks",
    "4",
]


def test_two_processes_train_a_recipe(tmp_path: Path) -> None:
    folder = tmp_path / "two"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*TWO, *SMALL, "--out", str(folder)],
        capture_output=True,
        text=True,
        timeout=150,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Trained 4 steps on 12 tasks") == 1
    assert done.stderr.count("step 2/4  validation") == 1
    assert [line["step"] for line in read_log(folder / "log.jsonl")] == [2, 4, 4]
    assert load_run(folder).result.finished
    assert Report.load(folder / "reports" / "5w1s15q.json").train_tasks == 12
    assert saved_recipe(folder).train.chunk == 2


def _launched(monkeypatch: pytest.MonkeyPatch, *, gpus: int) -> None:
    place = {
        "WORLD_SIZE": "4",
        "RANK": "3",
        "LOCAL_RANK": "1",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "x",
        "MASTER_PORT": "1",
    }
    for name, value in place.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(gpus))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)


@pytest.mark.parametrize(
    ("gpus", "name", "device"),
    [(0, "auto", "cpu"), (2, "auto", "cuda:1"), (2, "cuda", "cuda:1"), (1, "cpu", "cpu")],
)
def test_every_process_takes_a_device_of_its_own(
    monkeypatch: pytest.MonkeyPatch, gpus: int, name: str, device: str
) -> None:
    _launched(monkeypatch, gpus=gpus)
    assert pick_device(name) == torch.device(device)


@pytest.mark.parametrize(("gpus", "name"), [(1, "auto"), (1, "cuda"), (2, "cuda:0")])
def test_one_device_is_not_enough(monkeypatch: pytest.MonkeyPatch, gpus: int, name: str) -> None:
    _launched(monkeypatch, gpus=gpus)
    with pytest.raises(
        ConfigError,
        match=f"the 2 processes on this machine need a GPU each, and it has {gpus}. Use --device "
        "cuda",
    ):
        pick_device(name)
