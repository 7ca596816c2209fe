import dataclasses
import itertools
import json
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

from quickstudy.bench import (
    AXES,
    OURS,
    PEERS,
    WORKLOADS,
    SpeedReport,
    axis_named,
    compare_speed,
    device_named,
    growth_page,
    measure_growth,
    ratio_bars,
)
from quickstudy.bench.ceiling import flops_per_task, machine_rate
from quickstudy.bench.drawing import shares
from quickstudy.bench.entry import Job, Step
from quickstudy.bench.gradients import Error
from quickstudy.bench.growth import Axis, GrowthReport, Point, exponent
from quickstudy.bench.peak_memory import one_task, peak_bytes, peak_here
from quickstudy.bench.processes import Processes, compare, unable
from quickstudy.bench.speed import Measured, Timing
from quickstudy.bench.timing import LEAST_SECONDS, WARM_UP, interleaved, timed
from quickstudy.core.errors import ConfigError, TrainingError
from quickstudy.core.setting import Setting

CPU = torch.device("cpu")
PLAIN = PEERS["plain"]


def test_rounds_run_everybody_once_in_another_order() -> None:
    order: list[str] = []

    def step(name: str) -> Step:
        return lambda: order.append(name) or {}

    taken = interleaved({n: step(n) for n in "abc"}, rounds=2, device=CPU)
    in_a_row = [(name, len(list(steps))) for name, steps in itertools.groupby(order)]
    assert "".join(name for name, _ in in_a_row) == "abc" + "bca" + "cab" + "abc"
    assert all(n > 1 for _, n in in_a_row)  # they are over in no time
    assert {n: len(t) for n, t in taken.items()} == {"a": 2, "b": 2, "c": 2}
    assert WARM_UP == 2


def test_a_long_step_is_done_once() -> None:
    done: list[int] = []

    def step() -> dict[str, torch.Tensor]:
        done.append(1)
        time.sleep(LEAST_SECONDS)
        return {}

    assert timed(step, CPU) >= LEAST_SECONDS
    assert len(done) == 1


@pytest.mark.usefixtures("in_this_process")
def test_speed_report(tmp_path: Path) -> None:
    said: list[str] = []
    w = WORKLOADS["W6-5way"].changed(n_tasks=3, width=4, setting=Setting(2, 1, 2))
    report = compare_speed([w], [PLAIN], device=CPU, rounds=2, on_progress=said.append)
    report.save(tmp_path / "new" / "speed.json")
    found = json.loads((tmp_path / "new" / "speed.json").read_text(encoding="utf-8"))
    assert {"device", "processor", "cores", "threads", "versions", "commit"} <= set(found["about"])
    assert found["about"]["device"] == "cpu"
    assert found["rounds"] == 2
    protonet = found["workloads"]["W6-5way"]
    assert protonet["workload"]["n_tasks"] == 3
    entries = protonet["entries"]
    assert list(entries) == ["quickstudy", "quickstudy-torch", "quickstudy-processes", "plain"]
    ours, plain = entries["quickstudy"], entries["plain"]
    assert ours["tasks_per_second"] == pytest.approx(3 / ours["seconds"], rel=1e-4)
    assert ours["best_peer"] == "plain"
    assert (
        ours["ratio"]
        == ours["ratios"]["plain"]
        == pytest.approx(plain["seconds"] / ours["seconds"], rel=1e-4)
    )
    assert ours["of_ceiling"] == pytest.approx(
        ours["tasks_per_second"] / protonet["ceiling"], rel=1e-4
    )
    assert ours["error"]["worst"] < 1e-4
    assert ours["error64"]["worst"] < 1e-10
    assert plain["ratio"] == 1
    assert plain["error64"] is None
    assert ours["quartiles"][0] <= ours["seconds"] <= ours["quartiles"][1]
    assert "W6-5way: checking quickstudy" in said
    with Image.open(ratio_bars(report, tmp_path / "speed.png")) as picture:
        assert min(picture.size) > 100


@pytest.mark.usefixtures("in_this_process")
def test_a_broken_peer_is_left_out_with_its_reason_and_reports_come_one_by_one() -> None:
    def unloadable(job: Job) -> Step:
        raise OSError("libold.so.3: cannot open shared object file")

    def unsteady(job: Job) -> Step:
        if job.tasks.support_x.dtype == torch.float64 or len(job.tasks.support_x) == 3:
            raise RuntimeError("three at once are too many\nand more")
        return PLAIN.make(job)

    broken = dataclasses.replace(PLAIN, name="broken", make=unloadable)
    late = dataclasses.replace(PLAIN, name="late", make=unsteady)
    w = WORKLOADS["W6-5way"].changed(n_tasks=3, width=2, setting=Setting(2, 1, 1))
    reports: list[SpeedReport] = []
    both = [w, w.changed(name="again", n_tasks=1)]
    report = compare_speed(
        both, [broken, late, PLAIN], device=CPU, rounds=1, on_report=reports.append
    )
    assert [list(r.workloads) for r in reports] == [["W6-5way"], ["W6-5way", "again"]]
    first, second = report.workloads.values()
    assert first.skipped == {
        "broken": "OSError: libold.so.3: cannot open shared object file",
        "late": "RuntimeError: three at once are too many",
    }
    assert list(first.timings) == [
        "quickstudy",
        "quickstudy-torch",
        "quickstudy-processes",
        "plain",
    ]
    assert first.peers == ("plain",)
    assert list(second.skipped) == ["broken"]
    assert "late" in second.peers
    assert report.to_json()["workloads"]["W6-5way"]["skipped"] == first.skipped


@pytest.mark.usefixtures("in_this_process")
def test_an_error_of_its_own_ends_the_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(job: Job) -> Step:
        raise RuntimeError("of quickstudy itself")

    own = OURS["quickstudy"]
    monkeypatch.setitem(OURS, own.name, dataclasses.replace(own, make=fails))
    w = WORKLOADS["W6-5way"].changed(n_tasks=1, width=2, setting=Setting(2, 1, 1))
    with pytest.raises(RuntimeError, match="of quickstudy itself"):
        compare_speed([w], [PLAIN], device=CPU, rounds=1)


def test_without_peers_there_is_no_ratio(tmp_path: Path) -> None:
    report = reported({"quickstudy": 1.0}, peers=())
    assert report.workloads["W7"].ratio("quickstudy") is None
    assert report.to_json()["workloads"]["W7"]["entries"]["quickstudy"]["ratio"] is None
    ratio_bars(report, tmp_path / "empty.png")


def test_like_is_compared_with_like(tmp_path: Path) -> None:
    seconds = {
        "quickstudy": 1.0,
        "quickstudy-recorded": 0.5,
        "quickstudy-compiled": 0.25,
        "plain": 4.0,
        "vmap": 2.0,
        "vmap-compiled": 0.3,
    }
    report = reported(seconds, peers=("plain", "vmap", "vmap-compiled"))
    m = report.workloads["W7"]
    assert [m.best_peer(name) for name in seconds] == [
        "vmap",
        "vmap",
        "vmap-compiled",
        "vmap",
        "vmap",
        "vmap-compiled",
    ]
    assert [m.ratio(name) for name in seconds] == [2.0, 4.0, pytest.approx(1.2), 0.5, 1.0, 1.0]
    assert m.ratio("quickstudy", "vmap-compiled") == pytest.approx(0.3)
    ratio_bars(report, tmp_path / "ratios.png")
    # Without a peer of the same kind any other is better than none.
    del seconds["vmap-compiled"]
    assert (
        reported(seconds, peers=("plain", "vmap")).workloads["W7"].ratio("quickstudy-compiled")
        == 8.0
    )


def reported(seconds: dict[str, float], *, peers: tuple[str, ...]) -> SpeedReport:
    """A report of these times."""
    compiled = frozenset(e.name for e in (*OURS.values(), *PEERS.values()) if e.compiled)
    timings = {name: Timing(s, (s, s), Error(0.0, 0.0)) for name, s in seconds.items()}
    return SpeedReport(
        {"cores": 1, "device": "cpu"},
        1,
        1e9,
        {"W7": Measured(WORKLOADS["W7"], 100, timings, peers, compiled)},
    )


def test_flops_are_those_of_a_convolution_worked_out_by_hand() -> None:
    w = WORKLOADS["W8-protonet"].changed(width=2, setting=Setting(1, 1, 1), squared=True)
    images, sides = 2, (28, 14, 7, 3)
    assert flops_per_task(w) == sum(
        2 * images * side**2 * 9 * c * 2 for side, c in zip(sides, (1, 2, 2, 2), strict=True)
    )
    assert machine_rate(CPU) > 0


def test_shares_of_a_step() -> None:
    found = shares(
        WORKLOADS["W1"].changed(n_tasks=1, width=2, setting=Setting(2, 1, 1)),
        CPU,
        rounds=1,
        learning=1.0,
    )
    assert found.learning == 1.0
    assert 0 < found.waiting < 1


def test_peak_memory_sees_what_a_step_takes() -> None:
    w = one_task(WORKLOADS["W1"]).changed(width=8)
    assert w.inner_steps == 20
    found = peak_bytes(PLAIN, w, CPU)
    # The outputs of the first convolution in 20 steps and the answer are the least that a graph of
    # second order holds.
    least = (20 * 5 + 75) * 8 * 28 * 28 * 4
    assert least < found < 100 * least
    assert peak_here(OURS["quickstudy"], w, CPU) >= 0


def test_a_failed_measurement_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "false")
    with pytest.raises(
        TrainingError, match="memory of plain on W1 could not be measured: it said nothing"
    ):
        peak_bytes(PLAIN, WORKLOADS["W1"], CPU)


@pytest.mark.usefixtures("in_this_process")
def test_growth_report(tmp_path: Path) -> None:
    w = WORKLOADS["W1"].changed(
        width=2, size=16, setting=Setting(2, 1, 1), inner_steps=1, n_tasks=1
    )
    axes = [axis_named(name).up_to(2) for name in ("tasks", "inner steps")]
    report = measure_growth(
        w, [OURS["quickstudy"], PLAIN], axes, device=CPU, rounds=1, with_memory=False
    )
    report.save(tmp_path / "growth.json")
    found = json.loads((tmp_path / "growth.json").read_text(encoding="utf-8"))
    assert list(found["curves"]) == ["tasks", "inner steps"]
    assert [p["value"] for p in found["curves"]["tasks"]["plain"]["points"]] == [1, 2]
    assert found["processes"] is None
    assert found["curves"]["tasks"]["plain"]["memory_exponent"] is None
    with Image.open(growth_page(report, tmp_path / "growth.png")) as picture:
        assert picture.width > picture.height


def test_processes_against_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    w = WORKLOADS["W1"].changed(
        width=2, size=16, setting=Setting(2, 1, 1), inner_steps=1, n_tasks=2
    )
    if why := unable(w):
        pytest.skip(why)
    found = compare(w, rounds=1, steps=1)
    assert [len(found.seconds[n]) for n in (1, 2)] == [1, 1]
    monkeypatch.setattr(sys, "executable", "false")
    with pytest.raises(
        TrainingError, match="W1 could not be trained by 1 processes: it said nothing"
    ):
        compare(w)


def test_processes_in_the_report(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = Processes({1: [3.0, 1.0, 2.0], 2: [4.0, 1.0, 1.0]})
    assert found.ratio == 1.0
    monkeypatch.setattr(
        "quickstudy.bench.growth.compare_processes", lambda workload, on_progress: found
    )
    report = measure_growth(
        WORKLOADS["W1"], [OURS["quickstudy"]], [axis_named("processes")], device=CPU
    )
    assert report.to_json()["processes"] == {"seconds": found.seconds, "ratio": 1.0}
    assert report.curves["processes"]["quickstudy"] == [Point(1, 2.0), Point(2, 1.0)]
    growth_page(report, tmp_path / "growth.png")


def test_processes_that_cannot_be_measured_say_why(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not AXES["processes"].applies(WORKLOADS["W8-maml"])
    with pytest.raises(
        ConfigError, match="W8-maml is no training step that 2 processes could share"
    ):
        compare(WORKLOADS["W8-maml"])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'quickstudy\[scale\]'"):
        compare(WORKLOADS["W1"])


def test_what_grows_is_what_the_axis_says() -> None:
    w = WORKLOADS["W1"]
    grown = {name: axis.grown(w, 7) for name, axis in AXES.items()}
    assert grown["tasks"].n_tasks == 7
    assert (grown["ways"].setting, grown["shots"].setting) == (Setting(7, 1, 15), Setting(5, 7, 15))
    assert grown["inner steps"].inner_steps == 7
    assert not AXES["ways"].applies(WORKLOADS["W7"])
    assert not AXES["inner steps"].applies(WORKLOADS["W6-84"])


def test_exponents_leave_out_what_is_constant() -> None:
    points = [Point(n, 1.0 if n < 8 else n**1.5, 100) for n in (1, 2, 4, 8, 16, 32)]
    assert exponent(points, "seconds") == pytest.approx(1.5)
    assert exponent(points, "peak_bytes") == pytest.approx(0)
    assert exponent(points[:1], "seconds") is None


def test_growth_without_memory_has_one_row(tmp_path: Path) -> None:
    curves = {"tasks": {"quickstudy": [Point(1, 1.0), Point(2, 2.0)]}}
    about = {"cores": 1, "device": "cpu"}
    with Image.open(
        growth_page(GrowthReport(about, WORKLOADS["W1"], curves), tmp_path / "g.png")
    ) as picture:
        assert picture.height < 500


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'shots'"):
        axis_named("shot")
    with pytest.raises(ConfigError, match="--device auto, cpu or cuda, not on 'gpu'"):
        device_named("gpu")
    assert isinstance(AXES["tasks"], Axis)
    if not torch.cuda.is_available():
        assert device_named("auto") == CPU
        with pytest.raises(ConfigError, match="No CUDA device was found"):
            device_named("cuda")
