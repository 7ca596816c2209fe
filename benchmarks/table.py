"""Render the tables of README.md and the docs from the committed JSON: results from
benchmarks/results/**/*.json; speed from benchmarks/speed.json, growth.json and learners.json.

python benchmarks/table.py          writes the tables into the files
python benchmarks/table.py --check  fails where a file differs from what would be written
"""

import functools
import importlib.util
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rendering import Cell, Column, Table, columns_of, percent, with_interval

from quickstudy.algorithms import ALGORITHMS, TsaMaml
from quickstudy.core.setting import Setting
from quickstudy.encoders import Conv4
from quickstudy.evaluation import Report, compare
from quickstudy.inner.implicit import ImplicitLoop
from quickstudy.inner.learner import GradientLearner
from quickstudy.metrics.intervals import mean_ci95
from quickstudy.recipes import RECIPES, Evaluation, Recipe, recipe_named
from quickstudy.recipes.family import FAMILY, family_recipe
from quickstudy.recipes.few_classes import NAMES

ROOT = Path(__file__).parent.parent
# Names of files, relative to ROOT, that were computed with a tree that was not committed, from the
# time before such results were refused.
CHANGED_TREES = ROOT / "benchmarks" / "changed_trees.txt"
FRONT = (
    ("omniglot-protonet", "5w1s15q"),
    ("omniglot-protonet", "20w1s15q"),
    ("omniglot-5w1s-maml", "5w1s1q"),
    ("omniglot-in-context", "5w1s15q"),
    ("mini-imagenet-meta-whole", "5w1s15q"),
    ("mini-imagenet-meta-whole", "5w5s15q"),
)


CHANGED_COMMIT = re.compile(r'"commit": *"[0-9a-f]+\+"')


def measured_in(name: str) -> dict[str, Any]:
    """What a script wrote into a file of benchmarks."""
    return json.loads((ROOT / "benchmarks" / name).read_text(encoding="utf-8"))


@dataclass(frozen=True)
class NotRun:
    """A published setting of a recipe that was not run."""

    recipe: Recipe
    evaluation: Evaluation


def setting_of(report: Report) -> Setting:
    """The size of the tasks that a report is of."""
    more = (report.n_unlabelled, report.n_distractors, report.labelled, report.alpha)
    return Setting(report.n_way, report.n_shot, report.n_query, *more)


def run_or_not(of_report: Callable[[Report], str], of_published: Callable[[NotRun], Cell]) -> Any:
    """The cell of a report, or of a setting that was not run."""
    return lambda r: of_report(r) if isinstance(r, Report) else of_published(r)


RESULTS = (
    Column(
        "recipe",
        run_or_not(
            lambda r: f"`{r.recipe}`{scored_as(r)}{mark(r)}", lambda n: f"`{n.recipe.name}`"
        ),
    ),
    Column(
        "task",
        run_or_not(lambda r: f"{setting_of(r)}", lambda n: f"{n.evaluation.setting}"),
    ),
    Column(
        "queries per class",
        run_or_not(lambda r: f"{r.n_query}", lambda n: f"{n.evaluation.setting.n_query}"),
    ),
    Column(
        "accuracy (95 % interval)",
        run_or_not(lambda r: with_interval((r.mean, r.ci95), 2), lambda n: "not run"),
    ),
    Column(
        "published",
        run_or_not(lambda r: percent(r.published), lambda n: percent(n.evaluation.published)),
    ),
    Column("transductive", run_or_not(lambda r: yes_no(r.transductive), lambda n: None)),
    Column(
        "norm",
        run_or_not(lambda r: r.norm, lambda n: str(n.recipe.encoder.options.get("norm", ""))),
    ),
    Column("tasks scored", run_or_not(lambda r: f"{r.n_tasks:,}", lambda n: None)),
    Column(
        "trained on",
        run_or_not(
            lambda r: f"{r.train_tasks or 0:,} tasks",
            lambda n: f"{n.recipe.train.steps * n.recipe.train.tasks_per_step:,} tasks",
        ),
    ),
    Column(
        "in",
        run_or_not(
            lambda r: "" if r.train_seconds is None else minutes(r),
            lambda n: None,
        ),
    ),
)


def results() -> list[str]:
    """One row per committed report, and one per published setting of a recipe that was not run."""
    reports = [
        Report.load(file) for file in sorted((ROOT / "benchmarks" / "results").rglob("*.json"))
    ]
    order = {name: i for i, name in enumerate(RECIPES)}

    def place(report: Report) -> tuple[Any, ...]:
        size = (report.n_way, report.n_shot, report.n_query)
        return order[report.recipe], *size, report.n_unlabelled, report.n_distractors, report.norm

    reports.sort(key=place)
    run = {r.recipe for r in reports}
    not_run = [
        NotRun(recipe, evaluation)
        for recipe in (recipe_named(name) for name in RECIPES if name not in run)
        for evaluation in recipe.evaluations
        if evaluation.published is not None and not evaluation.metric
    ]
    n_marked = sum(bool(mark(report)) for report in reports)
    note = f"† {n_marked} results were computed with files that were not committed."
    return Table(RESULTS, [*reports, *not_run], (note,) if n_marked else ()).lines()


def scored_as(report: Report) -> str:
    """The learner that answered, where it is another one than was trained."""
    trained = recipe_named(report.recipe).learner.name
    return "" if report.algorithm == trained else f", as `{report.algorithm}`"


def mark(report: Report) -> str:
    """A dagger where the tree had changes when the report was computed."""
    return " †" if report.commit.endswith("+") else ""


def new_changed_trees() -> list[str]:
    """JSON files with a commit that ends in ``+`` that are not in `CHANGED_TREES`."""
    known = CHANGED_TREES.read_text(encoding="utf-8").split()
    files = (
        file.relative_to(ROOT).as_posix()
        for file in sorted((ROOT / "benchmarks").rglob("*.json"))
        if CHANGED_COMMIT.search(file.read_text(encoding="utf-8"))
    )
    return [file for file in files if file not in known]


def front() -> list[str]:
    """The six rows of the README."""
    columns = (
        *(column for column in RESULTS if column.title in ("recipe", "task")),
        *(c for c in RESULTS if c.title in ("accuracy (95 % interval)", "published")),
        Column("transductive", lambda r: yes_no(r.transductive)),
        Column("training", minutes),
    )
    folder = ROOT / "benchmarks" / "results"
    reports = [Report.load(folder / recipe / f"{task}.json") for recipe, task in FRONT]
    note = "†: computed with files that were not committed."
    return Table(columns, reports, (note,) if any(map(mark, reports)) else ()).lines()


def yes_no(value: bool) -> str:
    """A fact in a word."""
    return "yes" if value else "no"


def minutes(report: Report) -> str:
    """How long a training took, and on what."""
    return f"{(report.train_seconds or 0) / 60:.0f} min, {report.device}"


def speed() -> list[str]:
    """The table of speed, and below it what was measured beside and on what."""
    measured, grown = measured_in("speed.json"), measured_in("growth.json")
    rows = [
        row
        for name, workload in measured["workloads"].items()
        for row in _speed_rows(name, workload, measured["memory"].get(name, {}))
    ]
    columns = columns_of(
        "workload",
        "tasks/s",
        "× best peer",
        "tasks/s without extras",
        "× best peer",
        "best peer, its tasks/s",
        "of the ceiling",
        "× JAX",
        "memory at 20 steps",
    )
    return Table(columns, rows, tuple(_remarks(measured, grown))).lines()


def learners() -> list[str]:
    """The table of what a training step of each learner costs, dearest first by its arithmetic."""
    measured = measured_in("learners.json")
    rows = [
        (
            f"`{name}`",
            f"{1000 * cost['seconds']:.0f}",
            f"{cost['flops'] / 1e9:.1f}",
            f"{cost['calls']:,}",
            f"{cost['of_arithmetic']:.1f}",
            "" if cost["of_plain"] is None else f"{cost['of_plain']:.2f}",
        )
        for name, cost in sorted(
            measured["learners"].items(), key=lambda item: -item[1]["of_arithmetic"]
        )
    ]
    columns = columns_of(
        "learner", "ms per step", "GFLOP", "calls", "× its arithmetic", "× plain loop"
    )
    notes = (
        _steps_measured_on(measured),
        *(f"`{name}` is left out: {reason}" for name, reason in measured["skipped"].items()),
    )
    return Table(columns, rows, notes).lines()


def _steps_measured_on(measured: dict[str, Any]) -> str:
    about, rounds = measured["about"], measured["rounds"]
    steps = "one step" if rounds == 1 else f"medians of {rounds} steps"
    return (
        f"Processor time of one thread, {steps} of {measured['n_tasks']} "
        f"{'task' if measured['n_tasks'] == 1 else 'tasks'}, {measured['width']} filters; "
        f"{about['processor']}, {measured['rate'] / 1e9:.0f} GFLOP/s of processor time, load "
        f"{about['load']:.0f} on {about['cores']} cores; torch {about['versions']['torch']}; "
        f"commit {about['commit']}."
    )


def _speed_rows(
    name: str, workload: dict[str, Any], memory: dict[str, int]
) -> Iterator[tuple[str, ...]]:
    """A row for quickstudy as it comes, with and without extras, and one for each other of its
    entries.
    """
    entries = workload["entries"]
    for entry in (
        e for e in entries if e.split("-")[0] == "quickstudy" and e != "quickstudy-torch"
    ):
        ours, variant = entries[entry], entry.removeprefix("quickstudy").removeprefix("-")
        plain = {} if variant else entries.get("quickstudy-torch", {})
        peer = ours["best_peer"]
        yield (
            f"{name}, {variant}" if variant else name,
            f"{ours['tasks_per_second']:.4g}",
            _times(ours["ratio"]),
            f"{plain['tasks_per_second']:.4g}" if plain else "",
            _times(plain.get("ratio")),
            f"`{peer}` {entries[peer]['tasks_per_second']:.4g}" if peer else "",
            f"{100 * ours['of_ceiling']:.0f} %",
            _times(ours["ratios"].get("jax")),
            _of_memory(entry, memory),
        )


def _of_memory(entry: str, memory: dict[str, int]) -> str:
    """Peak megabytes, and the part of the plain loop's."""
    if entry not in memory:
        return ""
    part = f" ({memory[entry] / memory['plain']:.2f} of `plain`)" if memory.get("plain") else ""
    return f"{memory[entry] / 1e6:.0f} MB{part}"


def _times(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}"


def _remarks(measured: dict[str, Any], grown: dict[str, Any]) -> Iterator[str]:
    for name, share in measured["shares"].items():
        yield (
            f"Drawing, augmenting and moving the tasks of {name} takes "
            f"{100 * share['waiting']:.1f} % of a step when nothing of it is done ahead."
        )
    if grown["processes"]:
        yield (
            "Two processes of one worker, joined by the training engine, do "
            f"{grown['processes']['ratio']:.2f} times the tasks per second of two "
            f"workers of one process ({grown['workload']['name']})."
        )
    yield _measured_on(measured)


def _measured_on(measured: dict[str, Any]) -> str:
    about = measured["about"]
    versions = ", ".join(f"{package} {version}" for package, version in about["versions"].items())
    return (
        f"Medians of {measured['rounds']} rounds on {about['cores']} cores ({about['processor']}, "
        f"{about['device']}) of "
        f"{measured['machine_rate'] / 1e9:.0f} GFLOP/s; {versions}; commit {about['commit']}."
    )


def parts() -> list[str]:
    """The gradient-based algorithms as rows of their parts, and what the parts are."""
    rows, legend = [], dict[str, str]()
    for name, builder in ALGORITHMS.items():
        parameters = inspect.signature(builder).parameters
        options = {"n_out": 5} if "n_out" in parameters else {}
        needed = {name for name, p in parameters.items() if p.default is p.empty}
        if "encoder" not in needed or needed - {"encoder", "n_out"}:
            continue
        learner = builder(Conv4(norm="batch"), **options)
        several = isinstance(learner, TsaMaml)
        if isinstance(learner, TsaMaml):
            learner = learner.base.requires_grad_()
        if not isinstance(learner, GradientLearner):
            continue
        loop, kinds = learner.loop, {n.split(".")[0] for n in learner.fast_names}
        rule = loop.rule
        used = (learner.head, rule, learner.loss, loop)
        legend |= {type(part).__name__: _first_sentence(part) for part in used}
        fast = "head" if kinds == {"head"} else "body" if kinds == {"encoder"} else "body and head"
        slow = {
            _kind(n)
            for n, p in learner.named_parameters()
            if p.requires_grad and n not in learner.fast_names
        }
        slow_names = ", ".join(sorted(slow))
        order = (
            "implicit"
            if isinstance(loop, ImplicitLoop)
            else "first"
            if loop.first_order
            else "second"
        )
        recipe = family_recipe(name) if name in FAMILY else None
        objective = recipe.objective.name if recipe else "query_loss"
        cells = (
            f"`{name}`",
            f"`{type(learner.head).__name__}`{', and all else, one per group' if several else ''}",
            *(f"`{type(part).__name__}`" for part in used[1:3]),
            fast,
            slow_names,
            order,
            f"`{objective}`",
        )
        rows.append(cells)
    columns = columns_of(
        "algorithm",
        "start of the head",
        "rule",
        "inner loss",
        "fast",
        "learned besides",
        "order",
        "objective",
    )
    notes = tuple(f"- `{name}`: {text}" for name, text in sorted(legend.items()))
    return Table(columns, rows, notes).lines()


def _kind(name: str) -> str:
    """What a parameter of a gradient-based learner belongs to."""
    first = name.split(".")[0]
    if first == "encoder":
        return "normalisation" if ".norm." in name else "body"
    return {"per_step": "normalisation per step", "loop": "rule", "loss": "inner loss"}.get(
        first, first
    )


def _first_sentence(part: object) -> str:
    return " ".join((type(part).__doc__ or "").split("\n\n")[0].split())


def family(kind: str = "family") -> list[str]:
    """The gradient-based family side by side, from benchmarks/family/*.json."""
    reports = {file.stem: Report.load(file) for file in (ROOT / "benchmarks" / kind).glob("*.json")}
    names = FAMILY if kind == "family" else [name for name in FAMILY if f"{name}.0" in reports]

    def accuracy(name: str, i: int) -> str:
        report, base = reports.get(f"{name}.{i}"), reports.get(f"maml.{i}")
        return (
            "not run"
            if report is None or base is None
            else with_interval((report.mean, report.ci95), 2)
        )

    def difference(name: str, i: int) -> str:
        report, base = reports.get(f"{name}.{i}"), reports.get(f"maml.{i}")
        return "" if report is None or base is None or name == "maml" else _paired(base, report)

    def of_first(name: str, form: Callable[[Report], str]) -> str:
        return form(reports[f"{name}.0"]) if f"{name}.0" in reports else ""

    columns = (
        Column("recipe", lambda name: f"`{name}`"),
        Column("transductive", lambda name: accuracy(name, 0)),
        Column("difference to `maml`", lambda name: difference(name, 0)),
        Column("inductive", lambda name: accuracy(name, 1)),
        Column("difference to `maml`", lambda name: difference(name, 1)),
        Column("numbers learned", lambda name: of_first(name, lambda r: f"{r.parameters:,}")),
        Column("seconds", lambda name: of_first(name, lambda r: f"{r.train_seconds or 0:.0f}")),
    )
    return Table(columns, names).lines()


def family_long() -> list[str]:
    """Those of them that were trained on twelve times as many tasks."""
    return family("family_long")


def few_classes() -> list[str]:
    """With and without task interpolation, from benchmarks/few_classes/*.json."""
    reports: dict[str, list[Report]] = {}
    for file in sorted((ROOT / "benchmarks" / "few_classes").glob("*.json")):
        reports.setdefault(file.stem.split(".")[0], []).append(Report.load(file))
    means = {
        name: replace(several[0], scores=_mean_scores(several)) for name, several in reports.items()
    }

    def one_by_one(name: str) -> str:
        pairs = zip(reports[name], reports[f"{name}-mlti"], strict=True)
        return ", ".join(f"{100 * compare(a, b).difference:+.2f}" for a, b in pairs)

    columns = (
        Column("learner", lambda name: f"`{name}`"),
        Column("accuracy", lambda name: with_interval(mean_ci95(means[name].scores), 2)),
        Column("with MLTI", lambda name: with_interval(mean_ci95(means[f"{name}-mlti"].scores), 2)),
        Column("difference", lambda name: _paired(means[name], means[f"{name}-mlti"])),
        Column("differences of the trainings, one by one", one_by_one),
    )
    names = (name for name in NAMES if f"{name}-mlti" in reports and name in reports)
    return Table(columns, names).lines()


def _mean_scores(reports: list[Report]) -> tuple[float, ...]:
    return tuple(
        sum(of_task) / len(reports) for of_task in zip(*(r.scores for r in reports), strict=True)
    )


def learned_optimiser() -> list[str]:
    """The loss after 100 steps, from benchmarks/learned_optimiser.json."""
    measured = measured_in("learned_optimiser.json")
    columns = (
        Column("optimiser", lambda item: item[0]),
        Column("f after 100 steps", lambda item: "{:.3f} ± {:.3f}".format(*item[1]["after_100"])),
    )
    note = (
        f"{measured['n_tasks']} new quadratics, 95 % intervals; rates chosen on as many others "
        f"from {len(measured['rates'])} between {measured['rates'][0]:g} and "
        f"{measured['rates'][-1]:g}, three to a decade; the optimiser learned on "
        f"{measured['train_tasks']:,}; all in {measured['seconds']:.0f} s; commit "
        f"{measured['commit']}."
    )
    return Table(columns, measured["losses"].items(), (note,)).lines()


def unknowns() -> list[str]:
    """How many unknowns are accepted, from benchmarks/own_images.json."""
    measured = measured_in("own_images.json")

    def cohort(record: Any) -> str:
        entry = record[1]
        photos = f" × {entry['cohort_photos']}" if entry["cohort_photos"] > 1 else ""
        return f"{entry['cohort']}{photos}" if entry["cohort"] else ""

    def binomial(rates: dict[str, Any]) -> str:
        low, high = rates["interval"]
        return f"{percent(low, 2)} … {percent(high, 2)} %"

    def of_rates(form: Callable[[Any], str], otherwise: str = "") -> Callable[[Any], str]:
        return lambda record: otherwise if record[3] is None else form(record[3])

    columns = (
        Column("images, rule", lambda r: r[0]),
        Column("enrolled", lambda r: str(r[1]["enrolled"])),
        Column("cohort", cohort),
        Column("impostors × draws", lambda r: f"{r[1]['impostors']} × {r[1]['draws']}"),
        Column("right member first", lambda r: f"{percent(r[1]['rank_1'][0])} %"),
        Column("asked for", lambda r: f"{100 * float(r[2]):g} %"),
        Column(
            "accepted",
            of_rates(lambda rates: f"{with_interval(rates['accepted'], 2)} %", "too few to say"),
        ),
        Column("binomial interval", of_rates(binomial)),
        Column("members missed", of_rates(lambda rates: f"{percent(rates['fnir'][0])} %")),
    )
    records = (
        (name, entry, rate, rates)
        for name, entry in measured.items()
        if isinstance(entry, dict) and "rates" in entry
        for rate, rates in entry["rates"].items()
    )
    return Table(columns, records, (_commit_and_time(measured),)).lines()


def _commit_and_time(measured: dict[str, Any]) -> str:
    return f"Commit {measured['commit']}, {measured['seconds']:.0f} s."


def accuracies(names: Iterable[str]) -> tuple[Column, ...]:
    """A column for each name, of records whose last entry holds accuracies with intervals by it."""

    def column(name: str) -> Column:
        return Column(name, lambda record: with_interval(record[-1][name]))

    return tuple(column(name) for name in names)


def steel() -> list[str]:
    """Defects on steel, from benchmarks/own_images.json."""
    measured = measured_in("own_images.json")["steel"]
    shots = next(iter(next(iter(measured.values())).values()))
    columns = (
        Column("encoder", lambda r: r[0]),
        Column("head", lambda r: f"`{r[1]}`"),
        *(replace(column, title=f"{column.title} per class") for column in accuracies(shots)),
    )
    records = (
        (encoder, head, by_shots)
        for encoder, heads in measured.items()
        for head, by_shots in heads.items()
    )
    return Table(columns, records).lines()


def patch_memory() -> list[str]:
    """Planted defects on textures, from benchmarks/patch_memory.json."""
    measured = measured_in("patch_memory.json")
    names = next(iter(measured["synthetic"].values()))
    columns = (Column("texture", lambda r: r[0]), *accuracies(names))
    return Table(columns, measured["synthetic"].items(), (_commit_and_time(measured),)).lines()


def patch_steel() -> list[str]:
    """Kinds of steel surface that play "good" in turn, from benchmarks/patch_memory.json."""
    measured = measured_in("patch_memory.json")["steel"]
    return Table(accuracies(measured), [(measured,)]).lines()


def symbols() -> list[str]:
    """The encoder that comes with the package beside bare pixels, from benchmarks/symbols.json."""
    measured = measured_in("symbols.json")

    def accuracy(title: str, shots: str, of: str) -> Column:
        return Column(title, lambda record: with_interval(record[1][shots][of]))

    columns = (
        Column("5-way accuracy on", lambda record: record[0]),
        *(
            accuracy(title, shots, of)
            for shots in ("1-shot", "5-shot")
            for title, of in ((shots, "symbols"), ("pixels", "pixels"))
        ),
    )
    note = (
        f"{measured['n_tasks']} tasks each; prototypes of the vectors, and of the pixels of the "
        f"same small pictures; chance is 20 %; commit {measured['commit']}."
    )
    records = (
        (name, entry)
        for name, entry in measured.items()
        if isinstance(entry, dict) and "1-shot" in entry
    )
    return Table(columns, records, (note,)).lines()


def voices() -> list[str]:
    """Speakers never heard in training, from benchmarks/voices.json."""
    measured = measured_in("voices.json")

    def rate(value: float, low: float, high: float) -> str:
        return f"{percent(value)} % ({percent(low)} … {percent(high)})"

    columns = columns_of(
        "encoder",
        f"the right one of {measured['speakers']}",
        "equal error rate",
        f"accepted at FAR {100 * measured['far']:g} %",
    )
    rows = [
        (name, *(rate(*entry[key]) for key in ("identified", "eer", "tar")))
        for name, entry in measured["encoders"].items()
    ]
    chance = (
        "chance",
        f"{100 / measured['speakers']:.1f} %",
        "50 %",
        f"{100 * measured['far']:g} %",
    )
    note = (
        f"{measured['speakers']} speakers, {measured['enrolled']} utterances of each enrolled and "
        f"{measured['probes']} as probes; in brackets 95 % intervals by bootstrap over "
        f"speakers. Trained on {measured['heard_in_training']} others, {measured['train_tasks']:,} "
        f"tasks, {measured['train_seconds']:.0f} s; eSpeak NG "
        f"{measured['versions']['espeak-ng']}; commit {measured['commit']}."
    )
    return Table(columns, [*rows, chance], (note,)).lines()


def open_set() -> list[str]:
    """Unknowns among the queries, from benchmarks/open_set.json."""
    measured = measured_in("open_set.json")

    def rate(title: str, key: str) -> Column:
        return Column(title, lambda record: with_interval(record[2][key]))

    columns = (
        Column("data, shots", lambda record: record[0]),
        Column("membership score", lambda record: record[1]),
        Column(None, lambda record: "transductive" if record[2]["transductive"] else "inductive"),
        rate("accuracy", "accuracy"),
        rate("AUROC", "auroc"),
        rate("FPR95", "fpr95"),
        rate("OSCR", "oscr"),
    )
    records = (
        (f"{data}, {shots}", name, rates)
        for data, entry in measured["data"].items()
        for shots, by_score in entry["by"].items()
        for name, rates in by_score.items()
    )
    note = (
        f"{measured['n_tasks']} tasks each, the same for all, 95 % intervals over tasks; "
        "characters by the encoder that comes with the package, photographs by "
        f"`mini-imagenet-protonet`; {measured['seconds']:.0f} s; commit {measured['commit']}."
    )
    return Table(columns, records, (note,)).lines()


def galleries() -> list[str]:
    """Searches and changes of large galleries, from benchmarks/gallery.json."""
    measured = measured_in("gallery.json")
    sizes = measured["sizes"]
    searches = Table(
        columns_of(
            "templates",
            "search",
            "one probe",
            "each of 64",
            "first found",
            "five found",
            "vectors in memory",
            "commit",
        ),
        [
            row
            for templates, entry in sizes.items()
            for row in _searches(int(templates), entry, measured["dim"])
        ],
    )
    changes = Table(
        (
            Column("templates", lambda r: f"{int(r[0]):,}"),
            Column("read at first", lambda r: f"{r[1]['open_seconds']:.2g} s"),
            Column("index built", lambda r: f"{r[1]['index_seconds']:.2g} s"),
            Column("enrol", lambda r: f"{r[1]['changes']['enrol']:.3g} ms"),
            Column(
                "with a threshold that follows",
                lambda r: f"{r[1]['changes_following']['enrol']:.3g} ms",
            ),
            Column("remove", lambda r: f"{r[1]['changes']['remove']:.3g} ms"),
            Column("first search afterwards", lambda r: f"{r[1]['changes']['next search']:.3g} ms"),
            Column("calibrate", lambda r: f"{r[1]['calibrate_seconds']:.2g} s"),
            Column("peak memory", lambda r: f"{r[1]['peak_memory'] / 1e9:.1f} GB"),
        ),
        sizes.items(),
        (
            f"Vectors of {measured['dim']} numbers, {measured['per_identity']} templates per "
            "identity, medians, the five nearest; in brackets without the line in the audit log. "
            f"Found: of the exact search's first, and first five; {measured['probes']} probes. "
            f"Calibrated by a cohort of {measured['cohort']:,}. Each size in one run, side by "
            f"side, on {measured['cpus']} CPUs with faiss {measured['versions']['faiss-cpu']} and "
            f"scikit-learn {measured['versions']['scikit-learn']}; a commit ends in + where files "
            f"had changed. At commit {measured['commit']} a class was added to a "
            "`FewShotClassifier` of 1,000 classes with 5 examples each in "
            f"{measured['add_class_milliseconds']:.1f} ms.",
        ),
    )
    return [*searches.lines(), "", *changes.lines()]


def _searches(templates: int, entry: dict[str, Any], dim: int) -> Iterator[tuple[str, ...]]:
    """A row for each search that was timed on so many templates."""
    sizes = {
        "gallery, exact": entry["matrix_bytes"],
        "gallery, approximate": entry["matrix_bytes"] + entry["index_bytes"],
    }
    recalls = {
        "gallery, approximate": entry["recall"],
        "faiss IndexPQFastScan": {"5": entry.get("codes_recall")},
    }
    one, batch = entry["milliseconds"]["one"], entry["milliseconds"]["batch"]
    for name in (n for n in one if not n.endswith("not logged")):
        plain = f" ({one[f'{name}, not logged']:.3g})" if f"{name}, not logged" in one else ""
        shares = (recalls.get(name, {"1": 1.0, "5": 1.0}).get(k) for k in ("1", "5"))
        size = entry["index_bytes"] if "PQ" in name else sizes.get(name, 4 * dim * templates)
        yield (
            f"{templates:,}",
            name,
            f"{one[name]:{',.0f' if one[name] >= 1000 else '.3g'}}{plain} ms",
            f"{batch[name]:.3g} ms",
            *("" if share is None else f"{percent(share)} %" for share in shares),
            f"{size / 1e6:,.0f} MB",
            entry["commit"],
        )


def _rows_of(script: str, function: str = "rows") -> list[str]:
    """What the script itself makes of its file."""
    spec = importlib.util.spec_from_file_location(script, ROOT / "benchmarks" / f"{script}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, function)()


def _paired(base: Report, report: Report) -> str:
    difference = compare(base, report)
    return f"{100 * difference.difference:+.2f} ± {100 * difference.ci95:.2f}"


TABLES: tuple[tuple[Path, str, Callable[[], list[str]]], ...] = (
    (ROOT / "README.md", "results", front),
    (
        ROOT / "docs" / "get_started" / "command_line.md",
        "startup",
        functools.partial(_rows_of, "startup"),
    ),
    (ROOT / "docs" / "experiments" / "results.md", "results", results),
    (ROOT / "docs" / "experiments" / "speed.md", "speed", speed),
    (ROOT / "docs" / "experiments" / "speed.md", "learners", learners),
    (
        ROOT / "docs" / "experiments" / "speed.md",
        "step_parts",
        functools.partial(_rows_of, "step_parts"),
    ),
    (ROOT / "docs" / "experiments" / "speed.md", "workers", functools.partial(_rows_of, "workers")),
    (
        ROOT / "docs" / "experiments" / "speed.md",
        "kernel_threads",
        functools.partial(_rows_of, "kernel_threads"),
    ),
    (ROOT / "docs" / "methods" / "gradient_based.md", "parts", parts),
    (ROOT / "docs" / "methods" / "gradient_based.md", "family", family),
    (ROOT / "docs" / "methods" / "gradient_based.md", "family-long", family_long),
    (ROOT / "docs" / "methods" / "gradient_based.md", "learned-optimiser", learned_optimiser),
    (
        ROOT / "docs" / "methods" / "regression.md",
        "sinusoid",
        functools.partial(_rows_of, "sinusoid"),
    ),
    (
        ROOT / "docs" / "applications" / "serving.md",
        "serve_kills",
        functools.partial(_rows_of, "serve_kills"),
    ),
    (
        ROOT / "docs" / "applications" / "serving.md",
        "strokes",
        functools.partial(_rows_of, "strokes"),
    ),
    (
        ROOT / "docs" / "applications" / "serving.md",
        "serving",
        functools.partial(_rows_of, "serving"),
    ),
    (
        ROOT / "docs" / "applications" / "export.md",
        "export",
        functools.partial(_rows_of, "export"),
    ),
    (ROOT / "docs" / "applications" / "gallery.md", "galleries", galleries),
    (
        ROOT / "docs" / "applications" / "gallery.md",
        "gallery_servers",
        functools.partial(_rows_of, "gallery_servers"),
    ),
    (
        ROOT / "docs" / "applications" / "gallery.md",
        "promises",
        functools.partial(_rows_of, "gallery_promises"),
    ),
    (
        ROOT / "docs" / "applications" / "classifier.md",
        "encoders",
        functools.partial(_rows_of, "encoders"),
    ),
    (
        ROOT / "docs" / "applications" / "encoders.md",
        "identification",
        functools.partial(_rows_of, "encoders", "identification_rows"),
    ),
    (
        ROOT / "docs" / "applications" / "encoders.md",
        "polarity",
        functools.partial(_rows_of, "encoders", "polarity_rows"),
    ),
    (
        ROOT / "docs" / "applications" / "classifier.md",
        "own-heads",
        functools.partial(_rows_of, "own_heads"),
    ),
    (
        ROOT / "docs" / "applications" / "classifier.md",
        "decisions",
        functools.partial(_rows_of, "decisions", "rate_rows"),
    ),
    (
        ROOT / "docs" / "applications" / "classifier.md",
        "calibration",
        functools.partial(_rows_of, "calibration"),
    ),
    (
        ROOT / "docs" / "applications" / "gallery.md",
        "symbol-thresholds",
        functools.partial(_rows_of, "symbol_thresholds"),
    ),
    (
        ROOT / "docs" / "applications" / "classifier.md",
        "acceptance",
        functools.partial(_rows_of, "acceptance"),
    ),
    (
        ROOT / "docs" / "applications" / "classifier.md",
        "sets",
        functools.partial(_rows_of, "decisions", "set_rows"),
    ),
    (ROOT / "docs" / "applications" / "classifier.md", "unknowns", unknowns),
    (ROOT / "docs" / "applications" / "classifier.md", "steel", steel),
    (ROOT / "docs" / "methods" / "task_augmentation.md", "few-classes", few_classes),
    (ROOT / "docs" / "applications" / "encoders.md", "symbols", symbols),
    (ROOT / "docs" / "applications" / "defects.md", "patch-memory", patch_memory),
    (ROOT / "docs" / "applications" / "defects.md", "patch-steel", patch_steel),
    (ROOT / "docs" / "applications" / "sound_and_text.md", "voices", voices),
    (
        ROOT / "docs" / "applications" / "sound_and_text.md",
        "real-voices",
        functools.partial(_rows_of, "real_voices"),
    ),
    (ROOT / "docs" / "experiments" / "evaluation.md", "open-set", open_set),
    (ROOT / "docs" / "methods" / "transductive.md", "heads", functools.partial(_rows_of, "heads")),
    (
        ROOT / "docs" / "methods" / "hallucination.md",
        "hallucination",
        functools.partial(_rows_of, "hallucination"),
    ),
    (
        ROOT / "docs" / "methods" / "semi_supervised.md",
        "semi_supervised",
        functools.partial(_rows_of, "semi_supervised"),
    ),
    (
        ROOT / "docs" / "methods" / "zero_shot.md",
        "zero_shot",
        functools.partial(_rows_of, "zero_shot"),
    ),
    (
        ROOT / "docs" / "methods" / "reinforcement.md",
        "navigation",
        functools.partial(_rows_of, "navigation"),
    ),
    (
        ROOT / "docs" / "methods" / "architecture_search.md",
        "architecture",
        functools.partial(_rows_of, "architecture"),
    ),
    (ROOT / "docs" / "experiments" / "results.md", "redo", functools.partial(_rows_of, "redo")),
    (
        ROOT / "docs" / "experiments" / "data.md",
        "several-sources",
        functools.partial(_rows_of, "several_sources"),
    ),
    (
        ROOT / "docs" / "experiments" / "tuning.md",
        "optimisers",
        functools.partial(_rows_of, "optimisers"),
    ),
    (
        ROOT / "docs" / "experiments" / "results.md",
        "common-budget",
        functools.partial(_rows_of, "common_budget"),
    ),
    (
        ROOT / "docs" / "experiments" / "evaluation.md",
        "lake",
        functools.partial(_rows_of, "lake"),
    ),
    (ROOT / "docs" / "methods" / "caml.md", "caml", functools.partial(_rows_of, "caml")),
    (
        ROOT / "docs" / "methods" / "neural_processes.md",
        "neural-processes",
        functools.partial(_rows_of, "neural_processes"),
    ),
    (
        ROOT / "docs" / "methods" / "neural_processes.md",
        "image-completion",
        functools.partial(_rows_of, "image_completion"),
    ),
    (
        ROOT / "docs" / "methods" / "black_box.md",
        "instances",
        functools.partial(_rows_of, "instances"),
    ),
    (
        ROOT / "docs" / "methods" / "self_supervised.md",
        "self_supervised",
        functools.partial(_rows_of, "self_supervised"),
    ),
)


def rendered(text: str, name: str, lines: list[str]) -> str:
    """The text with the lines between the markers of that name."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before, rest = text.split(begin)
    _, after = rest.split(end)
    return before + "\n".join((begin, *lines, end)) + after


def main() -> int:
    """Write the tables, or with --check only compare."""
    check, stale = "--check" in sys.argv[1:], []
    for file, name, lines in TABLES:
        text = file.read_text(encoding="utf-8")
        new = rendered(text, name, lines())
        if new != text:
            stale.append(file.relative_to(ROOT))
            if not check:
                file.write_text(new, encoding="utf-8")
    if check and (files := new_changed_trees()):
        print(
            f"{', '.join(files)}: the commit ends in +, so the tree had changes that were not "
            "committed. Commit the code, then measure again.",
            file=sys.stderr,
        )
        return 1
    if check and stale:
        print(
            f"{', '.join(map(str, stale))} differ from the JSON in benchmarks. Run: python "
            "benchmarks/table.py",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
