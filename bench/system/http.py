"""The HTTP requests that the harness itself sends: to the mock's journal, and chats to warm a service up."""

import contextlib
import http.client
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

TIMEOUT_S = 10.0
WARM_UP_MARKER = "[mock:ttft_ms=5,itl_ms=5,output_tokens=10]"
Exchange = tuple[http.client.HTTPConnection, http.client.HTTPResponse]


class AnswerError(Exception):
    """A process of ours sent an unexpected response; the message is one line."""


def request_json(url: str, path: str, method: str = "GET", body: dict[str, Any] | None = None) -> Any:
    """Send one request on a new connection and return the decoded JSON, None for an empty body.

    Raises AnswerError for a status of 300 or more, OSError without a connection.
    """
    connection, response = _send(url, method, path, body)
    with contextlib.closing(connection):
        content = response.read()
        if response.status >= 300:
            raise AnswerError(f"{method} {path} answered {response.status}")
        return json.loads(content) if content else None


def warm_up(url: str, chats: int) -> None:
    """Start and abort chats, so that imports, connections and caches of the first requests are not measured.

    Each chat has its own connection, so that every worker gets some. Raises AnswerError when the service rejects a
    chat, OSError when it cannot be reached.
    """
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda index: _chat_and_abort(url, f"warm-up-{index}-{id(threads)}"), range(chats)))


@contextlib.contextmanager
def held_open(url: str, chats: int, marker: str) -> Iterator[None]:
    """Keep this many streams open within the block, each past its first byte; then their clients disconnect."""
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(8) as threads:
        for connection, _response in threads.map(lambda _index: _started_chat(url, marker), range(chats)):
            stack.callback(connection.close)
        yield


def _chat_and_abort(url: str, request_id: str) -> None:
    connection, response = _started_chat(url, WARM_UP_MARKER, request_id=request_id)
    with contextlib.closing(connection):
        with contextlib.suppress(AnswerError):  # `memory` rejects it when another worker has the chat
            request_json(url, "/abort/", "POST", {"request_id": request_id})
        response.read()


def _started_chat(url: str, marker: str, **more: str) -> Exchange:
    body = {"model": "mock", "messages": [{"role": "user", "content": marker}], "stream": True, **more}
    connection, response = _send(url, "POST", "/chat/", body)
    if response.status != 200:
        connection.close()
        raise AnswerError(f"the service answered {response.status} to a chat")
    response.read(1)
    return connection, response


def _send(url: str, method: str, path: str, body: dict[str, Any] | None) -> Exchange:
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=TIMEOUT_S)
    try:
        content = None if body is None else json.dumps(body)
        connection.request(method, path, content, {"Content-Type": "application/json"})
        return connection, connection.getresponse()
    except BaseException:
        connection.close()
        raise
