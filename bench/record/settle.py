"""Wait until a load has ended everywhere: every stream closed at the mock, every chat traced by the service."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from bench.record.schema import LoadRow
from bench.record.traces import ChatTrace, Journal, JournalRow, Trace
from bench.system.http import request_json

SETTLE_S = 5.0
"""A stream that is open for longer has leaked."""
POLL_S = 0.02


def settled(
    mock_url: str, traces: Path | None, clients: Sequence[LoadRow], *, after_stop_s: float = 0.0, expects: int = 0
) -> tuple[list[JournalRow], list[Trace]]:
    """The mock's journal and the service's trace lines, when both are complete or 5 s have passed.

    `traces` is the service's TRACE_DIR, None for one that writes none. `after_stop_s`: wait at least until this long
    after the last stop, if a stream is still open. `expects`: the least number of rows in a complete journal.
    """
    last_ns = max((row.abort.sent_ns or 0 for row in clients if row.abort), default=0)
    answered = {row.request_id for row in clients if row.client.status is not None} if traces else set()
    decoder = msgspec.json.Decoder(Trace)
    deadline = max(time.monotonic() + SETTLE_S, last_ns / 1e9 + after_stop_s)
    while True:
        journal = msgspec.convert(request_json(mock_url, "/__mock/journal"), Journal).rows
        files = sorted(traces.glob("*.jsonl")) if traces else ()
        lines: list[Trace] = [decoder.decode(line) for file in files for line in file.read_bytes().splitlines()]
        over = len(journal) >= expects and all(row.outcome != "open" for row in journal)
        traced = answered <= {line.request_id for line in lines if isinstance(line, ChatTrace)}
        if (over and traced) or time.monotonic() > deadline:
            return journal, lines
        time.sleep(POLL_S)
