"""Server-sent events as bytes (WHATWG HTML, "Server-sent events"): split a stream into events, read and write one.

A line ends in LF, CRLF or CR; an event ends in an empty line.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import Any, NamedTuple

DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = b": keep-alive\n\n"
"""A comment: clients ignore it, proxies see that the connection is in use."""
MAX_EVENT_BYTES = 16 * 1024 * 1024
BOM = b"\xef\xbb\xbf"
_USUAL_ENDS = (b"\n\n", b"\r\n\r\n")
# A CR at the very end may be half of a CRLF, unless the line before it ended in CR as well.
_EVENT_END = re.compile(rb"\n\r?\n|\n\r(?!\Z)|\r\r\n?")
_DONE_LINE = re.compile(rb"(?:\A(?:\xef\xbb\xbf)?|[\r\n])data:[ \t]*\[DONE\][ \t]*(?=[\r\n])")
_DONE_UNENDED = re.compile(rb"(?:\A|\n)data:[ \t]*\[DONE\][ \t]*(\r?\n)\Z")
_LONE_CR = re.compile(rb"\r(?!\n)")


class EventTooLargeError(Exception):
    """The upstream sent an event longer than the limit."""


class Event(NamedTuple):
    """One event: its name (`message` unless the event says otherwise) and its data, the lines joined by LF."""

    name: str
    data: bytes

    def json(self) -> Any:
        """The data as JSON; None when it is no JSON."""
        try:
            return json.loads(self.data)
        except (ValueError, RecursionError):
            return None


async def whole_events(chunks: AsyncIterator[bytes], max_bytes: int = MAX_EVENT_BYTES) -> AsyncGenerator[bytes]:
    """Regroup a byte stream so that each item holds one or more whole events, unparsed.

    Bytes pass unchanged, except that a lone CR becomes LF. At the end of the stream the last event may lack its empty
    line, if it is complete otherwise (a JSON object or `[DONE]`); anything else is dropped.
    Raises `EventTooLargeError` for an event of more than `max_bytes`, after the events before it.
    """
    rest = bytearray()
    async for chunk in chunks:
        # Nearly always: one write of the upstream is one read here.
        if not rest and chunk.endswith(_USUAL_ENDS) and len(chunk) <= max_bytes:
            yield chunk
            continue
        start = max(0, len(rest) - 3)  # an empty line may have begun in the previous read
        rest += chunk
        end, too_large = _last_end(rest, start, max_bytes)
        if end:
            events = bytes(rest[:end])
            del rest[:end]
            yield _with_lf(events)
        if too_large:
            raise EventTooLargeError(f"the upstream sent an event of more than {max_bytes} bytes (MAX_EVENT_BYTES)")
        if (done := _DONE_UNENDED.search(rest, max(0, len(rest) - 32))) is not None:
            yield bytes(rest) + done[1]  # nothing follows, so that nobody has to wait for the empty line
            rest.clear()
    if rest and (event := _completed(bytes(rest))):
        yield event


def _last_end(buffer: bytearray, start: int, max_bytes: int) -> tuple[int, bool]:
    """Where the last whole event ends (0: there is none), and whether the event after it is too large."""
    begin = 0
    for end in [match.end() for match in _EVENT_END.finditer(buffer, start)]:
        if end - begin > max_bytes:
            return begin, True
        begin = end
    return begin, len(buffer) - begin > max_bytes


def _with_lf(events: bytes) -> bytes:
    return _LONE_CR.sub(b"\n", events) if b"\r" in events else events


def _completed(rest: bytes) -> bytes:
    """What a stream ended with, as a whole event; empty when it is only a part of one.

    A JSON object that is no event is one that was sent in place of a stream.
    """
    text = _with_lf(rest).removeprefix(BOM)
    if any(one.data == b"[DONE]" or one.name == "error" or isinstance(one.json(), dict) for one in events_in(text)):
        return text.rstrip(b"\r\n") + b"\n\n"
    in_place = Event("message", text).json() if text.lstrip().startswith(b"{") else None
    return event(in_place) if isinstance(in_place, dict) else b""


def events_in(events: bytes) -> Iterator[Event]:
    """The events that have data, of bytes that hold whole events; comments and other fields are skipped."""
    if events.startswith(b"data:") and events.find(b"\n") == len(events) - 2:  # nearly always: one line
        yield Event("message", events[5:].strip())
        return
    for block in blocks_in(events.removeprefix(BOM)):
        name, data = "message", []
        for line in block.splitlines():
            field, _, value = line.partition(b":")
            if field == b"data":
                data.append(value.strip())
            elif field == b"event":
                name = value.strip().decode("utf-8", "replace")
        if data:
            yield Event(name, b"\n".join(data))


def blocks_in(events: bytes) -> Iterator[bytes]:
    """Whole events one by one, each with its empty line."""
    begin = 0
    for end in _EVENT_END.finditer(events):
        yield events[begin : end.end()]
        begin = end.end()
    if begin < len(events):
        yield events[begin:]


def terminal_end(events: bytes) -> int | None:
    """Where the terminal event `[DONE]` ends in whole events; None if it is not among them."""
    if (line := _DONE_LINE.search(events)) is None:
        return None
    end = _EVENT_END.search(events, line.end())
    return end.end() if end is not None else len(events)


def chunks_in(events: bytes) -> int:
    """How many events whole events hold, `[DONE]` among them; comments are none. Nothing is parsed."""
    return events.count(b"\ndata:") + events.startswith(b"data:")


def event(payload: dict[str, Any], name: str | None = None) -> bytes:
    """One event with a JSON payload."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(payload, separators=(',', ':'))}\n\n".encode()
