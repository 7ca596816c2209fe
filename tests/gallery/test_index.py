"""The approximate search: it follows the gallery, and what it finds is exact."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import inspect

from quickstudy.core.errors import ConfigError, GalleryError
from quickstudy.gallery import Gallery, Policy
from quickstudy.gallery import faiss_index as module
from quickstudy.gallery import gallery as api
from quickstudy.gallery.create import Description
from quickstudy.gallery.snapshot import Cohort
from quickstudy.gallery.transfer import Export
from quickstudy.gallery.vectors import unit

DIM, PEOPLE = 33, 400  # odd, as codes are of pairs of numbers


def photos(who: int, seed: int, n: int = 2) -> np.ndarray:
    return np.random.default_rng(who).normal(size=DIM) + 0.5 * np.random.default_rng(
        [seed, who]
    ).normal(size=(n, DIM))


PROBES = np.concatenate([photos(who, 1, 1) for who in range(0, PEOPLE, 10)])


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("faiss")
    monkeypatch.setattr(module, "SMALLEST", 700)
    monkeypatch.setattr(module, "FETCHED", 60)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    people = [
        {
            "name": f"p{who}",
            "templates": 2,
            "consent": None,
            "retain_until": None,
            "details": {},
            "created": "2026-01-02T03:04:05",
        }
        for who in range(PEOPLE)
    ]
    templates = unit(np.concatenate([photos(who, 0) for who in range(PEOPLE)]), DIM)
    folder = tmp_path_factory.mktemp("exported")
    Export(
        Description("e1", DIM),
        Policy(threshold=0.2, review=0.2),
        people,
        templates,
        Cohort(np.empty((0, DIM), np.float32), np.empty(0, np.int64)),
    ).write(folder)
    return folder


@pytest.fixture
def pair(place: Callable[[], str], exported: Path) -> tuple[Gallery, Gallery]:
    """The same gallery, searched exactly and approximately."""
    exact = Gallery.import_from(exported, place())
    return exact, Gallery.open(exact.place, index="approximate")


def built(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    build, count = module.FaissIndex._build, list[int]()

    def counted(self: Any, table: Any) -> None:
        count.append(len(table))
        build(self, table)

    monkeypatch.setattr(module.FaissIndex, "_build", counted)
    return count


def agreement(exact: Gallery, near: Gallery, probes: np.ndarray = PROBES) -> float:
    """The share of the three nearest that both find; what is found has the very same similarity."""
    shares = []
    for true, found in zip(
        exact.identify(probes, top_k=3), near.identify(probes, top_k=3), strict=True
    ):
        every = dict(true.candidates)
        assert all(every[name] == s for name, s in found.candidates if name in every)
        assert [s for _, s in found.candidates] == sorted(
            (s for _, s in found.candidates), reverse=True
        )
        shares.append(len(every.keys() & dict(found.candidates).keys()) / 3)
    return float(np.mean(shares))


def test_it_finds_what_the_exact_search_finds(pair: tuple[Gallery, Gallery]) -> None:
    exact, near = pair
    assert agreement(exact, near) > 0.97
    assert [d.identity for d in near.identify(PROBES)] == [
        f"p{who}" for who in range(0, PEOPLE, 10)
    ]
    assert near.recall(200) > 0.97
    assert near.recall(50, top_k=5) > 0.9
    assert exact.recall(20, top_k=5) == 1
    assert 0 < near._snapshot.index.nbytes < near._snapshot.templates.vectors.nbytes / 7
    with near._access.engine.connect() as connection:
        assert sorted(inspect(connection).get_table_names()) == [
            "quickstudy_audit",
            "quickstudy_audit_chain",
            "quickstudy_change",
            "quickstudy_cohort",
            "quickstudy_copy",
            "quickstudy_gallery",
            "quickstudy_identity",
            "quickstudy_policy",
            "quickstudy_template",
        ]


def test_a_worse_search_has_a_lower_recall(
    pair: tuple[Gallery, Gallery], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, near = pair
    good = near.recall(100, top_k=1)
    search = module.FaissIndex.nearest
    monkeypatch.setattr(
        module.FaissIndex,
        "nearest",
        lambda self, x, *rest, **more: search(self, np.roll(x, 1, axis=1), *rest, **more),
    )
    assert near.recall(100, top_k=1) < 0.2 < good


def test_it_follows_who_comes_and_goes(
    pair: tuple[Gallery, Gallery], monkeypatch: pytest.MonkeyPatch
) -> None:
    exact, near = pair
    count = built(monkeypatch)
    near.identify(PROBES)
    exact.enrol("late", photos(9999, 0), force=True)
    assert near.identify(photos(9999, 1, 1))[0].identity == "late"
    exact.remove("late")
    exact.remove("p0")
    candidates = [
        name
        for d in near.identify(np.r_[photos(9999, 1, 1), photos(0, 1, 1)], top_k=20)
        for name, _ in d.candidates
    ]
    assert not {"late", "p0"} & set(candidates)
    assert count == [2 * PEOPLE]
    for who in range(1, 42):  # more than a tenth is gone
        exact.remove(f"p{who}")
    near.identify(PROBES[:1])
    assert agreement(exact, near, PROBES[5:]) > 0.97
    assert len(count) == 2
    assert count[1] < 2 * PEOPLE - 80


def test_it_is_built_anew_when_the_gallery_has_doubled(
    pair: tuple[Gallery, Gallery], monkeypatch: pytest.MonkeyPatch
) -> None:
    exact, near = pair
    count = built(monkeypatch)
    near.identify(PROBES)
    exact.enrol("thousands", photos(7777, 0, 2 * PEOPLE), force=True)
    assert near.identify(photos(7777, 1, 1))[0].identity == "thousands"
    assert count == [2 * PEOPLE]
    exact.enrol("one more", photos(7778, 0, 1), force=True)
    assert near.identify(photos(7778, 1, 1))[0].identity == "one more"
    assert count == [2 * PEOPLE, 4 * PEOPLE + 1]
    # Everything near the probe is one identity's: the others are found by comparing with everybody.
    assert (
        near.identify(photos(7777, 1, 1), top_k=4)[0].candidates
        == exact.identify(photos(7777, 1, 1), top_k=4)[0].candidates
    )


def test_means_are_searched_too(
    pair: tuple[Gallery, Gallery], monkeypatch: pytest.MonkeyPatch
) -> None:
    exact, near = pair
    monkeypatch.setattr(module, "SMALLEST", 390)
    near.identify(PROBES)
    exact.set_policy(Policy(threshold=0.2, review=0.2, score="mean"))
    assert agreement(exact, near) > 0.97
    assert near.recall(50) > 0.97
    assert near._snapshot.index.nbytes == PEOPLE * 9  # four bits for each pair of numbers


def test_a_small_gallery_is_searched_exactly(tmp_path: Path) -> None:
    gallery = Gallery.create(tmp_path / "a.db", encoder="e1", dim=DIM)
    gallery.enrol("p0", photos(0, 0))
    near = Gallery.open(tmp_path / "a.db", index="approximate")
    assert near.identify(photos(0, 1, 1)) == gallery.identify(photos(0, 1, 1))
    assert near._snapshot.index.nbytes == 0


def test_what_cannot_be_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gallery = Gallery.create(tmp_path / "a.db", encoder="e1", dim=DIM)
    with pytest.raises(
        GalleryError, match=r"There is no index 'aproximate'. Did you mean 'approximate'\?"
    ):
        Gallery.open(tmp_path / "a.db", index="aproximate")
    with pytest.raises(
        GalleryError,
        match="at least one template, probe and identity to look for, got 0, 100 and 1",
    ):
        gallery.recall()
    gallery.enrol("p0", photos(0, 0))
    with pytest.raises(GalleryError, match="got 2, 0 and 1"):
        gallery.recall(0)
    with pytest.raises(GalleryError, match="got 2, 5 and 0"):
        gallery.recall(5, top_k=0)
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(
        ConfigError,
        match=r"needs faiss, which is not installed. Install it with: pip install "
        r"'quickstudy\[index\]'",
    ):
        Gallery.open(tmp_path / "a.db", index="approximate")


def test_a_large_gallery_says_once_that_there_is_another_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "LARGE", 2)
    gallery = Gallery.create(tmp_path / "a.db", encoder="e1", dim=DIM)
    gallery.enrol("p0", photos(0, 0))
    gallery.identify(PROBES)
    gallery.enrol("p1", photos(1, 0), force=True)
    with pytest.warns(
        UserWarning,
        match="has 4 templates, and each search compares with all of them. "
        "Gallery.open.*approximate",
    ):
        gallery.identify(PROBES)
    gallery.identify(PROBES)
