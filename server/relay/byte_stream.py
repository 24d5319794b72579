"""A response body as raw bytes, with a limit on the upstream's silence."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Self, TypeVar

import aiohttp
import httpx2
from anyio import move_on_after

from server.relay.connections import DeferredConnection
from server.relay.upstream_errors import CLIENT_ERRORS, UpstreamError, to_upstream_error

TRAILING_READ_S = 0.02
"""How long a body may continue after `[DONE]`; then its connection is closed instead of reused."""
T = TypeVar("T")


class IdleTimeout:
    """Calls `on_timeout` when one wait for the upstream lasts `limit_s`; waits for the client do not count.

    One timer serves many waits: when it fires, it checks the current wait and is set again for the remainder.
    """

    def __init__(self, limit_s: float, on_timeout: Callable[[], object], connection: DeferredConnection) -> None:
        self._limit_s = limit_s
        self._on_timeout = on_timeout
        self._connection = connection
        self.since_s: float | None = None
        """Start of the current wait (monotonic seconds); None outside a wait."""

    def __enter__(self) -> Self:
        self._set_timer(self._limit_s)
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def _set_timer(self, in_s: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(in_s, self._check)

    def _check(self) -> None:
        released_s = self._connection.released_s
        waited_s = 0.0 if self.since_s is None or released_s is None else monotonic() - max(self.since_s, released_s)
        if waited_s >= self._limit_s:
            self._on_timeout()
        else:
            self._set_timer(self._limit_s - waited_s)

    async def timed(self, answer: Awaitable[T]) -> T:
        """Await `answer` as one wait for the upstream."""
        self.since_s = monotonic()
        try:
            return await answer
        finally:
            self.since_s = None


class ByteStream:
    """Iterates over a body; each item is the result of one read. Raises `UpstreamError`."""

    def __init__(self, response: httpx2.Response, idle: IdleTimeout) -> None:
        reader = _raw_reader(response)
        self._read = partial(anext, response.aiter_bytes(), b"") if reader is None else reader.readany
        self._idle = idle

    @property
    def waiting(self) -> bool:
        """Whether a read is in progress."""
        return self._idle.since_s is not None

    async def drain(self) -> None:
        """Read what follows `[DONE]` for up to TRAILING_READ_S: if the body ends, its connection can be reused."""
        with suppress(UpstreamError), move_on_after(TRAILING_READ_S):
            async for _ in self:
                pass

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        idle = self._idle
        idle.since_s = monotonic()
        try:
            data = await self._read()
        except CLIENT_ERRORS as error:
            # aiohttp keeps the error in the reader, to which its traceback refers.
            raise to_upstream_error(error) from error.with_traceback(None)
        idle.since_s = None
        if not data:
            raise StopAsyncIteration
        return data


def _raw_reader(response: httpx2.Response) -> aiohttp.StreamReader | None:
    """Return the reader inside openai's aiohttp transport, which skips six generators: a sixth of a relay's CPU time.

    None for another transport or an encoded body; `aiter_bytes` serves those.
    """
    answer = getattr(getattr(response.stream, "_stream", None), "_aiohttp_response", None)
    if isinstance(answer, aiohttp.ClientResponse) and "Content-Encoding" not in response.headers:
        return answer.content
    return None
