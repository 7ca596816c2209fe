"""What a process knows of a gallery: read once, and afterwards only what changed."""

import contextlib
import dataclasses
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from sqlalchemy import func, select
from sqlalchemy.engine import Connection

from quickstudy.core.errors import GalleryError
from quickstudy.gallery.changes import policy_of, touched
from quickstudy.gallery.exact_search import NOBODY, Matrix, Ranked, Vectors, Whole, exact
from quickstudy.gallery.impostors import LEFT_OUT, Strangers, drawn
from quickstudy.gallery.index import Index
from quickstudy.gallery.policy import Policy
from quickstudy.gallery.store import ABOUT, CHANGE, COHORT, IDENTITY, STRANGERS, TEMPLATE
from quickstudy.metrics.thresholds import conformal_threshold, needed

CHUNK = 10_000
"""Rows that are read at once."""
MANY = 1_000
"""Beyond so many changed identities, a quarter of all is more work to read one by one than
everything.
"""


class Memory:
    """Templates, policy and strangers as of one change of the gallery.

    `follow` brings it to the change that a transaction sees, by the log of changes; where the log
    does not lead there, everything is read. What an uncommitted change would bring is known only as
    long as the change is `held`: if it comes to nothing, all is forgotten.

    Args:
        place: of the gallery, for messages.
        dim: D, length of a vector.
        index: an approximate search, or None.
    """

    def __init__(self, place: str, dim: int, *, index: Index | None = None) -> None:
        self.place, self.dim, self.index = place, dim, index
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
        if self.index is not None:
            self.index.forget()
        self.templates = Matrix(self.dim)
        self._means: Matrix | None = None
        self._names: dict[int, str] = {}
        self._cohort: Vectors | None = None
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
        about = connection.execute(select(ABOUT.c.changes, ABOUT.c.token)).one()
        now, before = (about.changes, about.token), self._at
        if now == before:
            return
        self._at = None  # whoever is stopped half-way knows nothing
        some = None if before is None else touched(connection, before, now)
        if before is None or some is None or len(some) > max(MANY, len(self.templates) // 4):
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
        self.templates.reserve(
            connection.execute(select(func.count()).select_from(TEMPLATE)).scalar_one()
        )
        query = select(TEMPLATE.c.id, TEMPLATE.c.identity, TEMPLATE.c.vector).order_by(
            TEMPLATE.c.id
        )
        with connection.execute(query.execution_options(yield_per=CHUNK)) as found:
            for rows in found.partitions():
                numbers, owners, vectors = zip(*rows, strict=True)
                self.templates.add(self._vectors(vectors), _whole(owners), _whole(numbers))

    def _reread(self, connection: Connection, since: int, some: set[int]) -> None:
        if STRANGERS in some:
            self._cohort = None
        of = _whole(some - {STRANGERS})
        if not len(of):
            return
        for owner in some:
            self._names.pop(owner, None)
        owners, numbers = self.templates.owners, self.templates.numbers
        gone = {
            (int(owners[row]), int(numbers[row])): row
            for row in self.templates.rows_of(of).tolist()
        }
        changed = select(CHANGE.c.identity).where(CHANGE.c.number > since)
        query = (
            select(TEMPLATE.c.id, TEMPLATE.c.identity, TEMPLATE.c.vector)
            .where(TEMPLATE.c.identity.in_(changed))
            .order_by(TEMPLATE.c.id)
        )
        come = []
        for r in connection.execute(query):
            row = gone.get((r.identity, r.id))
            if row is not None and self.templates.vectors[row].tobytes() == r.vector:
                del gone[r.identity, r.id]
            else:
                come.append(r)
        self.templates.drop(_whole(gone.values()))
        if come:
            self.templates.add(
                self._vectors([r.vector for r in come]),
                _whole(r.identity for r in come),
                _whole(r.id for r in come),
            )
        if self._means is not None:
            self._means.drop(self._means.rows_of(of))
            rows = self.templates.rows_of(of)
            self._means.add(
                *_means(
                    self.templates,
                    rows[np.lexsort((self.templates.numbers[rows], self.templates.owners[rows]))],
                )
            )

    def _vectors(self, given: Sequence[bytes]) -> Vectors:
        joined = b"".join(given)
        if len(joined) != 4 * self.dim * len(given) or any(len(v) != 4 * self.dim for v in given):
            raise GalleryError(
                f"{self.place} is damaged: a vector of {self.dim} numbers has {4 * self.dim} "
                "bytes, and one there has another length. "
                "Restore it from a backup or an export."
            )
        return np.frombuffer(joined, np.float32).reshape(-1, self.dim)

    # --- asking

    @property
    def searched(self) -> Matrix:
        """What probes are compared with: the templates, or the mean of each identity's, as the
        policy has it.
        """
        if self.policy.score != "mean":
            self._means = None
            return self.templates
        if self._means is None:
            self._means = Matrix(self.dim)
            self._means.add(*_means(self.templates, self.templates.by_owner()))
        return self._means

    def search(self, x: Float[Vectors, "n D"], k: int, *, but: Whole | None = None) -> list[Ranked]:
        """The k identities nearest to each probe, by the index where there is one; ``but`` are rows
        to pass over, one per probe.
        """
        matrix = self.searched
        if self.index is not None and self.index.serves(matrix):
            return self.index.nearest(x, k, matrix, but=but)
        return matrix.nearest(x, k, but=but)

    def nearest_other(self, x: Float[Vectors, "n D"], identity: int | None) -> list[Ranked]:
        """The identity nearest to each probe, exactly, but for one; None leaves nobody out."""
        return self.searched.nearest(
            x, 1, without=np.full(len(x), NOBODY if identity is None else identity)
        )

    def similarity(self, x: Float[Vectors, "n D"], identity: int) -> Float[Vectors, " n"]:
        """Of each probe to one identity."""
        own = self.searched.of(identity)
        return np.asarray([exact(probe, own).max() for probe in x], np.float32)

    def names(self, connection: Connection, identities: Iterable[int]) -> dict[int, str]:
        """What identities are called."""
        new = sorted(set(identities) - self._names.keys())
        for begin in range(0, len(new), CHUNK):
            query = select(IDENTITY.c.id, IDENTITY.c.name).where(
                IDENTITY.c.id.in_(new[begin : begin + CHUNK])
            )
            self._names |= {r.id: r.name for r in connection.execute(query)}
        return self._names

    def cohort(self, connection: Connection) -> Float[Vectors, "n D"]:
        """The strangers that were given, if any."""
        if self._cohort is None:
            self._cohort = self._vectors(
                connection.execute(select(COHORT.c.vector).order_by(COHORT.c.id)).scalars().all()
            )
        return self._cohort

    def threshold(self, connection: Connection, rate: float) -> tuple[float, str]:
        """For a false-accept rate, and the rule that it comes from.

        Raises:
            GalleryError: when nothing is known of strangers.
            ConfigError: for too few of them.
        """
        near, whose, rule = self.compare(connection, rate)
        return conformal_threshold(near, rate, groups=whose), rule

    def compare(
        self, connection: Connection, rate: float, cohort: Vectors | None = None
    ) -> tuple[Float[Vectors, " n"], Int[Whole, " n"], str]:
        """How near each stranger comes to somebody, as far as it is not known yet, who each is, and
        the rule by which they are strangers.

        Templates of one identity that plays the stranger are one stranger.

        Args:
            connection: with a transaction that sees what is known.
            rate: the false-accept rate that it is for.
            cohort: the strangers; None for those that the gallery keeps.

        Raises:
            GalleryError: when nothing is known of strangers.
        """
        cohort = self.cohort(connection) if cohort is None else cohort
        rule, vectors, own, numbers = self._strangers(cohort, rate)
        before = self._compared
        some = None
        if (
            before is not None
            and before.score == self.policy.score
            and np.array_equal(before.cohort, cohort)
            and self._at is not None
        ):
            some = set[int]() if before.at == self._at else touched(connection, before.at, self._at)
        if before is None or some is None:
            before, some = (
                _Compared(self.policy.score, cohort, Strangers(self.dim), (0, 0)),
                set[int](),
            )
        self._compared = None
        near = before.strangers.follow(vectors, own, numbers, self.searched, _whole(some))
        if self._at is not None:
            self._compared = dataclasses.replace(before, at=self._at)
        return near, before.strangers.who(), rule

    def _strangers(self, cohort: Vectors, rate: float) -> tuple[str, Vectors, Whole, Whole]:
        """The rule, and of each stranger the vector, the identity to which it is none, and a
        number.
        """
        owners, rows = self.templates.owners, np.flatnonzero(self.templates.owners != NOBODY)
        if len(cohort):
            if not len(rows):
                raise GalleryError(
                    "An empty gallery knows no distance to strangers. Enrol somebody first."
                )
            return "cohort", cohort, np.full(len(cohort), NOBODY), np.arange(len(cohort))
        if not len(rows) or (owners[rows] == owners[rows[0]]).all():
            raise GalleryError(
                "With fewer than two identities and no cohort nothing is known of strangers. Enrol "
                "more, or give a cohort."
            )
        chosen = rows[
            drawn(
                owners[rows],
                self.templates.numbers[rows],
                LEFT_OUT,
                needed(rate) if 0 < rate < 1 else 0,
            )
        ]
        rule = (
            "leave one class out"
            if len(chosen) == len(rows)
            else "leave one class out, of a sample"
        )
        return rule, self.templates.vectors[chosen], owners[chosen], self.templates.numbers[chosen]

    def recall(self, n_probes: int, top_k: int) -> float:
        """Of the search, against the exact one; see `Gallery.recall`."""
        if n_probes < 1 or top_k < 1 or not len(self.templates):
            raise GalleryError(
                "A recall takes at least one template, probe and identity to look for, got "
                f"{len(self.templates)}, {n_probes} and {top_k}."
            )
        alive = np.flatnonzero(self.templates.owners != NOBODY)
        rows = np.random.default_rng(0).permutation(alive)[:n_probes]
        x, but = self.templates.vectors[rows], rows if self.searched is self.templates else None
        found = zip(
            self.search(x, top_k, but=but), self.searched.nearest(x, top_k, but=but), strict=True
        )
        shares = [np.isin(true, here).mean() for (here, _), (true, _) in found if len(true)]
        return float(np.mean(shares))


@dataclass(frozen=True)
class _Compared:
    score: str
    cohort: Vectors
    strangers: Strangers
    at: tuple[int, int]


def _means(matrix: Matrix, rows: Whole) -> tuple[Vectors, Whole, Whole]:
    """The normalised mean of each owner of some rows, in whose order they come; and the owners,
    twice, as a mean has no other number.
    """
    owners, starts = np.unique(matrix.owners[rows], return_index=True)
    out = np.empty((len(owners), matrix.dim), np.float32)
    for begin in range(0, len(owners), CHUNK):
        some = slice(begin, begin + CHUNK)
        first = starts[begin]
        last = starts[begin + CHUNK] if begin + CHUNK < len(starts) else len(rows)
        sums = np.add.reduceat(
            matrix.vectors[rows[first:last]].astype(np.float64), starts[some] - first, axis=0
        )
        out[some] = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    return out, owners, owners


def _whole(given: Iterable[int]) -> Whole:
    return np.fromiter(given, np.int64)
