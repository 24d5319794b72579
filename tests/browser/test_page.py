"""The page in a real browser: questions, errors, API keys, and what closes the upstream."""

import os
import re
import signal
from urllib.parse import unquote

import httpx2
import pytest
from playwright.async_api import expect

from tests.browser.conftest import NOTE
from tests.browser.visit import CONFIRMED, ENDLESS, NOTHING, STALL, STOPPED, Visit
from tests.server.service import serve

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_an_answer_streams_to_its_end(visit: Visit) -> None:
    await expect(visit.page.get_by_role("status")).to_have_text("Ready.")
    request_id = await visit.ask("hello")
    await visit.sees("finished")
    await visit.reads(
        chunks="50", end="complete", ack=NOTHING, saved=NOTHING, status=re.compile(r"^Finished: 50 chunks in ")
    )
    assert len((await visit.page.get_by_role("log").inner_text()).split()) >= 50
    assert (await visit.row(request_id))["outcome"] == "finished"


async def test_the_page_describes_the_service(visit: Visit, guarded_url: str) -> None:
    await visit.reads(about="Strategy memory-push · 1 worker · upstream: 127.0.0.1.")
    await visit.ask("hello")
    await visit.sees("finished")
    await visit.reads(about=re.compile(r"1\. This answer comes from the mock model: random words\.$"))
    await visit.open(guarded_url)
    await visit.reads(about=f"Strategy memory-push · 1 worker · upstream: {NOTE}.")
    hidden = {"strategy": "memory-push", "workers": 1, "upstream": None}  # see tests/server/test_page_about.py
    await visit.page.route("**/page/about", lambda route: route.fulfill(json=hidden))
    await visit.open(guarded_url)
    await visit.reads(about="Strategy memory-push · 1 worker.")


async def test_enter_sends_and_shift_enter_does_not(visit: Visit) -> None:
    question = visit.page.get_by_label("Question")
    await question.fill("hello")
    await question.press("Shift+Enter")
    assert await question.input_value() == "hello\n"
    await question.press("Enter")
    await visit.sees("finished")


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


async def test_an_answer_without_its_end_is_a_lost_connection(visit: Visit) -> None:
    body = 'data: {"choices": [{"delta": {"content": "once"}}]}\n\ndata: {"choices": [{"del'
    await visit.page.route("**/chat/", lambda route: route.fulfill(content_type="text/event-stream", body=body))
    await visit.ask("hello")
    await visit.sees("lost")
    await visit.reads(answer="once", end="lost")
    await expect(visit.page.get_by_role("alert")).to_contain_text("ended before it was complete")


async def test_a_service_that_dies_is_a_lost_connection(visit: Visit, mock_url: str) -> None:
    with serve(mock_url) as doomed:
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


async def test_the_key_goes_to_the_service_and_nowhere_else(visit: Visit, guarded_url: str) -> None:
    seen: list[tuple[str, str | None]] = []
    page = visit.page
    page.on("request", lambda request: seen.append((request.method, request.headers.get("authorization"))))
    await visit.open(guarded_url)
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
    assert await page.evaluate("localStorage.length + document.cookie.length") == 0
    assert unquote(await page.locator("#save").get_attribute("href") or "").splitlines()[0].endswith("browser_end_ms")
    async with page.expect_download() as download:
        await page.click("#save")
    rows = (await (await download.value).path()).read_text().splitlines()
    assert len(rows) == 2
    assert re.fullmatch(r"1,[\d.]*,[\d.]+", rows[1])
    assert await page.evaluate("Object.keys(sessionStorage)") == ["stops"]
    assert "a-key" not in await page.evaluate("sessionStorage.getItem('stops')")
    await page.reload()
    await expect(page.get_by_label("API key")).to_have_value("")
