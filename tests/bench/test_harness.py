"""The rows of results: measured once, by one process each, resumed, refused, compared."""

import io
import threading
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from quickstudy.bench import domains, returns, suites
from quickstudy.bench.harness import Outcome, Places, run_suite
from quickstudy.bench.measurement import Measurement, Setup, report_of
from quickstudy.bench.record import Record, records_in
from quickstudy.bench.regress import changes
from quickstudy.bench.result_table import TITLES, markdown
from quickstudy.bench.suites import Row, chain_of
from quickstudy.core.errors import ConfigError, DataError, LoadError
from quickstudy.core.lock import locked
from quickstudy.core.setting import Setting
from quickstudy.data import ImageFormat
from quickstudy.evaluation import Report
from quickstudy.recipes import Evaluation, load_run, recipe_named
from quickstudy.recipes.common_budget import (
    COMMON_BUDGET,
    SHORT_BUDGET,
    common_learners,
    common_recipe,
)
from quickstudy.training import Optimiser


def _row(**changes: str) -> Row:
    small = recipe_named("sinusoid-maml").with_changes(
        {"train.steps": "4", "train.compile": "", "train.validate_every": "0", **changes}
    )
    exams = (Evaluation(Setting(0, 5, 5), n_tasks=20), Evaluation(Setting(0, 10, 5), n_tasks=20))
    return Row("small", replace(small, evaluations=exams))


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
    """Asks for the one row of a suite."""

    def ask(row: Row, **options: object) -> Outcome:
        monkeypatch.setitem(suites._SUITES, "family", lambda: (row,))
        places = Places(tmp_path / "rows", tmp_path / "runs")
        (outcome,) = run_suite("family", places, device="cpu", **options)  # pyright: ignore
        return outcome

    return ask


def test_a_row_is_measured_once_and_says_what_it_takes_to_measure_it_again(
    asked: Callable[..., Outcome], tmp_path: Path
) -> None:
    assert asked(_row()).state == "measured"
    file = tmp_path / "rows" / "family" / "small.json"
    text = file.read_text()
    record = Record.load(file)
    assert record.command == "quickstudy bench run --suite family --only small"
    assert [(run.recipe, run.tasks) for run in record.chain] == [("sinusoid-maml", 100)]
    assert record.hardware["cores"]
    assert record.versions["torch"]
    assert record.validation is not None
    assert record.validation.split == "val"
    assert [len(report.scores) for report in record.test.values()] == [20, 20]
    assert [look.reason for look in record.looks] == [""]
    assert asked(_row()).state == "there"
    assert file.read_text() == text

    table = markdown(records_in(tmp_path / "rows"))
    assert len(table) == 4
    assert all(line.count("|") == len(TITLES) + 1 for line in table)


def test_a_setting_that_came_later_is_all_that_is_scored(
    asked: Callable[..., Outcome], tmp_path: Path
) -> None:
    row = _row()
    first = replace(row.recipe, evaluations=row.recipe.evaluations[:1])
    asked(Row("small", first))
    asked(row)
    record = Record.load(tmp_path / "rows" / "family" / "small.json")
    assert [list(look.means) for look in record.looks] == [["0w5s5q"], ["0w10s5q"]]


def asked_steps_after(folder: Path, asked: Callable[..., Outcome], row: Row) -> int:
    """The steps in the folder after the same was asked once more."""
    assert asked(row, minutes=0.01).state == "stopped"
    return load_run(folder).result.steps


def test_a_training_that_was_stopped_goes_on(asked: Callable[..., Outcome], tmp_path: Path) -> None:
    long = _row(**{"train.steps": "50000"})
    assert asked(long, minutes=0.01).state == "stopped"
    assert not list((tmp_path / "rows").rglob("*.json"))
    (folder,) = (tmp_path / "runs").glob("sinusoid-maml-*")
    steps = load_run(folder).result.steps
    assert steps < asked_steps_after(folder, asked, long)


def test_two_processes_never_take_the_same_row(
    asked: Callable[..., Outcome], tmp_path: Path
) -> None:
    folder = tmp_path / "runs" / "rows" / "family" / "small"
    folder.mkdir(parents=True)
    inside, over = threading.Event(), threading.Event()

    def hold() -> None:
        with locked(folder):
            inside.set()
            over.wait(30)

    other = threading.Thread(target=hold)
    other.start()
    inside.wait(30)
    try:
        assert asked(_row()).state == "taken"
    finally:
        over.set()
        other.join()
    assert asked(_row()).state == "measured"


def test_a_changed_recipe_is_not_scored_on_the_test_classes_twice_in_silence(
    asked: Callable[..., Outcome], tmp_path: Path
) -> None:
    asked(_row())
    file = tmp_path / "rows" / "family" / "small.json"
    text = file.read_text()
    changed = replace(_row().recipe, optimiser=Optimiser(lr=0.02))
    refused = asked(Row("small", changed))
    assert refused.state == "refused"
    assert "optimiser.lr" in refused.detail
    assert "0.02" in refused.detail
    assert file.read_text() == text
    with pytest.raises(ConfigError, match="--only"):
        asked(Row("small", changed), again="a better rate on validation classes")
    again = asked(Row("small", changed), only=("small",), again="a better rate")
    assert again.state == "measured"
    record = Record.load(file)
    assert [look.reason for look in record.looks] == ["", "a better rate"]
    assert "a better rate" in markdown({"family/small": record})[2]


def test_a_row_that_fails_does_not_end_the_others(
    asked: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = replace(_row().recipe, optimiser=Optimiser(lr=float("inf")))
    monkeypatch.setitem(suites._SUITES, "family", lambda: (Row("broken", broken), _row()))
    places = Places(tmp_path / "rows", tmp_path / "runs")
    states = [o.state for o in run_suite("family", places, device="cpu")]
    assert states == ["failed", "measured"]


def test_a_measurement_is_scored_once_and_refused_when_it_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = Places(tmp_path / "rows", tmp_path / "runs")
    calls: list[str] = []

    def score(title: str, setup: Setup) -> Report:
        assert setup.run is None
        calls.append(title)
        return report_of([0.5, 0.7, 0.6], algorithm="mine", data=title, metric="return")

    def ask(*settings: str, draws: int = 3, **options: object) -> Outcome:
        row = Row("mine", None, Measurement(settings, {"draws": draws}, score))
        monkeypatch.setitem(suites._SUITES, "rl", lambda: (row,))
        (outcome,) = run_suite("rl", places, device="cpu", **options)  # pyright: ignore
        return outcome

    assert ask("a", "b").state == "measured"
    assert ask("a", "b").state == "there"
    assert ask("a", "b", "c").state == "measured"
    assert calls == ["a", "b", "c"]
    assert ask("a", "b", "c", "d", minutes=0.0).state == "stopped"
    refused = ask("a", draws=4)
    assert (refused.state, "draws was 3, now 4" in refused.detail) == ("refused", True)
    lines = markdown(records_in(tmp_path / "rows"))
    assert len(lines) == 2 + 3
    assert "a, 0-shot" in lines[2]
    assert "0.600 ± " in lines[2]


def test_pictures_of_other_domains_are_scored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUICKSTUDY_DATA", str(tmp_path))
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(tmp_path / "neu-steel-defects.zip", "w") as archive:
        for c in range(5):
            for i in range(10):
                file = io.BytesIO()
                grey = np.clip(rng.normal(50 * c, 5, (28, 28)), 0, 255).astype(np.uint8)
                Image.fromarray(grey).save(file, "png")
                archive.writestr(f"neu-steel-defects/kind{c}/{i}.png", file.getvalue())
    data = domains.domain("steel", ImageFormat(28, 1))
    assert (len(data.index), data.x.shape) == (5, (50, 1, 28, 28))
    monkeypatch.setattr(domains, "_DRAWS", 3)
    rows = dict(domains.own_images())
    measurement = rows["symbols-prototype"]
    setup = Setup(None, tmp_path)
    report = measurement.score("steel-5shot", setup)
    assert (report.n_way, report.n_shot, len(report.scores)) == (5, 5, 3)
    assert report.mean > 0.5  # the kinds differ in brightness alone
    with pytest.raises(DataError, match=r"sign-digits\.zip"):
        measurement.score("signs-1shot", setup)


def test_navigation_is_trained_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(returns, "_ITERATIONS", 1)
    monkeypatch.setattr(returns, "_GOALS", 4)
    measurement = dict(returns.navigation())["navigation-joint"]
    first = measurement.score("0-steps", Setup(None, tmp_path))
    again = measurement.score("0-steps", Setup(None, tmp_path))
    assert first.metric == "return"
    assert first.scores == again.scores
    assert (first.train_seconds is not None, again.train_seconds) == (True, None)


def test_regress_names_what_became_worse_beyond_its_interval(
    asked: Callable[..., Outcome], tmp_path: Path
) -> None:
    asked(_row())
    record = Record.load(tmp_path / "rows" / "family" / "small.json")
    title, report = next(iter(record.test.items()))
    scores = tuple(s - 5.0 for s in report.scores)
    lower = replace(report, scores=scores, mean=sum(scores) / len(scores))
    worse = replace(record, test={**record.test, title: lower})
    assert [c.worse for c in changes({"a": record}, {"a": record})] == [False, False]
    by_size = changes({"a": record}, {"a": worse})
    first = by_size[0]
    assert (first.setting, first.worse, first.paired) == (title, True, True)
    assert not by_size[1].worse
    others = replace(record, test={title: replace(lower, seed=7)})
    (unpaired,) = changes({"a": record}, {"a": others})
    assert not unpaired.paired
    with pytest.raises(ConfigError, match="in common"):
        changes({"a": record}, {"b": record})
    with pytest.raises(LoadError, match="no row"):
        records_in(tmp_path / "runs" / "rows" / "family")


@pytest.mark.parametrize("budget", [COMMON_BUDGET, SHORT_BUDGET], ids=lambda b: b.prefix)
def test_every_compared_learner_is_trained_on_the_tasks_of_the_budget(budget) -> None:
    for learner in common_learners():
        recipe = common_recipe(learner, budget)
        tasks = sum(r.train.steps * r.train.tasks_per_step for r in chain_of(recipe))
        assert tasks == budget.tasks, learner
        assert all(learner in (r.learner.name, e.learner) for r in (recipe,) for e in r.evaluations)


def test_every_suite_has_rows_and_unknown_names_are_refused() -> None:
    for suite in suites.SUITES:
        names = [row.name for row in suites.suite_rows(suite)]
        assert names
        assert len(names) == len(set(names))
    with pytest.raises(ConfigError, match="omniglot"):
        suites.suite_rows("omniglott")
    with pytest.raises(ConfigError, match="protonet"):
        suites.suite_rows("omniglot", ("protonett",))
