"""The search in the PostgreSQL server: it follows the gallery, holds nothing, and is exact where
that is promised.
"""

import uuid
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from quickstudy.core.errors import GalleryError
from quickstudy.gallery import DuplicateError, Gallery, Policy
from quickstudy.gallery import pgvector_index as module
from quickstudy.gallery.cohort import Cohort
from quickstudy.gallery.create import Description
from quickstudy.gallery.search import exact
from quickstudy.gallery.transfer import Export
from quickstudy.gallery.vectors import unit

DIM, PEOPLE = 24, 300


def photos(who: int, seed: int, n: int = 2) -> np.ndarray:
    return np.random.default_rng(who).normal(size=DIM) + 0.5 * np.random.default_rng(
        [seed, who]
    ).normal(size=(n, DIM))


PROBES = np.concatenate([photos(who, 1, 1) for who in range(0, PEOPLE, 10)])
ENROLLED = unit(np.concatenate([photos(who, 0) for who in range(PEOPLE)]), DIM)


@pytest.fixture
def new_place(pgvector: Path) -> Callable[[], str]:
    psycopg = pytest.importorskip("psycopg")

    def made() -> str:
        name = "g" + uuid.uuid4().hex
        with psycopg.connect(f"host={pgvector} user=test dbname=postgres", autocommit=True) as c:
            c.execute(f"CREATE DATABASE {name}")
        return f"postgresql://test@/{name}?host={pgvector}"

    return made


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    about = {
        "templates": 2,
        "consent": None,
        "retain_until": None,
        "details": {},
        "created": "2026-01-02T03:04:05",
    }
    folder = tmp_path_factory.mktemp("exported")
    Export(
        Description("e1", DIM),
        Policy(threshold=0.2, review=0.2, duplicate=0.9),
        [{**about, "name": f"p{who}"} for who in range(PEOPLE)],
        ENROLLED,
        Cohort(np.empty((0, DIM), np.float32), np.empty(0, np.int64)),
    ).write(folder)
    return folder


@pytest.fixture
def pair(new_place: Callable[[], str], exported: Path) -> tuple[Gallery, Gallery]:
    """The same gallery, searched in this process and in the server."""
    plain = Gallery.import_from(exported, new_place())
    return plain, Gallery.open(plain.location.place, index="pgvector")


def filled(gallery: Gallery) -> int:
    index = gallery._snapshot.index
    assert isinstance(index, module.PgvectorIndex)
    with index._filling:  # the thread has ended
        return index.fill(gallery._access.engine)


def in_the_server(gallery: Gallery) -> int:
    with gallery._access.reading() as connection:
        return int(
            connection.exec_driver_sql("SELECT count(*) FROM quickstudy_vector").scalar_one()
        )


def test_it_answers_before_and_after_the_server_has_copies(pair: tuple[Gallery, Gallery]) -> None:
    plain, server = pair
    expected = plain.identify(PROBES, top_k=3)
    assert server.identify(PROBES, top_k=3) == expected
    filled(server)
    assert in_the_server(server) == 2 * PEOPLE
    assert filled(server) == 0
    assert server.identify(PROBES, top_k=3) == expected
    assert server.verify(PROBES[0], "p0") == plain.verify(PROBES[0], "p0")
    assert server.recall(50, top_k=3) > 0.98
    table = server._snapshot.templates
    assert table._vectors.size == 0
    with server._access.looking():
        np.testing.assert_array_equal(table.vectors, plain._snapshot.templates.vectors)


def test_a_process_that_asks_reads_no_rows(pair: tuple[Gallery, Gallery]) -> None:
    plain, server = pair
    server.identify(PROBES)
    plain.remove("p3")
    server.identify(PROBES)
    server.verify(PROBES[0], "p0")
    assert not server._snapshot.templates.is_read


def test_it_follows_who_comes_and_goes(pair: tuple[Gallery, Gallery]) -> None:
    plain, server = pair
    filled(server)
    plain.enrol("late", photos(999, 0))
    assert server.identify(photos(999, 1, 1))[0].identity == "late"
    filled(server)
    assert in_the_server(server) == 2 * PEOPLE + 2
    plain.remove("late")
    plain.remove("p0")
    assert in_the_server(server) == 2 * PEOPLE - 2
    names = {
        name
        for d in server.identify(np.r_[photos(999, 1, 1), photos(0, 1, 1)], top_k=20)
        for name, _ in d.candidates
    }
    assert not {"late", "p0"} & names
    server.enrol("later", photos(998, 0))
    assert plain.identify(photos(998, 1, 1))[0].identity == "later"
    assert server.info()["templates"] == plain.info()["templates"] == 2 * PEOPLE
    assert server.erase() is not None
    with server._access.engine.connect() as connection:
        assert not module._exists(connection, "quickstudy_vector")


def test_enrolment_and_thresholds_are_exact(pair: tuple[Gallery, Gallery]) -> None:
    plain, server = pair
    with pytest.raises(DuplicateError) as missed:
        plain.enrol("again", ENROLLED[40:41] + 1e-3)
    for _ in range(2):  # compared by this process, and by the server
        with pytest.raises(DuplicateError) as found:
            server.enrol("again", ENROLLED[40:41] + 1e-3)
        assert (found.value.other, found.value.similarity) == (
            missed.value.other,
            missed.value.similarity,
        )
        filled(server)
    theirs, ours = plain.calibrate(0.05).policy, server.calibrate(0.05).policy
    assert (ours.threshold, ours.rule) == (theirs.threshold, theirs.rule)
    server.enrol("new", photos(900, 0))
    server.remove("p7")
    followed = server.policy
    assert followed == Gallery.open(server.location.place).policy
    assert plain.calibrate(0.05).policy.threshold == followed.threshold
    assert server.look_alikes(most=5) == plain.look_alikes(most=5)


def test_exact_means_exact(pair: tuple[Gallery, Gallery], monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where half precision cannot tell many apart, and an owner is passed over."""
    plain, server = pair
    close = ENROLLED[:1] + 3e-4 * np.random.default_rng(5).normal(size=(200, DIM))
    plain.set_policy(Policy(threshold=0.2, review=0.2))
    for row, x in enumerate(close):
        plain.enrol(f"close {row}", x[None], force=True)
    filled(server)
    x = unit(close[:3] + 1e-4, DIM)
    with plain._access.looking() as connection:
        table = plain._snapshot.templates
        own = table.owners[table.alive[-1]]
        expected = plain._snapshot.nearest(x, 4, without_owner=np.full(3, own))
        first = [exact(probe, table.vectors[table.owners != own]).max() for probe in x]
        assert [s[0] for _, s in expected] == first
        del connection
    for few in (8, 0):  # by the server, and by this process
        monkeypatch.setattr(module, "SCANNED", few)
        with server._access.looking():
            ranked = server._snapshot.nearest(x, 4, without_owner=np.full(3, own))
        for (a, s), (b, t) in zip(expected, ranked, strict=True):
            np.testing.assert_array_equal(a, b)
            np.testing.assert_array_equal(s, t)


def test_a_reader_that_may_not_write_finds_who_is_new(
    pair: tuple[Gallery, Gallery], pgvector: Path
) -> None:
    plain, server = pair
    filled(server)
    with plain._access.engine.begin() as connection:
        connection.exec_driver_sql("DROP ROLE IF EXISTS reader")
        connection.exec_driver_sql("CREATE ROLE reader LOGIN")
        connection.exec_driver_sql("GRANT pg_read_all_data TO reader")
    plain.enrol("late", photos(999, 0))
    reader = Gallery.open(server.location.place.replace("//test@", "//reader@"), index="pgvector")
    index = reader._snapshot.index
    assert isinstance(index, module.PgvectorIndex)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with reader._access.looking():
            ((owners, _),) = reader._snapshot.search(unit(photos(999, 1, 1), DIM), 1)
        with index._filling:
            assert index._paused_until > 0
    assert len(owners) == 1
    assert any("permission denied" in str(one.message) for one in caught)
    assert in_the_server(server) == 2 * PEOPLE
    reader._access.engine.dispose()
    plain.erase()
    with plain._access.engine.begin() as connection:
        connection.exec_driver_sql("DROP ROLE reader")


def test_what_cannot_be_is_refused(
    new_place: Callable[[], str], exported: Path, tmp_path: Path
) -> None:
    Gallery.create(tmp_path / "a.db", encoder="e1", dim=DIM).close()
    with pytest.raises(GalleryError, match=r"for galleries in PostgreSQL, and .*a\.db is a file"):
        Gallery.open(tmp_path / "a.db", index="pgvector")
    long = Gallery.create(new_place(), encoder="e1", dim=module.MAX_DIM + 1)
    with pytest.raises(GalleryError, match="up to 4000 numbers"):
        Gallery.open(long.location.place, index="pgvector")
    plain = Gallery.import_from(exported, new_place())
    plain.set_policy(Policy(threshold=0.2, review=0.2, score="mean"))
    server = Gallery.open(plain.location.place, index="pgvector")
    with pytest.raises(GalleryError, match="Open the gallery with the index 'exact'"):
        server.identify(PROBES[:1])


def test_a_server_without_the_extension_says_so(postgres: Path | str) -> None:
    pytest.importorskip("psycopg")
    if isinstance(postgres, str):
        pytest.skip(postgres)
    place = f"postgresql://test@/postgres?host={postgres}"
    plain = Gallery.create(place, encoder="e1", dim=DIM)
    try:
        with pytest.raises(GalleryError, match=r"cannot be searched by pgvector: .* installs the"):
            Gallery.open(place, index="pgvector")
    finally:
        plain.erase()
