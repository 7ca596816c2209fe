"""Identities and their templates, kept: enrol, identify, verify, forget."""

import dataclasses
import json
import warnings
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.engine import Engine
from sqlalchemy.exc import IntegrityError

from quickstudy.core.errors import GalleryError, did_you_mean
from quickstudy.gallery.access import Access
from quickstudy.gallery.changes import Change, naive, policy_of, utc_now
from quickstudy.gallery.create import About, find, make
from quickstudy.gallery.enrolment import look_at
from quickstudy.gallery.exact_search import unit
from quickstudy.gallery.identities import owner_of, people_of
from quickstudy.gallery.index import Index
from quickstudy.gallery.policy import Decision, Enrolment, Policy
from quickstudy.gallery.snapshot import Memory
from quickstudy.gallery.store import AUDIT, COHORT, IDENTITY, STRANGERS, TEMPLATE
from quickstudy.gallery.transfer import Export, insert_cohort, insert_people

SEARCHES = ("exact", "approximate")
LARGE = 1_000_000
"""From so many templates on an exact search says that there is another."""


class Gallery:
    """Who is known, as vectors: one template per photo, never the photo. Any number of processes
    may use it at once.

    Every change is one transaction: after a crash it is there whole, or not at all. Every change
        and every decision leaves a line in `audit`,
    without vectors. Templates of faces are personal data: keep consent and a retention date with
    each identity, and see `expire` and `erase`.

    Make one with `create`, and use it again with `open`.

    Example:
        >>> import tempfile
        >>> gallery = Gallery.create(
        ...     Path(tempfile.mkdtemp()) / "door.db", encoder="my encoder 1", dim=3
        ... )
        >>> gallery.enrol("Ada", [[1.0, 0.1, 0.0], [1.0, 0.0, 0.1]]).warnings
        ()
        >>> [decision.identity for decision in gallery.identify([[0.9, 0.0, 0.0], [0.0, 0.0, 1.0]])]
        ['Ada', None]
        >>> gallery.close()
    """

    def __init__(
        self, engine: Engine, *, place: str, about: About, index: Index | None = None
    ) -> None:
        self.place, self.encoder, self.dim, self.source = (
            place,
            about.encoder,
            about.dim,
            about.source,
        )
        self._memory = Memory(place, about.dim, index=index)
        self._access = Access(engine, place=place, memory=self._memory)
        self._hinted = False

    # --- opening

    @classmethod
    def create(
        cls,
        place: str | Path,
        *,
        encoder: str,
        dim: int,
        source: str = "",
        policy: Policy | None = None,
    ) -> "Gallery":
        """A new, empty gallery.

        Args:
            place: a file (SQLite), or the URL of a PostgreSQL database.
            encoder: what makes the vectors: its hash or name with version. Others are refused
                afterwards.
            dim: length of a vector.
            source: what opens that encoder again, such as the folder of a run or the name of a
                model; kept for whoever asks.
            policy: the first thresholds.

        Raises:
            GalleryError: when there is a gallery already, or the place cannot be written.
        """
        about = About(encoder, dim, source)
        return cls(make(str(place), about, policy or Policy()), place=str(place), about=about)

    @classmethod
    def open(cls, place: str | Path, *, encoder: str = "", index: str = "exact") -> "Gallery":
        """A gallery that is there.

        Args:
            place: as in `create`.
            encoder: what will make the probes' vectors; empty = not checked.
            index: how probes are searched. "exact": compared with every template. "approximate":
                with a short code of each, and exactly with the nearest by these; from 20,000
                templates on several times as fast, but it may miss somebody: see `recall`. It needs
                    the extra ``index``, takes a sixteenth of the templates' memory, and is built at
                    the first search. Enrolling compares exactly either way.

        Raises:
            GalleryError: when there is none, the file is damaged, or its templates were made by
                another encoder.
            ConfigError: when the approximate search is not installed.
        """
        if index not in SEARCHES:
            raise GalleryError(f"There is no search '{index}'. {did_you_mean(index, SEARCHES)}")
        search = Index() if index == "approximate" else None
        engine, about = find(str(place), encoder=encoder)
        return cls(engine, place=str(place), about=about, index=search)

    def close(self) -> None:
        """Give back the connections; the gallery may be used again."""
        self._access.engine.dispose()

    # --- changes

    def enrol(
        self,
        identity: str,
        vectors: ArrayLike,
        *,
        force: bool = False,
        consent: str | None = None,
        retain_until: datetime | None = None,
        details: dict[str, Any] | None = None,
    ) -> Enrolment:
        """Add templates, of a new identity or of one that is there.

        Args:
            identity: the name.
            vectors: ``[n D]``, one per photo.
            force: enrol also what looks like somebody else.
            consent: what was agreed to, and when; kept as it is. As the next two: None leaves what
                is there.
            retain_until: when `expire` will remove the identity.
            details: other JSON values.

        Raises:
            GalleryError: when a vector looks like another identity (unless ``force``), is not of D
                finite numbers, or is zero.
        """
        x = unit(vectors, self.dim)
        if not identity.strip():
            raise GalleryError("An identity needs a name.")
        given = {
            k: v
            for k, v in (("consent", consent), ("retain_until", naive(retain_until)))
            if v is not None
        }
        if details is not None:
            given["details"] = json.dumps(details)
        self._access.prepare(compares=True)
        with self._access.changing(compares=True) as change:
            connection = change.connection
            owner = connection.execute(
                select(IDENTITY.c.id).where(IDENTITY.c.name == identity)
            ).scalar()
            told = look_at(
                x, identity, owner, memory=self._memory, connection=connection, force=force
            )
            if owner is None:
                owner = _key(
                    connection.execute(
                        insert(IDENTITY).values(
                            {"name": identity, "details": "{}", "created": utc_now(), **given}
                        )
                    )
                )
            elif given:
                connection.execute(update(IDENTITY).where(IDENTITY.c.id == owner).values(**given))
            made = [
                _key(
                    connection.execute(
                        insert(TEMPLATE).values(
                            identity=owner, vector=v.tobytes(), created=utc_now()
                        )
                    )
                )
                for v in x
            ]
            change.touches(owner)
            change.note(
                "enrol", identity, detail=f"{len(x)} templates" + (", forced" if force else "")
            )
            self._access.keep_rate(change)
        return Enrolment(identity, tuple(made), tuple(told))

    def rename(self, identity: str, name: str) -> None:
        """Give an identity another name."""
        with self._access.changing() as change:
            owner = owner_of(change.connection, identity)
            try:
                change.connection.execute(
                    update(IDENTITY).where(IDENTITY.c.id == owner).values(name=name)
                )
            except IntegrityError as error:
                raise GalleryError(f"There is a {name} already. Choose another name.") from error
            change.touches(owner)
            change.note("rename", name, detail=f"was {identity}")

    def remove(self, identity: str) -> None:
        """Forget an identity and all its templates."""
        self._access.prepare()
        with self._access.changing() as change:
            owner = owner_of(change.connection, identity)
            change.connection.execute(delete(IDENTITY).where(IDENTITY.c.id == owner))
            change.touches(owner)
            change.note("remove", identity)
            self._access.keep_rate(change)

    def remove_template(self, template: int) -> None:
        """Forget one template; with the last one its identity goes too."""
        self._access.prepare()
        with self._access.changing() as change:
            connection = change.connection
            row = connection.execute(
                select(IDENTITY.c.id, IDENTITY.c.name)
                .join(TEMPLATE, TEMPLATE.c.identity == IDENTITY.c.id)
                .where(TEMPLATE.c.id == template)
            ).first()
            if row is None:
                raise GalleryError(f"There is no template {template}. `identities` lists them.")
            connection.execute(delete(TEMPLATE).where(TEMPLATE.c.id == template))
            if not connection.execute(
                select(func.count()).select_from(TEMPLATE).where(TEMPLATE.c.identity == row.id)
            ).scalar_one():
                connection.execute(delete(IDENTITY).where(IDENTITY.c.id == row.id))
            change.touches(row.id)
            change.note("remove", row.name, detail=f"template {template}")
            self._access.keep_rate(change)

    def expire(self, now: datetime | None = None) -> tuple[str, ...]:
        """Remove the identities whose retention date has passed; returns their names."""
        self._access.prepare()
        with self._access.changing() as change:
            connection = change.connection
            query = (
                select(IDENTITY.c.id, IDENTITY.c.name)
                .where(IDENTITY.c.retain_until < (naive(now) or utc_now()))
                .order_by(IDENTITY.c.id)
            )
            gone = connection.execute(query).all()
            for row in gone:
                connection.execute(delete(IDENTITY).where(IDENTITY.c.id == row.id))
                change.touches(row.id)
                change.note("expire", row.name)
            self._access.keep_rate(change)
        return tuple(row.name for row in gone)

    def erase(self) -> None:
        """Delete everything: identities, templates, cohort, policies and the audit log. The gallery
        is gone afterwards.
        """
        self._access.erase()

    # --- thresholds

    @property
    def policy(self) -> Policy:
        """The thresholds in force."""
        with self._access.reading() as connection:
            return policy_of(connection)[1]

    def set_policy(self, policy: Policy) -> int:
        """Put other thresholds in force; returns the version. Older ones stay on record."""
        with self._access.changing() as change:
            return change.puts(policy)

    def calibrate(self, rate: float, *, cohort: ArrayLike | None = None) -> Policy:
        """Choose the threshold for a wanted false-accept rate, and let it follow when identities
        come and go.

        Each stranger's similarity to the nearest identity stays in memory, so that a change of the
        gallery takes comparisons with whom it changes only.
        The first time, a process compares all strangers with all templates: before the change
        itself, so it holds nobody up. Without a cohort and with more than 5,000 templates 5,000
        identities play the stranger, or as many as the rate takes: drawn as if by lot, with a photo
            or a few each. The policy's rule says so then.

        Args:
            rate: the share of strangers who may be taken for somebody.
            cohort: vectors of strangers ``[n D]``, which are kept; None takes those kept before, or
                lets each identity in turn be the stranger to all others.

        Raises:
            ConfigError: for too few strangers, with the number needed.
        """
        x = None if cohort is None else unit(cohort, self.dim)
        self._access.prepare(compares=True, rate=rate, cohort=x)
        with self._access.changing() as change:
            if x is not None:
                change.connection.execute(delete(COHORT))
                insert_cohort(change.connection, x)
                change.touches(STRANGERS)
            self._memory.follow(change.connection, uncommitted=True)
            threshold, rule = self._memory.threshold(change.connection, rate)
            chosen = dataclasses.replace(
                self._memory.policy, threshold=threshold, review=threshold, rate=rate, rule=rule
            )
            self._memory.agree(change.puts(chosen), chosen)
        return chosen

    # --- questions

    def identify(self, vectors: ArrayLike, *, top_k: int = 5) -> list[Decision]:
        """Who each probe is, or that it is a stranger.

        Raises:
            GalleryError: for vectors that are not of D finite numbers.
        """
        x = unit(vectors, self.dim)
        with self._access.looking() as connection:
            version, policy = self._memory.version, self._memory.policy
            self._hint()
            ranked = self._memory.search(x, max(top_k, 1))
            names = self._memory.names(
                connection, (owner for owners, _ in ranked for owner in owners.tolist())
            )
            near = [
                [(names[o], s) for o, s in zip(owners.tolist(), similarity.tolist(), strict=True)]
                for owners, similarity in ranked
            ]
        found = [policy.decide(candidates, version, top_k=top_k) for candidates in near]
        self._access.record("identify", found)
        return found

    def verify(self, vector: ArrayLike, identity: str) -> Decision:
        """Whether a probe ``[D]`` is the one it claims to be; the decision's identity is the name,
        or None.
        """
        x = unit(np.asarray(vector)[None], self.dim)
        with self._access.looking() as connection:
            version, policy = self._memory.version, self._memory.policy
            s = float(self._memory.similarity(x, owner_of(connection, identity))[0])
        decision = policy.decide([(identity, s)], version)
        self._access.record("verify", [decision])
        return decision

    def recall(self, n_probes: int = 100, *, top_k: int = 1) -> float:
        """The share of the identities that an exact search finds which this gallery's search finds
        too; 1 where that is exact.

        Args:
            n_probes: templates that are drawn to be searched for, each without itself; where an
                identity is the mean of its templates, with itself.
            top_k: how many identities each search is asked for.

        Raises:
            GalleryError: for an empty gallery, or less than one probe or identity.
        """
        with self._access.looking():
            return self._memory.recall(n_probes, top_k)

    def identities(self) -> list[dict[str, Any]]:
        """Name, templates, consent, retention date and details of everybody, by name."""
        with self._access.reading() as connection:
            return list(people_of(connection).values())

    def audit(self, *, last: int = 100) -> list[dict[str, Any]]:
        """The last changes and decisions, the newest last."""
        with self._access.reading() as connection:
            rows = (
                connection.execute(select(AUDIT).order_by(AUDIT.c.id.desc()).limit(last))
                .mappings()
                .all()
            )
        return [{**row, "time": row["time"].isoformat()} for row in reversed(rows)]

    # --- moving

    def export(self, folder: str | Path) -> Path:
        """Write identities, templates, cohort and policy into a folder, ``gallery.json`` and
        ``gallery.safetensors``, to be imported elsewhere.
        """
        with self._access.looking() as connection:
            matrix, people = self._memory.templates, people_of(connection)
            rows = matrix.by_owner()
            owners, counts = np.unique(matrix.owners[rows], return_counts=True)
            told = [
                {**people[owner], "templates": n}
                for owner, n in zip(owners.tolist(), counts.tolist(), strict=True)
            ]
            moved = Export(
                self.encoder,
                self.source,
                self._memory.policy,
                told,
                matrix.vectors[rows],
                self._memory.cohort(connection),
            )
        moved.write(Path(folder))
        return Path(folder)

    @classmethod
    def import_from(cls, folder: str | Path, place: str | Path) -> "Gallery":
        """A new gallery with what `export` wrote.

        Raises:
            GalleryError: when the files are missing or damaged, or there is a gallery at ``place``
                already.
        """
        moved = Export.read(Path(folder))

        def fill(change: Change) -> None:
            insert_people(change.connection, moved.people, moved.templates)
            insert_cohort(change.connection, moved.cohort)
            change.note("import", None, detail=f"{len(moved.people)} identities")

        about = About(moved.encoder, moved.templates.shape[1], moved.source)
        return cls(make(str(place), about, moved.policy, then=fill), place=str(place), about=about)

    # --- inside

    def _hint(self) -> None:
        if self._memory.index is None and len(self._memory.searched) > LARGE and not self._hinted:
            self._hinted = True
            told = (
                f"{self.place} has {len(self._memory.templates):,} templates, and each search "
                "compares with all of them."
            )
            warnings.warn(
                f"{told} Gallery.open(…, index='approximate') is several times as fast.",
                stacklevel=3,
            )


def _key(made: Any) -> int:
    return int(made.inserted_primary_key[0])
