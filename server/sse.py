"""Server-sent events as bytes (WHATWG HTML, "Server-sent events"): split, parse and format.

A line ends in LF, CRLF or CR; an event ends in an empty line.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import Any, NamedTuple

DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = b": keep-alive\n\n"
"""A comment: clients ignore it, proxies keep the connection open."""
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
    """One event: its name (by default `message`), and its data lines joined by LF."""

    name: str
    data: bytes

    def json(self) -> Any:
        """Parse the data as JSON; None if it is invalid."""
        try:
            return json.loads(self.data)
        except (ValueError, RecursionError):
            return None


async def group_events(chunks: AsyncIterator[bytes], max_bytes: int = MAX_EVENT_BYTES) -> AsyncGenerator[bytes]:
    """Regroup a byte stream: each item is one or more whole events, unparsed; only a lone CR becomes LF.

    The last event may lack its empty line if it is a JSON object or `[DONE]`; any other incomplete event is dropped.
    Raises `EventTooLargeError` for an event of more than `max_bytes`, after the events before it.
    """
    rest = bytearray()
    async for chunk in chunks:
        # The usual case: one write of the upstream is one read here.
        if not rest and chunk.endswith(_USUAL_ENDS) and len(chunk) <= max_bytes:
            yield chunk
            continue
        start = max(0, len(rest) - 3)  # an empty line may have started in the previous read
        rest += chunk
        end, too_large = _last_end(rest, start, max_bytes)
        if end:
            events = bytes(rest[:end])
            del rest[:end]
            yield _with_lf(events)
        if too_large:
            raise EventTooLargeError(f"the upstream sent an event of more than {max_bytes} bytes (MAX_EVENT_BYTES)")
        if (done := _DONE_UNENDED.search(rest, max(0, len(rest) - 32))) is not None:
            yield bytes(rest) + done[1]  # nothing follows: do not wait for the empty line
            rest.clear()
    if rest and (event := _completed(bytes(rest))):
        yield event


def _last_end(buffer: bytearray, start: int, max_bytes: int) -> tuple[int, bool]:
    """Return the end of the last whole event (0: none), and whether the event after it is too large."""
    begin = 0
    for end in [match.end() for match in _EVENT_END.finditer(buffer, start)]:
        if end - begin > max_bytes:
            return begin, True
        begin = end
    return begin, len(buffer) - begin > max_bytes


def _with_lf(events: bytes) -> bytes:
    return _LONE_CR.sub(b"\n", events) if b"\r" in events else events


def _completed(rest: bytes) -> bytes:
    """Return the rest of a stream as a whole event; empty if it is only part of an event.

    A bare JSON object, which some upstreams send in place of a stream, becomes an event.
    """
    text = _with_lf(rest).removeprefix(BOM)
    if any(one.data == b"[DONE]" or one.name == "error" or isinstance(one.json(), dict) for one in parse_events(text)):
        return text.rstrip(b"\r\n") + b"\n\n"
    bare = Event("message", text).json() if text.lstrip().startswith(b"{") else None
    return format_event(bare) if isinstance(bare, dict) else b""


def parse_events(events: bytes) -> Iterator[Event]:
    """Yield the events that have data from whole events; comments and other fields are skipped."""
    if events.startswith(b"data:") and events.find(b"\n") == len(events) - 2:  # the usual case: one line
        yield Event("message", events[5:].strip())
        return
    for block in split_events(events.removeprefix(BOM)):
        name, data = "message", []
        for line in block.splitlines():
            field, _, value = line.partition(b":")
            if field == b"data":
                data.append(value.strip())
            elif field == b"event":
                name = value.strip().decode("utf-8", "replace")
        if data:
            yield Event(name, b"\n".join(data))


def split_events(events: bytes) -> Iterator[bytes]:
    """Yield whole events one by one, each with its empty line."""
    begin = 0
    for end in _EVENT_END.finditer(events):
        yield events[begin : end.end()]
        begin = end.end()
    if begin < len(events):
        yield events[begin:]


def done_end(events: bytes) -> int | None:
    """Return where `[DONE]` ends in whole events; None if it is not among them."""
    if (line := _DONE_LINE.search(events)) is None:
        return None
    end = _EVENT_END.search(events, line.end())
    return end.end() if end is not None else len(events)


def count_events(events: bytes) -> int:
    """Count the events with data in whole events, `[DONE]` included, without parsing."""
    return events.count(b"\ndata:") + events.startswith(b"data:")


def format_event(payload: dict[str, Any], name: str | None = None) -> bytes:
    """Format one event with a JSON payload."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(payload, separators=(',', ':'))}\n\n".encode()
