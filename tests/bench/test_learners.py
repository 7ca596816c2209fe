import json

import pytest
import torch

from quickstudy.bench import WORKLOADS, LearnersReport, measure_learners
from quickstudy.bench.entry import Job
from quickstudy.bench.plain_learners import plain_learner


def test_learners_are_measured_beside_their_arithmetic() -> None:
    reports: list[LearnersReport] = []
    names = ["protonet", "cnp", "zero_shot", "tsa_maml"]
    report = measure_learners(names, n_tasks=1, width=2, rounds=1, on_report=reports.append)
    assert [len(r.costs) + len(r.skipped) for r in reports] == [1, 2, 3, 4]
    assert set(report.costs) | set(report.skipped) == set(names)
    cost = report.costs["protonet"]
    # five supports and 75 queries: 9 taps, one channel and then three times two, forward; backward
    # twice that, without the images' own
    forward = 2 * 80 * 9 * (28**2 * 2 + (14**2 + 7**2 + 3**2) * 4)
    backward = 2 * forward - 2 * 80 * 9 * 28**2 * 2
    assert forward + backward <= cost.flops < 1.05 * (forward + backward)
    assert cost.calls > 50
    assert cost.of_plain is not None
    assert report.costs["cnp"].of_plain is None
    values = json.loads(json.dumps(report.to_json()))
    assert values["learners"]["protonet"]["of_arithmetic"] == pytest.approx(cost.of_arithmetic)


@pytest.mark.parametrize(
    "name", ["tim", "alpha_tim", "baseline", "imaml", "meta_lstm", "learned_optimiser", "mann"]
)
def test_a_plain_loop_does_a_step_with_a_gradient(name: str) -> None:
    workload = WORKLOADS["W1"].changed(n_tasks=1, width=4)
    with Job.of(workload, torch.device("cpu")) as job:
        step = plain_learner(name, job)
        assert step is not None
        gradient = step()["gradient"]
    assert gradient[0] is not None
    assert all(g.isfinite().all() for g in gradient if g is not None)
    assert any(g is not None and g.abs().max() > 0 for g in gradient)
