"""Identities and their templates, kept: enrol, identify, verify, forget."""

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike, NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from sqlalchemy import delete, func, insert, inspect, select, update
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DatabaseError, IntegrityError, OperationalError

from quickstudy.core.errors import ConfigError, GalleryError, did_you_mean
from quickstudy.functional.thresholds import conformal_threshold
from quickstudy.gallery.policy import Decision, Enrolment, Policy
from quickstudy.gallery.store import ABOUT, AUDIT, COHORT, IDENTITY, POLICY, TABLES, TEMPLATE, engine_for

FORMAT = 1
Vectors: TypeAlias = NDArray[np.float32]
_Rows: TypeAlias = tuple[list[str], Vectors, NDArray[np.int64]]
"""Names, templates (those of one identity in a row), and the row at which each name's begin."""


class Gallery:
    """Who is known, as vectors: one template per photo, never the photo. Any number of processes may use it at once.

    Every change is one transaction: after a crash it is there whole, or not at all. Every change and every decision leaves a line in `audit`,
    without vectors. Templates of faces are personal data: keep consent and a retention date with each identity, and see `expire` and `erase`.

    Make one with `create`, and use it again with `open`.

    Example:
        >>> import tempfile
        >>> gallery = Gallery.create(Path(tempfile.mkdtemp()) / "door.db", encoder="my encoder 1", dim=3)
        >>> gallery.enrol("Ada", [[1.0, 0.1, 0.0], [1.0, 0.0, 0.1]]).warnings
        ()
        >>> [decision.identity for decision in gallery.identify([[0.9, 0.0, 0.0], [0.0, 0.0, 1.0]])]
        ['Ada', None]
        >>> gallery.close()
    """

    def __init__(self, engine: Engine, *, place: str, encoder: str, dim: int) -> None:
        self._engine, self.place, self.encoder, self.dim = engine, place, encoder, dim
        self._cache: tuple[int, _Rows] | None = None  # what was read at that count of changes

    # --- opening

    @classmethod
    def create(cls, place: str | Path, *, encoder: str, dim: int, policy: Policy | None = None) -> "Gallery":
        """A new, empty gallery.

        Args:
            place: a file (SQLite), or the URL of a PostgreSQL database.
            encoder: what makes the vectors: its hash or name with version. Others are refused afterwards.
            dim: length of a vector.
            policy: the first thresholds.

        Raises:
            GalleryError: when there is a gallery already, or the place cannot be written.
        """
        if dim < 1 or not encoder:
            raise GalleryError(f"A gallery needs the name of its encoder and a dimension of at least 1, got '{encoder}' and {dim}.")
        with _explained(str(place)), _first(place) as engine, engine.execution_options(writes=True).begin() as connection:
            if inspect(connection).has_table(ABOUT.name):
                raise GalleryError(f"{place} holds a gallery already. Open it, or choose another name; nothing was changed.")
            TABLES.create_all(connection)
            connection.execute(insert(ABOUT).values(format=FORMAT, encoder=encoder, dim=dim, changes=0))
            connection.execute(insert(POLICY).values(version=1, policy=(policy or Policy()).to_json(), created=_now()))
        return cls(engine, place=str(place), encoder=encoder, dim=dim)

    @classmethod
    def open(cls, place: str | Path, *, encoder: str = "") -> "Gallery":
        """A gallery that is there.

        Args:
            place: as in `create`.
            encoder: what will make the probes' vectors; empty = not checked.

        Raises:
            GalleryError: when there is none, the file is damaged, or its templates were made by another encoder.
        """
        if "://" not in str(place) and not Path(place).is_file():
            raise GalleryError(f"There is no gallery at {place}. Make one with `quickstudy gallery create`.")
        with _explained(str(place)), _first(place) as engine:
            with engine.connect() as connection:
                if not inspect(connection).has_table(ABOUT.name):
                    raise GalleryError(f"{place} is a database without a gallery. Make one with `quickstudy gallery create`.")
                row = connection.execute(select(ABOUT)).one()
            if row.format != FORMAT:
                raise GalleryError(f"{place} is of format {row.format}, and this version reads {FORMAT}. Install the version that made it.")
            if encoder and encoder != row.encoder:
                raise GalleryError(
                    f"{place} holds templates of the encoder '{row.encoder}', not of '{encoder}': their vectors cannot be compared. "
                    "Use that encoder, or enrol everybody anew in another gallery."
                )
        return cls(engine, place=str(place), encoder=row.encoder, dim=row.dim)

    def close(self) -> None:
        """Give back the connections; the gallery may be used again."""
        self._engine.dispose()

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
            consent: what was agreed to, and when; kept as it is. As the next two: None leaves what is there.
            retain_until: when `expire` will remove the identity.
            details: other JSON values.

        Raises:
            GalleryError: when a vector looks like another identity (unless ``force``), is not of D finite numbers, or is zero.
        """
        x, warnings = self._vectors(vectors), []
        if not identity.strip():
            raise GalleryError("An identity needs a name.")
        with self._changing() as connection:
            policy = _policy(connection)[1]
            names, similarity = self._similarities(connection, x, policy)
            other = [n for n, name in enumerate(names) if name != identity]
            if other:
                at = np.unravel_index(similarity[:, other].argmax(), (len(x), len(other)))
                near, whom = float(similarity[:, other][at]), names[other[int(at[1])]]
                if near > policy.duplicate:
                    told = f"Photo {int(at[0]) + 1} of {identity} looks like {whom} (similarity {near:.2f}, duplicates begin at {policy.duplicate:.2f})"
                    if not force:
                        raise GalleryError(f"{told}. Check who it is; enrol it anyway with force.")
                    warnings.append(f"{told}; enrolled because it was forced.")
            if identity in names:
                for i, s in enumerate(similarity[:, names.index(identity)].tolist()):
                    if s <= policy.threshold:
                        warnings.append(
                            f"Photo {i + 1} is unlike the other templates of {identity} (similarity {s:.2f}, accepted above {policy.threshold:.2f}). "
                            "Check that it is the same person, and the photo."
                        )
            elif len(x) == 1:
                warnings.append(f"{identity} has one template. A second photo, on another day, would make recognition surer.")
            row = connection.execute(select(IDENTITY.c.id).where(IDENTITY.c.name == identity)).first()
            given = {k: v for k, v in (("consent", consent), ("retain_until", _naive(retain_until))) if v is not None}
            if details is not None:
                given["details"] = json.dumps(details)
            if row is None:
                made = connection.execute(insert(IDENTITY).values({"name": identity, "details": "{}", "created": _now(), **given}))
                owner = _key(made)
            else:
                owner = row.id
                if given:
                    connection.execute(update(IDENTITY).where(IDENTITY.c.id == owner).values(**given))
            made = [_key(connection.execute(insert(TEMPLATE).values(identity=owner, vector=v.tobytes(), created=_now()))) for v in x]
            _note(connection, "enrol", identity, detail=f"{len(x)} templates" + (", forced" if force else ""))
            self._follow(connection)
        return Enrolment(identity, tuple(made), tuple(warnings))

    def rename(self, identity: str, name: str) -> None:
        """Give an identity another name."""
        with self._changing() as connection:
            owner = _owner(connection, identity)
            try:
                connection.execute(update(IDENTITY).where(IDENTITY.c.id == owner).values(name=name))
            except IntegrityError as error:
                raise GalleryError(f"There is a {name} already. Choose another name.") from error
            _note(connection, "rename", name, detail=f"was {identity}")

    def remove(self, identity: str) -> None:
        """Forget an identity and all its templates."""
        with self._changing() as connection:
            owner = _owner(connection, identity)
            connection.execute(delete(IDENTITY).where(IDENTITY.c.id == owner))
            _note(connection, "remove", identity)
            self._follow(connection)

    def remove_template(self, template: int) -> None:
        """Forget one template; with the last one its identity goes too."""
        with self._changing() as connection:
            row = connection.execute(
                select(IDENTITY.c.id, IDENTITY.c.name).join(TEMPLATE, TEMPLATE.c.identity == IDENTITY.c.id).where(TEMPLATE.c.id == template)
            ).first()
            if row is None:
                raise GalleryError(f"There is no template {template}. `identities` lists them.")
            connection.execute(delete(TEMPLATE).where(TEMPLATE.c.id == template))
            if not connection.execute(select(func.count()).select_from(TEMPLATE).where(TEMPLATE.c.identity == row.id)).scalar_one():
                connection.execute(delete(IDENTITY).where(IDENTITY.c.id == row.id))
            _note(connection, "remove", row.name, detail=f"template {template}")
            self._follow(connection)

    def expire(self, now: datetime | None = None) -> tuple[str, ...]:
        """Remove the identities whose retention date has passed; returns their names."""
        moment = _naive(now) or _now()
        with self._changing() as connection:
            names = connection.execute(select(IDENTITY.c.name).where(IDENTITY.c.retain_until < moment)).scalars().all()
            for name in names:
                connection.execute(delete(IDENTITY).where(IDENTITY.c.name == name))
                _note(connection, "expire", name)
            self._follow(connection)
        return tuple(names)

    def erase(self) -> None:
        """Delete everything: identities, templates, cohort, policies and the audit log. The gallery is gone afterwards."""
        with _explained(self.place), self._engine.execution_options(writes=True).begin() as connection:
            TABLES.drop_all(connection)
        if self._engine.dialect.name == "sqlite":
            with _explained(self.place), self._engine.connect() as connection:
                raw: Any = connection.connection.dbapi_connection
                raw.execute("VACUUM")
                raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    # --- thresholds

    @property
    def policy(self) -> Policy:
        """The thresholds in force."""
        with self._reading() as connection:
            return _policy(connection)[1]

    def set_policy(self, policy: Policy) -> int:
        """Put other thresholds in force; returns the version. Older ones stay on record."""
        with self._changing() as connection:
            return _put_policy(connection, policy)

    def calibrate(self, rate: float, *, cohort: ArrayLike | None = None) -> Policy:
        """Choose the threshold for a wanted false-accept rate, and let it follow when identities come and go.

        Args:
            rate: the share of strangers who may be taken for somebody.
            cohort: vectors of strangers ``[n D]``, which are kept; None takes those kept before, or lets each identity in turn be the stranger to
                all others.

        Raises:
            ConfigError: for too few strangers, with the number needed.
        """
        with self._changing() as connection:
            if cohort is not None:
                x = self._vectors(cohort)
                connection.execute(delete(COHORT))
                connection.execute(insert(COHORT), [{"vector": v.tobytes()} for v in x])
            policy = _policy(connection)[1]
            threshold, rule = self._threshold(connection, policy, rate)
            chosen = dataclasses.replace(policy, threshold=threshold, review=threshold, rate=rate, rule=rule)
            _put_policy(connection, chosen)
        return chosen

    # --- questions

    def identify(self, vectors: ArrayLike, *, top_k: int = 5) -> list[Decision]:
        """Who each probe is, or that it is a stranger.

        Raises:
            GalleryError: for vectors that are not of D finite numbers.
        """
        x = self._vectors(vectors)
        with self._reading() as connection:
            version, policy = _policy(connection)
            names, similarity = self._similarities(connection, x, policy)
        found = []
        for row in similarity:
            near = np.argsort(-row, kind="stable")[: max(top_k, 1)]
            candidates = tuple((names[n], float(row[n])) for n in near)
            best = candidates[0][1] if candidates else float("-inf")
            known = best > policy.threshold
            found.append(
                Decision(
                    candidates[0][0] if known else None,
                    not known or best > policy.review,
                    best,
                    policy.threshold,
                    version,
                    candidates[:top_k],
                )
            )
        self._record("identify", found)
        return found

    def verify(self, vector: ArrayLike, identity: str) -> Decision:
        """Whether a probe ``[D]`` is the one it claims to be; the decision's identity is the name, or None."""
        x = self._vectors(np.asarray(vector)[None])
        with self._reading() as connection:
            version, policy = _policy(connection)
            _owner(connection, identity)
            names, similarity = self._similarities(connection, x, policy)
        s = float(similarity[0, names.index(identity)])
        known = s > policy.threshold
        decision = Decision(identity if known else None, not known or s > policy.review, s, policy.threshold, version, ((identity, s),))
        self._record("verify", [decision])
        return decision

    def identities(self) -> list[dict[str, Any]]:
        """Name, templates, consent, retention date and details of everybody, by name."""
        with self._reading() as connection:
            rows = connection.execute(select(IDENTITY).order_by(IDENTITY.c.name)).all()
            templates: dict[int, list[int]] = {}
            for t in connection.execute(select(TEMPLATE.c.id, TEMPLATE.c.identity).order_by(TEMPLATE.c.id)):
                templates.setdefault(t.identity, []).append(t.id)
        return [
            {
                "name": r.name,
                "templates": templates.get(r.id, []),
                "consent": r.consent,
                "retain_until": r.retain_until.isoformat() if r.retain_until else None,
                "details": json.loads(r.details),
                "created": r.created.isoformat(),
            }
            for r in rows
        ]

    def audit(self, *, last: int = 100) -> list[dict[str, Any]]:
        """The last changes and decisions, the newest last."""
        with self._reading() as connection:
            rows = connection.execute(select(AUDIT).order_by(AUDIT.c.id.desc()).limit(last)).mappings().all()
        return [{**row, "time": row["time"].isoformat()} for row in reversed(rows)]

    # --- moving

    def export(self, folder: str | Path) -> Path:
        """Write identities, templates, cohort and policy into a folder, ``gallery.json`` and ``gallery.safetensors``, to be imported elsewhere."""
        out = Path(folder)
        with self._reading() as connection:
            policy = _policy(connection)[1]
            names, matrix, starts = self._fresh(connection)
            cohort = self._read_vectors(connection, COHORT)
        people = {p["name"]: p for p in self.identities()}
        counts = np.diff([*starts.tolist(), len(matrix)]).tolist()
        about = {
            "format": FORMAT,
            "encoder": self.encoder,
            "dim": self.dim,
            "policy": json.loads(policy.to_json()),
            "identities": [{**people[name], "templates": n} for name, n in zip(names, counts, strict=True)],
        }
        try:
            out.mkdir(parents=True, exist_ok=True)
            save_file({"templates": matrix, "cohort": cohort}, out / "gallery.safetensors")
            (out / "gallery.json").write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        except OSError as error:
            raise GalleryError(f"{out} cannot be written: {error}. Choose another folder.") from error
        return out

    @classmethod
    def import_from(cls, folder: str | Path, place: str | Path) -> "Gallery":
        """A new gallery with what `export` wrote.

        Raises:
            GalleryError: when the files are missing or damaged, or there is a gallery at ``place`` already.
        """
        try:
            about = json.loads((Path(folder) / "gallery.json").read_text(encoding="utf-8"))
            tensors = load_file(Path(folder) / "gallery.safetensors")
            templates, cohort, people = tensors["templates"], tensors["cohort"], about["identities"]
            policy = Policy(**about["policy"])
            if sum(p["templates"] for p in people) != len(templates) or templates.shape[1:] != (about["dim"],):
                raise ValueError("the number or the length of the templates is wrong")
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise GalleryError(f"{folder} holds no gallery that can be imported: {error}.") from error
        gallery = cls.create(place, encoder=about["encoder"], dim=about["dim"], policy=policy)
        at = 0
        with gallery._changing() as connection:
            for p in people:
                until = datetime.fromisoformat(p["retain_until"]) if p["retain_until"] else None
                made = connection.execute(
                    insert(IDENTITY).values(
                        name=p["name"], consent=p["consent"], retain_until=until, details=json.dumps(p["details"]),
                        created=datetime.fromisoformat(p["created"]),
                    )
                )  # fmt: skip
                owner = _key(made)
                rows = [{"identity": owner, "vector": v.tobytes(), "created": _now()} for v in templates[at : at + p["templates"]]]
                at += p["templates"]
                connection.execute(insert(TEMPLATE), rows)
            if len(cohort):
                connection.execute(insert(COHORT), [{"vector": v.tobytes()} for v in cohort])
            _note(connection, "import", None, detail=f"{len(people)} identities")
        return gallery

    # --- inside

    @contextlib.contextmanager
    def _changing(self) -> Iterator[Connection]:
        with _explained(self.place), self._engine.execution_options(writes=True).begin() as connection:
            connection.execute(update(ABOUT).values(changes=ABOUT.c.changes + 1))
            yield connection

    @contextlib.contextmanager
    def _reading(self) -> Iterator[Connection]:
        with _explained(self.place), self._engine.begin() as connection:
            yield connection

    def _record(self, action: str, decisions: Sequence[Decision]) -> None:
        rows = [
            {
                "time": _now(), "action": action, "identity": d.identity, "similarity": d.similarity if np.isfinite(d.similarity) else None,
                "threshold": d.threshold, "policy": d.policy, "detail": "" if d.certain else "uncertain",
            }
            for d in decisions
        ]  # fmt: skip
        if rows:
            with _explained(self.place), self._engine.execution_options(writes=True).begin() as connection:
                connection.execute(insert(AUDIT), rows)

    def _vectors(self, given: ArrayLike) -> Float[Vectors, "n D"]:
        try:
            x = np.asarray(given, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise GalleryError(f"Expected vectors of {self.dim} numbers: {error}.") from error
        if x.ndim != 2 or x.shape[1] != self.dim or not len(x):
            raise GalleryError(f"Expected vectors [n {self.dim}] with n of at least 1, got shape {tuple(x.shape)}.")
        length = np.linalg.norm(x, axis=1, keepdims=True)
        if not np.isfinite(length).all() or not length.all():
            raise GalleryError("A vector is zero or not of finite numbers, so it has no direction. Check the picture and the encoder.")
        return x / length

    def _read_vectors(self, connection: Connection, table: Any) -> Vectors:
        rows = connection.execute(select(table.c.vector).order_by(table.c.id)).scalars().all()
        return np.frombuffer(b"".join(rows), np.float32).reshape(-1, self.dim)

    def _fresh(self, connection: Connection) -> _Rows:
        """The names, the templates in rows, and where each name's begin; read again when somebody has changed something."""
        if connection.get_execution_options().get("writes"):  # what is read in the middle of a change may never come to be
            return self._read(connection)
        changes, cache = connection.execute(select(ABOUT.c.changes)).scalar_one(), self._cache
        if cache is None or cache[0] != changes:
            self._cache = cache = (changes, self._read(connection))
        return cache[1]

    def _read(self, connection: Connection) -> _Rows:
        query = select(IDENTITY.c.name, TEMPLATE.c.vector).join(TEMPLATE, TEMPLATE.c.identity == IDENTITY.c.id)
        rows = connection.execute(query.order_by(IDENTITY.c.id, TEMPLATE.c.id)).all()
        matrix = np.frombuffer(b"".join(r.vector for r in rows), np.float32).reshape(-1, self.dim)
        owners = [r.name for r in rows]
        starts = np.asarray([i for i, name in enumerate(owners) if not i or owners[i - 1] != name], np.int64)
        return [owners[i] for i in starts], matrix, starts

    def _similarities(self, connection: Connection, x: Vectors, policy: Policy) -> tuple[list[str], Vectors]:
        """Of each vector to each identity, ``[n I]``."""
        names, matrix, starts = self._fresh(connection)
        if not names:
            return names, np.empty((len(x), 0), np.float32)
        if policy.score == "mean":
            sums = np.add.reduceat(matrix, starts, axis=0)
            return names, x @ (sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)).T
        return names, np.maximum.reduceat(x @ matrix.T, starts, axis=1)

    def _threshold(self, connection: Connection, policy: Policy, rate: float) -> tuple[float, str]:
        strangers = self._read_vectors(connection, COHORT)
        names, matrix, starts = self._fresh(connection)
        if len(strangers):
            if not names:
                raise GalleryError("An empty gallery knows no distance to strangers. Enrol somebody first.")
            _, similarity = self._similarities(connection, strangers, policy)
            return conformal_threshold(similarity.max(1), rate), "cohort"
        if len(names) < 2:
            raise GalleryError("With fewer than two identities and no cohort nothing is known of strangers. Enrol more, or give a cohort.")
        _, similarity = self._similarities(connection, matrix, policy)
        owner = np.repeat(np.arange(len(names)), np.diff([*starts.tolist(), len(matrix)]))
        similarity[np.arange(len(matrix)), owner] = -np.inf
        return conformal_threshold(similarity.max(1), rate), "leave one class out"

    def _follow(self, connection: Connection) -> None:
        """After a change of who is there: the threshold for the same false-accept rate, as long as there is enough to choose it by."""
        _, policy = _policy(connection)
        if policy.rate is not None:
            with contextlib.suppress(ConfigError, GalleryError):
                threshold, rule = self._threshold(connection, policy, policy.rate)
                if threshold != policy.threshold:
                    _put_policy(connection, dataclasses.replace(policy, threshold=threshold, review=threshold, rule=rule))


def _policy(connection: Connection) -> tuple[int, Policy]:
    row = connection.execute(select(POLICY).order_by(POLICY.c.version.desc()).limit(1)).one()
    return row.version, Policy.from_json(row.policy)


def _put_policy(connection: Connection, policy: Policy) -> int:
    version = _policy(connection)[0] + 1
    connection.execute(insert(POLICY).values(version=version, policy=policy.to_json(), created=_now()))
    _note(connection, "policy", None, detail=policy.to_json(), threshold=policy.threshold, policy=version)
    return version


def _note(connection: Connection, action: str, identity: str | None, **more: Any) -> None:
    connection.execute(insert(AUDIT).values({"time": _now(), "action": action, "identity": identity, "detail": "", **more}))


def _owner(connection: Connection, identity: str) -> int:
    row = connection.execute(select(IDENTITY.c.id).where(IDENTITY.c.name == identity)).first()
    if row is None:
        names = connection.execute(select(IDENTITY.c.name)).scalars().all()
        raise GalleryError(f"Nobody is called '{identity}' here. {did_you_mean(identity, names)}")
    return row.id


def _key(made: Any) -> int:
    return int(made.inserted_primary_key[0])


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


def _naive(moment: datetime | None) -> datetime | None:
    """In UTC without saying so, as both databases keep it."""
    return moment if moment is None or moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)


@contextlib.contextmanager
def _first(place: str | Path) -> Iterator[Engine]:
    """Connections that are given back where the gallery turns out to be none."""
    engine = engine_for(place)
    try:
        yield engine
    except BaseException:
        engine.dispose()
        raise


@contextlib.contextmanager
def _explained(place: str) -> Iterator[None]:
    """The database's errors in words that help."""
    try:
        yield
    except (OperationalError, DatabaseError) as error:
        said = str(error.orig)
        if "disk is full" in said or "No space left" in said:
            raise GalleryError(f"The disk of {place} is full. Nothing was changed; make room and try again.") from error
        if "readonly" in said or "unable to open" in said or "Permission denied" in said:
            raise GalleryError(f"{place} cannot be written: {said}. Check the folder and its permissions; nothing was changed.") from error
        if "malformed" in said or "not a database" in said or "disk image" in said:
            raise GalleryError(f"{place} is damaged: {said}. Restore it from a backup or an export.") from error
        raise GalleryError(f"The database at {place} says: {said}. Nothing was changed.") from error
