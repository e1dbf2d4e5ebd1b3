"""report.html as people meet it: of real photos, and of what a hostile or an empty folder is called."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.sync_api import Page

from engines.core.networks.model import Model
from engines.core.output import read_record
from engines.core.sample_photos import encode_photo
from flows.views.report import write_report
from tests.browser.conftest import SCHEMES, SIZES, OpenPage, assert_accessible, assert_fits
from tests.planted import Planted, plant
from tests.published import check_run, publish_run

MARKUP = "<img src=x onerror=alert(1)>"
LONG = ("a label as long as a file system takes it " * 5)[:190]
MOST_BYTES = 5_000_000


def write_photo(path: Path, number: int, kind: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_photo(3, number, kind % 12, number))


@pytest.fixture(scope="module")
def real(
    real_photos: Path, real_weights: str, model: Model, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Planted, Path]:
    """Real photos of 8 classes, of which some have a wrong label and some are there twice."""
    folder = tmp_path_factory.mktemp("real")
    planted = plant(real_photos, folder / "photos", swapped=0.02, copies=6, classes=8, per_class=25)
    publish_run(planted.source, folder / "output", model, components=32)
    check_run(folder / "output")
    return planted, folder / "output" / "report.html"


@pytest.fixture(scope="module")
def hostile(random_model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """131 classes, with markup in names and labels, long ones, and one photo twice; nothing is rejected."""
    folder = tmp_path_factory.mktemp("hostile")
    labels = [MARKUP, "</script><script>alert(2)</script>".replace("/", "∕"), "\"'`${alert(3)}", LONG + "1", LONG + "2"]
    labels += [f"class {number}" for number in range(len(labels), 131)]
    for kind, label in enumerate(labels):
        for number in range(2):
            name = f"{number} <b onclick=alert(4)>&amp;.jpg" if kind < 3 else f"{number}.jpg"
            write_photo(folder / "photos" / label / name, 2 * kind + number, kind)
    publish_run(folder / "photos", folder / "output", random_model, components=8)
    check_run(folder / "output")
    return folder / "output" / "report.html"


@pytest.fixture(scope="module")
def plain(random_model: Model, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs without classes, with one, and with a rejected file whose name is markup; the last one was not checked."""
    reports = {}
    for case in ("no label", "one class", "rejects"):
        folder = tmp_path_factory.mktemp("plain")
        for number in range(8):
            label = {"no label": "", "one class": "only", "rejects": f"kind {number % 2}"}[case]
            write_photo(folder / "photos" / label / f"{number}.jpg", number, number)
        if case == "rejects":
            (folder / "photos" / "kind 0" / f"{MARKUP}.jpg").write_text("not a photo")
        publish_run(folder / "photos", folder / "output", random_model, components=2)
        if case == "rejects":
            write_report(str(folder / "output"), read_record(str(folder / "output")))
        else:
            check_run(folder / "output")
        reports[case] = folder / "output" / "report.html"
    return reports


def place_of(page: Page, photo: int, which: str = "components") -> tuple[float, float]:
    """Where a photo's dot is in the window."""
    page.locator(f"[data-map={which}]").scroll_into_view_if_needed()
    return tuple(
        page.evaluate(
            """([which, photo]) => {
                const canvas = document.querySelector(`[data-map=${which}] canvas`);
                const dot = Chart.getChart(canvas).getDatasetMeta(0).data[photo];
                const box = canvas.getBoundingClientRect();
                return [box.left + dot.x, box.top + dot.y];
            }""",
            [which, photo],
        )
    )


def data_of(page: Page) -> dict:
    return json.loads(page.locator("#data").text_content() or "")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("which", ["real", "hostile"])
def test_the_page_fits_is_accessible_and_complains_of_nothing(
    open_page: OpenPage, request: pytest.FixtureRequest, which: str, size: str, scheme: str
) -> None:
    report = request.getfixturevalue(which)
    report = report if which == "hostile" else report[1]
    assert report.stat().st_size <= MOST_BYTES
    page = open_page(report.as_uri(), size=size, scheme=scheme)
    assert_fits(page)
    assert_accessible(page)
    assert page.evaluate("document.documentElement.scrollHeight") < 16_000


def test_nothing_is_asked_of_a_network(open_page: OpenPage, hostile: Path) -> None:
    page = open_page(hostile.as_uri())
    asked = page.evaluate("performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert [address for address in asked if not address.startswith("data:")] == []


def test_a_dot_shows_its_photo_and_its_neighbours(open_page: OpenPage, real: tuple[Planted, Path]) -> None:
    page = open_page(real[1].as_uri())
    data = data_of(page)
    assert page.locator("[data-map=plane]").count() == 1
    # The one farthest to the right: no other dot lies over it.
    photo = max(range(len(data["components"])), key=lambda each: data["components"][each][0])
    x, y = place_of(page, photo)
    page.mouse.move(x, y)
    label = data["labels"][data["label"][photo]]
    page.locator("#hover .label", has_text=label).wait_for()
    assert page.locator("#hover .tile").is_visible()
    page.mouse.click(x, y)
    page.locator("#chosen h3", has_text=label).wait_for()
    assert page.locator("#chosen .path").text_content() == data["path"][photo]
    shown = page.locator("#chosen .row >> nth=1").locator(".photo")
    assert [int(each.get_attribute("data-photo") or -1) for each in shown.all()] == data["neighbours"][photo]
    shown.first.click()
    assert page.locator("#chosen .path").text_content() == data["path"][data["neighbours"][photo][0]]


def test_the_map_is_used_with_the_keyboard(open_page: OpenPage, real: tuple[Planted, Path]) -> None:
    page = open_page(real[1].as_uri())
    page.locator("[data-map=plane]").focus()
    seen = set()
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp"):
        page.keyboard.press(key)
        seen.add(page.locator("#chosen .path").text_content())
    assert len(seen) >= 3


def test_classes_are_searched_and_chosen(open_page: OpenPage, hostile: Path) -> None:
    page = open_page(hostile.as_uri())
    assert page.locator("#legend li").count() == 131
    assert page.locator("#shown").text_content() == "131 classes. Choose some, or search."
    page.locator("#search").fill("class 12")
    names = [each.text_content() for each in page.locator("#legend li:visible .name").all()]
    assert sorted(names) == sorted(f"class {number}" for number in (12, *range(120, 130)))
    assert page.locator("#shown").text_content() == "11 of 131 classes, 22 images"
    page.locator("#legend li:visible button").first.click()
    assert page.locator("#shown").text_content() == "1 of 131 classes, 2 images"
    long = [each.get_attribute("title") for each in page.locator("#legend button").all()]
    assert len(set(long)) == 131


def test_names_and_labels_are_text(open_page: OpenPage, hostile: Path) -> None:
    page = open_page(hostile.as_uri())
    data = data_of(page)
    assert MARKUP in data["labels"]
    photo = data["label"].index(data["labels"].index(MARKUP))
    page.locator("#search").fill("onerror")
    x, y = place_of(page, photo)
    page.mouse.click(x, y)
    page.locator("#chosen h3", has_text=MARKUP).wait_for()
    assert page.evaluate("[...document.images].length + document.querySelectorAll('b[onclick]').length") == 0


def test_issues_are_shown_with_their_photos(open_page: OpenPage, real: tuple[Planted, Path]) -> None:
    planted, report = real
    page = open_page(report.as_uri())
    data = data_of(page)

    def shown(kind: str) -> list[str]:
        photos = page.locator(f"[data-issue={kind}] li .photo:first-of-type").all()
        return [data["path"][int(each.get_attribute("data-photo") or -1)] for each in photos]

    assert set(shown("exact_duplicate")) <= set(planted.copied) | set(planted.copied.values())
    assert len(shown("exact_duplicate")) == 6  # each pair once
    assert set(shown("label")) & set(planted.swapped)
    assert page.locator("[data-issue=exact_duplicate] h3").text_content() == "Exact duplicate: 12 images"
    page.locator("[data-issue=exact_duplicate] .photo").first.click()
    assert page.locator("#chosen .path").text_content() == shown("exact_duplicate")[0]


@pytest.mark.parametrize("size", SIZES)
def test_no_word_of_a_label_is_broken(open_page: OpenPage, real: tuple[Planted, Path], size: str) -> None:
    page = open_page(real[1].as_uri(), size=size)
    broken = page.evaluate(
        """() => [...document.querySelectorAll(".photo .label")].flatMap((label) => {
            const text = label.firstChild;
            return [...text.data.matchAll(/[^ ]+/g)].filter((word) => {
                const range = document.createRange();
                range.setStart(text, word.index);
                range.setEnd(text, word.index + word[0].length);
                return range.getClientRects().length > 1;
            }).map((word) => word[0]);
        })"""
    )
    assert page.locator(".photo .label").count() > 20
    assert broken == []


@pytest.mark.parametrize("size", SIZES)
def test_a_run_without_classes(open_page: OpenPage, plain: dict[str, Path], size: str) -> None:
    page = open_page(plain["no label"].as_uri(), size=size, scheme="dark")
    assert "without classes" in page.locator(".facts").inner_text()
    assert page.locator(".classes").is_hidden()
    assert "fewer than two classes" in page.locator("main").inner_text()
    page.locator("[data-map=components]").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#chosen h3").text_content() == "no class"
    assert page.locator("#chosen .photo.same, #chosen .photo.other").count() == 0
    assert_fits(page)
    assert_accessible(page)


def test_one_class_is_one(open_page: OpenPage, plain: dict[str, Path]) -> None:
    page = open_page(plain["one class"].as_uri())
    assert "1 class" in page.locator(".facts").inner_text()
    assert "1 classes" not in page.locator("main").inner_text()


def test_a_run_that_was_not_checked_says_how_to_and_names_its_rejects_as_text(
    open_page: OpenPage, plain: dict[str, Path]
) -> None:
    page = open_page(plain["rejects"].as_uri(), size="phone")
    text = page.locator("main").inner_text()
    assert "fruits check" in text
    assert "not_an_image" in text
    assert f"{MARKUP}.jpg" in text
    assert page.locator("[data-map=plane]").count() == 0
    assert page.locator("[data-map=components]").count() == 1
    assert_fits(page)
    assert_accessible(page)


def test_charts_have_letters_of_a_readable_size(open_page: OpenPage, real: tuple[Planted, Path]) -> None:
    page = open_page(real[1].as_uri(), size="phone")
    for chart in ("spectrum", "timings", "spaces"):
        size = page.evaluate(
            "(name) => Chart.getChart(document.querySelector(`[data-chart=${name}] canvas`)).options.font.size", chart
        )
        assert size >= 12
