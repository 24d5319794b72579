"""The upstream: any OpenAI-compatible server through the openai package, streamed as raw bytes."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from time import monotonic
from typing import Any, Self, TypeVar

import aiohttp
import httpx2
from anyio import CancelScope, move_on_after
from openai import AsyncOpenAI, AsyncStream, DefaultAioHttpClient

from server.relay.chunks import error_in
from server.relay.connections import Line, make_patient, on
from server.relay.failures import FAILURES, NO_STREAM, TIMED_OUT, UpstreamError, ours, stated, translated
from server.settings import SettingError, Settings

CONNECT_S = 5.0
NO_STREAMS = ("application/json", "text/html")
"""Content types of a 200 that is no stream, whatever was asked for."""
MAX_ERROR_BYTES = 64 * 1024
"""How much of an answer that is no stream is read, to learn what the upstream states as its error."""
END_S = 0.02
"""How long a body may go on after its terminal event before its connection is closed, not used again."""
PROXIES = ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
"""What httpx2 takes from the environment by itself."""
T = TypeVar("T")


def make_client(settings: Settings) -> AsyncOpenAI:
    """One client for a worker's whole life: making one costs 20-40 ms of the event loop.

    Raises `SettingError` for a proxy or certificates, taken from the environment, that cannot be used.
    """
    try:
        return _client(settings)
    except (ValueError, OSError, httpx2.InvalidURL) as error:  # its words may hold a proxy's password
        wanted = CERTIFICATES if isinstance(error, OSError) else PROXIES
        names = ", ".join(sorted(name for name in os.environ if name.upper() in wanted)) or "OPENAI_BASE_URL"
        need = "that it can be read" if wanted is CERTIFICATES else "a proxy is http://host:port"
        raise SettingError(f"no client for the upstream ({type(error).__name__}): check {names}: {need}") from error


def _client(settings: Settings) -> AsyncOpenAI:
    connections = settings.upstream_connections
    limits = httpx2.Limits(max_connections=connections, max_keepalive_connections=min(connections, 256))
    # A redirect would take the chat, and what it says, to any host that the upstream names.
    http = DefaultAioHttpClient(limits=limits, follow_redirects=False)
    client = AsyncOpenAI(
        base_url=settings.openai_base_url,
        api_key=settings.openai_api_key.get_secret_value() or "none",
        http_client=http,
        # No read timeout: aiohttp would make and drop a timer for every chunk, a fifth of a relay's time. See _Silence.
        timeout=httpx2.Timeout(None, connect=CONNECT_S),
        max_retries=0,  # a retry would hide the upstream's answer from the client, who knows better whether to wait
    )
    make_patient(client, http)
    return client


async def ask_whole(
    client: AsyncOpenAI, body: dict[str, Any], request_id: str, *, silence_s: float, line: Line
) -> bytes:
    """The upstream's whole JSON answer to a chat that is not streamed, which goes over `line`.

    Raises `UpstreamError`.
    """
    with translated():
        async with on(line, client):
            response = await client.post(
                "/chat/completions",
                body=body,
                cast_to=httpx2.Response,
                options={
                    "headers": {"X-Request-Id": request_id},
                    "timeout": httpx2.Timeout(silence_s, connect=CONNECT_S),
                },
            )
        return response.content


async def list_models(client: AsyncOpenAI) -> bytes:
    """The upstream's list of models, as JSON. Raises `UpstreamError`."""
    with translated():
        response = await client.models.with_raw_response.list(timeout=CONNECT_S)
        return response.content


async def one_model(client: AsyncOpenAI, name: str) -> bytes:
    """What the upstream says of one model, as JSON. Raises `UpstreamError`, and ValueError for a name like `..`."""
    with translated():
        response = await client.models.with_raw_response.retrieve(name, timeout=CONNECT_S)
        return response.content


@asynccontextmanager
async def open_stream(
    client: AsyncOpenAI, body: dict[str, Any], request_id: str, *, silence_s: float, line: Line
) -> AsyncIterator[ByteStream]:
    """Entered: the upstream answered 200. Iterated: its bytes as they come. Left: the connection is closed, or free.

    The request goes over `line`. `body` is a chat completion request; what the openai package does not know passes
    through. Raises `UpstreamError`, from entering, from iterating, and from leaving when the upstream was silent for
    longer than `silence_s`.
    """
    with CancelScope() as scope, _Silence(silence_s, scope.cancel, line) as silence:
        with translated():
            async with on(line, client):
                # Not `chat.completions.create`: it walks through the whole body for what only Python callers pass, and
                # that takes as long as all the rest of asking.
                stream = await silence.broken_by(
                    client.post(
                        "/chat/completions",
                        body=body | {"stream": True},
                        cast_to=object,
                        stream=True,
                        stream_cls=AsyncStream[object],
                        options={"headers": {"X-Request-Id": request_id}},
                    )
                )
        try:
            body_bytes = ByteStream(stream.response, silence)
            if (kind := stream.response.headers.get("Content-Type", "")).startswith(NO_STREAMS):
                raise await _no_stream(body_bytes, kind)
            yield body_bytes
        finally:
            with CancelScope(shield=True):  # whatever ended the answer, its upstream is closed before anything else
                await stream.close()
    if scope.cancelled_caught:
        raise UpstreamError(504, TIMED_OUT)


class _Silence:
    """Calls `too_long` when one wait for the upstream has lasted for `limit_s`; none for us or our client counts.

    One timer for many waits: it looks at the wait that is going on when it fires, and is set again for what is left.
    """

    def __init__(self, limit_s: float, too_long: Callable[[], object], line: Line) -> None:
        self._limit_s = limit_s
        self._too_long = too_long
        self._line = line
        self.since_s: float | None = None

    def __enter__(self) -> Self:
        self._set(self._limit_s)
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def _set(self, in_s: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(in_s, self._look)

    def _look(self) -> None:
        allowed_s = self._line.allowed_s
        waited_s = 0.0 if self.since_s is None or allowed_s is None else monotonic() - max(self.since_s, allowed_s)
        if waited_s >= self._limit_s:
            self._too_long()
        else:
            self._set(self._limit_s - waited_s)

    async def broken_by(self, answer: Awaitable[T]) -> T:
        self.since_s = monotonic()
        try:
            return await answer
        finally:
            self.since_s = None


async def _no_stream(body_bytes: ByteStream, kind: str) -> UpstreamError:
    """What an answer with status 200 that is no stream means to our client."""
    answer = bytearray()
    while kind.startswith("application/json") and len(answer) < MAX_ERROR_BYTES:
        if not (data := await anext(body_bytes, b"")):
            break
        answer += data
    try:
        said = error_in(json.loads(answer))
    except (ValueError, RecursionError, AttributeError):  # no JSON, or no object
        said = None
    return stated(said) if said else UpstreamError(502, NO_STREAM)


class ByteStream:
    """A body as it comes, each item what one read gave."""

    def __init__(self, response: httpx2.Response, silence: _Silence) -> None:
        source = _source(response)
        self._read = partial(anext, response.aiter_bytes(), b"") if source is None else source.readany
        self._silence = silence

    @property
    def waiting(self) -> bool:
        """Whether somebody waits for the upstream now."""
        return self._silence.since_s is not None

    async def end(self) -> None:
        """Read what follows the terminal event for up to END_S: if the body ends, its connection can be used again."""
        with suppress(UpstreamError), move_on_after(END_S):
            async for _ in self:
                pass

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        silence = self._silence
        silence.since_s = monotonic()
        try:
            data = await self._read()
        except FAILURES as error:
            raise ours(error) from error
        silence.since_s = None
        if not data:
            raise StopAsyncIteration
        return data


def _source(response: httpx2.Response) -> aiohttp.StreamReader | None:
    """Where openai's aiohttp transport reads from: six generators nearer than `iter_bytes`, a sixth of a relay's time.

    None when there is no such transport, or something to decode; then the long way is taken.
    """
    answer = getattr(getattr(response.stream, "_stream", None), "_aiohttp_response", None)
    if isinstance(answer, aiohttp.ClientResponse) and "Content-Encoding" not in response.headers:
        return answer.content
    return None
