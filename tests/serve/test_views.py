"""Every view in light, in dark and on a phone; methods, downloads and galleries on the page."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from quickstudy.core.words import percent
from quickstudy.gallery import Gallery, Policy
from quickstudy.pretrained import open_encoder

VIEWS = ("teach", "try", "map", "methods", "keep", "people", "alike", "audit")
PHONE = {"width": 360, "height": 760}


def expect(locator: Any) -> Any:
    return pytest.importorskip("playwright.sync_api").expect(locator)


@pytest.fixture
def address(place: Path, drawing: Callable[..., Any], serve_folder: Callable[[Path], str]) -> str:
    """A server of a model with classes, and of a gallery in which some look alike."""
    encoder = open_encoder("symbols")
    with Gallery.open(place / "marks.db") as gallery:
        gallery.set_policy(Policy(threshold=0.8, review_from=0.6, review=0.9999, duplicate=1.0))
        for name, shape, photo in (
            ("circle", "circle", "party.png"),
            ("ring", "circle", "ring.png"),
            ("disc", "circle", "party.png"),
        ):
            seed = len(name) + len(photo)
            x = encoder.encode([drawing(shape, seed)])
            gallery.enrol(name, x, photos=[photo], force=True)
    return serve_folder(place)


def show(page: Any, view: str) -> None:
    page.click(f"#tab-{view}")
    expect(page.locator("#main")).not_to_have_attribute("aria-busy", "true")


def test_no_view_has_a_serious_fault(address: str, browse: Callable[..., Any]) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = browse(address)
    faults = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        for view in VIEWS:
            show(page, view)
            found = axe.run(page).response["violations"]
            faults += [(scheme, view, fault["id"], fault["impact"]) for fault in found]
    assert faults == []
    page.set_viewport_size(PHONE)
    for view in VIEWS:
        show(page, view)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], view


def test_the_page_rounds_shares_as_python_does(address: str, browse: Callable[..., Any]) -> None:
    shares = [*(k / n for n in (7, 8, 40, 200, 1600) for k in range(n + 1)), 0.145, 0.9999, 1e-4]
    said = browse(address).evaluate(
        "async (shares) => shares.map((await import('/web/views.js')).percent)", shares
    )
    assert said == [percent(share) for share in shares]


def test_a_model_of_a_table_is_not_asked_about_drawings(
    address: str, browse: Callable[..., Any]
) -> None:
    def as_table(route: Any) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, json={**answer.json(), "kind": "table"})

    page = browse(address)
    expect(page.locator("#no-images")).to_be_hidden()
    expect(page.locator("#input")).to_be_visible()
    page.route("**/v1/models/shapes", as_table)
    page.reload()
    expect(page.locator("#no-images")).to_be_visible()
    expect(page.locator("#plane")).to_be_visible()
    expect(page.locator("#input")).to_be_hidden()
    expect(page.locator("#tab-teach")).to_be_disabled()
    expect(page.locator("#tab-try")).to_be_disabled()


def test_prediction_sets_are_shown_or_refused_in_words(
    address: str, browse: Callable[..., Any], png: Callable[..., bytes]
) -> None:
    page = browse(address)
    page.click("#tab-try")
    page.click("#mode-file")
    files = {"name": "cross.png", "mimeType": "image/png", "buffer": png("cross", 7)}
    page.set_input_files("#files", [files])
    expect(page.locator("#answer")).not_to_have_class("answer idle")
    expect(page.locator("#set")).to_be_hidden()
    page.check("#sets")
    expect(page.locator("#set")).to_contain_text("It may be: ")
    page.click("#tab-teach")
    page.click("[aria-label='Remove bars']")
    expect(page.locator("#classes > li")).to_have_count(2)
    page.click("#tab-try")
    expect(page.locator("#sets")).not_to_be_checked()
    expect(page.locator("#try-note")).to_contain_text("9 examples")
    expect(page.locator("#bars li")).to_have_count(2)


def test_methods_and_what_can_be_kept(address: str, browse: Callable[..., Any]) -> None:
    page = browse(address)
    page.click("#tab-methods")
    expect(page.locator("#methods-note")).to_have_text("Compared on 9 examples.")
    rows = page.locator("#compared tr")
    assert {"MAML", "In-context", "Prototypes"} <= {
        row.split("\n")[0].split("\t")[0] for row in rows.all_inner_texts()
    }
    page.click("#tab-keep")
    # The export itself takes seconds; test_service has it.
    page.route("**/onnx", lambda route: route.fulfill(body=b"a graph"))
    with page.expect_download() as download:
        page.click("#download-onnx")
    assert download.value.suggested_filename == "shapes.onnx"
    assert download.value.path().read_bytes() == b"a graph"
    expect(page.locator("#keep-note")).to_contain_text("Downloaded")


def test_galleries_on_the_page(address: str, browse: Callable[..., Any]) -> None:
    page = browse(address)
    page.click("#tab-alike")
    apart = page.locator("#pairs li", has_text="circle and disc")
    expect(apart).to_contain_text("both on party.png: two people")
    expect(apart.locator("button")).to_have_count(0)
    page.click("[aria-label='Merge ring into circle']")
    expect(page.locator("#alike-note")).to_contain_text("ring is circle now")
    page.click("#tab-audit")
    expect(page.locator("#audit-note")).to_contain_text("The log is whole")
    expect(page.locator("#entries tr").first).to_contain_text("merge")
