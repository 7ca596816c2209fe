"""The commands ``inspect …``: defects, when there are only good parts to learn from."""

import csv
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from quickstudy.anomaly import PatchMemory
from quickstudy.anomaly.patch_memory import KIND
from quickstudy.cli.choices import Format, PatchScore
from quickstudy.cli.options import JsonLines
from quickstudy.cli.overwrite import check_replaceable
from quickstudy.cli.screen import progress, results, table
from quickstudy.core.errors import ConfigError, DataError
from quickstudy.core.saving import load_folder
from quickstudy.core.words import counted, percent
from quickstudy.data import find_classes, find_images, read_picture
from quickstudy.metrics.thresholds import needed

if TYPE_CHECKING:
    from quickstudy.report import InspectedImage

inspect = typer.Typer(help="Find defects, knowing good parts only.", no_args_is_help=True)

_AT_ONCE = 64
PATCHES, TEMPLATE = "patches", "golden template"
_Model = Annotated[
    Path, typer.Argument(help="What `quickstudy inspect fit` wrote.", show_default=False)
]
_Encoder = Annotated[
    str,
    typer.Option(help="Where the encoder lies now; default where it lay when the memory was made."),
]

_Good = Annotated[
    list[Path],
    typer.Argument(
        help="Images of good parts, or folders of them: at least 19 for verdicts at the default "
        "--false-reject-rate, better 30 or more.",
        show_default=False,
    ),
]


@inspect.command()
def fit(
    good: _Good,
    model: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the memory.", show_default=False)
    ],
    encoder: Annotated[
        str,
        typer.Option(
            help="auto, photographs, the folder of a trained run with a Conv4, a vision model of "
            "the hub, or FILE.onnx that gives a feature map too."
        ),
    ] = "auto",
    keep: Annotated[float, typer.Option(help="The share of the places that is kept.")] = 0.1,
    score: Annotated[
        PatchScore,
        typer.Option(
            help="Of an image: its most anomalous place, or the mean of its most anomalous "
            "hundredth."
        ),
    ] = "max",
    false_reject_rate: Annotated[
        float,
        typer.Option(
            help="The share of good parts that may be called defects: 0.05 takes 19 good parts, "
            "0.01 takes 99."
        ),
    ] = 0.05,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the memory that lies in --out already.")
    ] = False,
) -> None:
    """Remember what good parts look like."""
    check_replaceable(model, KIND, force=force, about=_said_of)
    paths = find_images(good)
    made = PatchMemory(encoder, keep=keep, score=score, false_reject_rate=false_reject_rate).fit(
        paths
    )
    made.save(model)
    for note in made.encoder_.notes:
        results().print(f"Note: {note}")
    parts = counted(len(paths), "good part")
    results().print(f"Remembered {counted(len(made.memory_), 'place')} of {parts}: {model}.")
    if made.threshold_ is None:
        results().print(f"Look: {_no_verdicts(made)}")
    else:
        results().print(
            f"A part is a defect above {made.threshold_:.4g}; of good parts "
            f"{100 * false_reject_rate:g} % are called so at most."
        )
    if made.template_ is not None:
        results().print(
            "The images lie on each other (correlation of edges "
            f"{made.template_.registration_:.2f}), so each is also compared with a golden template."
        )


def _no_verdicts(memory: PatchMemory) -> str:
    """Why there are none, and what it takes."""
    rate, n = memory.false_reject_rate, len(memory.good_scores_) or 1
    return (
        f"a false-reject rate of {100 * rate:g} % takes {needed(rate)} good parts, and "
        f"{counted(n, 'was', 'were')} remembered. There are scores, but no "
        "verdicts."
    )


@inspect.command("score")
def score_images(
    model: _Model,
    images: Annotated[
        list[Path], typer.Argument(help="Images, or folders of them.", show_default=False)
    ],
    maps: Annotated[
        Path | None,
        typer.Option(help="Write an image of where each is anomalous into this folder."),
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option(help="Write a page (HTML) with every image and what is seen on it."),
    ] = None,
    form: Annotated[
        Format, typer.Option("--format", help="Of the scores; jsonl is one JSON object per line.")
    ] = "table",
    as_json: JsonLines = False,
    encoder: _Encoder = "",
) -> None:
    """How much each image differs from good parts, and where. Images that cannot be read are
    named, and the command then ends with status 1.
    """
    memory, rows = PatchMemory.load(model, encoder=encoder), list[dict[str, Any]]()
    paths, inspected = find_images(images), list["InspectedImage"]()
    for at in range(0, len(paths), _AT_ONCE):
        some = paths[at : at + _AT_ONCE]
        good = []
        for path in some:
            try:
                memory.encoder_.read(path)
                good.append(path)
            except DataError as error:
                rows.append({"image": str(path), "error": str(error)})
        if not good:
            continue
        seen = _inspected(memory, good, with_heat=maps is not None or page is not None)
        rows += [_row(image) for image in seen]
        if maps is not None:
            _write_maps(seen, maps)
        if page is not None:
            inspected += seen
    _tell(rows, "jsonl" if as_json else form)
    if memory.threshold_ is None:
        progress().print(f"Note: {_no_verdicts(memory)}", soft_wrap=True)
    if page is not None and inspected:
        from quickstudy.report import inspection_page

        inspection_page(inspected, page)
    if any("error" in row for row in rows):
        raise typer.Exit(1)


@inspect.command()
def evaluate(
    model: _Model,
    folder: Annotated[
        Path,
        typer.Argument(
            help="A folder with a sub-folder 'good', and others with defects.", show_default=False
        ),
    ],
    encoder: _Encoder = "",
) -> None:
    """How well defects are told from good parts that the memory has not seen: area under the ROC
    curve, and the shares that the memory and the golden template call defects, of good parts too.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    found = find_classes(folder)
    if "good" not in found:
        raise DataError(
            f"{folder} has no sub-folder 'good', only {', '.join(found)}. Put images of good "
            "parts there that the memory has not seen."
        )
    memory = PatchMemory.load(model, encoder=encoder)
    scores = {name: memory.anomaly(paths) for name, paths in found.items()}
    methods = [("by the memory", scores, memory.threshold_)]
    compared = _compared(memory, found)
    if compared and memory.template_ is not None:
        methods.append(("by the template", compared, memory.template_.threshold_))
    more = ("template: AUROC", "template: called a defect") if len(methods) > 1 else ()
    shown = table("kind", "images", "AUROC", "average precision", "called a defect", *more)
    for name in found:
        cells = list[str]()
        truth = np.r_[np.zeros(len(scores["good"])), np.ones(len(scores[name]))]
        for _, by_kind, threshold in methods:
            both = np.r_[by_kind["good"], by_kind[name]]
            areas = [""] if name == "good" else [f"{roc_auc_score(truth, both):.3f}"]
            if by_kind is scores:
                ap = "" if name == "good" else f"{average_precision_score(truth, both):.3f}"
                areas.append(ap)
            cells += [*areas, _share_above(by_kind[name], threshold)]
        shown.add_row(name, str(len(scores[name])), *cells)
    results().print(shown)
    _tell_false_rejects(memory, [(by, kinds["good"], limit) for by, kinds, limit in methods])


def _share_above(scores: Any, threshold: float | None) -> str:
    return "—" if threshold is None else percent(float((scores > threshold).mean()), 1)


def _tell_false_rejects(memory: PatchMemory, methods: list[tuple[str, Any, float | None]]) -> None:
    """How many good parts are called defects, by each method and by one or the other."""
    good = [(by, scores > limit) for by, scores, limit in methods if limit is not None]
    if not good:
        results().print(f"Note: {_no_verdicts(memory)}")
        return
    said = [f"{int(called.sum())} {by}" for by, called in good]
    if len(good) > 1:
        either = np.any([called for _, called in good], axis=0)
        said.append(f"{int(either.sum())} by one or the other")
    results().print(
        f"False rejects of {counted(len(good[0][1]), 'good part')}: {', '.join(said)}; "
        f"{100 * memory.false_reject_rate:g} % are allowed to each."
    )


def _compared(memory: PatchMemory, found: dict[str, list[Path]]) -> dict[str, Any]:
    """The scores of each kind by the golden template; empty where there is none, or images have
    another shape.
    """
    if memory.template_ is None:
        return {}
    try:
        return {name: memory.template_.anomaly(paths) for name, paths in found.items()}
    except DataError as error:
        results().print(f"Note: the golden template was left out. {error}")
        return {}


def _said_of(folder: Path) -> str:
    about = load_folder(folder, kind=KIND, files=()).about
    return f"It remembers good parts as the encoder {about['encoder']} sees them."


def _inspected(
    memory: PatchMemory, paths: list[Path], *, with_heat: bool
) -> list["InspectedImage"]:
    """What the memory, and the golden template if there is one, say of each image."""
    from quickstudy.report import InspectedImage, Opinion

    anomalies = memory.anomaly(paths).tolist()
    heats = memory.maps(paths) if with_heat else [None] * len(paths)
    images = []
    for path, anomaly, heat in zip(paths, anomalies, heats, strict=True):
        opinions: dict[str, Opinion | None] = {
            PATCHES: Opinion(anomaly, memory.threshold_, heat),
        }
        template = memory.template_
        if template is not None:
            try:
                score = float(template.anomaly([path])[0])
                compared = template.maps([path])[0] if with_heat else None
                opinions[TEMPLATE] = Opinion(score, template.threshold_, compared)
            except DataError:  # an image of another shape, of which a template says nothing
                opinions[TEMPLATE] = None
        images.append(InspectedImage(path, opinions))
    return images


def _row(image: "InspectedImage") -> dict[str, Any]:
    row: dict[str, Any] = {"image": str(image.path)}
    for begin, name in (("", PATCHES), ("template_", TEMPLATE)):
        opinion = image.opinions.get(name)
        if opinion is None:
            continue
        row[f"{begin}anomaly"] = round(opinion.anomaly, 5)
        if opinion.threshold is not None:
            row[f"{begin}threshold"] = round(opinion.threshold, 5)
            row[f"{begin}verdict"] = opinion.verdict
    return row


def _write_maps(images: list["InspectedImage"], folder: Path) -> None:
    """The image with the heat over it, on one scale for all: up to the hottest place of these
    images, or twice the threshold where that is more.
    """
    from quickstudy.report.inspection import hottest, overlaid

    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, ending in ((PATCHES, ""), (TEMPLATE, "-template")):
            opinions = [image.opinions.get(name) for image in images]
            top = hottest([opinion for opinion in opinions if opinion is not None])
            for image, opinion in zip(images, opinions, strict=True):
                if opinion is not None and opinion.heat is not None:
                    path = image.path
                    over = overlaid(read_picture(path), opinion.heat, top)
                    over.save(folder / f"{path.parent.name}-{path.stem}{ending}.png")
    except OSError as error:
        raise ConfigError(
            f"The maps cannot be written to {folder}: {error}. Choose another folder."
        ) from error


def _number(row: dict[str, Any], name: str) -> str:
    return f"{row[name]:.4g}" if name in row else "—"


def _tell(rows: list[dict[str, Any]], form: Format) -> None:
    has_template = any("template_anomaly" in row for row in rows)
    columns = ["anomaly", "threshold", "verdict"]
    columns += [f"template_{name}" for name in columns] if has_template else []
    if form == "jsonl":
        for row in rows:
            print(json.dumps(row, ensure_ascii=False))
    elif form == "csv":
        writer = csv.DictWriter(sys.stdout, ["image", *columns, "error"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    else:
        more = ("template", "by the template") if has_template else ()
        shown = table("image", "anomaly", "verdict", *more)
        for row in rows:
            cells = [row["image"], _number(row, "anomaly")]
            cells.append(row.get("verdict", row.get("error", "—")))
            if has_template:
                cells += [_number(row, "template_anomaly"), row.get("template_verdict", "—")]
            shown.add_row(*cells)
        results().print(shown)
