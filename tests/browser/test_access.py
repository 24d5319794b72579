"""The page for everybody: by keyboard, on a small phone, in the dark, with less motion; and its security headers."""

import re

import httpx2
import pytest
from playwright.async_api import expect

from tests.browser.visit import ENDLESS, STALL, Visit

pytestmark = pytest.mark.asyncio(loop_scope="session")

PHONE = {"viewport": {"width": 320, "height": 568}, "has_touch": True, "is_mobile": True}
# WCAG 2: each text against what is painted behind it; the round dial's disc is SVG, which has no background.
CONTRASTS = """() => {
    const channels = (color) => color.match(/[\\d.]+/g).map(Number);
    const light = (color) => channels(color).slice(0, 3)
        .map((one) => (one /= 255) <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4)
        .reduce((sum, one, index) => sum + one * [0.2126, 0.7152, 0.0722][index], 0);
    const behind = (one) => {
        const color = one.matches(".face") && getComputedStyle(one).position === "absolute"
            ? getComputedStyle(document.querySelector(".disc")).fill : getComputedStyle(one).backgroundColor;
        return channels(color)[3] === 0 ? behind(one.parentElement) : color;
    };
    const ratio = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    return [...document.querySelectorAll("body *")]
        .filter((one) => one.checkVisibility())
        .filter((one) => [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
        .map((one) => [one.id || one.className || one.tagName, one.textContent.slice(0, 30),
            ratio(light(getComputedStyle(one).color), light(behind(one)))]);
}"""


async def test_keyboard_alone_is_enough(visit: Visit) -> None:
    page = visit.page
    await page.keyboard.press("Tab")
    await expect(page.get_by_label("Question")).to_be_focused()
    for key in ("Enter", "Space", "Escape"):
        await page.keyboard.press("Control+A")
        await page.keyboard.type(STALL)
        await page.keyboard.press("Control+Enter")
        await expect(page.get_by_role("button", name="Stop the answer")).to_be_focused()
        await visit.has_chunks(5)
        await page.keyboard.press(key)
        await visit.sees("stopped")
        await expect(page.get_by_label("Question")).to_be_focused()
    await expect(page.get_by_role("status")).to_have_text(re.compile(r"^Stopped after [\d.]+ ms, 5 chunks in\.$"))


async def test_a_screen_reader_announces_states_and_not_every_token(visit: Visit) -> None:
    log = visit.page.get_by_role("log", name="Answer")
    stop = visit.page.get_by_role("button", name="Stop the answer")
    await expect(stop).to_be_disabled()
    await visit.ask(STALL)
    await visit.has_chunks(5)
    await expect(log).to_have_attribute("aria-busy", "true")
    await expect(visit.page.get_by_role("status")).to_have_text("Streaming.")
    await expect(stop).to_be_enabled()
    await visit.press_stop()
    await visit.sees("stopped")
    await expect(log).to_have_attribute("aria-busy", "false")


@pytest.mark.parametrize("visit", [PHONE], indirect=True)
async def test_a_phone_needs_no_sideways_scrolling(visit: Visit) -> None:
    async def fits() -> None:
        assert await visit.page.evaluate("document.documentElement.scrollWidth") == 320

    page = visit.page
    stop = page.get_by_role("button", name="Stop the answer")
    await fits()
    await expect(stop).to_be_in_viewport(ratio=1)
    heights = await page.locator("input, textarea, button").evaluate_all(
        "all => all.map((one) => one.getBoundingClientRect().height)"
    )
    assert min(heights) >= 44
    await visit.ask(ENDLESS.replace("itl_ms=20", "itl_ms=2"))
    await visit.sees("streaming")
    # The page follows the text: when it is longer than the screen, its end still stands above the dock.
    await visit.until("document.getElementById('answer').getBoundingClientRect().height > 2 * innerHeight")
    await expect(stop).to_be_in_viewport(ratio=1)
    await stop.tap()
    await visit.sees("stopped")
    below = "document.getElementById('answer').getBoundingClientRect().bottom - innerHeight"
    assert await page.evaluate(below) < 0
    for result in ("closed", "end", "ack", "chunks", "late"):  # not below the dial
        await expect(page.locator(f"#{result}")).to_be_in_viewport(ratio=1)
    await fits()
    visit.expected.append("400")
    await visit.ask(f"[mock:{'x' * 60}=1]")
    await visit.sees("error")
    await expect(page.get_by_role("alert")).to_be_in_viewport(ratio=1)
    await fits()


@pytest.mark.parametrize(
    "visit",
    [
        {"color_scheme": scheme, **size}
        for scheme in ("light", "dark")
        for size in ({"viewport": {"width": 1280, "height": 800}}, PHONE)
    ],
    indirect=True,
    ids=["light", "light-phone", "dark", "dark-phone"],
)
async def test_every_text_can_be_read(visit: Visit) -> None:
    async def readable(state: str) -> None:
        await visit.sees(state)
        poor = [row for row in await visit.page.evaluate(CONTRASTS) if row[2] < 4.5]
        assert poor == [], state

    await readable("idle")
    await visit.ask(STALL)
    await visit.has_chunks(5)
    await readable("streaming")
    await visit.press_stop()
    await readable("stopped")
    visit.expected.append("429")
    await visit.ask("[mock:fault=http_429]")
    await readable("error")


@pytest.mark.parametrize("visit", [{"reduced_motion": "reduce"}], indirect=True)
async def test_less_motion_when_asked_for(visit: Visit) -> None:
    await visit.ask(STALL)
    await visit.has_chunks(5)
    await expect(visit.page.locator("#hand")).to_be_hidden()
    await visit.press_stop()
    await visit.sees("stopped")


async def test_nothing_but_the_service_may_be_reached_or_run(visit: Visit, service_url: str, mock_url: str) -> None:
    async with httpx2.AsyncClient(base_url=service_url) as client:
        html = (await client.get("/")).text
        parts = [*re.findall(r'(?:src|href)="([^"]+)"', html), "page/chat.js", "page/dial.js", "page/texts.js"]
        for path in ["/", *parts]:
            answer = await client.get(path)
            assert answer.status_code == 200, path
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "frame-ancestors 'none'" in policy
            assert "unsafe" not in policy
            assert answer.headers["x-content-type-options"] == "nosniff"
        for path in ("/page/page.py", "/page/..%2Fpage.py", "/page/..%2F..%2Fpyproject.toml"):
            assert (await client.get(path)).status_code == 404
    assert not re.search(r"<[^>]* (on\w+|style)=|<script(?![^>]* src=)|https?://", html)
    visit.expected.append("Content Security Policy")
    reach = "(url) => fetch(url, {mode: 'no-cors'}).then(() => 'reached', () => 'refused')"
    assert await visit.page.evaluate(reach, f"{mock_url}/v1/models") == "refused"
    visit.urls = [url for url in visit.urls if not url.startswith(mock_url)]
    assert await visit.page.evaluate("crossOriginIsolated")
