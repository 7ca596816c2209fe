"""The closed choices of the commands, as their help lists them. That each equals what the library
takes is a test, so that no room has to be imported to print a help page.
"""

from enum import StrEnum
from typing import Annotated, Literal, TypeAlias

import typer

Format: TypeAlias = Literal["table", "csv", "jsonl"]
Head: TypeAlias = Literal[
    "auto", "prototype", "cosine", "ridge", "logistic", "gaussian", "in-context"
]
FileKind: TypeAlias = Literal["images", "audio"]
FolderKind: TypeAlias = Literal["auto", "images", "audio", "text"]
Norm: TypeAlias = Literal["batch", "running", "support", "per_task", "group", "none"]
Split: TypeAlias = Literal["train", "val", "test"]
UnknownScore: TypeAlias = Literal[
    "max_similarity", "nearest", "energy", "mahalanobis", "max_probability"
]
OutputScore: TypeAlias = Literal["max_similarity", "energy", "max_probability"]
TemplateScore: TypeAlias = Literal["nearest", "mean"]
GalleryIndex: TypeAlias = Literal["exact", "approximate", "pgvector"]
PatchScore: TypeAlias = Literal["max", "top1"]
Device: TypeAlias = Literal["auto", "cpu", "cuda"]
WorkersKind: TypeAlias = Literal["auto", "threads", "processes"]
SuiteName: TypeAlias = Literal[
    "omniglot",
    "omniglot-short",
    "mini-imagenet",
    "regression",
    "family",
    "few-classes",
    "paper",
    "rl",
    "own-images",
    "cross-domain",
    "tables",
]

OnBad: TypeAlias = Annotated[
    Literal["refuse", "skip"],
    typer.Option(help="Files that cannot be read: refuse them all, or skip and name them."),
]
OnPoor: TypeAlias = Annotated[
    Literal["warn", "skip"],
    typer.Option(
        help="Photos that are tiny, dark, blurred, or unlike the person's others: warn and enrol, "
        "or skip."
    ),
]


# An option that may be given several times takes an enumeration, not a Literal.


class AxisName(StrEnum):
    """What grows in ``bench growth``."""

    TASKS = "tasks"
    WAYS = "ways"
    SHOTS = "shots"
    INNER_STEPS = "inner steps"
    PROCESSES = "processes"


class PeerName(StrEnum):
    """Other libraries, and other ways to do the same."""

    PLAIN = "plain"
    TORCHOPT = "torchopt"
    HIGHER = "higher"
    EASYFSL = "easyfsl"
    VMAP = "vmap"
    VMAP_COMPILED = "vmap-compiled"
    JAX = "jax"


class TrackerName(StrEnum):
    """Where the curves of a training go besides its own log."""

    TENSORBOARD = "tensorboard"
    WANDB = "wandb"
    MLFLOW = "mlflow"


class WorkloadName(StrEnum):
    """What is timed."""

    W1 = "W1"
    W1S1 = "W1s1"
    W2 = "W2"
    W3 = "W3"
    W4 = "W4"
    W5 = "W5"
    W6_60WAY = "W6-60way"
    W6_5WAY = "W6-5way"
    W6_84 = "W6-84"
    W7 = "W7"
    W8_MAML = "W8-maml"
    W8_PROTONET = "W8-protonet"
    W8_MINI_MAML = "W8-mini-maml"
    W8_MINI_PROTONET = "W8-mini-protonet"
