"""Characters of drawers that were not seen, drawn again on the page stroke by stroke."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from quickstudy.data.locations import data_root
from quickstudy.evaluation import Report
from quickstudy.pretrained.symbols import SYMBOLS

FILE = Path(__file__).parents[2] / "benchmarks" / "strokes.py"


@pytest.fixture(scope="module")
def script() -> Any:
    spec = importlib.util.spec_from_file_location("strokes", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_new_characters_are_recognised_at_the_rate_of_the_report(
    blank: str, browse: Callable[..., Any], script: Any
) -> None:
    if not all((data_root() / name).exists() for name in script.ARCHIVES):
        pytest.skip("Omniglot's archives are not in the data root")
    inks = script.task(np.random.default_rng(0))
    page = browse(blank)
    for number, ink in enumerate(inks):
        script.teach(page, f"character {number}", script.strokes(ink[0]))
    page.click("#tab-try")
    right = 0
    for number, (_, *asked) in enumerate(inks):
        for ink in asked:
            script.answered(page, script.strokes(ink))
            right += page.locator("#bars li.first .name").inner_text() == f"character {number}"
    promised = Report.load(SYMBOLS / "report-omniglot-5w1s15q.json").mean
    # So few right would be seen once in a thousand times at the rate of the report.
    tried = script.WAYS * script.ASKED
    assert right >= stats.binom.ppf(0.001, tried, promised), (right, promised)
