"""A gallery that is open follows what others change: it answers as one that was opened anew."""

import contextlib
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, text

from quickstudy.core.errors import ConfigError, GalleryError
from quickstudy.gallery import Gallery, Policy, changes, search, snapshot
from quickstudy.gallery import vectors as vector_table

DIM = 8
PROBES = np.random.default_rng(1).normal(size=(6, DIM))
OPERATIONS = (
    "enrol",
    "enrol",
    "enrol",
    "refused",
    "rename",
    "remove",
    "remove_template",
    "expire",
    "score",
    "calibrate",
    "cohort",
    "ask",
)


def vectors(seed: int, n: int = 2) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=DIM) + 0.4 * rng.normal(size=(n, DIM))


def act(gallery: Gallery, what: str, who: int, seed: int) -> None:
    """One change; those that make no sense at the moment are refused, which is a case too."""
    name, rng = f"p{who}", np.random.default_rng(seed)
    match what:
        case "enrol":
            until = (
                datetime.now(UTC) + timedelta(days=int(rng.integers(-1, 2)))
                if seed % 3 == 0
                else None
            )
            gallery.enrol(
                name, vectors(seed % 12, int(rng.integers(1, 4))), force=True, retain_until=until
            )
        case "refused":
            gallery.enrol("somebody new", vectors(seed % 12, 1))
        case "rename":
            gallery.rename(name, f"p{seed % 8}")
        case "remove":
            gallery.remove(name)
        case "remove_template":
            gallery.remove_template(
                int(rng.choice([t for p in gallery.identities() for t in p["templates"]] or [99]))
            )
        case "expire":
            gallery.expire()
        case "score":
            gallery.set_policy(
                Policy(score=("nearest", "mean")[seed % 2], rate=(None, 0.3)[seed % 3 > 0])
            )
        case "calibrate":
            gallery.calibrate(0.25)
        case "cohort":
            gallery.calibrate(0.2, cohort=rng.normal(size=(6, DIM)))
        case _:
            gallery.identify(PROBES[:1])


def answers(gallery: Gallery) -> tuple[Any, ...]:
    people = gallery.identities()
    verified = [gallery.verify(PROBES[0], p["name"]) for p in people[:2]]
    return (
        gallery.identify(PROBES, top_k=3),
        gallery.identify(PROBES[:1], top_k=50),
        people,
        verified,
        gallery.policy,
    )


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(
            st.integers(0, 1), st.sampled_from(OPERATIONS), st.integers(0, 7), st.integers(0, 1000)
        ),
        min_size=5,
        max_size=25,
    )
)
def test_two_galleries_answer_as_one_opened_anew(
    place: Callable[[], str], steps: list[tuple[int, str, int, int]]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        # Forgotten rows close up, blocks end and samples are drawn in small galleries too; the log
        # is so short that it does not always reach back.
        for where, name, value in (
            (vector_table, "MAX_DELETED", 2),
            (search, "FIRST_BLOCK", 4),
            (search, "BLOCK_SIZE", 8),
            (snapshot, "MAX_LEFT_OUT", 7),
            (changes, "LOG_LENGTH", 4),
        ):
            patch.setattr(where, name, value)
        first = Gallery.create(place(), encoder="e1", dim=DIM, policy=Policy(duplicate=0.8))
        both = (first, Gallery.open(first.place))
        for which, what, who, seed in steps:
            with contextlib.suppress(GalleryError, ConfigError):
                act(both[which], what, who, seed)
            if seed % 3 == 0:
                continue  # several changes are followed at once
            fresh = Gallery.open(first.place)
            policy = fresh.policy
            with fresh._access.looking() as connection:
                assert fresh._snapshot.followed(connection) == policy
            assert both[which].identify(PROBES, top_k=3) == fresh.identify(PROBES, top_k=3)
            fresh.close()
        fresh = Gallery.open(first.place)
        assert answers(first) == answers(both[1]) == answers(fresh)
        for gallery in (*both, fresh):
            gallery.close()


@pytest.fixture
def pair(place: Callable[[], str]) -> tuple[Gallery, Gallery]:
    """One that changes, and one that has read and follows."""
    one = Gallery.create(place(), encoder="e1", dim=DIM)
    for i in range(6):
        one.enrol(f"p{i}", vectors(i), force=True)
    other = Gallery.open(one.place)
    other.identify(PROBES)
    return one, other


def statements(gallery: Gallery) -> list[str]:
    """What a gallery asks its database from now on, but for the audit log, which a thread of its
    own writes.
    """
    statements = list[str]()

    def keep(*given: Any) -> None:
        if "quickstudy_audit" not in given[2]:
            statements.append(given[2])

    event.listen(gallery._access.engine, "before_cursor_execute", keep)
    return statements


def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How often everything was read."""
    read, count = snapshot.Snapshot._read, list[int]()

    def counted(self: Any, connection: Any) -> None:
        count.append(1)
        read(self, connection)

    monkeypatch.setattr(snapshot.Snapshot, "_read", counted)
    return count


def test_only_what_changed_is_read(
    pair: tuple[Gallery, Gallery], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = pair
    count, said = reads(monkeypatch), statements(other)
    other.identify(PROBES)
    # who has changed nothing costs one question
    assert [s for s in said if s.startswith("SELECT")] == [
        s for s in said if "FROM quickstudy_gallery" in s
    ]
    assert len([s for s in said if s.startswith("SELECT")]) == 1
    one.enrol("late", vectors(80), force=True)
    one.remove("p1")
    one.rename("p2", "Ada")
    said.clear()
    found = other.identify(np.r_[vectors(80)[:1], vectors(1)[:1], vectors(2)[:1]])
    assert [found[0].candidates[0][0], found[2].candidates[0][0]] == ["late", "Ada"]
    assert "p1" not in [name for name, _ in found[1].candidates]
    assert [
        s for s in said if "quickstudy_template.vector" in s and "quickstudy_change" not in s
    ] == []
    assert not count


@pytest.mark.parametrize(
    "gone",
    [
        "DELETE FROM quickstudy_change WHERE number = 5",
        "UPDATE quickstudy_change SET token = 1 WHERE number = 6",
    ],
)
def test_where_the_log_leads_elsewhere_everything_is_read(
    pair: tuple[Gallery, Gallery], monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    """As after a backup was restored and changed, or after a change by a version that writes no
    log.
    """
    one, other = pair
    count = reads(monkeypatch)
    other._snapshot._at = (4, _token_of(one, 4))
    one.enrol("late", vectors(80), force=True)
    other.identify(PROBES)
    assert not count
    other._snapshot._at = (
        5 if "UPDATE" not in gone else 6,
        _token_of(one, 5 if "UPDATE" not in gone else 6),
    )
    with one._access.engine.begin() as connection:
        connection.execute(text(gone))
    assert other.identify(vectors(80)[:1])[0].candidates[0][0] == "late"
    assert count


def _token_of(gallery: Gallery, number: int) -> int:
    with gallery._access.engine.connect() as connection:
        return (
            connection.execute(text(f"SELECT token FROM quickstudy_change WHERE number = {number}"))
            .scalars()
            .first()
            or 0
        )


def test_a_backup_that_was_restored_and_changed_is_noticed(pair: tuple[Gallery, Gallery]) -> None:
    one, other = pair
    with (
        one._access.engine.begin() as connection
    ):  # what the gallery was before its last change, and then another change
        connection.execute(
            text(
                "DELETE FROM quickstudy_template WHERE identity = "
                "(SELECT id FROM quickstudy_identity WHERE name = 'p5')"
            )
        )
        connection.execute(text("DELETE FROM quickstudy_identity WHERE name = 'p5'"))
        connection.execute(text("DELETE FROM quickstudy_change WHERE number = 6"))
        connection.execute(
            text(
                "UPDATE quickstudy_gallery SET changes = 5, token = "
                "(SELECT MAX(token) FROM quickstudy_change WHERE "
                "number = 5)"
            )
        )
    Gallery.open(one.place).enrol("another", vectors(90), force=True)
    assert other.identify(vectors(90)[:1])[0].candidates[0][0] == "another"
    assert "p5" not in [name for name, _ in other.identify(PROBES[:1], top_k=50)[0].candidates]


def test_the_log_stays_short(
    pair: tuple[Gallery, Gallery], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = pair
    monkeypatch.setattr(changes, "LOG_LENGTH", 3)
    for i in range(10):
        one.enrol(f"more {i}", vectors(20 + i), force=True)
    with one._access.engine.connect() as connection:
        assert connection.execute(
            text("SELECT MIN(number), MAX(number) FROM quickstudy_change")
        ).one() == (
            13,
            16,
        )
    assert len(other.identify(PROBES[:1], top_k=50)[0].candidates) == 16


def test_many_changes_at_once_are_read_as_a_whole(
    pair: tuple[Gallery, Gallery], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = pair
    monkeypatch.setattr(snapshot, "MANY", 2)
    count = reads(monkeypatch)
    for i in range(4):
        one.enrol(f"more {i}", vectors(20 + i), force=True)
    assert len(other.identify(PROBES[:1], top_k=50)[0].candidates) == 10
    assert len(count) == 1


@pytest.mark.filterwarnings("ignore:.*left no entry in the audit log")
def test_a_gallery_that_was_erased_and_made_anew_is_another(place: Callable[[], str]) -> None:
    where = place()
    one = Gallery.create(where, encoder="e1", dim=DIM)
    one.enrol("p0", vectors(0))
    other = Gallery.open(where)
    other.identify(PROBES)
    one.erase()
    one.close()
    again = Gallery.create(where, encoder="e1", dim=DIM)
    again.enrol("q", vectors(5))
    assert [name for name, _ in other.identify(PROBES[:1])[0].candidates] == ["q"]


@pytest.mark.parametrize("score", ["nearest", "mean"])
def test_what_came_to_nothing_is_not_known(
    pair: tuple[Gallery, Gallery], monkeypatch: pytest.MonkeyPatch, score: str
) -> None:
    one, _ = pair
    one.set_policy(Policy(score=score))
    cohort = np.random.default_rng(0).normal(size=(20, DIM))
    one.calibrate(0.25, cohort=cohort)
    before = answers(one)

    def failing(*_: object) -> None:
        raise RuntimeError("the power is off")

    with monkeypatch.context() as patch:
        # after the memory has seen the new identity
        patch.setattr(type(one._snapshot), "agree", failing)
        with pytest.raises(RuntimeError, match="the power is off"):
            one.enrol("one of the unknowns", cohort, force=True)
        assert not len(one._snapshot.templates)
        with pytest.raises(RuntimeError, match="the power is off"):
            one.calibrate(0.3, cohort=np.random.default_rng(1).normal(size=(20, DIM)))
        assert not len(one._snapshot.templates)
    assert answers(one) == before == answers(Gallery.open(one.place))


def test_who_is_stopped_half_way_reads_everything_again(
    pair: tuple[Gallery, Gallery], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = pair

    def failing(*_: object) -> None:
        raise RuntimeError("stopped")

    one.enrol("late", vectors(80), force=True)
    with monkeypatch.context() as patch:
        patch.setattr(vector_table.VectorTable, "add", failing)
        with pytest.raises(RuntimeError, match="stopped"):
            other.identify(PROBES)
    one.remove("p1")
    assert answers(other) == answers(Gallery.open(one.place))
    one.enrol("later", vectors(81), force=True)
    with monkeypatch.context() as patch:
        patch.setattr(snapshot, "policy_of", failing)
        with pytest.raises(RuntimeError, match="stopped"):
            other.identify(PROBES)
    with one._access.engine.begin() as connection:  # the very change that was half read
        connection.execute(
            text("UPDATE quickstudy_policy SET policy = :p"),
            {"p": Policy(threshold=0.1, review=0.1).to_json()},
        )
    assert other.identify(PROBES)[0].threshold == 0.1


def test_unknowns_are_compared_anew_under_another_score(pair: tuple[Gallery, Gallery]) -> None:
    one, _ = pair
    first = one.calibrate(0.25, cohort=np.random.default_rng(0).normal(size=(30, DIM))).policy
    one.set_policy(Policy(score="mean", rate=0.25))
    one.enrol("late", vectors(80), force=True)
    assert one.policy.threshold != first.threshold
    fresh = Gallery.open(one.place)
    with fresh._access.looking() as connection:
        assert fresh._snapshot.followed(connection) == one.policy


def test_threads_share_a_gallery(pair: tuple[Gallery, Gallery]) -> None:
    one, other = pair
    one.calibrate(0.3)
    wrong = list[BaseException]()

    def work(gallery: Gallery, seed: int) -> None:
        try:
            for i in range(8):
                gallery.enrol(f"t{seed} {i}", vectors(1000 + 100 * seed + i), force=True)
                found = gallery.identify(vectors(1000 + 100 * seed + i)[:1], top_k=1)[0]
                assert found.candidates[0][0] == f"t{seed} {i}"
                if i % 2:
                    gallery.remove(f"t{seed} {i}")
        except BaseException as error:
            wrong.append(error)

    threads = [
        threading.Thread(target=work, args=(gallery, seed))
        for seed, gallery in enumerate((one, one, other))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(one.identities()) == 6 + 3 * 4
    assert answers(one) == answers(other) == answers(Gallery.open(one.place))


def test_a_sample_plays_the_impostor_in_large_galleries(
    pair: tuple[Gallery, Gallery], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = pair
    for i in range(6, 12):
        one.enrol(f"p{i}", vectors(i), force=True)
    assert one.calibrate(0.25).policy.rule == "leave one identity out"
    monkeypatch.setattr(snapshot, "MAX_LEFT_OUT", 8)
    assert one.calibrate(0.25).policy.rule == "leave one identity out, of a sample"
    with pytest.raises(ConfigError, match="at least 39 identities that are left out one by one"):
        one.calibrate(0.05)
    with pytest.raises(ConfigError, match="must lie between 0 and 1"):
        one.calibrate(0)


def test_a_damaged_vector_is_named(pair: tuple[Gallery, Gallery]) -> None:
    one, _ = pair
    with one._access.engine.begin() as connection:
        connection.execute(
            text("UPDATE quickstudy_template SET vector = :v WHERE id = 3"), {"v": b"1234"}
        )
    with pytest.raises(GalleryError, match="is damaged: a vector of 8 numbers has 32 bytes"):
        Gallery.open(one.place).identify(PROBES)


def test_a_name_that_is_unknown_among_many_brings_no_list(
    pair: tuple[Gallery, Gallery], monkeypatch: pytest.MonkeyPatch
) -> None:
    from quickstudy.gallery import identities

    one, _ = pair
    monkeypatch.setattr(identities, "LISTED", 5)
    with pytest.raises(
        GalleryError, match=r"Nobody is called 'p9' here\. `identities` lists who is\.$"
    ):
        one.remove("p9")
