"""A gallery as files, to be moved elsewhere: everything but the logs. What is read is checked whole
before anything is written.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.numpy import load, load_file, save
from sqlalchemy import insert
from sqlalchemy.engine import Connection

from quickstudy.core.errors import ConfigError, GalleryError, QuickstudyError
from quickstudy.core.saving import load_folder, save_folder
from quickstudy.gallery.checksums import checksum, is_unit
from quickstudy.gallery.create import Description
from quickstudy.gallery.identities import new_pseudonym
from quickstudy.gallery.moments import kept, utc_now
from quickstudy.gallery.names import normal_name
from quickstudy.gallery.policy import Policy
from quickstudy.gallery.snapshot import Cohort
from quickstudy.gallery.tables import COHORT, FORMAT, IDENTITY, TEMPLATE
from quickstudy.gallery.vectors import Vectors
from quickstudy.pretrained.measured import MeasuredThresholds

CHUNK = 10_000
KIND = "gallery export"
VECTORS = "vectors.safetensors"
OLDER_FILES = ("gallery.safetensors", "gallery.json")
_OLDER_RULES = {
    "leave one class out": "leave one identity out",
    "leave one class out, of a sample": "leave one identity out, of a sample",
}


@dataclass(frozen=True)
class Export:
    """What moves.

    Args:
        description: of the gallery.
        policy: in force.
        people: of each identity what `Gallery.identities` says, with the number of its templates.
        templates: of all, in the order of ``people``.
        cohort: people who are not enrolled.

    Raises:
        GalleryError: for what no gallery could hold, with what it is.
    """

    description: Description
    policy: Policy
    people: list[dict[str, Any]]
    templates: Float[Vectors, "n D"]
    cohort: Cohort

    def __post_init__(self) -> None:
        try:
            _check_people(self.people, len(self.templates))
        except (ValueError, KeyError, TypeError) as error:
            raise GalleryError(f"An identity in it is not as it should be: {error}.") from error
        for name, vectors in (("templates", self.templates), ("cohort", self.cohort.vectors)):
            if vectors.ndim != 2 or vectors.shape[1] != self.description.dim:
                raise GalleryError(
                    f"Its {name} should be vectors of {self.description.dim} numbers, but have "
                    f"the shape {vectors.shape}."
                )
            if not is_unit(vectors):
                raise GalleryError(
                    f"Its {name} hold a vector that has not length 1, or is not of finite numbers."
                )
        if self.cohort.persons.shape != (len(self.cohort.vectors),):
            raise GalleryError("Its cohort does not say of each vector who it is of.")

    def write(self, folder: Path) -> None:
        """Into files that only their owner can read: whole, with checksums, or not at all. What an
        earlier export left there is deleted.

        Raises:
            GalleryError: when the folder cannot be written.
        """
        tensors = {
            "templates": self.templates,
            "cohort": self.cohort.vectors,
            "cohort_persons": self.cohort.persons,
        }
        try:
            save_folder(
                folder,
                kind=KIND,
                about=self.to_json(),
                files={VECTORS: save(tensors)},
                private=True,
            )
        except ConfigError as error:
            raise GalleryError(str(error)) from error

    def to_json(self) -> dict[str, Any]:
        """Everything but the vectors, as JSON values."""
        about, measured = self.description, self.description.measured
        return {
            "format": FORMAT,
            "encoder": about.encoder,
            "dim": about.dim,
            "kind": about.kind,
            "source": about.source,
            "measured": None if measured is None else measured.to_json(),
            "policy": json.loads(self.policy.to_json()),
            "identities": self.people,
        }

    @classmethod
    def read(cls, folder: Path) -> "Export":
        """Back from its files, also from those of earlier versions.

        Raises:
            GalleryError: when they are missing or damaged.
        """
        try:
            if all((folder / name).is_file() for name in OLDER_FILES):
                about = json.loads((folder / OLDER_FILES[1]).read_text(encoding="utf-8"))
                tensors = load_file(folder / OLDER_FILES[0])
            else:
                saved = load_folder(folder, kind=KIND)
                about = saved.about
                tensors = load(saved.files[VECTORS])
            json.dumps(about, ensure_ascii=False).encode()  # texts that no database takes
            return cls._of(about, tensors)
        except KeyError as error:
            raise GalleryError(
                f"{folder} holds no gallery that can be imported: it has no {error}."
            ) from error
        except (
            OSError,
            ValueError,
            TypeError,
            AttributeError,
            RecursionError,
            SafetensorError,
            QuickstudyError,
        ) as error:
            raise GalleryError(
                f"{folder} holds no gallery that can be imported: {str(error).rstrip('.')}."
            ) from error

    @classmethod
    def _of(cls, about: dict[str, Any], tensors: dict[str, Any]) -> "Export":
        if not isinstance(about["format"], int) or not 1 <= about["format"] <= FORMAT:
            raise ValueError(
                f"it is of format {about['format']!r}, and this version reads up to {FORMAT}"
            )
        policy, measured = dict(about["policy"]), about.get("measured")
        policy["rule"] = _OLDER_RULES.get(policy.get("rule", ""), policy.get("rule", ""))
        vectors = {
            name: tensors[name].astype(np.float32, copy=False) for name in ("templates", "cohort")
        }
        persons = tensors.get("cohort_persons", np.arange(len(vectors["cohort"])))
        description = Description(
            about["encoder"],
            about["dim"],
            about.get("kind", "images"),
            about.get("source", ""),
            None if measured is None else MeasuredThresholds.from_json(measured),
        )
        people = about["identities"]
        if not isinstance(people, list):
            raise ValueError("its identities are no list")
        cohort = Cohort(vectors["cohort"], persons.astype(np.int64))
        return cls(description, Policy(**policy), people, vectors["templates"], cohort)


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
    start, now = 0, utc_now()
    for begin in range(0, len(people), CHUNK):
        some = people[begin : begin + CHUNK]
        ids = connection.execute(
            insert(IDENTITY).returning(IDENTITY.c.id, sort_by_parameter_order=True),
            [_row(person) for person in some],
        )
        owners = np.repeat(ids.scalars().all(), [p["templates"] for p in some]).tolist()
        contents = [vector.tobytes() for vector in templates[start : start + len(owners)]]
        connection.execute(
            insert(TEMPLATE),
            [
                {"identity": o, "vector": v, "checksum": checksum(v, o), "created": now}
                for o, v in zip(owners, contents, strict=True)
            ],
        )
        start += len(owners)


def insert_cohort(connection: Connection, cohort: Cohort) -> None:
    """Keep people who are not enrolled."""
    persons = cohort.persons.tolist()
    contents = [vector.tobytes() for vector in cohort.vectors]
    rows = [
        {"person": person, "vector": content, "checksum": checksum(content, person)}
        for person, content in zip(persons, contents, strict=True)
    ]
    if rows:
        connection.execute(insert(COHORT), rows)


def _check_people(people: Sequence[dict[str, Any]], templates: int) -> None:
    names = set[str]()
    for person in people:
        name, count = normal_name(person["name"]), person["templates"]
        if name in names:
            raise ValueError(f"there are two called '{name}'")
        names.add(name)
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise ValueError(f"'{name}' has {count!r} templates, but needs at least one")
        if not isinstance(person["consent"], str | None):
            raise ValueError(f"the consent of '{name}' is no text")
        if not isinstance(person["details"], dict):
            raise ValueError(f"the details of '{name}' are no JSON object")
        _row(person)
    total = sum(person["templates"] for person in people)
    if total != templates:
        raise ValueError(f"they have {total} templates, but the file holds {templates}")


def _row(person: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": normal_name(person["name"]),
        "pseudonym": new_pseudonym(),
        "consent": person["consent"],
        "retain_until": _moment(person["retain_until"]) if person["retain_until"] else None,
        "details": json.dumps(person["details"], allow_nan=False),
        "created": _moment(person["created"]),
    }


def _moment(text: str) -> datetime | None:
    """A moment of an export; those of earlier versions are in UTC without saying so."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is None else kept(moment)
