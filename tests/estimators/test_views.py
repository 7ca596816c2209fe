import numpy as np
import pytest

import quickstudy as qs
from quickstudy.estimators.views import METHODS, compare_methods


def test_methods_on_a_table_see_how_large_its_numbers_are(tmp_path):
    # Three classes on a line: the middle one has no direction of its own, but a length.
    rng = np.random.default_rng(0)
    lines = [f"{c + 0.1 * rng.normal()},{c + 0.1 * rng.normal()},{c}" for c in [0, 5, 10] * 8]
    (tmp_path / "line.csv").write_text("\n".join(["a,b,kind", *lines]))
    model = qs.fit_table(tmp_path / "line.csv", target="kind")
    accuracy = {row.method: row.accuracy for row in compare_methods(model)}
    assert set(accuracy) == set(METHODS)
    for method in ("prototype", "logistic", "gaussian", "proto-maml", "in-context"):
        assert accuracy[method] == pytest.approx(1.0), method
