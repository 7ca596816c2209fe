"""The gallery of examples: each runs as it stands, with its training cut to two steps and its data
to a few examples.
"""

import re
import runpy
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("plot_*.py"))
LENGTH = re.compile(r"^(steps|iterations|draws|n_tasks) = \d+$", re.MULTILINE)
# These train nothing.
AS_THEY_ARE = {
    "plot_anomaly_map",
    "plot_decision_boundary",
    "plot_fifty_identities",
    "plot_first_classifier",
}

# Fewer examples than the pages show; the code that runs is the same.
FEWER = {
    "plot_anomaly_map": {
        "range(20)": "range(4)",
        '"photographs")': '"photographs", false_reject_rate=0.3)',
    },
    "plot_fifty_identities": {"order[:250], [50, 150]": "order[:80], [10, 50]", "(50, 2": "(10, 2"},
    "plot_in_context_table": {"(9, 18, 36, 72)": "(9, 18)", "2.7, 80)": "2.7, 8)"},
    "plot_label_permutations": {"n_way=5": "n_way=3", "n_out=5": "n_out=3"},
}


def test_there_are_eight_to_twelve() -> None:
    assert 8 <= len(EXAMPLES) <= 12


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_draws_its_figure(
    example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if example.stem == "plot_fifty_identities":
        pytest.importorskip("sqlalchemy")
    text, n_shortened = LENGTH.subn(r"\1 = 2", example.read_text(encoding="utf-8"))
    assert bool(n_shortened) == (example.stem not in AS_THEY_ARE)
    for whole, part in FEWER.get(example.stem, {}).items():
        assert whole in text
        text = text.replace(whole, part)
    short = tmp_path / example.name
    short.write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    # Nothing is written where the example is run, as people run it anywhere.
    with mpl.rc_context():
        mpl.use("Agg")
        runpy.run_path(str(short), run_name="__main__")
        axes = plt.gcf().get_axes()
        assert any(cell.has_data() or cell.texts for cell in axes)
        assert any(cell.get_title() for cell in axes)
        plt.close("all")
    assert [path.name for path in tmp_path.iterdir()] == [example.name]
