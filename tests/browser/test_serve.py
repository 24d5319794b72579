"""The page as `python -m bench serve` serves it: a person asks, sees it stream, and stops it."""

from collections.abc import Iterator

import httpx2
import pytest
from playwright.async_api import Browser

from tests.bench.served import address, serving
from tests.browser.visit import Visit

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture(scope="module")
def served_url() -> Iterator[str]:
    with serving("--backend", "redis") as (_, lines):
        yield address(lines)


async def test_the_page_starts_and_stops_a_chat(browser: Browser, served_url: str) -> None:
    context = await browser.new_context()
    async with context, httpx2.AsyncClient(base_url=served_url) as service:
        visit = Visit(await context.new_page(), service)
        await visit.open(served_url)
        await visit.ask("Tell me a long story")
        await visit.sees("streaming")
        await visit.until("Number(document.querySelector('#chunks').textContent) > 1")
        await visit.press_stop()
        await visit.sees("stopped")
        assert 1 < int(await visit.page.locator("#chunks").inner_text()) < 600
        visit.close()
