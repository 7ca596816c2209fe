"""What a process knows of a gallery: read once, and afterwards only what changed."""

import contextlib
import dataclasses
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from sqlalchemy import func, select
from sqlalchemy.engine import Connection

from quickstudy.core.errors import ConfigError, GalleryError
from quickstudy.gallery.calibration import calibrated, contradicts, from_measured, not_calibrated
from quickstudy.gallery.changes import policy_of, touched
from quickstudy.gallery.checksums import checked_vectors
from quickstudy.gallery.impostors import (
    MAX_LEFT_OUT,
    Impostors,
    ImpostorScores,
    ImpostorTracker,
    sample_rows,
)
from quickstudy.gallery.index import AbstractIndex
from quickstudy.gallery.policy import COHORT as COHORT_RULE
from quickstudy.gallery.policy import LEAVE_ONE_OUT, LEAVE_ONE_OUT_SAMPLE, Policy
from quickstudy.gallery.search import Ranked, exact
from quickstudy.gallery.tables import CHANGE, COHORT, COHORT_ID, GALLERY, IDENTITY, TEMPLATE
from quickstudy.gallery.vectors import NO_OWNER, Integers, Vectors, VectorTable
from quickstudy.metrics.thresholds import needed
from quickstudy.pretrained.measured import MeasuredThresholds

CHUNK = 10_000
"""Rows that are read at once."""
MANY = 1_000
"""Beyond so many changed identities, a quarter of all is more work to read one by one than
everything.
"""


@dataclass(frozen=True)
class Cohort:
    """People who are not enrolled, for calibration.

    Args:
        vectors: ``[n D]``, of length 1.
        persons: who each vector is of.
    """

    vectors: Float[Vectors, "n D"]
    persons: Int[Integers, " n"]

    def __len__(self) -> int:
        """How many vectors there are."""
        return len(self.vectors)


class Snapshot:
    """Templates, policy and impostors as of one change of the gallery.

    `follow` brings it to the change that a transaction sees, by the log of changes; where the log
    does not lead there, everything is read. What an uncommitted change would bring is known only as
    long as the change is `held`: if it comes to nothing, all is forgotten.

    Args:
        place: of the gallery, for messages.
        dim: D, length of a vector.
        index: how probes are searched.
        measured: thresholds that were measured with the encoder.
    """

    def __init__(
        self,
        place: str,
        dim: int,
        *,
        index: AbstractIndex,
        measured: MeasuredThresholds | None = None,
    ) -> None:
        self.place = place
        self.dim = dim
        self.index = index
        self.measured = measured
        self._lock = threading.RLock()
        self.forget()

    def forget(self) -> None:
        """Know nothing any more."""
        with self._lock:
            self._at: tuple[int, int] | None = None  # the change's number and token
            self._uncommitted = False
            self.version, self.policy = 0, Policy()
            self._clear()

    def _clear(self) -> None:
        self.index.forget()
        self.templates = self.index.new_table(self.dim)
        self._means: VectorTable | None = None
        self._names: dict[int, str] = {}
        self._cohort: Cohort | None = None
        self._compared: _Compared | None = None

    # --- following

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """While one thread uses what is known, no other changes it."""
        with self._lock:
            try:
                yield
            except BaseException:
                if self._uncommitted:
                    self.forget()
                raise
            self._uncommitted = False

    def follow(self, connection: Connection, *, uncommitted: bool = False) -> None:
        """Know what this transaction sees."""
        self._uncommitted |= uncommitted
        self.index.follow(connection)
        row = connection.execute(select(GALLERY.c.changes, GALLERY.c.token)).one()
        now, before = (row.changes, row.token), self._at
        if now == before:
            return
        self._at = None  # whatever stops this half-way, the next reads everything
        some = None if before is None else touched(connection, before, now)
        is_much = some is not None and len(some) > MANY and len(some) > len(self.templates) // 4
        if before is None or some is None or is_much:
            self._read(connection)
        else:
            self._reread(connection, before[0], some)
        self.version, self.policy = policy_of(connection)
        self._at = now

    def agree(self, version: int, policy: Policy) -> None:
        """Know of a policy that the change under way puts in force."""
        self._uncommitted = True
        self.version, self.policy = version, policy

    def _read(self, connection: Connection) -> None:
        self._clear()
        if not self.templates.is_local:
            return  # it reads what it needs when it is asked for
        self.templates.reserve(
            connection.execute(select(func.count()).select_from(TEMPLATE)).scalar_one()
        )
        query = select(
            TEMPLATE.c.id, TEMPLATE.c.identity, TEMPLATE.c.vector, TEMPLATE.c.checksum
        ).order_by(TEMPLATE.c.id)
        with connection.execute(query.execution_options(yield_per=CHUNK)) as result:
            for rows in result.partitions():
                self._add(rows)

    def _add(self, rows: Sequence[Any]) -> None:
        owners, ids = (
            _integers(row.identity for row in rows),
            _integers(row.id for row in rows),
        )
        if not self.templates.is_local:
            self.templates.add(np.empty((len(rows), 0), np.float32), owners, ids)
            return
        vectors = checked_vectors(
            [row.vector for row in rows],
            [row.checksum for row in rows],
            owners.tolist(),
            dim=self.dim,
            place=self.place,
        )
        self.templates.add(vectors, owners, ids)

    def _reread(self, connection: Connection, since: int, some: set[int]) -> None:
        if COHORT_ID in some:
            self._cohort = None
        identities = _integers(some - {COHORT_ID})
        if not len(identities):
            return
        for identity in some:
            self._names.pop(identity, None)
        if not self.templates.is_read:
            return
        owners, ids = self.templates.owners, self.templates.ids
        gone = {
            (int(owners[row]), int(ids[row])): row
            for row in self.templates.rows_of(identities).tolist()
        }
        changed = select(CHANGE.c.identity).where(CHANGE.c.number > since)
        columns = [TEMPLATE.c.id, TEMPLATE.c.identity]
        if self.templates.is_local:
            columns += [TEMPLATE.c.vector, TEMPLATE.c.checksum]
        query = select(*columns).where(TEMPLATE.c.identity.in_(changed)).order_by(TEMPLATE.c.id)
        new = []
        for row in connection.execute(query):
            at = gone.get((row.identity, row.id))
            is_same = at is not None and (
                not self.templates.is_local or self.templates.vectors[at].tobytes() == row.vector
            )
            if is_same:
                del gone[row.identity, row.id]
            else:
                new.append(row)
        self.templates.remove(_integers(gone.values()))
        if new:
            self._add(new)
        if self._means is not None:
            self._means.remove(self._means.rows_of(identities))
            rows = self.templates.rows_of(identities)
            order = np.lexsort((self.templates.ids[rows], self.templates.owners[rows]))
            self._means.add(*_means(self.templates, rows[order]))

    # --- asking

    @property
    def searched(self) -> VectorTable:
        """What probes are compared with: the templates, or the mean of each identity's, as the
        policy has it.
        """
        if self.policy.score != "mean":
            self._means = None
            return self.templates
        if not self.templates.is_local:
            raise GalleryError(
                f"{self.place} compares with the mean of each identity's templates, but this index "
                "searches the templates themselves. Open the gallery with the index 'exact', or "
                "set a policy with the score 'nearest'."
            )
        if self._means is None:
            self._means = VectorTable(self.dim)
            self._means.add(*_means(self.templates, self.templates.by_owner()))
        return self._means

    def search(
        self, x: Float[Vectors, "n D"], k: int, *, without_row: Integers | None = None
    ) -> list[Ranked]:
        """The k identities nearest to each probe, by the index; ``without_row`` are rows to pass
        over, one per probe.
        """
        return self.index.nearest(x, k, self.searched, without_row=without_row)

    def nearest_other(self, x: Float[Vectors, "n D"], identity: int | None) -> list[Ranked]:
        """The identity nearest to each probe, exactly, but for one; None leaves nobody out."""
        without = np.full(len(x), NO_OWNER if identity is None else identity)
        return self.nearest(x, 1, without_owner=without)

    def nearest(
        self,
        x: Float[Vectors, "n D"],
        k: int,
        *,
        without_owner: Integers | None = None,
        without_row: Integers | None = None,
    ) -> list[Ranked]:
        """As `search`, exactly; ``without_owner`` are identities to pass over, one per probe."""
        return self.index.exact(
            x, k, self.searched, without_owner=without_owner, without_row=without_row
        )

    def similarity(self, x: Float[Vectors, "n D"], identity: int) -> Float[Vectors, " n"]:
        """Of each probe to one identity."""
        own = self.searched.of(identity)
        return np.asarray([exact(probe, own).max() for probe in x], np.float32)

    def names(self, connection: Connection, identities: Iterable[int]) -> dict[int, str]:
        """The names of identities."""
        new = sorted(set(identities) - self._names.keys())
        for begin in range(0, len(new), CHUNK):
            query = select(IDENTITY.c.id, IDENTITY.c.name).where(
                IDENTITY.c.id.in_(new[begin : begin + CHUNK])
            )
            self._names |= {row.id: row.name for row in connection.execute(query)}
        return self._names

    def cohort(self, connection: Connection) -> Cohort:
        """The people who are not enrolled and were given for calibration, if any."""
        if self._cohort is None:
            rows = connection.execute(select(COHORT).order_by(COHORT.c.id)).all()
            persons = _integers(row.person for row in rows)
            vectors = checked_vectors(
                [row.vector for row in rows],
                [row.checksum for row in rows],
                persons.tolist(),
                dim=self.dim,
                place=self.place,
            )
            self._cohort = Cohort(vectors, persons)
        return self._cohort

    # --- thresholds

    def calibrated(
        self, connection: Connection, rate: float, *, strict: bool, cohort: Cohort | None = None
    ) -> Policy:
        """The policy with the thresholds for a false-accept rate, by the best rule there is: a
        cohort, identities that are left out one by one, or what was measured with the encoder.

        Args:
            connection: with a transaction that sees what is known.
            rate: that is wanted.
            strict: refuse where it cannot be promised; otherwise as much is promised as can be.
            cohort: other people than those that the gallery keeps.

        Raises:
            GalleryError: when nothing is known of impostors.
            ConfigError: when too few are known.
        """
        people = self.cohort(connection) if cohort is None else cohort
        identities = len(np.unique(self.templates.owners[self.templates.alive]))
        can_leave_out = 0 < rate < 1 and identities >= needed(rate, left_out=True)
        if not len(people) and not can_leave_out and self.measured is not None:
            policy = from_measured(self.policy, self.measured, len(self.searched), rate)
            is_kept = policy is not None and (not strict or policy.promised == rate)
            if policy is not None and is_kept and not self._contradicted(connection, policy):
                return policy
        scores = self.compare(connection, rate, people)
        return calibrated(self.policy, scores, rate, strict=strict)

    def followed(self, connection: Connection) -> Policy:
        """The policy in force, with thresholds for who is there now; not calibrated where nothing
        can be promised.
        """
        policy = self.policy
        if policy.rate is None:
            return policy
        try:
            return self.calibrated(connection, policy.rate, strict=False)
        except (ConfigError, GalleryError):
            return not_calibrated(policy)

    def _contradicted(self, connection: Connection, policy: Policy) -> bool:
        try:
            scores = self.compare(connection, policy.rate or 0.5, self.cohort(connection))
        except GalleryError:
            return False
        return contradicts(scores, policy)

    def compare(self, connection: Connection, rate: float, cohort: Cohort) -> ImpostorScores:
        """How near each impostor comes to somebody, as far as it is not known yet.

        Templates of one identity that is left out are one impostor, and so are vectors of one
        person in the cohort.

        Args:
            connection: with a transaction that sees what is known.
            rate: the false-accept rate that it is for.
            cohort: people who are not enrolled; empty = identities are left out one by one.

        Raises:
            GalleryError: when nothing is known of impostors.
        """
        impostors = self._impostors(cohort, rate)
        before = self._compared
        some = None
        if (
            before is not None
            and before.score == self.policy.score
            and np.array_equal(before.cohort.vectors, cohort.vectors)
            and np.array_equal(before.cohort.persons, cohort.persons)
            and self._at is not None
        ):
            some = set[int]() if before.at == self._at else touched(connection, before.at, self._at)
        if before is None or some is None:
            tracker = ImpostorTracker(self.dim)
            before = _Compared(self.policy.score, cohort, tracker, (0, 0))
            some = set[int]()
        self._compared = None
        scores = before.tracker.follow(impostors, self.searched, _integers(some), index=self.index)
        if self._at is not None:
            self._compared = dataclasses.replace(before, at=self._at)
        return scores

    def _impostors(self, cohort: Cohort, rate: float) -> Impostors:
        rows, owners = self.templates.alive, self.templates.owners
        if len(cohort):
            if not len(rows):
                raise GalleryError(
                    "An empty gallery knows no similarity to impostors. Enrol somebody first."
                )
            ids = np.arange(len(cohort))
            own = np.full(len(cohort), NO_OWNER)
            return Impostors(cohort.vectors, own, ids, cohort.persons, COHORT_RULE)
        if not len(rows) or (owners[rows] == owners[rows[0]]).all():
            raise GalleryError(
                "With fewer than two identities and no cohort nothing is known of impostors. Enrol "
                "more, or give a cohort."
            )
        persons = needed(rate, left_out=True) if 0 < rate < 1 else 0
        chosen = rows[sample_rows(owners[rows], self.templates.ids[rows], MAX_LEFT_OUT, persons)]
        rule = LEAVE_ONE_OUT if len(chosen) == len(rows) else LEAVE_ONE_OUT_SAMPLE
        of, ids = owners[chosen], self.templates.ids[chosen]
        return Impostors(self.templates.take(chosen), of, ids, of, rule)

    def recall(self, n_probes: int, top_k: int) -> float:
        """Of the search, against the exact one; see `Gallery.recall`."""
        if n_probes < 1 or top_k < 1 or not len(self.templates):
            raise GalleryError(
                "A recall takes at least one template, probe and identity to look for, got "
                f"{len(self.templates)}, {n_probes} and {top_k}."
            )
        rows = np.random.default_rng(0).permutation(self.templates.alive)[:n_probes]
        table = self.searched
        x, without = self.templates.take(rows), rows if table is self.templates else None
        pairs = zip(
            self.search(x, top_k, without_row=without),
            self.nearest(x, top_k, without_row=without),
            strict=True,
        )
        shares = [np.isin(true, found).mean() for (found, _), (true, _) in pairs if len(true)]
        return float(np.mean(shares))


@dataclass(frozen=True)
class _Compared:
    score: str
    cohort: Cohort
    tracker: ImpostorTracker
    at: tuple[int, int]


def _means(table: VectorTable, rows: Integers) -> tuple[Vectors, Integers, Integers]:
    """The normalised mean of each owner of some rows, in whose order they come; and the owners,
    twice, as a mean has no other id.
    """
    owners, starts = np.unique(table.owners[rows], return_index=True)
    out = np.empty((len(owners), table.dim), np.float32)
    for begin in range(0, len(owners), CHUNK):
        some = slice(begin, begin + CHUNK)
        first = starts[begin]
        last = starts[begin + CHUNK] if begin + CHUNK < len(starts) else len(rows)
        sums = np.add.reduceat(
            table.vectors[rows[first:last]].astype(np.float64), starts[some] - first, axis=0
        )
        out[some] = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    return out, owners, owners


def _integers(values: Iterable[int]) -> Integers:
    return np.fromiter(values, np.int64)
