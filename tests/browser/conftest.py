"""A real Chromium, and a real service before a real mock for it to visit."""

import os
import shutil
from collections.abc import AsyncIterator, Iterator

import httpx2
import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright

from tests.browser.visit import Visit
from tests.processes import running

SERVICE = ("server", "--port", "0", "--workers", "1", "--backend", "memory+push://")
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


@pytest.fixture(scope="module")
def mock_url() -> Iterator[str]:
    """The mock: 20 ms to the first token, 5 ms between tokens, 50 tokens, unless the question says otherwise."""
    with running(
        "mock_llm", "serve", "--port", "0", "--ttft-ms", "20", "--itl-ms", "5", "--output-tokens", "50"
    ) as mock:
        yield mock.url


@pytest.fixture(scope="module")
def service_url(mock_url: str) -> Iterator[str]:
    with running(*SERVICE, OPENAI_BASE_URL=f"{mock_url}/v1") as one:
        yield one.url


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(chromium: str) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        # As people have it: a page may be kept for the Back button.
        ours = ["--disable-back-forward-cache"]
        browser = await playwright.chromium.launch(executable_path=chromium, args=FLAGS, ignore_default_args=ours)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="module")
async def visit(
    request: pytest.FixtureRequest, browser: Browser, service_url: str, mock_url: str
) -> AsyncIterator[Visit]:
    """The page, open; `parametrize("visit", [{...}], indirect=True)` gives the browser context's settings."""
    context = await browser.new_context(**getattr(request, "param", {}))
    async with context, httpx2.AsyncClient(base_url=mock_url, timeout=20) as mock:
        visit = Visit(await context.new_page(), mock)
        await visit.open(service_url)
        yield visit
        visit.close()
