"""Server-sent events as bytes: cut a stream into whole events, read one, write the one that says a chat was aborted."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import Any

DONE = b"data: [DONE]\n\n"
EVENT_ENDS = (b"\n\n", b"\r\n\r\n")
DONE_ENDS = (b"[DONE]\n\n", b"[DONE]\r\n\r\n")
# What a chunk with choices holds, and a usage or filter chunk does not. Inside a text the quotes would be escaped.
DELTA, REASON = b'"delta"', b'"finish_reason"'


class EventTooLargeError(Exception):
    """The upstream sent an event longer than the bound."""


class MalformedEventError(Exception):
    """The upstream sent an event that is no chunk of a chat, or that says that it failed."""


async def whole_events(chunks: AsyncIterator[bytes], most_bytes: int = 1024 * 1024) -> AsyncGenerator[bytes]:
    """Regroup a byte stream so that each item holds one or more whole events, unparsed and unchanged.

    An event ends in an empty line (WHATWG HTML, "Server-sent events"), with LF or CRLF as line end. What stands after
    the last empty line of a stream was cut off and is dropped. Raises `EventTooLargeError`.
    """
    rest = b""
    async for chunk in chunks:
        data = rest + chunk if rest else chunk
        if data.endswith(EVENT_ENDS):  # nearly always: one write of the upstream is one read here
            rest = b""
            yield data
            continue
        end = max(data.rfind(mark) + len(mark) if mark in data else 0 for mark in EVENT_ENDS)
        rest = data[end:]
        if end:
            yield data[:end]
        if len(rest) > most_bytes:
            raise EventTooLargeError(f"the upstream sent an event of more than {most_bytes} bytes")


def payloads(events: bytes) -> Iterator[dict[str, Any]]:
    """The JSON objects in whole events; comments, `[DONE]` and what is no JSON object are passed over."""
    return (payload for payload in _data(events) if isinstance(payload, dict))


def _data(events: bytes) -> Iterator[Any]:
    """What the data lines of whole events hold, but for `[DONE]`; None where it is no JSON."""
    for line in events.splitlines():
        if line.startswith(b"data:") and (data := line[5:].strip()) != b"[DONE]":
            try:
                yield json.loads(data)
            except (ValueError, RecursionError):
                yield None


def chunks_in(events: bytes) -> int:
    """How many events whole events hold, `[DONE]` among them; comments are none. Nothing is parsed."""
    return events.count(b"\ndata:") + events.startswith(b"data:")


def text_of(events: bytes) -> str:
    """The text that whole chat.completion.chunk events carry. Raises `MalformedEventError`."""
    try:
        return "".join(_texts(events))
    except (AttributeError, TypeError):
        raise MalformedEventError("the upstream sent a malformed chunk") from None


def _texts(events: bytes) -> Iterator[str]:
    for payload in _data(events):
        if payload.get("error"):
            raise MalformedEventError("the upstream failed in the middle of its answer")
        for choice in payload.get("choices") or ():
            yield (choice.get("delta") or {}).get("content") or ""


def finish_reason_of(events: bytes) -> str | None:
    """The last finish_reason that whole events carry; None if they carry none, or none that can be read."""
    reasons = [finish_reason_in(payload) for payload in payloads(events)]
    return next(filter(None, reversed(reasons)), None)


def finish_reason_in(completion: dict[str, Any]) -> str | None:
    """The last finish_reason of one chat.completion or chunk; None if it has none that can be read."""
    choices = completion.get("choices")
    if not isinstance(choices, list):
        return None
    said = [choice.get("finish_reason") for choice in choices if isinstance(choice, dict)]
    return next((reason for reason in reversed(said) if reason and isinstance(reason, str)), None)


def abort_event(last_events: bytes, request_id: str, model: str, delivered: int) -> bytes:
    """The chunk that ends an aborted answer: a continuation of the last events, and how many were delivered."""
    last = next(payloads(last_events), {})
    chunk = {
        "id": last.get("id", f"chatcmpl-{request_id}"),
        "object": "chat.completion.chunk",
        "created": last.get("created", int(time.time())),
        "model": last.get("model", model),
        "choices": [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "abort"}],
        "delivered_chunks": delivered,
    }
    return event(chunk)


def event(payload: dict[str, Any], name: str | None = None) -> bytes:
    """One event with a JSON payload."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(payload, separators=(',', ':'))}\n\n".encode()
