"""The few HTTP requests the harness itself makes: to the witness, and to warm a service up."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

TIMEOUT_S = 10.0
WARM_UP_MARKER = "[mock:ttft_ms=5,itl_ms=5,output_tokens=10]"


class AnswerError(Exception):
    """A server of ours answered what it should not; the message is one line."""


def request_json(url: str, path: str, method: str = "GET", body: dict[str, Any] | None = None) -> Any:
    """One request on a fresh connection; gives the decoded JSON, or None for an empty answer."""
    connection = _connect(url)
    try:
        content = None if body is None else json.dumps(body)
        connection.request(method, path, content, {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = response.read()
        if response.status >= 300:
            raise AnswerError(f"{method} {path} answered {response.status}")
        return json.loads(answer) if answer else None
    finally:
        connection.close()


def warm_up(url: str, chats: int) -> None:
    """Chat and stop a few times: first requests pay for imports, connections and caches, and none of it is measured.

    Each chat is a connection of its own, so that every worker gets some. Raises AnswerError when the service cannot
    chat, OSError when it cannot be reached.
    """
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda index: _chat_and_stop(url, f"warm-up-{index}-{id(threads)}"), range(chats)))


@contextlib.contextmanager
def held_open(url: str, chats: int, marker: str) -> Iterator[None]:
    """So many streams are live within the block, each past its first bytes; then their clients hang up."""
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(8) as threads:
        for each in threads.map(lambda _index: _begun(url, marker), range(chats)):
            stack.callback(each.close)
        yield


def _begun(url: str, marker: str) -> http.client.HTTPConnection:
    connection = _connect(url)
    body = {"model": "mock", "messages": [{"role": "user", "content": marker}], "stream": True}
    connection.request("POST", "/chat/", json.dumps(body), {"Content-Type": "application/json"})
    response = connection.getresponse()
    if response.status != 200:
        connection.close()
        raise AnswerError(f"the service answered {response.status} to a chat")
    response.read(1)
    return connection


def _chat_and_stop(url: str, request_id: str) -> None:
    connection = _connect(url)
    try:
        body = {"model": "mock", "messages": [{"role": "user", "content": WARM_UP_MARKER}], "stream": True}
        content = json.dumps(body | {"request_id": request_id})
        connection.request("POST", "/chat/", content, {"Content-Type": "application/json"})
        response = connection.getresponse()
        if response.status != 200:
            raise AnswerError(f"the service answered {response.status} to a first chat")
        response.read(1)
        stop = _connect(url)
        try:
            stop.request(
                "POST", "/abort/", json.dumps({"request_id": request_id}), {"Content-Type": "application/json"}
            )
            stop.getresponse().read()  # whatever it says: with several workers `memory` may not know the chat
        finally:
            stop.close()
        response.read()
    finally:
        connection.close()


def _connect(url: str) -> http.client.HTTPConnection:
    address = urlsplit(url)
    return http.client.HTTPConnection(address.hostname or "", address.port, timeout=TIMEOUT_S)
