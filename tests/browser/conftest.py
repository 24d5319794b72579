"""A real Chromium, and real services with a real mock upstream; each is started once per session."""

import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import httpx2
import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, async_playwright

from tests.browser.visit import Visit
from tests.processes import running
from tests.server.service import NO_TLS, serve

NOTE = "a mock (random words)"
NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--no-sandbox",  # CI runs as root in a container, where Chromium's own sandbox cannot start
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser's path: CHROMIUM, else the first that is installed."""
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is on the PATH and CHROMIUM is not set")
    return path


@pytest.fixture(scope="session")
def mock_url() -> Iterator[str]:
    """The mock: 20 ms to the first token, 5 ms between tokens, 50 tokens, unless the question says otherwise."""
    with running(
        "mock_llm", "serve", "--port", "0", "--ttft-ms", "20", "--itl-ms", "5", "--output-tokens", "50"
    ) as mock:
        yield mock.url


@pytest.fixture(scope="session")
def service_url(mock_url: str) -> Iterator[str]:
    with serve(mock_url) as one:
        yield one.url


@pytest.fixture(scope="session")
def guarded_url(mock_url: str) -> Iterator[str]:
    """A service with an API key and a description of its upstream."""
    with serve(mock_url, API_KEYS="a-key", UPSTREAM_NOTE=NOTE) as one:
        yield one.url


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser(chromium: str) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        # Playwright disables the back/forward cache; users have it.
        ignored = ["--disable-back-forward-cache"]
        browser = await playwright.chromium.launch(executable_path=chromium, args=FLAGS, ignore_default_args=ignored)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    """The default context, which visits share: a page stores nothing beyond its tab; a new one takes half a second."""
    async with await browser.new_context() as context:
        yield context


@pytest_asyncio.fixture(loop_scope="session")
async def visit(
    request: pytest.FixtureRequest, browser: Browser, context: BrowserContext, service_url: str, mock_url: str
) -> AsyncIterator[Visit]:
    """The page, open; `parametrize("visit", [{...}], indirect=True)` gives a context with these settings."""
    async with AsyncExitStack() as stack:
        if settings := getattr(request, "param", {}):
            context = await stack.enter_async_context(await browser.new_context(**settings))
        mock = await stack.enter_async_context(httpx2.AsyncClient(base_url=mock_url, timeout=20, verify=NO_TLS))
        visit = Visit(await context.new_page(), mock)
        await visit.open(service_url)
        yield visit
        for page in context.pages:
            await page.close()
        visit.close()
