import json

import pytest

from quickstudy.bench import LearnersReport, measure_learners


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
    assert values["learners"]["protonet"]["of_arithmetic"] == pytest.approx(
        cost.seconds * report.rate / cost.flops
    )
