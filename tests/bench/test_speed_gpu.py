"""The script for a GPU, at a tiny size on the CPU."""

import importlib.util
import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

FILE = Path(__file__).parents[2] / "benchmarks" / "speed_gpu.py"


@pytest.mark.usefixtures("in_this_process")
def test_what_is_measured_is_written_and_what_there_is_no_time_for_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "")
    spec = importlib.util.spec_from_file_location("speed_gpu", FILE)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    passed = iter((0.0, 1.0, 2.0, 1000.0))
    monkeypatch.setattr(script, "time", SimpleNamespace(monotonic=lambda: next(passed)))
    tiny = ["--device", "cpu", "--n-tasks", "1", "--width", "2", "--rounds", "1"]
    script.main([*tiny, "--workload", "W3", "--workload", "W1", "--folder", str(tmp_path)])
    found = json.loads((tmp_path / "tf32-off.json").read_text(encoding="utf-8"))
    assert os.environ["NVIDIA_TF32_OVERRIDE"] == "0"
    assert (found["tf32"], found["seconds"], found["not_begun"]) == (False, 2.0, ["W1"])
    (report,) = found["reports"]
    assert list(report["workloads"]) == ["W3"]
    assert report["workloads"]["W3"]["workload"]["n_tasks"] == 1
    assert report["workloads"]["W3"]["entries"]["quickstudy"]["error64"]["worst"] < 1e-8
