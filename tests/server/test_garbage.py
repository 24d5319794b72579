"""An ended chat leaves no reference cycles: a garbage collection would stop the worker, and delay its other chats."""

import asyncio
import gc
import socket
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
import uvicorn
import uvloop

from bench.experiments.storm.clients import Owner
from server.app import create_app
from server.http.protocol import BoundedHttpProtocol
from server.relay.byte_stream import ByteStream
from server.relay.upstream_errors import UpstreamError
from tests.server.service import strategy

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""A collection reports what earlier tests have left."""
CHATS = 5


async def chat(owner: Owner, request_id: str, ending: str) -> None:
    """A chat until both sides have ended it."""
    tokens = 5 if ending == "end" else 1000
    exchange = await owner.chat(request_id, ttft_ms=1, itl_ms=5, output_tokens=tokens)
    await exchange.text
    if ending == "abort":
        await owner.abort(request_id)
    elif ending == "hang-up":
        exchange.transport.abort()
    await exchange.ended
    assert exchange.aborted == (ending == "abort"), request_id


async def left_over(ending: str) -> int:
    """How many objects a collection finds that nothing but each other refers to, after CHATS of them."""
    app = create_app()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, http=BoundedHttpProtocol))
        serving = asyncio.create_task(server.serve([listener]))
        while not server.started:  # noqa: ASYNC110 - uvicorn's
            await asyncio.sleep(0.01)
        owner = Owner(listener.getsockname()[1], "")
        found = -1
        try:
            for round_name in ("first", "second"):  # the first one imports and caches
                gc.collect()
                gc.disable()
                for number in range(CHATS):
                    await chat(owner, f"{round_name}-{number}", ending)
                while app.state.worker.live:  # noqa: ASYNC110 - a counter
                    await asyncio.sleep(0.01)
                found = gc.collect()
        finally:
            gc.enable()
            server.should_exit = True
            await serving
    return found


@pytest.mark.parametrize("delivery", ["poll", "timer", "push"])
@pytest.mark.parametrize("ending", ["abort", "end", "hang-up"])
def test_a_chat_leaves_nothing_to_the_garbage_collector(
    upstream_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch, ending: str, delivery: str
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", f"{upstream_url}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-a-secret")
    monkeypatch.setenv("ABORT_BACKEND", strategy(redis_url, delivery))
    assert uvloop.run(left_over(ending)) < CHATS


async def test_the_error_of_a_read_does_not_refer_to_its_reader() -> None:
    """aiohttp's reader keeps the error that it raises, as this one does."""
    kept = aiohttp.ClientPayloadError("closed")

    async def read() -> AsyncIterator[bytes]:
        raise kept
        yield b""

    response: Any = SimpleNamespace(stream=None, aiter_bytes=read)
    idle: Any = SimpleNamespace(since_s=None)
    with pytest.raises(UpstreamError) as failed:
        await anext(ByteStream(response, idle))
    assert failed.value.__cause__ is kept
    assert kept.__traceback__ is None
