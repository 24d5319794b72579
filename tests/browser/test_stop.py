"""Stop in a real browser, in every situation, and the times that the page shows."""

import asyncio
import re
from statistics import median

import httpx2
import pytest
from playwright.async_api import Route, expect

from tests.browser.visit import CONFIRMED, ENDLESS, NOTHING, SILENT, STALL, STOPPED, Visit, ms

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_stop_while_it_streams(visit: Visit) -> None:
    request_id = await visit.ask(ENDLESS, max_tokens="20000")
    await visit.sees("streaming")
    await visit.press_stop()
    await visit.sees("stopped")
    await visit.reads(ack=CONFIRMED, end=STOPPED, request=request_id)
    delivered = int(await visit.page.locator("#chunks").inner_text())
    await visit.reads(saved=f"at most {20000 - delivered:,} tokens")
    seen = await visit.row(request_id)
    assert seen["outcome"] == "cut"
    assert 0 < delivered <= len(seen["token_ns"])


async def test_a_first_visitor_sees_what_a_stop_saves(visit: Visit) -> None:
    await visit.ask(STALL, max_tokens=None)
    await visit.has_chunks(5)
    await visit.press_stop()
    await visit.sees("stopped")
    await visit.reads(saved="at most 495 tokens")


async def test_stop_in_a_silence(visit: Visit) -> None:
    request_id = await visit.ask(STALL)
    await visit.has_chunks(5)
    await visit.press_stop()
    await visit.sees("stopped")
    await visit.reads(ack=CONFIRMED, end=STOPPED, chunks="5", saved="unknown without Max tokens")
    assert (await visit.row(request_id))["outcome"] == "cut"


async def test_stop_before_the_first_token(visit: Visit) -> None:
    request_id = await visit.ask(SILENT)
    await visit.sees("waiting")
    await visit.row(request_id, over=False)
    await visit.press_stop()
    await visit.sees("stopped")
    await visit.reads(ack=CONFIRMED, end=STOPPED, chunks="0")
    assert (await visit.row(request_id))["token_ns"] == []


async def test_a_stop_as_quick_as_can_be(visit: Visit) -> None:
    """The abort and its chat race to the service; whichever comes first, the answer ends."""
    await visit.page.get_by_label("Question").fill(SILENT)
    await visit.page.evaluate("document.getElementById('send').click(); document.getElementById('stop').click()")
    await visit.sees("stopped")
    await visit.reads(end=STOPPED, ack=re.compile("confirmed|remembered"))
    visit.expected.append("404")  # how an abort that comes before its chat is answered


async def test_the_times_are_those_that_passed(visit: Visit) -> None:
    """A known delay on the way of the abort shows in both of the browser's times, and not in the service's."""

    async def delay(route: Route) -> None:
        await asyncio.sleep(0.2)
        await route.continue_()

    await visit.page.route("**/abort/", delay)
    await visit.ask(ENDLESS)
    await visit.sees("streaming")
    await visit.press_stop()
    await visit.sees("stopped")
    await visit.reads(ack=CONFIRMED)
    times = [ms(await visit.page.locator(name).inner_text()) for name in ("#ack", "#end")]
    assert all(200 <= time < 1500 for time in times), times
    assert ms((await visit.page.locator("#closed").inner_text()).removeprefix("within ")) < 200


async def test_a_stop_shows_the_workers_and_when_the_upstream_was_closed(visit: Visit, service_url: str) -> None:
    await visit.ask(STALL)
    await visit.has_chunks(5)
    await visit.press_stop()
    await visit.sees("stopped")
    async with httpx2.AsyncClient() as client:
        worker = str((await client.get(f"{service_url}/healthz")).json()["pid"])
    await visit.reads(owner=worker, taker=worker, closed=re.compile(r"^within [\d.]+ ms$"), late="0")


async def test_a_stop_without_an_answer_closes_the_connection(visit: Visit) -> None:
    """As behind six streams of a browser's tabs, or a worker that hangs: the answer stops all the same."""
    await visit.page.route("**/abort/", lambda _: None)
    request_id = await visit.ask(ENDLESS)
    await visit.sees("streaming")
    await visit.press_stop()
    await visit.sees("stopped")
    await visit.reads(ack="not within 300 ms", end=re.compile(r"^[\d.]+ m?s, connection closed$"))
    assert (await visit.row(request_id))["outcome"] == "cut"


async def test_a_stop_in_one_of_six_tabs(visit: Visit, service_url: str) -> None:
    """A browser opens six connections to an HTTP/1.1 host: six streams leave none for the Stop."""
    pages = [await visit.page.context.new_page() for _ in range(5)]
    for page in pages:
        await page.goto(f"{service_url}/")
        await page.get_by_label("Question").fill(ENDLESS)
        await page.get_by_role("button", name="Send").click()
        await expect(page.locator("body")).to_have_attribute("data-state", "streaming")
    await visit.page.bring_to_front()
    request_id = await visit.ask(ENDLESS)
    await visit.sees("streaming")
    await visit.press_stop()
    await visit.sees("stopped")
    assert (await visit.row(request_id))["outcome"] == "cut"
    visit.expected.append("404")  # the Stop itself, which arrives after the chat's end


async def test_three_stops_have_a_median(visit: Visit) -> None:
    table = visit.page.get_by_role("table", name="Stops in this visit")
    for count in range(1, 4):
        await visit.ask(STALL)
        await visit.has_chunks(5)
        await visit.press_stop()
        await expect(table.locator("tbody tr")).to_have_count(count)
        await expect(table.locator("tfoot")).to_be_visible(visible=count == 3)
    ended = [ms(text) for text in await table.locator("tbody td:last-child").all_inner_texts()]
    await expect(table.locator("tfoot th")).to_have_text("Median of 3")
    assert ms(await table.locator("tfoot td").last.inner_text()) == median(ended)
    shown = await table.locator("tbody").inner_text()
    await visit.page.reload()
    assert await table.locator("tbody").inner_text() == shown


@pytest.mark.parametrize(("status", "says"), [(503, "was not accepted"), (404, "did not find its chat")])
async def test_a_failed_stop_is_shown_and_can_be_repeated(visit: Visit, status: int, says: str) -> None:
    visit.expected.append(str(status))
    await visit.page.route("**/abort/", lambda route: route.fulfill(status=status, json={"detail": "the reason"}))
    await visit.ask(ENDLESS)
    await visit.sees("streaming")
    await visit.press_stop()
    await expect(visit.page.get_by_role("alert")).to_contain_text(says)
    await expect(visit.page.get_by_role("alert")).to_contain_text("the reason")
    await visit.sees("streaming")
    await visit.reads(ack=NOTHING, end=NOTHING)
    await visit.page.unroute("**/abort/")
    await visit.press_stop()
    await visit.sees("stopped")
    await visit.reads(ack=CONFIRMED, end=STOPPED)


async def test_a_stop_that_is_only_recorded_is_not_called_stopped(visit: Visit) -> None:
    await visit.page.route("**/abort/", lambda route: route.fulfill(json={"status": "accepted"}))
    await visit.ask(STALL)
    await visit.has_chunks(5)
    await visit.press_stop()
    await visit.reads(
        status="The abort is recorded, the stream has not ended yet.", ack=re.compile(" ms, recorded only$")
    )
    await visit.sees("stopping")
    await visit.page.unroute("**/abort/")
    await visit.press_stop()
    await visit.sees("stopped")
    await visit.reads(ack=CONFIRMED, end=STOPPED)
