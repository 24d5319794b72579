"""The charts that a reader can query, in a real browser: by pointer, by keyboard, on a phone, dark, without script."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, Page, expect

from tests.bench.report.browser import browser as browser  # noqa: PLC0414 - a fixture
from tests.browser.conftest import chromium as chromium  # noqa: PLC0414 - a fixture
from tests.browser.test_access import CONTRASTS

pytestmark = pytest.mark.asyncio(loop_scope="module")

DESK: dict[str, Any] = {"viewport": {"width": 1280, "height": 800}}
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
# Places of the dots of one contender in the window, without missed aborts.
DOTS = r"""(path) => { const edge = path.ownerSVGElement.getBoundingClientRect();
    const found = path.getAttribute("d").matchAll(/M([\d.]+) ([\d.]+)h0/g);
    return [...found].map(([, x, y]) => [edge.x + +x, edge.y + +y]); }"""
Open = Callable[..., Awaitable[Page]]


@pytest_asyncio.fixture(loop_scope="module")
async def opened(browser: Browser, rich: Path, compared: Path) -> AsyncIterator[Open]:
    """Open the report, or the comparison, offline; afterwards no page has reported an error or asked for anything."""
    contexts, errors, asked = [], [], []

    async def open_page(*, comparison: bool = False, **settings: Any) -> Page:
        contexts.append(await browser.new_context(offline=True, **(settings or DESK)))
        page = await contexts[-1].new_page()
        page.on("console", lambda message: errors.append(message.text))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda sent: asked.append(sent.url))
        await page.goto((compared if comparison else rich / "report.html").as_uri())
        return page

    yield open_page
    for each in contexts:
        await each.close()
    assert errors == []
    assert [url for url in asked if not url.startswith(("data:", "file:"))] == []


async def chart(page: Page, kind: str) -> Locator:
    """The chart, drawn and in the window."""
    box = page.locator(f"[data-live={kind}]")
    await box.scroll_into_view_if_needed()
    await expect(box.locator(".plot")).to_be_visible()
    await box.locator(".plot").scroll_into_view_if_needed()
    await expect(box.locator("figure")).to_have_count(await box.locator("figure[hidden]").count())
    return box


def toggle(box: Locator, name: str) -> Locator:
    return box.get_by_role("button", name=name, exact=True)


async def test_hovering_a_curve_reads_value_percentile_and_interval(opened: Open) -> None:
    box = await chart(await opened(), "curves")
    edge = await box.locator(".plot").bounding_box()
    assert edge is not None
    await box.locator(".plot").hover(position={"x": edge["width"] * 0.4, "y": edge["height"] * 0.4})
    tip = box.get_by_role("status")
    await expect(tip).to_contain_text(re.compile(r"[\d.]+ % stopped within [\d.,]+ ms"))
    await expect(tip).to_contain_text(re.compile(r"95 % interval: [\d.]+ % to [\d.]+ %"))


async def test_a_contender_can_be_hidden_and_shown(opened: Open) -> None:
    page = await opened()
    for kind, mark in (("curves", "path.curve[data-who]"), ("time", "path.dots[data-who]")):
        box = await chart(page, kind)
        before = await box.locator(mark).count()
        await toggle(box, "redis-push").click()
        await expect(toggle(box, "redis-push")).to_have_attribute("aria-pressed", "false")
        await expect(box.locator(mark)).to_have_count(before - 1)
        await toggle(box, "Hide all").click()
        await expect(box.locator(mark)).to_have_count(0)
        await toggle(box, "Show all").click()
        await expect(box.locator(mark)).to_have_count(before)


async def test_the_table_follows_scenario_and_percentile(opened: Open) -> None:
    box = await chart(await opened(), "curves")
    table = box.get_by_role("table")
    await expect(table.get_by_text("flowing: ")).to_be_visible()
    before = await table.inner_text()
    await box.get_by_label("Percentile").select_option("p95")
    await expect(table).not_to_have_text(before)
    await expect(table.get_by_role("columnheader", name="p95, ms")).to_be_visible()
    curve = box.locator("path.curve[data-who]").first
    drawn = await curve.get_attribute("d")
    slow = await box.locator("option", has_text=re.compile(r"^slow: ")).first.inner_text()
    await box.get_by_label("Scenario").select_option(slow)
    await expect(table.get_by_text(slow)).to_be_visible()
    assert await curve.get_attribute("d") != drawn


async def test_the_axis_can_be_linear(opened: Open) -> None:
    box = await chart(await opened(), "curves")
    await expect(box.locator(".axes")).to_contain_text("[log]")
    await box.get_by_label("logarithmic axis").uncheck()
    await expect(box.locator(".axes")).not_to_contain_text("[log]")


async def test_a_click_on_a_dot_opens_the_moments_of_its_chat(opened: Open) -> None:
    page = await opened()
    box = await chart(page, "time")
    await toggle(box, "Hide all").click()
    await toggle(box, "redis-push").click()
    (x, y), *_others = await box.locator("path.dots[data-who]").first.evaluate(DOTS)
    await page.mouse.click(x, y)
    rows = box.get_by_role("row")
    for text in ("abort sent", "received by a worker", "recorded in the store", "owner of the chat notified",
                 "upstream closed", "connection lost", "client saw the end"):  # fmt: skip
        await expect(rows.filter(has_text=text)).to_have_count(1)
    stop = re.search(r"stopped after ([\d.,]+) ms", await box.locator(".panel").inner_text())
    assert stop
    lost = await rows.filter(has_text="connection lost").get_by_role("cell").first.inner_text()
    assert float(lost.replace(",", "")) == pytest.approx(float(stop[1].replace(",", "")), rel=0.01)
    await expect(box.locator("code")).to_have_text(re.compile("redis-push"))


async def test_faults_are_shaded_and_named(opened: Open) -> None:
    box = await chart(await opened(), "time")
    assert await box.locator(".plot .shade").count() > 0
    await expect(box.locator(".legend").get_by_text("store killed")).to_be_visible()


async def test_a_scenario_and_a_block_can_be_chosen_over_time(opened: Open) -> None:
    box = await chart(await opened(), "time")
    ticks = await box.locator(".axes").text_content()
    await box.get_by_label("Block").select_option("2")
    await box.get_by_label("Scenario").select_option(index=1)
    assert await box.locator(".axes").text_content() != ticks
    await box.get_by_role("button", name="Open the slowest stop").click()
    await expect(box.locator(".panel")).to_contain_text("block 2:")


async def test_by_keyboard_alone(opened: Open) -> None:
    page = await opened()
    box = await chart(page, "curves")
    await box.locator("select").first.focus()
    seen: list[str] = []
    for _ in range(6):
        await page.keyboard.press("Tab")
        seen.append(await page.evaluate("document.activeElement.tagName"))
    assert seen == ["SELECT", "INPUT", "svg", "BUTTON", "BUTTON", "BUTTON"]
    await box.locator(".plot").focus()
    tip = box.get_by_role("status")
    await page.keyboard.press("ArrowRight")
    await expect(tip).to_be_visible()
    before = await tip.inner_text()
    await page.keyboard.press("End")
    await expect(tip).not_to_have_text(before)
    head = await tip.locator("strong").inner_text()
    await page.keyboard.press("ArrowDown")
    await expect(tip.locator("strong")).not_to_have_text(head)

    box = await chart(page, "time")
    await box.locator(".plot").focus()
    for key in ("ArrowRight", "PageUp", "ArrowUp", "ArrowLeft", "Enter"):
        await page.keyboard.press(key)
    await expect(box.locator(".panel table")).to_be_visible()
    assert await page.evaluate("document.activeElement.tagName") == "svg"


async def test_without_javascript_the_pictures_are_there(opened: Open) -> None:
    page = await opened(java_script_enabled=False, **DESK)
    for kind in ("curves", "time"):
        await expect(page.locator(f"[data-live={kind}] img")).to_be_visible()
        await expect(page.locator(f"[data-live={kind}] .live")).to_be_hidden()


async def test_on_a_phone_all_fits_and_can_be_tapped(opened: Open) -> None:
    page = await opened(**PHONE)
    for kind in ("curves", "time"):
        box = await chart(page, kind)
        await toggle(box, "redis-push").tap()
        await box.locator(".plot").tap()
        edges = await box.locator(".live *").evaluate_all("all => all.map((one) => one.getBoundingClientRect().right)")
        assert max(edges) <= 390
        if kind == "curves":
            await expect(box.get_by_role("status")).to_contain_text("95 % interval")
    await box.get_by_role("button", name="Open the slowest stop").tap()
    await expect(box.locator(".panel table")).to_be_visible()
    assert await page.evaluate("document.documentElement.scrollWidth") == 390


async def test_in_the_dark_texts_can_be_read_and_curves_are_lighter(opened: Open) -> None:
    colours = {}
    for scheme in ("light", "dark"):
        page = await opened(color_scheme=scheme, **DESK)
        await chart(page, "time")
        box = await chart(page, "curves")
        await box.locator(".plot").focus()
        await page.keyboard.press("ArrowRight")
        assert [row for row in await page.evaluate(CONTRASTS) if row[2] < 4.5] == []
        curve = box.locator("path.curve[data-who]").first
        colours[scheme] = await curve.evaluate("one => getComputedStyle(one).stroke")
    assert colours["light"] != colours["dark"]


async def test_a_chart_is_drawn_when_it_comes_near_the_window(opened: Open) -> None:
    """The first paint waits for neither: data and script are last, and what is far away is not drawn."""
    page = await opened(viewport={"width": 1280, "height": 300})
    await expect(page.locator("h1")).to_be_visible()
    assert await page.evaluate("[...document.body.children].slice(-2).map((one) => one.tagName)") == ["SCRIPT"] * 2
    await expect(page.locator("[data-live=time] .plot")).to_have_count(0)
    await chart(page, "time")


async def test_two_runs_are_overlaid_and_can_be_toggled(opened: Open) -> None:
    page = await opened(comparison=True)
    for kind, mark in (("curves", "path.curve"), ("time", "path.dots")):
        box = await chart(page, kind)
        runs = [box.locator(f"{mark}[data-run='{run}']") for run in (0, 1)]
        assert await runs[0].count() == await runs[1].count() > 0
        await toggle(box, "A: before").click()
        await expect(runs[0]).to_have_count(0)
        assert await runs[1].count() > 0
    await box.get_by_role("button", name="Open the slowest stop").click()
    await expect(box.locator(".panel strong")).to_have_text(re.compile("^B: "))


async def test_a_table_is_sorted_by_the_column_whose_head_is_pressed(opened: Open) -> None:
    page = await opened()
    table = page.locator(".first > section:first-child table")
    strategies = table.locator("tbody th")
    given = await strategies.all_text_contents()
    head = table.get_by_role("columnheader", name="stop p50")
    await head.get_by_role("button").press("Enter")
    await expect(head).to_have_attribute("aria-sort", "ascending")
    shown = await table.locator("tbody td:nth-child(2)").all_text_contents()
    up = [float(each.replace(",", "")) for each in shown if each[0].isdigit()]
    assert up == sorted(up)
    assert len(up) > 2
    by_time = await strategies.all_text_contents()
    assert sorted(by_time) == sorted(given)
    await head.get_by_role("button").press("Enter")
    await expect(head).to_have_attribute("aria-sort", "descending")
    assert (await strategies.all_text_contents())[-1] == by_time[-1] == "none"  # no stop: last in both orders
    await table.get_by_role("columnheader", name="strategy").get_by_role("button").press("Enter")
    assert await strategies.all_text_contents() == sorted(given)
    await expect(head).not_to_have_attribute("aria-sort", "descending")
