import io
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from rich.console import Console

from quickstudy.core.errors import ConfigError, TrainingError
from quickstudy.core.objective import MetaStep
from quickstudy.core.setting import Setting
from quickstudy.core.tasks import AbstractTasks
from quickstudy.data import DATA, Sinusoid
from quickstudy.recipes import Part, Recipe, load_run
from quickstudy.training import Optimiser, Plan, TrainResult, train
from quickstudy.tuning import Choice, Range, parse_space, search, study, tune

WAVES = Recipe(
    name="waves",
    summary="MAML on sine waves, too small to be of use.",
    data=Part("sinusoid"),
    encoder=Part("mlp", {"in_dim": 1, "widths": (8,)}),
    learner=Part("maml", {"n_out": 1, "inner_lr": 0.01, "inner_steps": 1}),
    episodes=Setting(0, 5, 5),
    validation=Setting(0, 5, 5),
    train=Plan(steps=2, validate_every=1, n_val_tasks=2),
    optimiser=Optimiser(lr=1e-3),
    evaluations=(),
)
SPACE = {
    "optimiser.lr": "1e-4..1e-1:log",
    "learner.inner_steps": "1..3",
    "encoder.widths": "[8],[8,8]",
}


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setattr(study, "_PAUSES", (0.0, 0.0))


# Reading ranges


@given(
    st.floats(-1e9, 1e9, allow_subnormal=False),
    st.floats(-1e9, 1e9, allow_subnormal=False),
    st.booleans(),
)
def test_a_range_of_fractions_reads_back(a: float, b: float, log: bool) -> None:
    low, high = sorted((abs(a), abs(b)) if log else (a, b))
    assume(low < high and (low > 0 or not log))
    assert parse_space({"x": f"{low}..{high}" + ":log" * log}) == {"x": Range(low, high, log)}


@given(st.integers(), st.integers())
def test_a_range_of_whole_numbers_stays_whole(a: int, b: int) -> None:
    assume(a != b)
    (read,) = parse_space({"x": f"{min(a, b)}..{max(a, b)}"}).values()
    assert isinstance(read, Range)
    assert (read.low, read.high, type(read.low)) == (min(a, b), max(a, b), int)


@given(
    st.lists(
        st.from_regex(r"[a-z0-9_]{1,8}|\[[0-9]{1,2},[0-9]{1,2}\]", fullmatch=True),
        min_size=2,
        unique=True,
    )
)
def test_choices_read_back(values: list[str]) -> None:
    assert parse_space({"x": " , ".join(values)}) == {"x": Choice(tuple(values))}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("5..1", "the first number must be below the second, got 5 and 1"),
        ("2..2", "below the second, got 2 and 2"),
        ("0..1:log", "a logarithmic range must begin above 0, got 0"),
        ("-1e-3..1:log", "begin above 0, got -0.001"),
        ("1..5:lgo", "there may be ':log', got ':lgo'"),
        ("1..", "both ends of a range must be numbers, got '1' and ''"),
        ("one..2", "numbers, got 'one' and '2'"),
        ("0.1..inf", "finite, got 0.1 and inf"),
        ("nan..1", "finite, got nan and 1"),
        ("32", "For one value use --set x=32"),
        ("", "a range or several values"),
        ("32,", "each value must be there once and none may be empty"),
        ("32,64,32", "each value must be there once"),
    ],
)
def test_a_range_that_cannot_be_read_says_what_to_write(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_space({"x": text})
    assert message in str(error.value)
    assert f"--tune x={text}:" in str(error.value)


# What is found


def test_a_search_finds_the_best_of_its_trials(tmp_path: Path) -> None:
    result = tune(WAVES, SPACE, n_trials=9, out=tmp_path)
    assert result.finished
    assert [t.number for t in result.trials] == list(range(9))
    assert sum(result.counts.values()) == 9
    assert set(result.counts) == {"complete", "pruned"}
    assert result.best.score == max(
        t.score for t in result.trials if t.state == "complete" and t.score is not None
    )
    for t in result.trials:
        assert 1e-4 <= float(t.values["optimiser.lr"]) <= 1e-1
        assert t.values["learner.inner_steps"] in "123"
        assert t.values["encoder.widths"] in ("[8]", "[8,8]")
    recipe = result.recipe
    assert recipe == WAVES.with_changes(result.best.values)
    data = recipe.build_data()
    alone = train(
        MetaStep(recipe.build_learner(), recipe.build_objective()),
        data.tasks("train", recipe.episodes),
        plan=recipe.train,
        optimiser=recipe.optimiser,
        val_tasks=data.tasks("val", recipe.validation),
    )
    assert alone.best_val == result.best.score
    run = load_run(tmp_path / f"trial-{result.best.number}")
    assert (run.recipe.optimiser, run.recipe.learner) == (recipe.optimiser, recipe.learner)
    assert run.result.best_val == result.best.score


def test_a_search_depends_on_its_seed_alone() -> None:
    first, again, other = (tune(WAVES, SPACE, n_trials=2, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first.trials[0].values != other.trials[0].values


def test_a_search_that_goes_on_ends_like_one_that_never_stopped(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    assert len(tune(WAVES, SPACE, n_trials=3, storage=url).trials) == 3
    assert len(tune(WAVES, SPACE, n_trials=3, storage=url).trials) == 3
    assert (
        tune(WAVES, SPACE, n_trials=8, storage=url).trials == tune(WAVES, SPACE, n_trials=8).trials
    )


def test_without_pruning_all_trials_are_complete() -> None:
    assert tune(WAVES, {"optimiser.lr": "1e-5..1e-1:log"}, n_trials=8, prune=False).counts == {
        "complete": 8
    }


def test_the_test_split_is_never_drawn_from(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: set[str] = set()

    class Spied(Sinusoid):
        def tasks(self, split: str, setting: Setting, *, seed: int = 0) -> AbstractTasks:
            drawn.add(split)
            return super().tasks(split, setting, seed=seed)

    monkeypatch.setitem(DATA, "sinusoid", Spied)
    tune(WAVES, SPACE, n_trials=2)
    assert drawn == {"train", "val"}


# Trials that fail


def test_a_diverging_trial_has_failed_and_the_search_goes_on() -> None:
    result = tune(
        WAVES, {"learner.inner_lr": "0.01,1e30", "learner.inner_steps": "1,2"}, n_trials=6
    )
    failed = {t.number for t in result.trials if t.state == "failed"}
    assert failed == {t.number for t in result.trials if t.values["learner.inner_lr"] == "1e30"}
    assert 0 < len(failed) < 6
    assert all(
        "the loss is" in t.reason and t.score is None for t in result.trials if t.number in failed
    )
    assert result.recipe.learner.options["inner_lr"] == 0.01


def test_values_that_do_not_work_have_failed_and_the_search_goes_on() -> None:
    result = tune(WAVES, {"optimiser.schedule": "cosine,cosinus"}, n_trials=6)
    assert {t.reason for t in result.trials if t.state == "failed"} == {
        "No schedule is called 'cosinus'. Did you mean 'cosine'? Known: constant, cosine, "
        "linear, one_cycle, step."
    }
    assert result.best.values == {"optimiser.schedule": "cosine"}


def test_a_score_that_is_no_number_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    real = train

    def spoilt(*args: Any, on_validation: Any, **kwargs: Any) -> TrainResult:
        return real(
            *args,
            **kwargs,
            on_validation=lambda step, report: on_validation(
                step, replace(report, mean=float("nan"))
            ),
        )

    monkeypatch.setattr(search, "train", spoilt)
    result = tune(WAVES, SPACE, n_trials=1)
    assert result.trials[0].reason == "At step 1 the validation score is nan."
    with pytest.raises(
        TrainingError,
        match=r"No trial of waves is complete \(1 failed\).* Trial 0 failed: At step 1",
    ):
        _ = result.best


def test_an_error_that_is_no_trials_fault_ends_the_search(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/study.db"

    def broken(*_: Any, **__: Any) -> TrainResult:
        raise RuntimeError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(search, "train", broken)
        with pytest.raises(RuntimeError, match="a bug"):
            tune(WAVES, SPACE, n_trials=2, storage=url)
    assert tune(WAVES, SPACE, n_trials=2, storage=url).counts == {"stopped": 1, "complete": 2}


def test_a_trial_too_large_for_the_memory_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> TrainResult:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(search, "train", full)
    assert tune(WAVES, SPACE, n_trials=2).counts == {"failed": 2}


# Several processes, one study

SCRIPT = """
import sys
sys.path.insert(0, {here!r})
import torch
torch.set_num_threads(1)
from rich.console import Console
from test_tune import SPACE, WAVES
from quickstudy.tuning import tune

tune(WAVES, {{"optimiser.lr": "1e-4..1e-1"}}, n_trials=1)  # imports what is imported late
print("ready", flush=True)
sys.stdin.readline()
tune(WAVES, SPACE, n_trials=12, storage=sys.argv[1], out=sys.argv[2], console=Console(width=200))
"""


def test_two_processes_share_a_study(tmp_path: Path) -> None:
    script, url, out = tmp_path / "script.py", f"sqlite:///{tmp_path}/study.db", tmp_path / "out"
    script.write_text(SCRIPT.format(here=str(Path(__file__).parent)), encoding="utf-8")
    command = [sys.executable, "-W", "error", str(script), url, str(out)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as other:
        assert other.stdin
        assert other.stdout
        assert other.stdout.readline() == "ready\n", other.communicate()
        other.stdin.write("go\n")
        other.stdin.flush()
        own = Console(record=True, width=200, file=io.StringIO())
        tune(WAVES, SPACE, n_trials=12, storage=url, out=out, console=own)
        said, complained = other.communicate(timeout=120)
    assert other.returncode == 0, complained
    shares = [
        re.findall(r"^trial (\d+): (?:complete|pruned)", text, re.MULTILINE)
        for text in (own.export_text(), said)
    ]
    assert all(shares)  # both did some,
    result = tune(WAVES, SPACE, n_trials=12, storage=url)
    # together exactly as many as asked for,
    assert len(result.trials) == len([*shares[0], *shares[1]]) == len(list(out.iterdir())) == 12
    assert set(result.counts) <= {"complete", "pruned"}
    assert len({tuple(t.values.values()) for t in result.trials}) == 12  # and none twice


def test_a_trial_that_two_processes_ask_for_goes_to_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    url, ask = f"sqlite:///{tmp_path}/study.db", optuna.Study.ask
    tune(WAVES, SPACE, n_trials=2, storage=url)

    def second(study: optuna.Study) -> optuna.Trial:
        ask(study)  # another process, a moment earlier
        return ask(study)

    with monkeypatch.context() as patch:
        patch.setattr(optuna.Study, "ask", second)
        assert len(tune(WAVES, SPACE, n_trials=3, storage=url).trials) == 2


def test_a_dead_process_leaves_its_trial_to_others(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    tune(WAVES, SPACE, n_trials=1, storage=url)
    study = optuna.load_study(study_name="waves", storage=url)
    dead, alive = study.ask(), study.ask()
    for trial, seen in ((dead, time.time() - 1000), (alive, time.time())):
        trial.suggest_float("optimiser.lr", 1e-4, 1e-1, log=True)
        trial.set_user_attr("seen", seen)
    result = tune(WAVES, SPACE, n_trials=3, storage=url)
    assert [t.state for t in result.trials] == ["complete", "stopped", "running", "complete"]


def test_a_slow_trial_gives_signs_of_life(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    monkeypatch.setattr(search, "_BEAT", 0.01)

    def slow(*args: Any, **kwargs: Any) -> TrainResult:
        time.sleep(0.2)
        return train(*args, **kwargs)

    monkeypatch.setattr(search, "train", slow)
    tune(WAVES, SPACE, n_trials=1, storage=url)
    (trial,) = optuna.load_study(study_name="waves", storage=url).trials
    assert trial.datetime_start is not None
    assert trial.user_attrs["seen"] - trial.datetime_start.timestamp() > 0.15


def test_a_trial_that_was_taken_for_dead_is_dropped(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/study.db"

    def declared_dead(*args: Any, **kwargs: Any) -> TrainResult:
        study = optuna.load_study(study_name="waves", storage=url)
        if study.trials[-1].number == 0:
            study.tell(0, state=optuna.trial.TrialState.FAIL)
        return train(*args, **kwargs)

    monkeypatch.setattr(search, "train", declared_dead)
    assert [t.state for t in tune(WAVES, SPACE, n_trials=1, storage=url).trials] == [
        "stopped",
        "complete",
    ]


@pytest.mark.parametrize("again", [False, True], ids=["once", "twice"])
def test_a_stopped_trial_does_not_count(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, again: bool
) -> None:
    url = f"sqlite:///{tmp_path}/study.db"

    def interrupted(*_: Any, **__: Any) -> TrainResult:
        if again:
            raise KeyboardInterrupt
        return TrainResult(False, 3, 6, 1.0, 3, None)

    with monkeypatch.context() as patch:
        patch.setattr(search, "train", interrupted)
        patch.setattr(search, "save_result", lambda *_: None)
        if again:
            with pytest.raises(KeyboardInterrupt):
                tune(WAVES, SPACE, n_trials=2, storage=url)
        else:
            stopped = tune(WAVES, SPACE, n_trials=2, storage=url)
            assert (stopped.finished, stopped.counts) == (False, {"stopped": 1})
    done = tune(WAVES, SPACE, n_trials=2, storage=url)
    assert (done.finished, done.counts) == (True, {"stopped": 1, "complete": 2})


# What is refused


@pytest.mark.parametrize(
    ("changes", "space", "message"),
    [
        (
            {},
            {"optimizer.lr": "1e-3..1e-2"},
            "A recipe has no field 'optimizer'.*Did you mean 'optimiser'",
        ),
        (
            {},
            {"learner.inner_step": "1..3"},
            "'maml' has no option 'inner_step'. Did you mean 'inner_steps'",
        ),
        ({}, {"learner.inner_steps": "1.0..3"}, "expected a value like 5 .int., got float"),
        ({}, {"train.steps": "4,many"}, "train.steps='many'"),
        ({}, {}, "There is nothing to search"),
        (
            {"train.validate_every": "0"},
            SPACE,
            "waves has no validation.*--set train.validate_every=1, a quarter",
        ),
        ({"val_split": "test"}, SPACE, "a search may not see the test classes"),
        ({}, {"val_split": "val,test"}, "a search may not see the test classes"),
        (
            {"train_split": "trainval"},
            SPACE,
            "trains on train_split='trainval', which has the classes of val_split='val'",
        ),
        (
            {},
            {"validation.n_shot": "1..5"},
            r"scored in different ways \(n_shot 1 and 5\).*--set validation.n_shot=",
        ),
        ({}, {"train.seed": "0..5"}, r"scored in different ways \(seed 0 and 5\)"),
        ({}, {"train.n_val_tasks": "2,8"}, r"\(n_val_tasks 2 and 8\)"),
        ({}, {"train.validate_every": "1,2"}, r"\(validate_every 1 and 2\)"),
        (
            {},
            {"optimiser.lr": "1e-3,1e-2", "data.half_range": "false,true"},
            "--tune data.half_range: trials would be scored.*split_hash",
        ),
    ],
)
def test_a_search_that_means_nothing_is_refused(
    changes: dict[str, str], space: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        tune(WAVES.with_changes(changes), space, n_trials=1)


def test_options_that_cannot_be(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least 1 trial, got 0"):
        tune(WAVES, SPACE, n_trials=0)
    with pytest.raises(ConfigError, match=r"finds no CUDA device|No device is called"):
        tune(
            WAVES,
            SPACE,
            n_trials=1,
            device="cuda:99" if not torch.cuda.is_available() else "no such",
        )
    (tmp_path / "trial-0").mkdir()
    with pytest.raises(ConfigError, match="trial-0 is there already, from another study"):
        tune(WAVES, SPACE, n_trials=1, out=tmp_path)
    for name, value in (
        ("WORLD_SIZE", "2"),
        ("RANK", "0"),
        ("LOCAL_RANK", "0"),
        ("MASTER_ADDR", "here"),
        ("MASTER_PORT", "1"),
    ):
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=r"2 processes were launched together.*without torchrun"):
        tune(WAVES, SPACE, n_trials=1)


def test_without_optuna_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"pip install 'quickstudy\[tune\]'"):
        tune(WAVES, SPACE, n_trials=1)


def test_a_study_of_another_search_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    tune(WAVES, SPACE, n_trials=1, storage=url)
    with pytest.raises(ConfigError) as error:
        tune(
            WAVES.with_changes({"train.steps": "9"}),
            {**SPACE, "optimiser.lr": "1e-3..1"},
            n_trials=2,
            storage=url,
        )
    assert "'waves' in sqlite:///" in str(error.value)
    assert (
        "recipe.train.steps is 2 there and 9 here; space.optimiser.lr is '1e-4..1e-1:log' there "
        "and '1e-3..1' here" in str(error.value)
    )
    assert "--study NAME" in str(error.value)
    # How the work is shared is no part of what is searched, and another name is another study.
    assert (
        len(tune(WAVES.with_changes({"train.workers": "2"}), SPACE, n_trials=2, storage=url).trials)
        == 2
    )
    assert (
        len(
            tune(
                WAVES.with_changes({"train.steps": "9"}),
                SPACE,
                n_trials=1,
                storage=url,
                study="nine",
            ).trials
        )
        == 1
    )


def test_a_study_that_somebody_else_began_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    optuna.create_study(study_name="waves", storage=url).add_trial(
        optuna.trial.create_trial(value=1.0)
    )
    with pytest.raises(
        ConfigError,
        match=r"'waves' in sqlite.* was not begun by quickstudy. Choose another name with --study",
    ):
        tune(WAVES, SPACE, n_trials=1, storage=url)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("study.db", "--storage takes a database URL, such as sqlite:///study.db"),
        ("mongodb://host/name", "--storage takes a database URL"),
        (
            "oracle+cx_oracle://me:secret@host/name",
            r"The driver for oracle\+cx_oracle://me:\*\*\*@host/name is not installed .*cx_Oracle",
        ),
        (
            "sqlite:////no such folder/study.db",
            "sqlite:////no such folder/study.db cannot be opened: unable to open database file",
        ),
    ],
)
def test_a_storage_that_cannot_be_opened(url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        tune(WAVES, SPACE, n_trials=1, storage=url)
    assert "secret" not in str(error.value)


def test_optuna_says_what_it_said_before(capfd: pytest.CaptureFixture[str]) -> None:
    before = optuna.logging.get_verbosity()
    tune(WAVES, SPACE, n_trials=1)
    assert optuna.logging.get_verbosity() == before
    assert capfd.readouterr().err == ""
