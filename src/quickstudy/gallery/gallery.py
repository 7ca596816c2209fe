"""Identities and their templates, kept: enrol, identify, verify, forget."""

import json
import warnings
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.engine import Connection, Engine

from quickstudy.core.disk import as_path
from quickstudy.core.errors import GalleryError, QuickstudyWarning
from quickstudy.core.words import counted
from quickstudy.gallery.access import Access
from quickstudy.gallery.audit import (
    AuditCheck,
    AuditEntry,
    check_chain,
    last_entries,
    prune,
    wipe_photos,
)
from quickstudy.gallery.audit_entries import decision_entries, enrol_entries
from quickstudy.gallery.changes import Change, policy_of
from quickstudy.gallery.cohort import (
    Calibration,
    calibration_of,
    cohort_of,
    cohort_warnings,
    enrolled_of_cohort,
    promises,
    refuse_enrolled,
)
from quickstudy.gallery.create import Description, find, make
from quickstudy.gallery.enrolment import checked_photos, new_photos
from quickstudy.gallery.identities import (
    all_about,
    all_identities,
    delete_identities,
    find_identities,
    find_identity,
    identity_named,
    insert_templates,
    new_pseudonym,
)
from quickstudy.gallery.index import AbstractIndex
from quickstudy.gallery.indexes import index_named
from quickstudy.gallery.location import Location
from quickstudy.gallery.look_alikes import LookAlikes, look_alikes, merge
from quickstudy.gallery.maintenance import Deletion, backup, copies, purge
from quickstudy.gallery.moments import iso, kept, utc_now
from quickstudy.gallery.names import normal_name
from quickstudy.gallery.policy import Decision, Enrolment, Policy
from quickstudy.gallery.snapshot import Snapshot
from quickstudy.gallery.tables import AUDIT, COHORT, COHORT_ID, COPY, IDENTITY, TEMPLATE
from quickstudy.gallery.transfer import Export, insert_cohort, insert_people
from quickstudy.gallery.vectors import Vectors, unit
from quickstudy.pretrained.measured import MeasuredThresholds

DEFAULT_RATE = 0.01
EXPORTED = 1_000_000
"""So many entries of the audit log about one person are exported at most."""
LARGE = 1_000_000
"""From so many templates on an exact search says that there is another."""


class VectorGallery:
    """Who is known, as vectors: one template per photo, never the photo. Any number of processes
    may use it at once.

    Every change is one transaction: after a crash it is there whole, or not at all. Every change
    and every decision leaves an entry in `audit`, without vectors and names. Templates of faces are
    personal data: keep consent and a retention date with each identity, and see `expire` and
    `erase`.

    It calibrates itself as soon as it can promise anything, and says what; before that it gives
    candidates and no names.

    Make one with `create`, and use it again with `open`; both may stand in a ``with``.
    `quickstudy.gallery.Gallery` is this and takes files too.

    Attributes:
        place: where it is, without a password.
        encoder: the key of what makes its vectors.
        dim: length of a vector.
        kind: of what they are: "images", "text" or "audio".
        source: what opens the encoder again, or empty.
    """

    def __init__(
        self,
        engine: Engine,
        location: Location,
        description: Description,
        *,
        index: str | AbstractIndex = "exact",
        operator: str = "",
    ) -> None:
        self.place = location.shown
        self.location = location
        self.description = description
        self.encoder = description.encoder
        self.dim = description.dim
        self.kind = description.kind
        self.source = description.source
        search = index_named(index)
        try:
            search.prepare(engine, self.place, description.dim)
        except BaseException:
            engine.dispose()
            raise
        self._snapshot = Snapshot(
            self.place,
            description.dim,
            index=search,
            measured=description.measured,
        )
        self._access = Access(engine, location=location, snapshot=self._snapshot, operator=operator)
        self._hinted = False

    # --- opening

    @classmethod
    def create(
        cls,
        place: str | Path,
        *,
        encoder: str,
        dim: int,
        kind: str = "images",
        source: str = "",
        measured: MeasuredThresholds | None = None,
        policy: Policy | None = None,
        operator: str = "",
    ) -> Self:
        """A new, empty gallery. A new file is readable by its owner only.

        Args:
            place: a file (SQLite), or the URL of a PostgreSQL database.
            encoder: what makes the vectors: its hash or name with version. Others are refused
                afterwards.
            dim: length of a vector.
            kind: of what they are: "images", "text" or "audio".
            source: what opens that encoder again, such as the folder of a run or the name of a
                model; kept for whoever asks.
            measured: thresholds that were measured with that encoder, to begin with.
            policy: the first thresholds; by default the gallery calibrates itself for a
                false-accept rate of 1 %, or for what it can promise.
            operator: who it is, for the audit log; by default who runs the process.

        Raises:
            GalleryError: when there is a gallery already, or the place cannot be written.
        """
        location = Location.of(place)
        description = Description(encoder, dim, kind, source, measured)
        first = Policy(rate=DEFAULT_RATE) if policy is None else policy
        engine = make(location, description, first, operator=operator)
        return cls(engine, location, description, operator=operator)

    @classmethod
    def open(
        cls,
        place: str | Path,
        *,
        encoder: str = "",
        index: str | AbstractIndex = "exact",
        operator: str = "",
    ) -> Self:
        """A gallery that is there. Whoever may only read there can ask and list, and nothing else.

        Args:
            place: as in `create`.
            encoder: what will make the probes' vectors; empty = not checked.
            index: how probes are searched. "exact": compared with every template. "approximate":
                with a short code of each, and exactly with the nearest by these; from 20,000
                templates on several times as fast, but it may miss somebody: see `recall`. It needs
                the extra ``index``, takes a sixteenth of the templates' memory, and is built at the
                first search. "pgvector": with every template as well, but in a PostgreSQL
                server with that extension; this process holds no vectors. Enrolling compares
                exactly in any case. An `AbstractIndex` of one's own is taken as it is.
            operator: as in `create`.

        Raises:
            GalleryError: when there is none, the file is damaged, or its templates were made by
                another encoder.
            ConfigError: when the approximate search is not installed.
        """
        location, search = Location.of(place), index_named(index)
        engine, description = find(location, encoder=encoder)
        return cls(engine, location, description, index=search, operator=operator)

    def close(self) -> None:
        """Write what is left to write, and give back the connections; the gallery may be used
        again.
        """
        self._access.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # --- changes

    def enrol(
        self,
        identity: str,
        vectors: ArrayLike,
        *,
        force: bool = False,
        consent: str | None = None,
        retain_until: datetime | str | None = None,
        details: dict[str, Any] | None = None,
        photos: Sequence[str] | None = None,
        skip_unlike: bool = False,
    ) -> Enrolment:
        """Add templates, of a new identity or of one that is there.

        A photo that is enrolled for this identity already changes nothing.

        Args:
            identity: the name; it is trimmed, and its accents are composed.
            vectors: ``[n D]``, one per photo.
            force: enrol also what looks like somebody else.
            consent: what was agreed to, and when; kept as it is. As the next two: None leaves what
                is there.
            retain_until: when `expire` will remove the identity, also as a text such as 2027-01-31;
                local time where it has no zone.
            details: other JSON values.
            photos: the name of each photo, for the audit log and for messages.
            skip_unlike: leave out photos that are unlike the others of the person, instead of
                enrolling them with a warning.

        Raises:
            DuplicateError: when a vector looks like another identity, unless ``force``.
            GalleryError: when a vector is not of D finite numbers, or is zero.
        """
        name, x = normal_name(identity), unit(vectors, self.dim)
        if photos is not None and len(photos) != len(x):
            raise GalleryError(
                f"There are {counted(len(x), 'vector')}, but {len(photos)} names of photos."
            )
        values = _given(consent, retain_until, details)
        self._access.prepare(compares=True)
        unchanged = self._as_it_is(name, x, values)
        if unchanged is not None:
            return unchanged
        with self._access.changing(compares=True) as change:
            connection = change.connection
            row = find_identity(connection, name)
            owner = None if row is None else row.id
            known = len(x) - len(new_photos(x, owner, self._snapshot))
            chosen, notes = checked_photos(
                x,
                list(photos) if photos else [f"Photo {i + 1}" for i in range(len(x))],
                name,
                owner,
                snapshot=self._snapshot,
                connection=connection,
                force=force,
                skip_unlike=skip_unlike,
            )
            some = x[chosen]
            pseudonym = new_pseudonym() if row is None else row.pseudonym
            if owner is None:
                new = {"name": name, "pseudonym": pseudonym, "details": "{}", "created": utc_now()}
                owner = _key(connection.execute(insert(IDENTITY).values({**new, **values})))
            elif values:
                connection.execute(update(IDENTITY).where(IDENTITY.c.id == owner).values(**values))
            templates = insert_templates(connection, owner, some) if len(some) else []
            change.touches(owner)
            detail = counted(len(some), "template") + (", forced" if force else "")
            change.note(*enrol_entries(pseudonym, detail, photos, chosen.tolist()))
            until = connection.execute(
                select(IDENTITY.c.retain_until).where(IDENTITY.c.id == owner)
            ).scalar_one()
            notes += self._keep_rate(change, some, name)
        return Enrolment(name, tuple(templates), tuple(notes), known, iso(until))

    def rename(self, identity: str, name: str) -> None:
        """Give an identity another name.

        Raises:
            GalleryError: when there is none of that name, or another one has the new name already.
        """
        new = normal_name(name)
        with self._access.changing() as change:
            connection = change.connection
            row = identity_named(connection, identity)
            other = find_identity(connection, new)
            if other is not None and other.id != row.id:
                raise GalleryError(f"There is a {new} already. Choose another name.")
            if new == row.name:
                raise GalleryError(f"{new} is called so already.")
            connection.execute(update(IDENTITY).where(IDENTITY.c.id == row.id).values(name=new))
            change.touches(row.id)
            change.note(AuditEntry("rename", row.pseudonym))
            wipe_photos(connection, names=[row.name])
        purge(self._access.engine, self.location, [row.name.encode()])

    def merge(self, identity: str, into: str, *, force: bool = False) -> Deletion:
        """Two names of one person become one: its templates go to ``into``, its name is forgotten,
        and the earlier of two retention dates holds. Templates that both have stay once. The answer
        warns where they are of somebody of the cohort, as `enrol` does.

        Args:
            identity: the name that goes.
            into: the name that stays.
            force: merge also two who were enrolled from one photo, where only the names of the
                files are the same.

        Raises:
            OnePhotoError: when both were enrolled from one photo, so that they are two people.
            GalleryError: when there is none of a name, or both are the same.
        """
        self._access.prepare(compares=True)
        with self._access.changing(compares=True) as change:
            merged = merge(change, self._snapshot, identity, into, force=force)
            warnings = self._keep_rate(change, merged.templates, merged.into)
        return self._deleted((merged.name,), merged.deleted, warnings)

    def remove(self, identity: str) -> Deletion:
        """Forget an identity and all its templates, down to the last byte of the gallery's files;
        the answer says what remains elsewhere.

        Raises:
            GalleryError: when there is none of that name.
        """
        self._access.prepare()
        with self._access.changing() as change:
            row = identity_named(change.connection, identity)
            deleted = delete_identities(change.connection, [row])
            change.touches(row.id)
            change.note(AuditEntry("remove", row.pseudonym))
            self._access.keep_rate(change)
        return self._deleted((row.name,), deleted)

    def remove_template(self, template: int) -> Deletion:
        """Forget one template; with the last one its identity goes too.

        Raises:
            GalleryError: when there is no template of that number.
        """
        self._access.prepare()
        with self._access.changing() as change:
            connection = change.connection
            query = select(TEMPLATE.c.identity, TEMPLATE.c.vector)
            found = connection.execute(query.where(TEMPLATE.c.id == template)).first()
            if found is None:
                raise GalleryError(f"There is no template {template}. `identities` lists them.")
            (row,) = find_identities(connection, IDENTITY.c.id == found.identity)
            deleted, names = [found.vector], tuple[str, ...]()
            connection.execute(delete(TEMPLATE).where(TEMPLATE.c.id == template))
            left = select(func.count()).select_from(TEMPLATE).where(TEMPLATE.c.identity == row.id)
            if not connection.execute(left).scalar_one():
                names = (row.name,)
                deleted += delete_identities(connection, [row])
            change.touches(row.id)
            change.note(AuditEntry("remove", row.pseudonym, detail=f"template {template}"))
            self._access.keep_rate(change)
        return self._deleted(names, deleted)

    def expire(self, now: datetime | str | None = None) -> Deletion:
        """Remove the identities whose retention date has passed; the answer names them."""
        moment = kept(now) or utc_now()
        has_passed = IDENTITY.c.retain_until < moment
        with self._access.reading() as connection:
            if not find_identities(connection, has_passed):
                return Deletion((), ())
        self._access.prepare()
        with self._access.changing() as change:
            rows = find_identities(change.connection, has_passed)
            deleted = delete_identities(change.connection, rows)
            for row in rows:
                change.touches(row.id)
                change.note(AuditEntry("expire", row.pseudonym))
            self._access.keep_rate(change)
        return self._deleted(tuple(row.name for row in rows), deleted)

    def purge(self) -> tuple[str, ...]:
        """Have what was removed gone from the files, where a removal said that something remained;
        returns what still does.
        """
        return purge(self._access.engine, self.location, [], always=True)

    def erase(self) -> tuple[str, ...]:
        """Delete everything: identities, templates, cohort, policies and the audit log. The gallery
        is gone afterwards; tables that are not its own are left alone. Returns what remains
        elsewhere, in plain sentences.
        """
        with self._access.reading() as connection:
            elsewhere = copies(connection)
        self._access.erase()
        return (*purge(self._access.engine, self.location, []), *elsewhere)

    # --- thresholds

    @property
    def policy(self) -> Policy:
        """The thresholds in force."""
        with self._access.reading() as connection:
            return policy_of(connection)[1]

    def set_policy(self, policy: Policy) -> int:
        """Put other thresholds in force; returns the version. Older ones stay on record.

        One with a rate and without a threshold has the gallery calibrate itself from now on.
        """
        with self._access.changing(compares=True) as change:
            version = change.put(policy)
            self._snapshot.agree(version, policy)
            if policy.rate is not None and policy.threshold is None:
                self._access.keep_rate(change)
                version = self._snapshot.version
        return version

    def calibrate(
        self,
        rate: float = DEFAULT_RATE,
        *,
        cohort: ArrayLike | None = None,
        persons: Sequence[Any] | None = None,
    ) -> Calibration:
        """Choose the thresholds for a wanted false-accept rate, and let them follow when identities
        come and go.

        Each impostor's similarity to the nearest identity stays in memory, so that a change of the
        gallery takes comparisons with whom it changes only. The first time, a process compares all
        impostors with all templates: before the change itself, so it holds nobody up. Without a
        cohort and with more than 5,000 templates 5,000 identities are left out, or as many as the
        rate takes: drawn as if by lot, with a photo or a few each. The policy's rule says so then.

        Args:
            rate: the share of impostors who may be taken for somebody.
            cohort: vectors of people who are not enrolled ``[n D]``, which are kept; None takes
                those kept before, or leaves out each identity in turn.
            persons: who each vector of the cohort is of, ``[n]``; photos of one person count as one
                impostor. None = each of somebody else.

        Raises:
            ConfigError: for too few impostors, with the number needed.
            GalleryError: for a cohort that holds people who are enrolled.
        """
        given = None if cohort is None else cohort_of(unit(cohort, self.dim), persons)
        self._access.prepare(compares=True, rate=rate, cohort=given)
        with self._access.changing(compares=True) as change:
            connection = change.connection
            if given is not None:
                names = connection.execute(select(IDENTITY.c.name, IDENTITY.c.id)).all()
                refuse_enrolled(
                    given,
                    persons,
                    snapshot=self._snapshot,
                    connection=connection,
                    enrolled={row.name: row.id for row in names},
                )
                connection.execute(delete(COHORT))
                insert_cohort(connection, given)
                change.touches(COHORT_ID)
            self._snapshot.follow(connection, uncommitted=True)
            policy = self._snapshot.calibrated(connection, rate, strict=True)
            notes = (
                ()
                if given is None
                else cohort_warnings(given, snapshot=self._snapshot, connection=connection)
            )
            kept_cohort = self._snapshot.cohort(connection)
            table = self._snapshot.templates
            of = kept_cohort.persons if len(kept_cohort) else table.owners[table.alive]
            self._snapshot.agree(change.put(policy), policy)
        return calibration_of(policy, len(np.unique(of)), notes)

    def forget_cohort(self) -> None:
        """Delete the cohort; from now on identities are left out instead."""
        with self._access.changing(compares=True) as change:
            change.connection.execute(delete(COHORT))
            change.touches(COHORT_ID)
            self._access.keep_rate(change)
        purge(self._access.engine, self.location, [])

    # --- questions

    def identify(
        self, vectors: ArrayLike, *, top_k: int = 5, photos: Sequence[str] | None = None
    ) -> list[Decision]:
        """Who each probe is, or that it is unknown.

        Args:
            vectors: ``[n D]``, one per probe.
            top_k: how many candidates to name.
            photos: the name of each photo, for the audit log.

        Raises:
            GalleryError: for vectors that are not of D finite numbers.
        """
        x = unit(vectors, self.dim)
        with self._access.looking() as connection:
            version, policy = self._snapshot.version, self._snapshot.policy
            self._hint()
            ranked = self._snapshot.search(x, max(top_k, 1))
            owners = [owner for owners, _ in ranked for owner in owners.tolist()]
            names = self._snapshot.names(connection, owners)
            near = [
                [(names[o], s) for o, s in zip(owners.tolist(), similarity.tolist(), strict=True)]
                for owners, similarity in ranked
            ]
            first = [int(owners[0]) if len(owners) else 0 for owners, _ in ranked]
            decisions = [policy.decide(candidates, version, top_k=top_k) for candidates in near]
            subjects = self._pseudonyms(connection, first, decisions)
        self._record("identify", decisions, subjects, photos)
        return decisions

    def verify(self, vector: ArrayLike, identity: str, *, photo: str | None = None) -> Decision:
        """Whether a probe ``[D]`` is the one it claims to be; the decision's identity is the name,
        or None.
        """
        x = unit(np.asarray(vector)[None], self.dim)
        with self._access.looking() as connection:
            version, policy = self._snapshot.version, self._snapshot.policy
            row = identity_named(connection, identity)
            s = float(self._snapshot.similarity(x, row.id)[0])
        decision = policy.decide([(row.name, s)], version)
        photos = None if photo is None else [photo]
        self._record("verify", [decision], {0: row.pseudonym}, photos)
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
            return self._snapshot.recall(n_probes, top_k)

    def look_alikes(self, *, most: int = 20) -> list[LookAlikes]:
        """The pairs of identities that resemble each other most, the nearest first: two names of
        one person, or two people who look alike, such as siblings.

        Args:
            most: so many pairs at most.
        """
        with self._access.looking() as connection:
            return look_alikes(connection, self._snapshot, most)

    def identities(self) -> list[dict[str, Any]]:
        """Name, templates, consent, retention date and details of everybody, by name."""
        with self._access.reading() as connection:
            return list(all_identities(connection).values())

    def export_person(self, identity: str) -> dict[str, Any]:
        """All that is kept of one person, as JSON values: name, pseudonym, consent, retention date,
        details, templates with their vectors, and the entries of the audit log.

        Raises:
            GalleryError: when there is none of that name.
        """
        self._access.flush()
        with self._access.reading() as connection:
            about = all_about(connection, identity)
            entries = last_entries(connection, EXPORTED, subject=about["pseudonym"])
            return {**about, "encoder": self.encoder, "dim": self.dim, "audit": entries}

    def info(self) -> dict[str, Any]:
        """What it is, how many it knows, and what it can promise."""
        self._access.flush()
        with self._access.looking() as connection:
            version, policy = policy_of(connection)
            table, cohort = self._snapshot.templates, self._snapshot.cohort(connection)
            identities = connection.execute(select(func.count()).select_from(IDENTITY)).scalar_one()
            entries = connection.execute(select(func.count()).select_from(AUDIT)).scalar_one()
            measured = self.description.measured
            return {
                "place": self.place,
                "kind": self.kind,
                "encoder": self.source or self.encoder,
                "encoder_key": self.encoder,
                "measured_on": None if measured is None else measured.data,
                "identities": identities,
                "templates": len(table),
                "cohort_persons": len(np.unique(cohort.persons)),
                "policy": json.loads(policy.to_json()),
                "policy_version": version,
                "promise": promises(policy, identities),
                "audit_entries": entries,
                "copies": list(copies(connection)),
            }

    # --- the audit log

    def audit(self, *, last: int = 100) -> list[dict[str, Any]]:
        """The last changes and decisions, the newest last; times are in UTC. Who is removed has a
        pseudonym.
        """
        self._access.flush()
        with self._access.reading() as connection:
            return last_entries(connection, last)

    def check_audit(self, *, head: str = "") -> AuditCheck:
        """Whether entries of the audit log were changed, taken out or put in.

        Args:
            head: of an earlier check; the log must still hold that entry.
        """
        self._access.flush()
        with self._access.reading() as connection:
            return check_chain(connection, head=head)

    def prune_audit(self, before: datetime) -> int:
        """Delete the entries of the audit log before a moment, local time where it has no zone;
        returns how many. The log says so.
        """
        moment = kept(before)
        assert moment is not None
        with self._access.changing() as change:
            count = prune(change.connection, moment, operator=change.operator)
        if count:
            purge(self._access.engine, self.location, [])
        return count

    # --- moving

    def export(self, folder: str | Path) -> Path:
        """Write identities, templates, cohort and policy into a folder, to be imported elsewhere.
        Only their owner can read the files.
        """
        target = as_path(folder, "folder").expanduser()
        with self._access.looking() as connection:
            table, people = self._snapshot.templates, all_identities(connection)
            rows = table.by_owner()
            owners, counts = np.unique(table.owners[rows], return_counts=True)
            moved = Export(
                self.description,
                self._snapshot.policy,
                [
                    {**people[owner], "templates": n}
                    for owner, n in zip(owners.tolist(), counts.tolist(), strict=True)
                ],
                table.take(rows),
                self._snapshot.cohort(connection),
            )
        moved.write(target)
        self._note_copy("export", target)
        return target

    @classmethod
    def import_from(cls, folder: str | Path, place: str | Path) -> Self:
        """A new gallery with what `export` wrote.

        Raises:
            GalleryError: when the files are missing or damaged, or there is a gallery at ``place``
                already.
        """
        moved, location = Export.read(as_path(folder, "folder").expanduser()), Location.of(place)

        def fill(change: Change) -> None:
            insert_people(change.connection, moved.people, moved.templates)
            insert_cohort(change.connection, moved.cohort)
            change.note(
                AuditEntry("import", detail=counted(len(moved.people), "identity", "identities"))
            )

        engine = make(location, moved.description, moved.policy, then=fill)
        return cls(engine, location, moved.description)

    def backup(self, target: str | Path) -> Path:
        """Copy the gallery to a new file as of one moment, while it may be used: all of it, also
        the logs. Only its owner can read it. For SQLite; a PostgreSQL server has its own means.

        Raises:
            GalleryError: when the target exists or cannot be written, and for PostgreSQL.
        """
        path = as_path(target, "target").expanduser()
        self._access.flush()
        backup(self._access.engine, self.location, path)
        self._note_copy("backup", path)
        return path

    # --- inside

    def _as_it_is(self, name: str, x: Any, values: dict[str, Any]) -> Enrolment | None:
        """What came of enrolling where all of it is there already, so that nothing changes."""
        with self._access.looking() as connection:
            row = find_identity(connection, name)
            if row is None or len(new_photos(x, row.id, self._snapshot)):
                return None
            if any(getattr(row, key) != value for key, value in values.items()):
                return None
        return Enrolment(name, (), (), len(x), iso(row.retain_until))

    def _keep_rate(self, change: Change, x: Vectors, identity: str) -> list[str]:
        """Let the thresholds follow an identity that got templates ``[n D]``; returns what looks
        wrong with these, in plain sentences.
        """
        limit = self._snapshot.policy.duplicate
        self._access.keep_rate(change)
        return enrolled_of_cohort(
            x, identity, limit, snapshot=self._snapshot, connection=change.connection
        )

    def _deleted(
        self, names: tuple[str, ...], deleted: Sequence[bytes], warnings: Sequence[str] = ()
    ) -> Deletion:
        remains = purge(self._access.engine, self.location, deleted)
        with self._access.reading() as connection:
            return Deletion(names, (*remains, *copies(connection)), warnings)

    def _pseudonyms(
        self, connection: Connection, owners: Sequence[int], decisions: Sequence[Decision]
    ) -> dict[int, str]:
        """Of each decision for somebody, whom it is for."""
        known = {i: owners[i] for i, d in enumerate(decisions) if d.identity is not None}
        if not known:
            return {}
        query = select(IDENTITY.c.id, IDENTITY.c.pseudonym)
        rows = connection.execute(query.where(IDENTITY.c.id.in_(set(known.values())))).all()
        pseudonyms = {row.id: row.pseudonym for row in rows}
        return {i: pseudonyms[owner] for i, owner in known.items()}

    def _record(
        self,
        action: str,
        decisions: Sequence[Decision],
        subjects: dict[int, str],
        photos: Sequence[str] | None,
    ) -> None:
        self._access.record(decision_entries(action, decisions, subjects, photos))

    def _note_copy(self, kind: str, target: Path) -> None:
        """Remember that there is a copy; whoever may only read leaves no note."""
        if self._access.is_writable:
            with self._access.changing() as change:
                path = str(target.absolute())
                change.connection.execute(delete(COPY).where(COPY.c.path == path))
                change.connection.execute(
                    insert(COPY).values(path=path, kind=kind, created=utc_now())
                )
                change.note(AuditEntry(kind))

    def _hint(self) -> None:
        snapshot = self._snapshot
        if self._hinted or not (snapshot.index.is_exact and snapshot.templates.is_local):
            return
        if len(self._snapshot.searched) > LARGE:
            self._hinted = True
            warnings.warn(
                f"{self.place} has {counted(len(self._snapshot.templates), 'template')}, and "
                f"each search "
                "compares with all of them. Gallery.open(…, index='approximate') is several times "
                "as fast.",
                QuickstudyWarning,
                stacklevel=3,
            )


def _given(
    consent: str | None, retain_until: datetime | str | None, details: dict[str, Any] | None
) -> dict[str, Any]:
    """The columns that were given a value."""
    values: dict[str, Any] = {}
    if consent is not None:
        values["consent"] = consent
    if retain_until is not None:
        values["retain_until"] = kept(retain_until)
    if details is not None:
        try:
            values["details"] = json.dumps(details, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise GalleryError(f"The details must be plain JSON values: {error}.") from error
    return values


def _key(result: Any) -> int:
    return int(result.inserted_primary_key[0])
