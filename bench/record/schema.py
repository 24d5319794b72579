"""The measured rows of a results folder: chats.jsonl.gz (ChatRow) and cases.jsonl (CaseRow).

Moments end in `_ns` and are CLOCK_MONOTONIC nanoseconds, the same clock in all processes of the machine. Those of load
workers on other machines are converted to the witness's clock; `clock_uncertainty_ns` is what that leaves open.
Other units: `_ms` milliseconds, `_s` seconds, `_per_s` a rate; `cpu` is a share of one core.
"""

from __future__ import annotations

from typing import NamedTuple

from bench.record.base import SCHEMA, Record


class CaseKey(NamedTuple):
    """What identifies a case: rows with the same key and different blocks are repetitions of it."""

    strategy: str
    scenario: str
    workers: int
    streams: int


class CaseHead(Record, kw_only=True):
    """The case and block that a row belongs to."""

    strategy: str  #: abort strategy, a reference point (none, disconnect), floor, or calibration-<arm>
    store: str | None = None  #: memory, postgres or redis; null without a store
    delivery: str | None = None  #: poll, timer or push; null without a store
    scenario: str  #: name of the scenario; its settings are in the manifest
    workers: int  #: worker processes of the service
    streams: int  #: most chats open at a time
    block: int  #: repetition within the run, from 0

    @property
    def key(self) -> CaseKey:
        """The case without its block."""
        return CaseKey(self.strategy, self.scenario, self.workers, self.streams)


class AbortAnswer(Record, kw_only=True):
    """The answer to one abort request."""

    ack_ns: int | None = None  #: its last byte was received
    status: int | None = None  #: HTTP status
    outcome: str | None = None  #: accepted, stopped, unknown, or remembered (before its chat was registered)
    error: str | None = None  #: transport error


class SecondAbort(AbortAnswer, kw_only=True):
    """An abort request that was repeated on purpose."""

    sent_ns: int  #: when it was sent


class StateSeen(Record, kw_only=True):
    """The state of a stopped chat that the service reported later."""

    at_ns: int  #: the answer was received
    state: str  #: as the service names it
    honest: bool  #: a state of a stopped chat, by the target file


class AbortSide(AbortAnswer, kw_only=True):
    """The abort of a chat as its client saw it: the last answer, and the moments of all tries."""

    after_ms: float  #: planned time from the chat's start
    intended_ns: int | None = None  #: planned moment
    sent_ns: int | None = None  #: first try was sent; null: the chat ended before
    tries: int | None = None  #: requests sent; one that is answered with 503 is repeated every 200 ms
    accepted_sent_ns: int | None = None  #: the try that was accepted was sent
    again: SecondAbort | None = None  #: the repeated abort, in scenarios that ask for one
    states: list[StateSeen] | None = None  #: states reported later, of targets whose file asks for them


class ClientSide(Record, kw_only=True):
    """A chat as its client saw it."""

    intended_ns: int | None = None  #: planned moment (open loop)
    sent_ns: int | None = None  #: the request was sent; null: no connection
    status: int | None = None  #: HTTP status
    headers_ns: int | None = None  #: response headers were received
    token_ns: list[int]  #: each content token was received
    end_ns: int | None = None  #: last byte was received, or the client closed the connection
    finish_reason: str | None = None  #: as in the stream: stop, length, abort
    tokens_after_finish: int = 0  #: content tokens received after finish_reason abort
    error: str | None = None  #: transport error, or an error event of the stream
    follows_stop: bool = False  #: the chat before it on the same client was stopped
    text: str | None = None  #: beginning of the answer, in checks of a target only


class ServiceSide(Record, kw_only=True):
    """A chat and its abort as the service traced them; null where it did not come to that."""

    pid: int | None = None  #: worker that owned the chat
    received_ns: int | None = None  #: the request was received
    registered_ns: int | None = None  #: the chat was registered with the abort strategy
    first_byte_ns: int | None = None  #: first event of the upstream
    signal_ns: int | None = None  #: the owner received the abort signal
    upstream_closed_ns: int | None = None  #: the upstream connection was closed
    ended_ns: int | None = None  #: the response ended
    finish_reason: str | None = None  #: why it ended; refused_503: the store was unavailable
    chunks: int | None = None  #: chunks relayed
    abort_pid: int | None = None  #: worker that received the abort
    abort_received_ns: int | None = None  #: the abort was received
    abort_recorded_ns: int | None = None  #: the abort was recorded in the store
    abort_outcome: str | None = None  #: what the service answered to the abort


class WitnessSide(Record, kw_only=True):
    """A chat as the mock upstream saw it: its transport is the witness of the stop."""

    model: str | None = None  #: requested model
    stream: bool | None = None  #: whether a stream was requested
    received_ns: int | None = None  #: the request was received
    headers_ns: int | None = None  #: response headers were written
    token_ns: list[int]  #: each token was written
    planned_tokens: int | None = None  #: length of the answer if it is not stopped
    done_ns: int | None = None  #: the last chunk was written
    lost_ns: int | None = None  #: the transport lost its connection before the end
    outcome: str  #: open, finished or cut (the connection was lost)
    fault: str | None = None  #: fault injected by the mock
    late_p99_ms: float | None = None  #: how late tokens were written, 99th percentile
    late_max_ms: float | None = None  #: how late tokens were written, maximum


class LoadRow(Record, kw_only=True):
    """A chat as the load process writes it."""

    index: int  #: place in the schedule of the block
    request_id: str  #: the id that joins client, service and witness
    client: ClientSide  #: as its client saw it
    abort: AbortSide | None = None  #: null: no abort was planned
    clock_uncertainty_ns: int = 0  #: of the stamps of client and abort against the witness's; 0: the same clock


class ChatRow(CaseHead, kw_only=True):
    """A line of chats.jsonl.gz: one chat from the sides of client, service and witness."""

    schema: int = SCHEMA  #: version of the record
    index: int = 0  #: place in the schedule of the block
    request_id: str  #: the id that joins client, service and witness
    client: ClientSide  #: as its client saw it
    abort: AbortSide | None = None  #: null: no abort was planned
    service: ServiceSide | None = None  #: null: the service traced nothing
    witness: WitnessSide | None = None  #: null: the chat never reached the upstream
    clock_uncertainty_ns: int = 0  #: of the stamps of client and abort against the witness's; 0: the same clock


class LoopLag(Record, kw_only=True):
    """How late an event loop ran a 10 ms timer, and the longest garbage collection; null without a probe."""

    lag_p50_ms: float | None = None  #: median lag
    lag_p99_ms: float | None = None  #: 99th percentile of the lag
    lag_max_ms: float | None = None  #: longest lag
    gc_max_ms: float | None = None  #: longest garbage collection


class PhaseUse(LoopLag, kw_only=True):
    """A process during one phase of the load."""

    cpu: float | None = None  #: share of one core; null: fewer than two samples


class ProcessUse(PhaseUse, kw_only=True):
    """A process during the load."""

    name: str  #: load, mock or service
    pid: int | None = None  #: process id
    host: str | None = None  #: load worker on another machine; null: this one
    phases: dict[str, PhaseUse] = {}  #: the same for `arriving` and `ending`, where they last 0.5 s


class Phase(Record, kw_only=True):
    """A phase of the load."""

    from_ns: int  #: its beginning
    to_ns: int  #: its end
    steal: float = 0.0  #: share of all CPU time that the host took for others


class Health(Record, kw_only=True):
    """Whether load, mock and machine kept up during a case."""

    steal: float | None = None  #: share of all CPU time that the host took for others
    processes: list[ProcessUse] = []  #: all processes of load, mock and service
    phases: dict[str, Phase] = {}  #: `arriving` (first to last chat sent) and `ending` (to the end of the last stream)
    chat_lag_p99_ms: float | None = None  #: chats sent after their planned moment, 99th percentile
    abort_lag_p99_ms: float | None = None  #: aborts sent after their planned moment, 99th percentile
    chunks_per_s: float | None = None  #: tokens received per second, all load processes


class Fault(Record, kw_only=True):
    """A failure that was injected during a case."""

    kind: str  #: store-crash
    down_ns: int  #: the store was stopped
    up_ns: int  #: the store was available again


class LoadClock(Record, kw_only=True):
    """The clock of one load worker against the witness's during a case."""

    worker: str  #: name of the worker
    offset_ns: int  #: witness's clock less the worker's before the case
    uncertainty_ns: int  #: half of the shortest round trip, and what the clock jumped
    drift_ppm: float = 0.0  #: change of the offset during the case
    problem: str | None = None  #: why the clock cannot be believed: it jumped


class CaseRow(CaseHead, kw_only=True):
    """A line of cases.jsonl: one case in one block, written when all its chats are."""

    started_ns: int = 0  #: first chat sent
    ended_ns: int = 0  #: last stream ended
    tokens: int = 0  #: content tokens that clients received
    chats_planned: int = 0  #: chats in the schedule
    dropped: int = 0  #: chats not sent because `streams` were open already (open loop)
    load_processes: int | None = None  #: load processes that sent the chats
    at_once: int | None = None  #: aborts that each load process sends at one instant
    rate_per_s: float | None = None  #: planned chats per second; null: closed loop
    witness_late_p99_ms: float | None = None  #: median over streams of each stream's `late_p99_ms`
    service_cpu_s: float | None = None  #: CPU time of all service processes
    fault: Fault | None = None  #: failure injected during the case
    store_cpu_s: float | None = None  #: CPU time of the store's server; null: not ours, or it was restarted
    connections: int | None = None  #: connections from the service to the store at the end of the load
    store_ops: int | None = None  #: store operations; null: not counted in this block
    health: Health | None = None  #: whether the instrument kept up; null in runs before 2026-11-26
    clocks: list[LoadClock] = []  #: of the load workers that do not share the witness's clock
