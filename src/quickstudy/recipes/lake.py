"""Scoring a trained run by the one-shot classification of Lake et al."""

from dataclasses import dataclass
from pathlib import Path

from quickstudy.core.errors import ConfigError
from quickstudy.core.tasks import AbstractTasks
from quickstudy.core.words import percent
from quickstudy.data import LakeArchive, LakeRuns, Omniglot, Several
from quickstudy.data.images import ImageFormat
from quickstudy.data.lake import RUNS
from quickstudy.evaluation import Report, evaluate
from quickstudy.recipes.runs import Run


@dataclass(frozen=True)
class LakeScore:
    """The score of a run in the 20-way runs within one alphabet.

    Args:
        report: its accuracy in each run.
        seen: characters of the runs that the learner was trained on; it is not a one-shot
            classification of those.
        unknown: whether that cannot be told: the official runs do not name their characters.
    """

    report: Report
    seen: tuple[str, ...]
    unknown: bool

    def __str__(self) -> str:
        lines = [f"{self.report}", f"Errors: {percent(1 - self.report.mean, 2)}"]
        if self.seen:
            lines.append(
                f"Note: {len(self.seen)} characters of these runs were trained on, the first being "
                f"{self.seen[0]}. The protocol allows the background alphabets only: train with "
                "data.protocol=lake."
            )
        if self.unknown:
            lines.append(
                "Note: this run was trained on characters of the evaluation alphabets, which the "
                "protocol does not allow. Train with data.protocol=lake."
            )
        return "\n".join(lines)


def score_lake20(
    run: Run,
    archive: str | Path | None = None,
    *,
    seed: int = 0,
    workers: int = 0,
    workers_kind: str = "auto",
) -> LakeScore:
    """Score a run in 20 tasks within one alphabet: in the official ones, or in some that are drawn
    like them.

    Args:
        run: trained on images.
        archive: the folder of the official runs, ``all_runs``; None draws runs from the evaluation
            alphabets.
        seed: of the runs that are drawn.
        workers, workers_kind: see `quickstudy.evaluate`.

    Raises:
        ConfigError: for a run whose examples are no images, or of another size than Omniglot's
            where the runs are drawn.
    """

    def score(tasks: AbstractTasks, n_tasks: int) -> Report:
        return evaluate(
            run.learner,
            tasks,
            n_tasks=n_tasks,
            batch=1,
            origin=run.origin,
            workers=workers,
            workers_kind=workers_kind,
        )

    data = run.recipe.build_data()
    if data.image_format is None:
        raise ConfigError(
            f"The protocol is of images, but {run.recipe.name} was trained on {data.name}. Score a "
            "run that was trained on images."
        )
    if archive is not None:
        official = LakeArchive(archive, ImageFormat.from_json(data.image_format))
        report = score(official, len(official.runs))
        trained = _trained_characters(run)
        return LakeScore(
            report, (), any(n in trained for n in _evaluation().split("test").index.names)
        )
    if data.shape != Omniglot.shape:
        raise ConfigError(
            f"The runs are drawn at {_size(Omniglot.shape)}, but {run.recipe.name} takes images of "
            f"{_size(data.shape)}. Give the official runs with --archive, which are read at any "
            "size."
        )
    runs = LakeRuns(_evaluation().split("test"), seed=seed)
    trained = _trained_characters(run)
    seen = sorted({c for i in range(RUNS) for c in runs.characters(i) if c in trained})
    return LakeScore(score(runs, RUNS), tuple(seen), unknown=False)


def _evaluation() -> Omniglot:
    return Omniglot(protocol="lake", rotations=False)


def _trained_characters(run: Run) -> frozenset[str]:
    """The characters of Omniglot that a run was trained on, without their turns."""
    data = run.recipe.build_data()
    sources = data.sources if isinstance(data, Several) else [data]
    names: set[str] = set()
    for source in sources:
        if isinstance(source, Omniglot):
            unturned = Omniglot(
                protocol=source.protocol, rotations=False, n_train_classes=source.n_train_classes
            )
            names |= set(unturned.split(run.recipe.train_split).index.names)
    return frozenset(names)


def _size(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))
