"""The command ``export``."""

from pathlib import Path
from typing import Annotated

import typer

from quickstudy.cli.options import MovedEncoder
from quickstudy.cli.screen import progress, results
from quickstudy.core.errors import ConfigError
from quickstudy.core.saving import KINDS, what_is


def export(
    model: Annotated[
        Path,
        typer.Argument(
            help="What `quickstudy fit` or `quickstudy inspect fit` wrote.", show_default=False
        ),
    ],
    out: Annotated[
        Path, typer.Argument(help="The file: NAME.onnx, or NAME.pt2.", show_default=False)
    ],
    encoder: MovedEncoder = "",
) -> None:
    """Write a model as one graph from resized pixels to scores, for programs without torch."""
    from quickstudy.anomaly import PatchMemory
    from quickstudy.estimators import FittedModel
    from quickstudy.export import export_model, export_patch_memory

    kind = what_is(model)
    if kind not in ("model", "patch memory"):
        raise ConfigError(
            f"{model} holds {KINDS[kind]}, which is not exported. Fit a model with it: quickstudy "
            "fit FOLDER --encoder, or --run."
        )
    with progress().status("tracing the model"):
        if kind == "model":
            export_model(FittedModel.load(model, encoder=encoder), out)
        else:
            export_patch_memory(PatchMemory.load(model, encoder=encoder), out)
    results().print(f"Wrote {out} ({out.stat().st_size / 1e6:.1f} MB); it answers as {model} does.")
    if out.suffix == ".onnx":
        results().print(f"Ask it without torch: python -m quickstudy.runtime {out} IMAGE…")
