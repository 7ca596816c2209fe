"""A gallery as two files, to be moved elsewhere: everything but the audit log."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from sqlalchemy import insert
from sqlalchemy.engine import Connection

from quickstudy.core.errors import GalleryError
from quickstudy.gallery.exact_search import Vectors
from quickstudy.gallery.policy import Policy
from quickstudy.gallery.store import COHORT, FORMAT, IDENTITY, TEMPLATE

CHUNK = 10_000
FILES = ("gallery.safetensors", "gallery.json")


@dataclass(frozen=True)
class Export:
    """What moves.

    Args:
        encoder: the encoder's key.
        source: what opens the encoder again, or empty.
        policy: in force.
        people: of each identity what `Gallery.identities` says, with the number of its templates.
        templates: of all, in the order of ``people``.
        cohort: the strangers that were given.
    """

    encoder: str
    source: str
    policy: Policy
    people: list[dict[str, Any]]
    templates: Float[Vectors, "n D"]
    cohort: Float[Vectors, "m D"]

    def write(self, folder: Path) -> None:
        """Into ``gallery.json`` and ``gallery.safetensors``.

        Raises:
            GalleryError: when the folder cannot be written.
        """
        about = {
            "format": FORMAT,
            "encoder": self.encoder,
            "source": self.source,
            "dim": self.templates.shape[1],
            "policy": json.loads(self.policy.to_json()),
            "identities": self.people,
        }
        try:
            folder.mkdir(parents=True, exist_ok=True)
            tensors, text = (folder / f"{name}.partial" for name in FILES)
            save_file({"templates": self.templates, "cohort": self.cohort}, tensors)
            text.write_text(
                json.dumps(about, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
            )
            for file in (tensors, text):
                file.replace(file.with_suffix(""))
        except OSError as error:
            raise GalleryError(
                f"{folder} cannot be written: {error}. Choose another folder."
            ) from error

    @classmethod
    def read(cls, folder: Path) -> "Export":
        """Back from its files.

        Raises:
            GalleryError: when they are missing or damaged.
        """
        try:
            about = json.loads((folder / FILES[1]).read_text(encoding="utf-8"))
            tensors, people = load_file(folder / FILES[0]), about["identities"]
            if about["format"] > FORMAT:
                raise ValueError(
                    f"it is of format {about['format']}, and this version reads up to {FORMAT}"
                )
            for p in people:
                _row(p)
            if sum(p["templates"] for p in people) != len(tensors["templates"]) or tensors[
                "templates"
            ].shape[1:] != (about["dim"],):
                raise ValueError("the number or the length of the templates is wrong")
            templates, cohort = (
                tensors[name].astype(np.float32, copy=False) for name in ("templates", "cohort")
            )
            made = cls(
                about["encoder"],
                about.get("source", ""),
                Policy(**about["policy"]),
                people,
                templates,
                cohort,
            )
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise GalleryError(
                f"{folder} holds no gallery that can be imported: {error}."
            ) from error
        return made


def insert_people(
    connection: Connection, people: Sequence[dict[str, Any]], templates: Float[Vectors, "n D"]
) -> None:
    """Put identities that are new into the database, in few statements; nothing is compared with
    anything.

    Args:
        connection: with a transaction of its own.
        people: as in an export.
        templates: of all, unit vectors, in the same order.
    """
    at, now = 0, datetime.now(UTC).replace(tzinfo=None)
    for begin in range(0, len(people), CHUNK):
        some = people[begin : begin + CHUNK]
        made = connection.execute(
            insert(IDENTITY).returning(IDENTITY.c.id, sort_by_parameter_order=True),
            [_row(p) for p in some],
        )
        owners = np.repeat(made.scalars().all(), [p["templates"] for p in some]).tolist()
        vectors = templates[at : at + len(owners)]
        connection.execute(
            insert(TEMPLATE),
            [
                {"identity": o, "vector": v.tobytes(), "created": now}
                for o, v in zip(owners, vectors, strict=True)
            ],
        )
        at += len(owners)


def insert_cohort(connection: Connection, cohort: Float[Vectors, "n D"]) -> None:
    """Keep the vectors of strangers."""
    if len(cohort):
        connection.execute(insert(COHORT), [{"vector": v.tobytes()} for v in cohort])


def _row(person: dict[str, Any]) -> dict[str, Any]:
    until = person["retain_until"]
    return {
        "name": person["name"],
        "consent": person["consent"],
        "retain_until": datetime.fromisoformat(until) if until else None,
        "details": json.dumps(person["details"]),
        "created": datetime.fromisoformat(person["created"]),
    }
