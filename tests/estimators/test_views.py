import numpy as np
import pytest

import quickstudy as qs
from quickstudy.estimators.views import METHODS, compare_methods, example_map


@pytest.fixture
def line(tmp_path):
    """A table of three classes on a line: the middle one has no direction of its own."""
    rng = np.random.default_rng(0)
    lines = [f"{c + 0.1 * rng.normal()},{c + 0.1 * rng.normal()},{c}" for c in [0, 5, 10] * 8]
    (tmp_path / "line.csv").write_text("\n".join(["a,b,kind", *lines]))
    return qs.fit_table(tmp_path / "line.csv", target="kind")


def test_the_map_of_a_table_shows_how_large_its_numbers_are(line):
    shown = example_map(line)
    assert shown.explained > 0.99
    middle, ends = (shown.places[np.isin(shown.labels, names)] for names in (["5"], ["0", "10"]))
    assert len(middle) == 8
    assert np.abs(middle[:, 0]).max() < 0.2 < np.abs(ends[:, 0]).min()
    np.testing.assert_allclose(shown.place(line.known.support_), shown.places, atol=1e-12)


def test_methods_on_a_table_see_how_large_its_numbers_are(line):
    accuracy = {row.method: row.accuracy for row in compare_methods(line)}
    assert set(accuracy) == set(METHODS)
    for method in ("prototype", "logistic", "gaussian", "proto-maml", "in-context"):
        assert accuracy[method] == pytest.approx(1.0), method
