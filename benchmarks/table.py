"""Render the tables of README.md and the docs from the committed JSON: results from
benchmarks/results/**/*.json, speed from benchmarks/speed.json, growth.json and, for a workload that
was measured again after a change, speed_*.json.

python benchmarks/table.py          writes the tables into the files
python benchmarks/table.py --check  fails where a file differs from what would be written
"""

import functools
import importlib.util
import inspect
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from quickstudy.algorithms import ALGORITHMS, TsaMaml
from quickstudy.encoders import Conv4
from quickstudy.evaluation import Report, compare
from quickstudy.inner.implicit import ImplicitLoop
from quickstudy.inner.learner import GradientLearner
from quickstudy.metrics.intervals import mean_ci95
from quickstudy.recipes import RECIPES, recipe_named
from quickstudy.recipes.family import FAMILY, family_recipe
from quickstudy.recipes.few_classes import NAMES

ROOT = Path(__file__).parent.parent
HEAD = (
    "| recipe | task | queries per class | accuracy (95 % interval) | published | transductive | "
    "norm | tasks scored | trained on | in |",
    "|---|---|---|---|---|---|---|---|---|---|",
)
SPEED_HEAD = (
    "| workload | tasks/s | × best peer | tasks/s without extras | × best peer | best peer, its "
    "tasks/s | of the ceiling | × JAX | memory at 20 steps |",
    "|---|---|---|---|---|---|---|---|---|",
)


def rows() -> list[str]:
    """One row per committed report, and one per published setting of a recipe that was not run."""
    reports = [
        Report.load(file) for file in sorted((ROOT / "benchmarks" / "results").rglob("*.json"))
    ]
    order = {name: i for i, name in enumerate(RECIPES)}
    reports.sort(key=lambda r: (order[r.recipe], r.n_way, r.n_shot, r.n_query, r.norm))
    made = [_row(r) for r in reports]
    run = {r.recipe for r in reports}
    for name in RECIPES:
        recipe = recipe_named(name)
        for e in recipe.evaluations if name not in run else ():
            if e.published is not None and not e.metric:
                made.append(
                    f"| `{name}` | {e.setting} | {e.setting.n_query} | not run | "
                    f"{100 * e.published:.1f} | | {recipe.encoder.options.get('norm', '')} | | "
                    f"{recipe.train.steps * recipe.train.tasks_per_step:,} tasks | |"
                )
    return made


def _row(r: Report) -> str:
    published = "" if r.published is None else f"{100 * r.published:.1f}"
    kind = "yes" if r.transductive else "no"
    minutes = "" if r.train_seconds is None else f"{r.train_seconds / 60:.0f} min, {r.device}"
    return (
        f"| `{r.recipe}` | {r.n_way}-way {r.n_shot}-shot | {r.n_query} | {100 * r.mean:.2f} ± "
        f"{100 * r.ci95:.2f} | {published} | {kind} | {r.norm} | "
        f"{r.n_tasks:,} | {r.train_tasks or 0:,} tasks | {minutes} |"
    )


def results() -> list[str]:
    """The table of results."""
    return [*HEAD, *rows()]


FRONT = (
    ("omniglot-protonet", "5w1s15q"),
    ("omniglot-protonet", "20w1s15q"),
    ("omniglot-5w1s-maml", "5w1s1q"),
    ("omniglot-in-context", "5w1s15q"),
    ("mini-imagenet-meta-whole", "5w1s15q"),
    ("mini-imagenet-meta-whole", "5w5s15q"),
)


def front() -> list[str]:
    """The six rows of the README."""
    lines = [
        "| recipe | task | accuracy (95 % interval) | published | transductive | training |",
        "|---|---|---|---|---|---|",
    ]
    for recipe, task in FRONT:
        r = Report.load(ROOT / "benchmarks" / "results" / recipe / f"{task}.json")
        published = "" if r.published is None else f"{100 * r.published:.1f}"
        lines.append(
            f"| `{recipe}` | {r.n_way}-way {r.n_shot}-shot | {100 * r.mean:.2f} ± "
            f"{100 * r.ci95:.2f} | {published} | "
            f"{'yes' if r.transductive else 'no'} | "
            f"{(r.train_seconds or 0) / 60:.0f} min, {r.device} |"
        )
    return lines


def speed() -> list[str]:
    """The table of speed, and below it what was measured beside and on what."""
    measured = json.loads((ROOT / "benchmarks" / "speed.json").read_text(encoding="utf-8"))
    grown = json.loads((ROOT / "benchmarks" / "growth.json").read_text(encoding="utf-8"))
    made = [
        row
        for name, found in measured["workloads"].items()
        for row in _speed_rows(name, found, measured["memory"].get(name, {}))
    ]
    again = [
        json.loads(file.read_text(encoding="utf-8"))
        for file in sorted((ROOT / "benchmarks").glob("speed_*.json"))
    ]
    made += [
        row
        for later in again
        for name, found in later["workloads"].items()
        for row in _speed_rows(f"{name} again", found, {})
    ]
    return [
        *SPEED_HEAD,
        *made,
        "",
        *_remarks(measured, grown),
        *(_measured_on(later, "Rows with *again*: medians") for later in again),
    ]


def _speed_rows(name: str, found: dict[str, Any], memory: dict[str, int]) -> Iterator[str]:
    """A row for quickstudy as it comes, with and without extras, and one for each other of its
    entries.
    """
    entries = found["entries"]
    for entry in (
        e for e in entries if e.split("-")[0] == "quickstudy" and e != "quickstudy-torch"
    ):
        ours, variant = entries[entry], entry.removeprefix("quickstudy").removeprefix("-")
        plain = {} if variant else entries.get("quickstudy-torch", {})
        peer = ours["best_peer"]
        cells = (
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
        yield "| " + " | ".join(cells) + " |"


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
    yield _measured_on(measured, "Medians")


def _measured_on(measured: dict[str, Any], what: str) -> str:
    about = measured["about"]
    versions = ", ".join(f"{package} {version}" for package, version in about["versions"].items())
    return (
        f"{what} of {measured['rounds']} rounds on {about['cores']} cores ({about['processor']}, "
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
        rows.append("| " + " | ".join(cells) + " |")
    head = (
        "| algorithm | start of the head | rule | inner loss | fast | learned besides | order | "
        "objective |",
        "|---|---|---|---|---|---|---|---|",
    )
    return [*head, *rows, "", *(f"- `{name}`: {text}" for name, text in sorted(legend.items()))]


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
    found = {file.stem: Report.load(file) for file in (ROOT / "benchmarks" / kind).glob("*.json")}
    head = (
        "| recipe | transductive | difference to `maml` | inductive | difference to `maml` | "
        "numbers learned | seconds |",
        "|---|---|---|---|---|---|---|",
    )
    there = FAMILY if kind == "family" else [name for name in FAMILY if f"{name}.0" in found]
    return [*head, *(_family_row(name, found) for name in there)]


def family_long() -> list[str]:
    """Those of them that were trained on twelve times as many tasks."""
    return family("family_long")


def _family_row(name: str, found: dict[str, Report]) -> str:
    cells = [f"`{name}`"]
    for i in range(2):
        report, base = found.get(f"{name}.{i}"), found.get(f"maml.{i}")
        if report is None or base is None:
            cells += ["not run", ""]
            continue
        cells.append(f"{100 * report.mean:.2f} ± {100 * report.ci95:.2f}")
        cells.append("" if name == "maml" else _paired(base, report))
    first = found.get(f"{name}.0")
    cells += [f"{first.parameters:,}", f"{first.train_seconds or 0:.0f}"] if first else ["", ""]
    return "| " + " | ".join(cells) + " |"


def few_classes() -> list[str]:
    """With and without task interpolation, from benchmarks/few_classes/*.json."""
    found: dict[str, list[Report]] = {}
    for file in sorted((ROOT / "benchmarks" / "few_classes").glob("*.json")):
        found.setdefault(file.stem.split(".")[0], []).append(Report.load(file))
    means = {
        name: replace(reports[0], scores=_mean_scores(reports)) for name, reports in found.items()
    }
    lines = [
        "| learner | accuracy | with MLTI | difference | "
        "differences of the trainings, one by one |",
        "|---|---|---|---|---|",
    ]
    for name in (n for n in NAMES if f"{n}-mlti" in found and n in found):
        plain, mixed = means[name], means[f"{name}-mlti"]
        apart = (
            compare(a, b).difference
            for a, b in zip(found[name], found[f"{name}-mlti"], strict=True)
        )
        (a, a95), (b, b95) = (mean_ci95(r.scores) for r in (plain, mixed))
        cells = (
            f"`{name}`",
            f"{100 * a:.2f} ± {100 * a95:.2f}",
            f"{100 * b:.2f} ± {100 * b95:.2f}",
            _paired(plain, mixed),
        )
        lines.append(
            "| " + " | ".join((*cells, ", ".join(f"{100 * d:+.2f}" for d in apart))) + " |"
        )
    return lines


def _mean_scores(reports: list[Report]) -> tuple[float, ...]:
    return tuple(
        sum(of_task) / len(reports) for of_task in zip(*(r.scores for r in reports), strict=True)
    )


def learned_optimiser() -> list[str]:
    """The loss after 100 steps, from benchmarks/learned_optimiser.json."""
    measured = json.loads(
        (ROOT / "benchmarks" / "learned_optimiser.json").read_text(encoding="utf-8")
    )
    rows = [
        f"| {name} | {found['after_100'][0]:.3f} ± {found['after_100'][1]:.3f} |"
        for name, found in measured["losses"].items()
    ]
    note = (
        f"{measured['n_tasks']} new quadratics, 95 % intervals; rates chosen on as many others "
        f"from {len(measured['rates'])} between {measured['rates'][0]:g} and "
        f"{measured['rates'][-1]:g}, three to a decade; the optimiser learned on "
        f"{measured['train_tasks']:,}; all in {measured['seconds']:.0f} s; commit "
        f"{measured['commit']}."
    )
    return ["| optimiser | f after 100 steps |", "|---|---|", *rows, "", note]


def strangers() -> list[str]:
    """Who gets in, from benchmarks/own_images.json."""
    measured = json.loads((ROOT / "benchmarks" / "own_images.json").read_text(encoding="utf-8"))
    lines = [
        "| pictures, rule | enrolled | cohort | strangers × draws | right member first | asked for "
        "| got in | binomial interval | members missed |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, found in (
        (n, f) for n, f in measured.items() if isinstance(f, dict) and "rates" in f
    ):
        photos = f" × {found['cohort_photos']}" if found["cohort_photos"] > 1 else ""
        for rate, told in found["rates"].items():
            what = (
                name,
                str(found["enrolled"]),
                f"{found['cohort']}{photos}" if found["cohort"] else "",
                f"{found['strangers']} × {found['draws']}",
                f"{100 * found['rank_1'][0]:.1f} %",
                f"{100 * float(rate):g} %",
            )
            if told is None:
                lines.append("| " + " | ".join((*what, "too few to say", "", "")) + " |")
                continue
            low, high = told["interval"]
            lines.append(
                f"| {' | '.join(what)} | {100 * told['accepted'][0]:.2f} ± "
                f"{100 * told['accepted'][1]:.2f} % | {100 * low:.2f} … {100 * high:.2f} % | "
                f"{100 * told['fnir'][0]:.1f} % |"
            )
    return [*lines, "", f"Commit {measured['commit']}, {measured['seconds']:.0f} s."]


def steel() -> list[str]:
    """Defects on steel, from benchmarks/own_images.json."""
    measured = json.loads((ROOT / "benchmarks" / "own_images.json").read_text(encoding="utf-8"))[
        "steel"
    ]
    shots = list(next(iter(next(iter(measured.values())).values())))
    return [
        f"| encoder | head | {' | '.join(f'{s} per class' for s in shots)} |",
        "|---" * (len(shots) + 2) + "|",
        *(
            f"| {encoder} | `{h}` | "
            + " | ".join(f"{100 * m:.1f} ± {100 * c:.1f}" for m, c in f.values())
            + " |"
            for encoder, heads in measured.items()
            for h, f in heads.items()
        ),
    ]


def patch_memory() -> list[str]:
    """Planted defects on textures, from benchmarks/patch_memory.json."""
    measured = json.loads((ROOT / "benchmarks" / "patch_memory.json").read_text(encoding="utf-8"))
    names = list(next(iter(measured["synthetic"].values())))
    lines = [f"| texture | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for what, found in measured["synthetic"].items():
        lines.append(
            f"| {what} | "
            + " | ".join(f"{100 * m:.1f} ± {100 * c:.1f}" for m, c in found.values())
            + " |"
        )
    return [*lines, "", f"Commit {measured['commit']}, {measured['seconds']:.0f} s."]


def patch_steel() -> list[str]:
    """Kinds of steel surface that play "good" in turn, from benchmarks/patch_memory.json."""
    measured = json.loads((ROOT / "benchmarks" / "patch_memory.json").read_text(encoding="utf-8"))[
        "steel"
    ]
    return [
        f"| {' | '.join(measured)} |",
        "|---" * len(measured) + "|",
        "| " + " | ".join(f"{100 * m:.1f} ± {100 * c:.1f}" for m, c in measured.values()) + " |",
    ]


def symbols() -> list[str]:
    """The encoder that comes with the package beside bare pixels, from benchmarks/symbols.json."""
    measured = json.loads((ROOT / "benchmarks" / "symbols.json").read_text(encoding="utf-8"))
    lines = ["| 5-way accuracy on | 1-shot | pixels | 5-shot | pixels |", "|---|---|---|---|---|"]
    for name, found in (
        (n, f) for n, f in measured.items() if isinstance(f, dict) and "1-shot" in f
    ):
        cells = (
            f"{100 * m:.1f} ± {100 * c:.1f}"
            for s in ("1-shot", "5-shot")
            for m, c in (found[s]["symbols"], found[s]["pixels"])
        )
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return [
        *lines,
        "",
        f"{measured['n_tasks']} tasks each; prototypes of the vectors, and of the pixels of the "
        f"same small pictures; chance is 20 %; commit {measured['commit']}.",
    ]


def voices() -> list[str]:
    """Speakers never heard in training, from benchmarks/voices.json."""
    measured = json.loads((ROOT / "benchmarks" / "voices.json").read_text(encoding="utf-8"))
    lines = [
        f"| encoder | the right one of {measured['speakers']} | equal error rate | accepted at FAR "
        f"{100 * measured['far']:g} % |",
        "|---|---|---|---|",
    ]
    for name, found in measured["encoders"].items():
        cells = (
            f"{100 * v:.1f} % ({100 * low:.1f} … {100 * high:.1f})"
            for v, low, high in (found[k] for k in ("identified", "eer", "tar"))
        )
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines.append(
        f"| chance | {100 / measured['speakers']:.1f} % | 50 % | {100 * measured['far']:g} % |"
    )
    note = (
        f"{measured['speakers']} speakers, {measured['enrolled']} utterances of each enrolled and "
        f"{measured['probes']} as probes; in brackets 95 % intervals by bootstrap over "
        f"speakers. Trained on {measured['heard_in_training']} others, {measured['train_tasks']:,} "
        f"tasks, {measured['train_seconds']:.0f} s; eSpeak NG "
        f"{measured['versions']['espeak-ng']}; commit {measured['commit']}."
    )
    return [*lines, "", note]


def open_set() -> list[str]:
    """Strangers among the queries, from benchmarks/open_set.json."""
    measured = json.loads((ROOT / "benchmarks" / "open_set.json").read_text(encoding="utf-8"))
    lines = [
        "| data, shots | strangers told by | | accuracy | AUROC | FPR95 | OSCR |",
        "|---|---|---|---|---|---|---|",
    ]
    for data, found in measured["data"].items():
        for shots, by in found["by"].items():
            for name, rates in by.items():
                kind = "transductive" if rates["transductive"] else "inductive"
                cells = (
                    f"{100 * m:.1f} ± {100 * c:.1f}"
                    for m, c in (rates[k] for k in ("accuracy", "auroc", "fpr95", "oscr"))
                )
                lines.append(f"| {data}, {shots} | {name} | {kind} | {' | '.join(cells)} |")
    note = (
        f"{measured['n_tasks']} tasks each, the same for all, 95 % intervals over tasks; "
        "characters by the encoder that comes with the package, photographs by "
        f"`mini-imagenet-protonet`; {measured['seconds']:.0f} s; commit {measured['commit']}."
    )
    return [*lines, "", note]


def galleries() -> list[str]:
    """Searches and changes of large galleries, from benchmarks/gallery.json."""
    measured = json.loads((ROOT / "benchmarks" / "gallery.json").read_text(encoding="utf-8"))
    searches = [
        "| templates | search | one probe | each of 64 | first found | five found | vectors in "
        "memory | commit |",
        "|---|---|---|---|---|---|---|---|",
    ]
    changes = [
        "| templates | read at first | index built | enrol | with a threshold that follows | "
        "remove | first search afterwards | calibrate | peak memory |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for templates, found in measured["sizes"].items():
        rows = 4 * measured["dim"] * int(templates)
        sizes = {
            "gallery, exact": found["matrix_bytes"],
            "gallery, approximate": found["matrix_bytes"] + found["index_bytes"],
        }
        recalls = {
            "gallery, approximate": found["recall"],
            "faiss IndexPQFastScan": {"5": found.get("codes_recall")},
        }
        one, batch = found["milliseconds"]["one"], found["milliseconds"]["batch"]
        for name in (n for n in one if not n.endswith("not logged")):
            plain = f" ({one[f'{name}, not logged']:.3g})" if f"{name}, not logged" in one else ""
            shares = (recalls.get(name, {"1": 1.0, "5": 1.0}).get(k) for k in ("1", "5"))
            cells = ("" if s is None else f"{100 * s:.1f} %" for s in shares)
            size = found["index_bytes"] if "PQ" in name else sizes.get(name, rows)
            times = (
                f"{one[name]:{',.0f' if one[name] >= 1000 else '.3g'}}{plain} ms | "
                f"{batch[name]:.3g} ms"
            )
            searches.append(
                f"| {int(templates):,} | {name} | {times} | {' | '.join(cells)} | "
                f"{size / 1e6:,.0f} MB | {found['commit']} |"
            )
        some, more = found["changes"], found["changes_following"]
        times = " | ".join(
            f"{v:.3g} ms"
            for v in (some["enrol"], more["enrol"], some["remove"], some["next search"])
        )
        changes.append(
            f"| {int(templates):,} | {found['open_seconds']:.2g} s | {found['index_seconds']:.2g} "
            f"s | {times} | {found['calibrate_seconds']:.2g} s | "
            f"{found['peak_memory'] / 1e9:.1f} GB |"
        )
    note = (
        f"Vectors of {measured['dim']} numbers, {measured['per_identity']} templates per identity, "
        "medians, the five nearest; in brackets without the line in the audit log. "
        f"Found: of the exact search's first, and first five; {measured['probes']} probes. "
        f"Calibrated by a cohort of {measured['cohort']:,}. Each size in one run, side by side, on "
        f"{measured['cpus']} CPUs with faiss {measured['versions']['faiss-cpu']} and scikit-learn "
        f"{measured['versions']['scikit-learn']}; a commit ends in + where files had changed. "
        f"At commit {measured['commit']} a class was added to a `FewShotClassifier` of 1,000 "
        f"classes with 5 examples each in {measured['add_class_milliseconds']:.1f} ms."
    )
    return [*searches, "", *changes, "", note]


def sinusoid() -> list[str]:
    """The errors on sine waves, from benchmarks/sinusoid.json."""
    measured = json.loads((ROOT / "benchmarks" / "sinusoid.json").read_text(encoding="utf-8"))
    steps = [key for key in next(iter(measured["errors"].values())) if key != "rate"]
    head = (
        "| mean squared error after | rate | " + " | ".join(f"{j} steps" for j in steps) + " |",
        "|---" * (len(steps) + 2) + "|",
    )
    rows = [
        f"| {name} | {e['rate']} | "
        + " | ".join(f"{e[j][0]:.2f} ± {e[j][1]:.2f}" for j in steps)
        + " |"
        for name, e in measured["errors"].items()
    ]
    note = (
        f"{measured['n_tasks']} new waves, 95 % intervals; MAML was trained on "
        f"{measured['train_tasks']:,} tasks in {measured['train_seconds']:.0f} s, the whole "
        f"experiment took {measured['seconds']:.0f} s; commit {measured['commit']}."
    )
    return [*head, *rows, "", note]


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
    (ROOT / "docs" / "methods" / "gradient_based.md", "parts", parts),
    (ROOT / "docs" / "methods" / "gradient_based.md", "family", family),
    (ROOT / "docs" / "methods" / "gradient_based.md", "family-long", family_long),
    (ROOT / "docs" / "methods" / "gradient_based.md", "learned-optimiser", learned_optimiser),
    (ROOT / "docs" / "methods" / "regression.md", "sinusoid", sinusoid),
    (ROOT / "docs" / "applications" / "gallery.md", "galleries", galleries),
    (
        ROOT / "docs" / "applications" / "gallery.md",
        "promises",
        functools.partial(_rows_of, "gallery_promises"),
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
        "sets",
        functools.partial(_rows_of, "decisions", "set_rows"),
    ),
    (ROOT / "docs" / "applications" / "classifier.md", "strangers", strangers),
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
