"""What the other processes of a measurement write: the service's trace lines, the witness's journal, the load's health.

Moments are CLOCK_MONOTONIC nanoseconds, as in bench/record/schema.py.
"""

from __future__ import annotations

import msgspec

from bench.record.base import Record
from bench.record.schema import LoopLag, WitnessSide


class ChatTrace(Record, kw_only=True, tag_field="kind", tag="chat"):
    """One chat as a worker traced it; see ServiceSide."""

    request_id: str
    pid: int
    received_ns: int | None = None
    registered_ns: int | None = None
    first_byte_ns: int | None = None
    signal_ns: int | None = None
    upstream_closed_ns: int | None = None
    ended_ns: int | None = None
    finish_reason: str | None = None
    chunks: int | None = None


class AbortTrace(Record, kw_only=True, tag_field="kind", tag="abort"):
    """One abort as a worker traced it."""

    request_id: str
    pid: int
    received_ns: int
    recorded_ns: int | None = None
    outcome: str = "error"


class Second(LoopLag, kw_only=True):
    """The event loop of a process during about a second."""

    from_ns: int
    to_ns: int


class HealthTrace(Second, kw_only=True, tag_field="kind", tag="health"):
    """The same, as a worker traced it."""

    pid: int


Trace = ChatTrace | AbortTrace | HealthTrace


class JournalRow(WitnessSide, kw_only=True):
    """One chat in the journal of the mock upstream."""

    id: str
    id_from: str = ""  #: header (X-Request-Id), marker ([bench:ID]), or neither


class Journal(msgspec.Struct):
    """The answer of the mock's journal."""

    rows: list[JournalRow]


class ProcessHealth(LoopLag, kw_only=True):
    """The event loop of a load process or the mock over its period, and of each of its last seconds."""

    pid: int
    seconds: list[Second] = []
    cpu: float | None = None  # share of one core, measured by the process itself
    host: str = ""  # a load worker on another machine; empty: this one


class ClockReading(msgspec.Struct, kw_only=True):
    """The offset of a load worker's clock, measured by a burst of exchanges with the witness."""

    at_ns: int  # worker's clock
    offset_ns: int  # witness's clock less the worker's
    uncertainty_ns: int  # half of the shortest round trip


class LoadAnswer(msgspec.Struct):
    """What a load process writes at the end of a case.

    `rows` and `clock` come from workers of a fleet: the number of rows, and the readings before and after the case
    (none: the worker shares the witness's clock).
    """

    dropped: list[str]
    health: ProcessHealth
    rows: int = 0
    clock: list[ClockReading] = []
