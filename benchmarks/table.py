"""Render the results table of README.md and docs/results.md from the committed benchmarks/results/**/*.json.

python benchmarks/table.py          writes the table into the files
python benchmarks/table.py --check  fails where a file differs from what would be written
"""

import sys
from pathlib import Path

from quickstudy.evaluation import Report
from quickstudy.recipes import RECIPES, recipe_named

ROOT = Path(__file__).parent.parent
FILES = (ROOT / "README.md", ROOT / "docs" / "results.md")
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
HEAD = (
    "| recipe | task | queries per class | accuracy (95 % interval) | published | transductive | norm | tasks scored | trained on | in |",
    "|---|---|---|---|---|---|---|---|---|---|",
)


def rows() -> list[str]:
    """One row per committed report, and one per published setting of a recipe that was not run."""
    reports = [Report.load(file) for file in sorted((ROOT / "benchmarks" / "results").rglob("*.json"))]
    order = {name: i for i, name in enumerate(RECIPES)}
    reports.sort(key=lambda r: (order[r.recipe], r.n_way, r.n_shot, r.n_query, r.norm))
    made = [_row(r) for r in reports]
    run = {r.recipe for r in reports}
    for name in RECIPES:
        recipe = recipe_named(name)
        for e in recipe.evaluations if name not in run else ():
            if e.published is not None:
                made.append(
                    f"| `{name}` | {e.setting} | {e.setting.n_query} | not run | {100 * e.published:.1f} | | {recipe.encoder.options.get('norm', '')} | | "
                    f"{recipe.train.steps * recipe.train.tasks_per_step:,} tasks | |"
                )
    return made


def _row(r: Report) -> str:
    published = "" if r.published is None else f"{100 * r.published:.1f}"
    kind = "yes" if r.transductive else "no"
    minutes = "" if r.train_seconds is None else f"{r.train_seconds / 60:.0f} min, {r.device}"
    return (
        f"| `{r.recipe}` | {r.n_way}-way {r.n_shot}-shot | {r.n_query} | {100 * r.mean:.2f} ± {100 * r.ci95:.2f} | {published} | {kind} | {r.norm} | "
        f"{r.n_tasks:,} | {r.train_tasks or 0:,} tasks | {minutes} |"
    )


def rendered(text: str) -> str:
    """The text with the table between its markers."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return before + "\n".join((BEGIN, *HEAD, *rows(), END)) + after


def main() -> int:
    """Write the tables, or with --check only compare."""
    check, stale = "--check" in sys.argv[1:], []
    for file in FILES:
        text = file.read_text(encoding="utf-8")
        new = rendered(text)
        if new != text:
            stale.append(file.relative_to(ROOT))
            if not check:
                file.write_text(new, encoding="utf-8")
    if check and stale:
        print(f"{', '.join(map(str, stale))} differ from benchmarks/results. Run: python benchmarks/table.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
