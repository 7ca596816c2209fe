"""The command that searches hyper-parameters."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from quickstudy.cli.options import DeviceOption, RecipeName
from quickstudy.cli.screen import progress, results, table
from quickstudy.core.errors import ConfigError
from quickstudy.recipes import recipe_named
from quickstudy.tuning import Trial, TuneResult, short
from quickstudy.tuning import tune as search

TuneOption = Annotated[
    list[str],
    typer.Option(
        "--tune",
        metavar="FIELD=RANGE",
        help="A field to search: optimiser.lr=1e-4..1e-2:log, learner.inner_steps=1..5, "
        "encoder.width=32,64.",
    ),
]
TrialsOption = Annotated[
    int, typer.Option(help="Trials of the whole study, over all processes that share it.")
]
StorageOption = Annotated[
    str,
    typer.Option(
        envvar="QUICKSTUDY_STORAGE",
        help="Database of the study: sqlite:///study.db, "
        "postgresql+psycopg://USER:PASSWORD@HOST/NAME. Default: in memory.",
    ),
]
StudyOption = Annotated[
    str, typer.Option(help="Name of the study in the database; default: the recipe's.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="Fix a field for all trials."),
]
OutDirOption = Annotated[
    Path | None,
    typer.Option("--out", help="Keep trial N as the run OUT/trial-N; default: nothing is kept."),
]
SeedOption = Annotated[int, typer.Option(help="Of the proposed values.")]
PruneOption = Annotated[bool, typer.Option(help="End poor trials early.")]


def tune(
    recipe: RecipeName,
    tune_: TuneOption,
    trials: TrialsOption = 20,
    storage: StorageOption = "",
    study: StudyOption = "",
    set_: SetOption = None,
    out_dir: OutDirOption = None,
    seed: SeedOption = 0,
    prune: PruneOption = True,
    device: DeviceOption = "auto",
) -> None:
    """Search hyper-parameters of a recipe on validation classes, alone or with other processes and
    machines.
    """
    fixed = _pairs("--set", "FIELD=VALUE", set_ or ())
    space = _pairs("--tune", "FIELD=RANGE", tune_)
    if len(space) < len(tune_):
        raise ConfigError(
            f"--tune takes each field once, got {', '.join(tune_)}. For several values of one "
            "write FIELD=A,B,C."
        )
    study_result = search(
        recipe_named(recipe).with_changes(fixed),
        space,
        n_trials=trials,
        storage=storage,
        study=study,
        seed=seed,
        prune=prune,
        out=out_dir,
        device=device,
        console=progress(),
    )
    _print_trials(study_result, space)
    if not study_result.finished:
        results().print(
            "Stopped. "
            + (
                "The same command goes on."
                if storage
                else "Without --storage the next search begins anew."
            )
        )
        raise typer.Exit(130)
    _print_best(study_result.best, recipe, fixed)


def _print_trials(study_result: TuneResult, space: Mapping[str, str]) -> None:
    """A row per trial, why some failed, and how many are in which state."""
    out = results()
    rows = table("trial", *space, "score", "state")
    for trial in study_result.trials:
        score = "" if trial.score is None else f"{trial.score:.4f}"
        rows.add_row(
            str(trial.number), *(short(trial.values.get(f, "")) for f in space), score, trial.state
        )
    out.print(rows)
    for trial in study_result.trials:
        if trial.reason:
            out.print(f"trial {trial.number} failed: {trial.reason}")
    out.print(", ".join(f"{n} {state}" for state, n in study_result.counts.items()))
    if running := study_result.counts.get("running"):
        out.print(
            f"{running} of them in other processes, so the best may change. Once they are done, "
            "the same command shows it."
        )


def _print_best(best: Trial, recipe: str, fixed: Mapping[str, str]) -> None:
    """The best trial, and the command that trains it."""
    changes = {**fixed, **best.values}
    command = shlex.join(
        [
            "quickstudy",
            "train",
            recipe,
            *(a for field, value in changes.items() for a in ("--set", f"{field}={value}")),
        ]
    )
    results().print(
        f"Best: trial {best.number}, {best.score:.4f} on validation tasks; as the best of many it "
        "is a little too good. Train it and score it on test classes:"
    )
    results().print(command)


def _pairs(option: str, form: str, texts: Sequence[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in texts:
        field, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"{option} takes {form}, got '{text}'.")
        pairs[field] = value
    return pairs
