"""Options and arguments that several commands take."""

from pathlib import Path
from typing import Annotated

import typer

from quickstudy.cli.choices import Norm

CacheOption = Annotated[
    bool,
    typer.Option(help="Keep vectors in the user's cache folder, so that no file is encoded twice."),
]
ChangedFields = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="FIELD=VALUE", help="Change a field, e.g. learner.inner_steps=10."
    ),
]
DeviceOption = Annotated[
    str, typer.Option(help="Where it runs, as torch calls it, e.g. cpu or cuda:1.")
]
JsonLines = Annotated[bool, typer.Option("--json", help="The same as --format jsonl.")]
ModelFolder = Annotated[
    Path, typer.Argument(help="A model that `quickstudy fit` wrote.", show_default=False)
]
MovedEncoder = Annotated[
    str,
    typer.Option(
        help="Where the encoder lies now; default where it lay when the model was fitted."
    ),
]
NormOption = Annotated[
    Norm | None,
    typer.Option(help="Another normalisation policy; support makes MAML inductive."),
]
RecipeName = Annotated[str, typer.Argument(help="A name from `quickstudy list`.")]
RunFolder = Annotated[
    Path, typer.Argument(help="The folder that `quickstudy train` wrote.", show_default=False)
]
