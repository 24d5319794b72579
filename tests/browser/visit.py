"""One visit to the page in a real browser: the user's actions, and the page's requests and messages."""

import asyncio
import json
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx2
from playwright.async_api import ConsoleMessage, Page, expect

from tests.server.service import POLL_S

DEADLINE_S = 10.0
STALL = "[mock:output_tokens=20,itl_ms=5,stall_at=5,stall_ms=60000]"
ENDLESS = "[mock:output_tokens=30000,itl_ms=20]"
SILENT = "[mock:ttft_ms=60000]"

NOTHING = "\N{EN DASH}"
CONFIRMED = re.compile(r"^[\d.]+ m?s, confirmed$")
STOPPED = re.compile(r"^[\d.]+ m?s, stopped$")


def ms(text: str) -> float:
    """`3.4 ms, stopped` and `1.20 s` as milliseconds."""
    figures, unit = text.partition(",")[0].split()
    return float(figures) * {"ms": 1, "s": 1000}[unit]


@dataclass
class Visit:
    """The page and the mock behind it; `console` and `urls` collect the page's messages and requests."""

    page: Page
    mock: httpx2.AsyncClient
    services: set[str] = field(default_factory=set)
    console: list[str] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)
    """What the console may say: a browser notes every refused request there, whatever the page makes of it."""

    def __post_init__(self) -> None:
        def note(message: ConsoleMessage) -> None:
            if message.type in ("error", "warning"):
                self.console.append(message.text)

        self.page.on("console", note)
        self.page.on("pageerror", lambda error: self.console.append(str(error)))
        self.page.on("request", lambda request: self.urls.append(request.url))

    async def open(self, service_url: str) -> None:
        self.services.add(urlsplit(service_url).netloc)
        await self.page.goto(f"{service_url}/")

    def close(self) -> None:
        """Check what holds for every visit: a clean console, and no requests to other hosts."""
        unexpected = [text for text in self.console if not any(word in text for word in self.expected)]
        assert unexpected == []
        assert {urlsplit(url).netloc for url in self.urls} == self.services

    async def ask(self, text: str, max_tokens: str | None = "") -> str:
        """Type the question and send it; returns the request id that the page made. None leaves the page's limit."""
        await self.page.get_by_label("Question").fill(text)
        if max_tokens is not None:
            await self.page.get_by_label("Max tokens").fill(max_tokens)
        async with self.page.expect_request("**/chat/") as request:
            await self.page.get_by_role("button", name="Send").click()
        return str(json.loads((await request.value).post_data or "")["request_id"])

    async def press_stop(self) -> None:
        await self.page.get_by_role("button", name="Stop the answer").click()

    async def sees(self, state: str) -> None:
        await expect(self.page.locator("body")).to_have_attribute("data-state", state, timeout=DEADLINE_S * 1000)

    async def has_chunks(self, count: int) -> None:
        """Wait until so many chunks have been delivered."""
        await expect(self.page.locator("#chunks")).to_have_text(str(count))

    async def reads(self, **texts: str | re.Pattern[str]) -> None:
        """The page's element of each name shows the text, or comes to."""
        for name, text in texts.items():
            await expect(self.page.locator(f"#{name}")).to_have_text(text)

    async def until(self, expression: str) -> None:
        """Wait until JavaScript's `expression` is true; playwright's own wait needs an eval, which the page forbids."""
        async with asyncio.timeout(DEADLINE_S):
            while not await self.page.evaluate(expression):  # noqa: ASYNC110 - see POLL_S
                await asyncio.sleep(POLL_S)

    async def row(self, request_id: str, *, over: bool = True) -> dict[str, Any]:
        """The mock's row of a chat; with `over`, once the chat has ended there."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                rows = (await self.mock.get("/__mock/journal", params={"id": request_id})).json()["rows"]
                if rows and not (over and rows[0]["outcome"] == "open"):
                    return dict(rows[0])
                await asyncio.sleep(POLL_S)
