"""The pages in a real browser, offline: at desk and phone width, in the dark, printed, by keyboard, for everybody."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_asyncio
from PIL import Image
from playwright.async_api import Browser, Page, expect

from bench.report.charts import canvas
from bench.report.render import render
from tests.bench import fake_blocks
from tests.bench.report.browser import browser as browser  # noqa: PLC0414 - a fixture
from tests.bench.report.conftest import leave_out
from tests.browser.conftest import chromium as chromium  # noqa: PLC0414 - a fixture
from tests.browser.test_access import CONTRASTS

pytestmark = pytest.mark.asyncio(loop_scope="module")

DESK: dict[str, Any] = {"viewport": {"width": 1280, "height": 800}}
LAPTOP: dict[str, Any] = {"viewport": {"width": 1280, "height": 900}}
NARROW: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
PHONE: dict[str, Any] = {"viewport": {"width": 375, "height": 667}, "is_mobile": True, "has_touch": True}
DARK = {"color_scheme": "dark"}
A4_PX = 718  # 210 mm less 10 mm of margin on both sides, at 96 px to the inch
# Whatever reaches beyond the window, but for what lies in a box that scrolls by itself.
STICKING_OUT = """(width) => [...document.querySelectorAll("body *")]
    .filter((one) => !one.closest(".scroll") && one.getBoundingClientRect().right > width + 0.5)
    .map((one) => one.tagName + " " + one.className)"""
HEADINGS = "() => [...document.querySelectorAll('h1,h2,h3,h4,h5,h6')].map((one) => Number(one.tagName[1]))"


@pytest.fixture(scope="module")
def pages(rich: Path, compared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A rich report, a comparison, and a report of a run that is invalid, quick and lacks most of it."""
    long_name = tmp_path_factory.mktemp("pages") / f"20261128T032838Z-{'poor' * 10}"
    poor = fake_blocks.write(
        long_name, strategies=["memory-push"], scenarios=["flowing"], chats=8, blocks=1,
        manifest={"complete": False, "quick": True, "label": "x" * 90},
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(canvas, "save", leave_out)
        return {"report": rich / "report.html", "comparison": compared, "poor": render(poor)}


class Opened(NamedTuple):
    """A page that was opened, what it asked for, and what it said on the console."""

    page: Page
    asked: list[str]
    said: list[str]


@pytest.fixture(scope="module")
def opened() -> dict[str, Opened]:
    """Pages by name and settings: each is opened once."""
    return {}


@pytest_asyncio.fixture(loop_scope="module")
async def page(
    request: pytest.FixtureRequest, browser: Browser, pages: dict[str, Path], opened: dict[str, Opened]
) -> AsyncIterator[Page]:
    """`parametrize("page", [(which, settings)], indirect=True)`; offline, and afterwards nothing was asked for."""
    which, settings = request.param
    if str(request.param) not in opened:
        context = await browser.new_context(offline=True, **settings)
        found = opened[str(request.param)] = Opened(await context.new_page(), [], [])
        found.page.on("request", lambda sent: found.asked.append(sent.url))
        found.page.on("console", lambda message: found.said.append(message.text))
        found.page.on("pageerror", lambda error: found.said.append(str(error)))
        await found.page.goto(pages[which].as_uri())
    page, asked, said = opened[str(request.param)]
    yield page
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [pages[which].as_uri()]


def at(*settings: dict[str, Any], which: tuple[str, ...] = ("report", "comparison", "poor")) -> list[Any]:
    return [
        pytest.param((name, each), id=f"{name}-{each['viewport']['width']}-{each.get('color_scheme', 'light')}")
        for name in which for each in settings
    ]  # fmt: skip


@pytest.mark.parametrize("page", at(DESK, PHONE, NARROW), indirect=True)
async def test_nothing_reaches_beyond_the_window(page: Page) -> None:
    assert page.viewport_size is not None
    width = page.viewport_size["width"]  # a phone's own `innerWidth` grows with what sticks out
    assert await page.evaluate("document.documentElement.scrollWidth") == width
    assert await page.evaluate(STICKING_OUT, width) == []


@pytest.mark.parametrize("page", at(LAPTOP, which=("report",)), indirect=True)
async def test_the_first_screen_has_the_sentence_the_table_and_the_beginning_of_the_curves(page: Page) -> None:
    await expect(page.locator(".first .plot")).to_be_visible()
    found = [page.locator(each).first for each in (".headline", ".first .scroll table", ".first .plot")]
    boxes = [box for each in found if (box := await each.bounding_box())]
    sentence, table, curves = boxes
    assert sentence["y"] + sentence["height"] <= table["y"]
    assert table["y"] + table["height"] <= LAPTOP["viewport"]["height"]
    assert curves["y"] <= LAPTOP["viewport"]["height"] - 300
    assert await page.locator(".first .scroll tbody tr").count() <= 6
    await expect(page.locator(".headline")).to_contain_text("$")
    # The answer comes first: warnings are at the health table, and one link leads there.
    await expect(page.locator("header .verdict")).to_have_count(1)


@pytest.mark.parametrize("page", at(PHONE, which=("report",)), indirect=True)
async def test_on_a_phone_wide_tables_scroll_in_their_box_and_keep_their_first_column(page: Page) -> None:
    boxes = page.locator(".scroll")
    wider = await boxes.evaluate_all("all => all.map((one) => one.scrollWidth > one.clientWidth)")
    assert wider.count(True) >= 5
    box = boxes.nth(wider.index(True))
    before = await box.locator("tbody th").first.bounding_box()
    await box.evaluate("one => one.scrollLeft = 1000")
    after = await box.locator("tbody th").first.bounding_box()
    assert await box.evaluate("one => one.scrollLeft") > 0
    assert before is not None
    assert after is not None
    assert after["x"] == before["x"]


@pytest.mark.parametrize("page", at(DESK, which=("report",)), indirect=True)
async def test_a_wide_window_has_two_columns_of_charts(page: Page) -> None:
    lefts = await page.locator("#speed .charts section > figure img").evaluate_all(
        "all => all.map((one) => one.getBoundingClientRect().left)"
    )
    assert len(set(lefts)) == 2


@pytest.mark.parametrize("page", at(DESK), indirect=True)
async def test_every_picture_is_there_and_described(page: Page) -> None:
    pictures = await page.locator("img").evaluate_all(
        "all => all.map((one) => [one.naturalWidth, one.alt, one.src.slice(0, 5)])"
    )
    assert len(pictures) >= 4
    assert all(width > 0 and len(alt) > 40 and source == "data:" for width, alt, source in pictures)
    assert len({alt for _width, alt, _source in pictures}) == len(pictures)


@pytest.mark.parametrize("page", at(DESK, PHONE, {**DESK, **DARK}, {**PHONE, **DARK}), indirect=True)
async def test_every_text_can_be_read(page: Page) -> None:
    # Nothing behind a text but the page itself is transparent there, too: its colour is that of the page.
    poor = [row for row in await page.evaluate(CONTRASTS) if row[2] < 4.5]
    assert poor == []


@pytest.mark.parametrize("page", at(DESK), indirect=True)
async def test_a_screen_reader_finds_its_way(page: Page) -> None:
    levels = await page.evaluate(HEADINGS)
    assert levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in pairwise(levels))
    assert await page.locator("html").get_attribute("lang") == "en"
    assert len(await page.title()) > 10
    await expect(page.get_by_role("main")).to_have_count(1)
    await expect(page.get_by_role("banner")).to_have_count(1)
    await expect(page.locator("table th:not([scope])")).to_have_count(0)
    names = await page.get_by_role("region").evaluate_all("all => all.map((one) => one.getAttribute('aria-label'))")
    tables = [name for name in names if name]
    assert len(tables) >= 3
    assert len(set(tables)) == len(tables)


@pytest.mark.parametrize("page", at(DESK, which=("report",)), indirect=True)
async def test_tables_and_contents_can_be_reached_by_keyboard(page: Page) -> None:
    seen = set()
    for _ in range(12):
        await page.keyboard.press("Tab")
        seen.add(await page.evaluate("document.activeElement.tagName + document.activeElement.className"))
    assert {"A", "DIVscroll"} <= seen


@pytest.mark.parametrize("page", at({"viewport": {"width": A4_PX, "height": 1000}}), indirect=True)
async def test_paper_holds_it_all(page: Page) -> None:
    await page.emulate_media(media="print")
    assert await page.evaluate("document.documentElement.scrollWidth") <= A4_PX
    hidden = "all => all.filter((one) => one.scrollWidth > one.clientWidth + 1).length"
    assert await page.locator(".scroll").evaluate_all(hidden) == 0
    assert await page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    assert (await page.pdf(format="A4", margin={"left": "10mm", "right": "10mm"})).startswith(b"%PDF")


@pytest.mark.parametrize("page", at(PHONE, which=("poor",)), indirect=True)
async def test_an_invalid_run_states_it_before_everything_else(page: Page) -> None:
    first = page.locator("header .verdict").first
    await expect(first).to_contain_text("Not valid.")
    await expect(first).to_contain_text("the run was interrupted")
    tops = await page.locator(".verdict, #answer, nav").evaluate_all(
        "all => all.map((one) => one.getBoundingClientRect().top)"
    )
    assert tops == sorted(tops)
    await expect(page.locator(".answers")).to_have_count(0)
    await expect(page.locator(".unanswered")).to_contain_text("One worker, Several workers, No Redis")


@pytest.mark.parametrize("page", at(DESK, which=("report",)), indirect=True)
async def test_a_reader_opens_the_chart_of_the_slowest_stops(page: Page) -> None:
    chart = page.locator("#chart-stop-tail ~ details img")
    await expect(chart).not_to_be_visible()
    await page.get_by_text("Show the chart").click()
    await expect(chart).to_be_visible()


@pytest.mark.parametrize("page", at(DESK, {**DESK, **DARK}, which=("report",)), indirect=True)
async def test_charts_are_dark_in_the_dark(page: Page) -> None:
    """The middle of a picture's upper edge, which is its ground, has the page's brightness."""
    chart = page.locator("#chart-stop-lanes ~ figure img")
    shot = await chart.screenshot()
    pixel = Image.open(io.BytesIO(shot)).convert("L").getpixel((20, 20))
    dark = await page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    assert isinstance(pixel, int)
    assert pixel < 40 if dark else pixel > 240
