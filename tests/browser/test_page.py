"""The page in a real browser: ask, stream, stop in every situation, and be told the truth about it."""

import asyncio
import os
import re
import signal
from statistics import median

import httpx2
import pytest
from playwright.async_api import Route, expect

from tests.browser.conftest import SERVICE
from tests.browser.visit import ENDLESS, SILENT, STALL, Visit
from tests.processes import running

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOTHING = "\N{EN DASH}"
CONFIRMED = re.compile(r"^[\d.]+ m?s, confirmed$")
STOPPED = re.compile(r"^[\d.]+ m?s, stopped$")


def ms(text: str) -> float:
    """`3.4 ms, stopped` and `1.20 s` as milliseconds."""
    figures, unit = text.partition(",")[0].split()
    return float(figures) * {"ms": 1, "s": 1000}[unit]


async def test_an_answer_streams_to_its_end(visit: Visit) -> None:
    await expect(visit.page.get_by_role("status")).to_have_text("Ready.")
    request_id = await visit.ask("hello")
    await visit.sees("finished")
    await visit.reads(
        chunks="50", end="complete", ack=NOTHING, saved=NOTHING, status=re.compile(r"^Finished: 50 chunks in ")
    )
    assert len((await visit.page.get_by_role("log").inner_text()).split()) >= 50
    assert (await visit.row(request_id))["outcome"] == "finished"


async def test_stop_while_it_streams(visit: Visit) -> None:
    request_id = await visit.ask(ENDLESS, max_tokens="20000")
    await visit.sees("streaming")
    await visit.press_stop()
    await visit.sees("stopped")
    await visit.reads(ack=CONFIRMED, end=STOPPED)
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


async def test_the_page_describes_what_it_talks_to(visit: Visit, mock_url: str) -> None:
    await visit.reads(about="Strategy memory-push · 1 worker · upstream: 127.0.0.1.")
    await visit.ask("hello")
    await visit.sees("finished")
    await visit.reads(about=re.compile(r"1\. This answer comes from the mock model: random words\.$"))
    note = "a mock (random words)"
    with running(*SERVICE, OPENAI_BASE_URL=f"{mock_url}/v1", UPSTREAM_NOTE=note, API_KEYS="k") as described:
        await visit.open(described.url)
        await visit.reads(about=f"Strategy memory-push · 1 worker · upstream: {note}.")
    with running(*SERVICE, OPENAI_BASE_URL=f"{mock_url}/v1", API_KEYS="k") as guarded:
        await visit.open(guarded.url)
        await visit.reads(about="Strategy memory-push · 1 worker.")  # its upstream is not everybody's business


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


async def test_enter_sends_and_shift_enter_does_not(visit: Visit) -> None:
    question = visit.page.get_by_label("Question")
    await question.fill("hello")
    await question.press("Shift+Enter")
    assert await question.input_value() == "hello\n"
    await question.press("Enter")
    await visit.sees("finished")


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


@pytest.mark.parametrize(
    ("marker", "message", "next_step", "console"),
    [
        ("[mock:fault=http_429]", "Rate limit", "Wait 1 second, then send again.", ["429"]),
        ("[mock:fault=http_500]", "server", "upstream", ["502"]),
        ("[mock:nonsense=1]", "unknown mock setting", "Check the model", ["400"]),
        ("[mock:fault=cut]", "25 chunks had arrived", "Send again.", []),
    ],
)
async def test_an_error_is_shown_with_what_to_do(
    visit: Visit, marker: str, message: str, next_step: str, console: list[str]
) -> None:
    visit.expected += console
    await visit.ask(marker)
    await visit.sees("error")
    alert = visit.page.get_by_role("alert")
    await expect(alert).to_contain_text(message)
    await expect(alert).to_contain_text(next_step)
    await visit.ask("hello")
    await visit.sees("finished")
    await expect(alert).to_be_empty()


@pytest.mark.parametrize(("status", "says"), [(503, "was not accepted"), (404, "did not find its chat")])
async def test_a_stop_that_fails_says_so_and_can_be_pressed_again(visit: Visit, status: int, says: str) -> None:
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


async def test_an_answer_without_its_end_is_a_lost_connection(visit: Visit) -> None:
    body = 'data: {"choices": [{"delta": {"content": "once"}}]}\n\ndata: {"choices": [{"del'
    await visit.page.route("**/chat/", lambda route: route.fulfill(content_type="text/event-stream", body=body))
    await visit.ask("hello")
    await visit.sees("lost")
    await visit.reads(answer="once", end="lost")
    await expect(visit.page.get_by_role("alert")).to_contain_text("ended before it was complete")


async def test_a_service_that_dies_is_a_lost_connection(visit: Visit, mock_url: str) -> None:
    with running(*SERVICE, OPENAI_BASE_URL=f"{mock_url}/v1") as doomed:
        await visit.open(doomed.url)
        await visit.ask(STALL)
        await visit.has_chunks(5)
        async with httpx2.AsyncClient() as client:
            worker = (await client.get(f"{doomed.url}/healthz")).json()["pid"]
        os.kill(worker, signal.SIGKILL)
        await visit.sees("lost")
        await expect(visit.page.get_by_role("alert")).to_contain_text("lost. 5 chunks had arrived.")
    visit.expected.append("ERR_")


async def test_a_reload_closes_the_upstream(visit: Visit) -> None:
    request_id = await visit.ask(STALL)
    await visit.has_chunks(5)
    await visit.page.reload()
    await visit.sees("idle")
    assert (await visit.row(request_id))["outcome"] == "cut"


async def test_leaving_closes_the_upstream_and_the_back_button_brings_a_page_that_works(visit: Visit) -> None:
    request_id = await visit.ask(ENDLESS)
    await visit.sees("streaming")
    await visit.page.goto("about:blank")
    assert (await visit.row(request_id))["outcome"] == "cut"
    await visit.page.go_back()
    await visit.sees("idle")
    await visit.ask("hello")
    await visit.sees("finished")


async def test_the_key_goes_to_the_service_and_nowhere_else(visit: Visit, mock_url: str) -> None:
    seen: list[tuple[str, str | None]] = []
    page = visit.page
    page.on("request", lambda request: seen.append((request.method, request.headers.get("authorization"))))
    with running(*SERVICE, OPENAI_BASE_URL=f"{mock_url}/v1", API_KEYS="a-key") as guarded:
        await visit.open(guarded.url)
        visit.expected.append("401")
        await visit.ask(STALL)
        await expect(page.get_by_role("alert")).to_contain_text("Enter an API key of this service")
        await page.get_by_label("API key").fill("a-key")
        await visit.ask(STALL)
        await visit.has_chunks(5)
        await visit.press_stop()
        await visit.sees("stopped")
        await visit.reads(ack=CONFIRMED, end=STOPPED)
        assert [key for method, key in seen if method == "POST"] == [None, "Bearer a-key", "Bearer a-key"]
        assert {key for method, key in seen if method != "POST"} == {None}
        assert await page.evaluate("localStorage.length + sessionStorage.length + document.cookie.length") == 0
        await page.reload()
        await expect(page.get_by_label("API key")).to_have_value("")
