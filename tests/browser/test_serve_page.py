"""The page of `fruits serve` as a person meets it."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest
from playwright.sync_api import Page, expect

from engines.core.networks.model import Model
from engines.core.sample_photos import encode_photo
from tests.browser.conftest import SCHEMES, SIZES, OpenPage, assert_accessible, assert_fits, wait_until
from tests.command_line import FRUITS
from tests.conftest import write_photos
from tests.published import publish_run

Serve = Callable[..., str]

HOSTILE = "<img src=x onerror=alert(1)>&quot;'"


@pytest.fixture(scope="session")
def serve() -> Iterator[Serve]:
    """Serves an output in a process of its own; returns the address."""
    processes: list[subprocess.Popen[str]] = []

    def serve(output: Path, *options: str) -> str:
        command = [FRUITS, "serve", str(output), "--port", "0", "--rate", "10000", *options]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        processes.append(process)
        address = re.search(r"http://\S+", process.stderr.readline())[0]
        for _ in range(100):
            try:
                httpx2.get(f"{address}/healthz").raise_for_status()
                break
            except httpx2.TransportError:
                assert process.poll() is None
        return address

    yield serve
    for process in processes:
        process.terminate()
        process.communicate()


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("browser") / "photos", images=120, classes=8)


@pytest.fixture(scope="session")
def address(serve: Serve, source: Path, model: Model, tmp_path_factory: pytest.TempPathFactory) -> str:
    output = tmp_path_factory.mktemp("served") / "output"
    publish_run(source, output, model, components=16)
    return serve(output)


def choose(page: Page, *files: Path) -> None:
    page.set_input_files("#files", [str(file) for file in files])


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("size", SIZES)
def test_a_photo_is_named_beside_its_nearest_photos(
    open_page: OpenPage, address: str, source: Path, size: str, scheme: str
) -> None:
    page = open_page(address, size=size, scheme=scheme)
    expect(page.locator("#facts")).to_have_text("120 photos of 8 classes · MobileNetV2")
    expect(page.locator("#map-kind")).to_contain_text("120 photos")
    assert_accessible(page)
    photo = sorted(source.glob("*/003.jpg"))[2]
    choose(page, photo)
    expect(page.locator("#neighbours li")).to_have_count(10)
    nearest = page.locator("#neighbours li").first
    expect(nearest).to_contain_text(f"{photo.parent.name}distance 0.0")
    wait_until(page, "[...document.querySelectorAll('#neighbours img')].slice(0, 9).every(i => i.naturalWidth === 224)")
    assert re.search(r"^\d+ of the 10 nearest photos say so\.$", page.inner_text("#sentence"))
    assert page.inner_text("#name") in {folder.name for folder in source.iterdir()}
    assert_fits(page)
    assert_accessible(page)


def test_a_photo_can_be_dropped(open_page: OpenPage, address: str) -> None:
    page = open_page(address)
    content = list(encode_photo(0, 5, 5, 0))
    page.evaluate(
        """content => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(content)], "dropped.jpg", {type: "image/jpeg"}));
            dispatchEvent(new DragEvent("drop", {dataTransfer: data, cancelable: true}));
        }""",
        content,
    )
    expect(page.locator("#result")).to_be_visible()


def test_what_is_no_photo_is_said_and_the_next_photo_works(
    open_page: OpenPage, address: str, source: Path, tmp_path: Path
) -> None:
    page = open_page(address, refusals=True)
    (tmp_path / "text.jpg").write_text("not a photo")
    choose(page, tmp_path / "text.jpg")
    expect(page.get_by_role("alert")).to_have_text("This is not a photo that can be decoded: no known image format.")
    assert_accessible(page)
    choose(page, next(source.rglob("*.jpg")))
    expect(page.locator("#result")).to_be_visible()
    expect(page.get_by_role("alert")).to_be_hidden()


def test_25_megabytes_are_refused_before_and_by_the_server(open_page: OpenPage, address: str, tmp_path: Path) -> None:
    page = open_page(address)
    large = tmp_path / "large.jpg"
    large.write_bytes(b"0" * 25_000_000)
    choose(page, large)
    expect(page.get_by_role("alert")).to_have_text("This file has 25 MB, and photos of up to 20 MB are taken.")
    with large.open("rb") as file:
        answer = httpx2.post(f"{address}/api/similar", files={"photo": ("large.jpg", file, "image/jpeg")}, timeout=60)
    assert (answer.status_code, answer.json()["error"]["message"]) == (413, "the photo is larger than 20 MB")


def test_50_photos_at_once_all_have_an_answer(open_page: OpenPage, address: str, source: Path) -> None:
    page = open_page(address)
    photos = sorted(source.rglob("*.jpg"))[:50]
    choose(page, *photos)
    expect(page.locator("#history li")).to_have_count(50)
    wait_until(page, "[...document.querySelectorAll('#history button')].every(b => b.title !== 'being looked at')", 200)
    titles = page.eval_on_selector_all("#history button", "all => all.map(button => button.title)")
    assert set(titles) <= {folder.name for folder in source.iterdir()}
    expect(page.locator("#history .failed")).to_have_count(0)
    page.locator("#history button").nth(30).press("Enter")
    expect(page.locator("#history button").nth(30)).to_have_attribute("aria-current", "true")


def test_a_photo_is_taken_with_the_camera(open_page: OpenPage, address: str) -> None:
    page = open_page(address, size="phone")
    # Where a page may not open the camera itself (http from another machine), the device's own app takes the photo.
    expect(page.locator("#native-camera")).to_have_attribute("capture", "environment")
    page.get_by_role("button", name="Take a photo").click()
    expect(page.locator("video#camera")).to_be_visible()
    wait_until(page, "document.querySelector('#camera').videoWidth > 0")
    page.get_by_role("button", name="Take it").click()
    expect(page.locator("#result")).to_be_visible()
    expect(page.locator("video#camera")).to_be_hidden()
    assert page.evaluate("document.querySelector('#camera').srcObject") is None


def test_the_map_says_what_is_under_the_pointer(open_page: OpenPage, address: str, source: Path) -> None:
    page = open_page(address)
    expect(page.locator("#map-kind")).to_contain_text("photos")
    page.locator("#map").scroll_into_view_if_needed()
    x, y = page.evaluate("map.at(map.points.x[7], map.points.y[7])")
    page.locator("#map").hover(position={"x": x, "y": y})
    expect(page.locator("#tip")).to_be_visible()
    assert page.inner_text("#tip-label") in {folder.name for folder in source.iterdir()}


def test_names_with_markup_are_text(
    open_page: OpenPage, serve: Serve, model: Model, tmp_path: Path, source: Path
) -> None:
    for number, photo in enumerate(sorted(source.rglob("*.jpg"))[:24]):
        folder = tmp_path / "photos" / f"{HOSTILE}{number % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{HOSTILE}{number}.jpg").write_bytes(photo.read_bytes())
    publish_run(tmp_path / "photos", tmp_path / "output", model, components=4)
    (tmp_path / "photos").rename(tmp_path / "gone")
    page = open_page(serve(tmp_path / "output"), size="phone")
    choose(page, next((tmp_path / "gone").rglob("*.jpg")))
    expect(page.locator("#name")).to_contain_text(HOSTILE)
    expect(page.locator("#neighbours li")).to_have_count(10)
    # The photos cannot be read any more: placeholders.
    wait_until(page, "[...document.querySelectorAll('#neighbours img')].slice(0, 9).every(i => i.complete)")
    assert page.evaluate("document.querySelectorAll('[onerror]').length") == 0
    assert_fits(page)


def test_without_labels_there_are_neighbours_and_no_name(
    open_page: OpenPage, serve: Serve, model: Model, tmp_path: Path, source: Path
) -> None:
    (tmp_path / "photos").mkdir()
    for number, photo in enumerate(sorted(source.rglob("*.jpg"))[:12]):
        (tmp_path / "photos" / f"{number}.jpg").write_bytes(photo.read_bytes())
    publish_run(tmp_path / "photos", tmp_path / "output", model, components=1)
    page = open_page(serve(tmp_path / "output"))
    choose(page, tmp_path / "photos" / "3.jpg")
    expect(page.locator("#name")).to_have_text("No labels here")
    expect(page.locator("#neighbours li").first).to_contain_text("3.jpg")


def test_made_up_weights_are_named(
    open_page: OpenPage, serve: Serve, random_model: Model, tmp_path: Path, source: Path
) -> None:
    publish_run(source, tmp_path / "output", random_model, components=4)
    plain = json.loads((tmp_path / "output" / "run.json").read_text())
    assert plain["model"]["weights"] == "random"
    expect(open_page(serve(tmp_path / "output")).locator("#untrained")).to_be_visible()


def test_a_checked_output_is_served_with_its_map(
    open_page: OpenPage, serve: Serve, model: Model, tmp_path: Path, source: Path
) -> None:
    publish_run(source, tmp_path / "output", model, components=16)
    subprocess.run([FRUITS, "check", str(tmp_path / "output"), "--workers", "1"], check=True, capture_output=True)
    page = open_page(serve(tmp_path / "output"))
    expect(page.locator("#map-kind")).to_have_text("neighbours stay neighbours (t-SNE), 120 photos")
    choose(page, next(source.rglob("*.jpg")))
    expect(page.locator("#result")).to_be_visible()
    wait_until(page, "map.mark !== null && Math.abs(map.mark.x) <= 1")
