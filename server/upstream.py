"""The upstream: any OpenAI-compatible server through the openai package, streamed as raw bytes, its errors as ours."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import httpx2
import openai
from anyio import CancelScope
from openai import AsyncAPIResponse, AsyncOpenAI, DefaultAioHttpClient

from server.settings import Settings

UNREACHABLE = {
    "message": "the connection to the upstream could not be made or was lost",
    "type": "upstream_unreachable",
}


class UpstreamError(Exception):
    """The upstream refused, failed or could not be reached.

    `status` is what our client gets: the upstream's own for 4xx, else 502 or 504. `error` is an OpenAI error object.
    """

    def __init__(self, status: int, error: dict[str, Any], retry_after: str | None = None) -> None:
        super().__init__(error.get("message"))
        self.status = status
        self.error = error
        self.retry_after = retry_after


def make_client(settings: Settings) -> AsyncOpenAI:
    """One client for a worker's whole life: making one costs 20-40 ms of the event loop."""
    connections = settings.upstream_connections
    limits = httpx2.Limits(max_connections=connections, max_keepalive_connections=min(connections, 256))
    return AsyncOpenAI(
        base_url=settings.openai_base_url,
        api_key=settings.openai_api_key.get_secret_value() or "none",
        http_client=DefaultAioHttpClient(limits=limits),
        max_retries=0,  # a retry would hide the upstream's answer from the client, who knows better whether to wait
    )


@asynccontextmanager
async def open_stream(
    client: AsyncOpenAI, body: dict[str, Any], request_id: str
) -> AsyncIterator[AsyncIterator[bytes]]:
    """Entered: the upstream answered 200. Iterated: its bytes as they come. Left: the connection is closed, or free.

    `body` is a chat completion request; what the openai package does not know passes through. Raises `UpstreamError`,
    from entering and from iterating.
    """
    named = ("model", "messages", "stream")
    with _translated():
        response = await client.chat.completions.with_streaming_response.create(
            model=body["model"],
            messages=body["messages"],
            stream=True,
            extra_body={name: value for name, value in body.items() if name not in named},
            extra_headers={"X-Request-Id": request_id},
        ).__aenter__()
    try:
        yield _bytes(response)
    finally:
        with CancelScope(shield=True):  # whatever ended the answer, its upstream is closed before anything else
            await response.close()


async def _bytes(response: AsyncAPIResponse[Any]) -> AsyncIterator[bytes]:
    with _translated():
        async for chunk in response.iter_bytes():
            yield chunk


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except openai.APIStatusError as error:
        body = error.body if isinstance(error.body, dict) else {"message": error.message, "type": "upstream_error"}
        # Its 5xx is our bad gateway; its 401 and 403 are about our key, which is no business of our client's.
        status = error.status_code if error.status_code < 500 and error.status_code not in (401, 403) else 502
        raise UpstreamError(status, body, error.response.headers.get("Retry-After")) from error
    except (openai.APITimeoutError, httpx2.TimeoutException) as error:
        if not any(isinstance(cause, TimeoutError) for cause in _causes(error)):
            # openai's aiohttp transport calls a refused connection a timeout, too.
            raise UpstreamError(502, UNREACHABLE) from error
        message = "the upstream did not answer in time"
        raise UpstreamError(504, {"message": message, "type": "upstream_timeout"}) from error
    except (openai.APIConnectionError, httpx2.TransportError) as error:
        raise UpstreamError(502, UNREACHABLE) from error


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
