"""The commands ``inspect …``: defects, when there are only good parts to learn from."""

import csv
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image

from quickstudy.anomaly import PatchMemory
from quickstudy.anomaly.patch_memory import KIND
from quickstudy.cli.choices import Format, PatchScore
from quickstudy.cli.options import JsonLines
from quickstudy.cli.overwrite import check_replaceable
from quickstudy.cli.screen import results, table
from quickstudy.core.errors import ConfigError, DataError
from quickstudy.core.saving import load_folder
from quickstudy.data import find_classes, find_images, read_picture

inspect = typer.Typer(help="Find defects, knowing good parts only.", no_args_is_help=True)

_AT_ONCE = 64
_Model = Annotated[
    Path, typer.Argument(help="What `quickstudy inspect fit` wrote.", show_default=False)
]
_Encoder = Annotated[
    str,
    typer.Option(help="Where the encoder lies now; default where it lay when the memory was made."),
]


@inspect.command()
def fit(
    good: Annotated[
        list[Path],
        typer.Argument(help="Pictures of good parts, or folders of them.", show_default=False),
    ],
    model: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the memory.", show_default=False)
    ],
    encoder: Annotated[
        str,
        typer.Option(
            help="auto, the folder of a trained run with a Conv4, or a vision model of the hub."
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
        float, typer.Option(help="The share of good parts that may be called defects.")
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
    results().print(f"Remembered {len(made.memory_)} places of {len(paths)} good parts: {model}.")
    if made.threshold_ is None:
        results().print(
            "Look: too few good parts to promise a false-reject rate of "
            f"{100 * false_reject_rate:g} %; scores will be given, verdicts not."
        )
    else:
        results().print(
            f"A part is a defect above {made.threshold_:.4g}; of good parts "
            f"{100 * false_reject_rate:g} % are."
        )


@inspect.command("score")
def score_pictures(
    model: _Model,
    pictures: Annotated[
        list[Path], typer.Argument(help="Pictures, or folders of them.", show_default=False)
    ],
    maps: Annotated[
        Path | None,
        typer.Option(help="Write a picture of where it is anomalous into this folder, for each."),
    ] = None,
    form: Annotated[
        Format, typer.Option("--format", help="Of the scores; jsonl is one JSON object per line.")
    ] = "table",
    as_json: JsonLines = False,
    encoder: _Encoder = "",
) -> None:
    """How much each picture differs from good parts, and where. Pictures that cannot be read are
    named, and the command then ends with status 1.
    """
    memory, rows = PatchMemory.load(model, encoder=encoder), list[dict[str, Any]]()
    paths = find_images(pictures)
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
        for path, anomaly in zip(good, memory.anomaly(good).tolist(), strict=True):
            rows.append({"image": str(path), "anomaly": round(anomaly, 5)})
            if memory.threshold_ is not None:
                rows[-1] |= {
                    "threshold": round(memory.threshold_, 5),
                    "verdict": "defect" if anomaly > memory.threshold_ else "good",
                }
        if maps is not None:
            _write_maps(memory, good, maps)
    _tell(rows, "jsonl" if as_json else form)
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
    curve, and what the threshold does.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    found = find_classes(folder)
    if "good" not in found:
        raise DataError(
            f"{folder} has no sub-folder 'good', only {', '.join(found)}. Put pictures of good "
            "parts there that the memory has not seen."
        )
    memory = PatchMemory.load(model, encoder=encoder)
    scores = {name: memory.anomaly(paths) for name, paths in found.items()}
    shown = table("kind", "images", "AUROC", "average precision", "called a defect")
    for name in found:
        called = (
            f"{100 * (scores[name] > memory.threshold_).mean():.1f} %"
            if memory.threshold_ is not None
            else "—"
        )
        if name == "good":
            shown.add_row(name, str(len(scores[name])), "", "", called)
            continue
        truth = np.r_[np.zeros(len(scores["good"])), np.ones(len(scores[name]))]
        both = np.r_[scores["good"], scores[name]]
        shown.add_row(
            name,
            str(len(scores[name])),
            f"{roc_auc_score(truth, both):.3f}",
            f"{average_precision_score(truth, both):.3f}",
            called,
        )
    results().print(shown)


def _said_of(folder: Path) -> str:
    about = load_folder(folder, kind=KIND, files=()).about
    return f"It remembers good parts as the encoder {about['encoder']} sees them."


def _write_maps(memory: PatchMemory, paths: list[Path], folder: Path) -> None:
    """The picture with the heat over it, on one scale for all: up to the hottest place of these
    pictures, or twice the threshold where that is more.
    """
    from matplotlib import colormaps

    heats = memory.maps(paths)
    top = max(*(float(heat.max()) for heat in heats), 2 * (memory.threshold_ or 0.0), 1e-12)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, heat in zip(paths, heats, strict=True):
            picture = (
                np.asarray(
                    read_picture(path).resize((heat.shape[1], heat.shape[0])), dtype=np.float64
                )
                / 255
            )
            strength = np.clip(heat / top, 0, 1)
            colour = colormaps["inferno"](strength)[..., :3]
            over = (strength[..., None] * 0.7) * colour + (1 - strength[..., None] * 0.7) * picture
            Image.fromarray((255 * over).astype(np.uint8)).save(
                folder / f"{path.parent.name}-{path.stem}.png"
            )
    except OSError as error:
        raise ConfigError(
            f"The maps cannot be written to {folder}: {error}. Choose another folder."
        ) from error


def _tell(rows: list[dict[str, Any]], form: Format) -> None:
    if form == "jsonl":
        for row in rows:
            print(json.dumps(row, ensure_ascii=False))
    elif form == "csv":
        writer = csv.DictWriter(
            sys.stdout, ["image", "anomaly", "threshold", "verdict", "error"], lineterminator="\n"
        )
        writer.writeheader()
        writer.writerows(rows)
    else:
        shown = table("picture", "anomaly", "verdict")
        for row in rows:
            shown.add_row(
                row["image"],
                f"{row['anomaly']:.4g}" if "anomaly" in row else "—",
                row.get("verdict", row.get("error", "—")),
            )
        results().print(shown)
