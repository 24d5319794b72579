"""Join the three timelines of a case (client, service, witness) on the request id; pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

import msgspec

from bench.record.schema import CaseHead, ChatRow, LoadRow, ServiceSide, WitnessSide
from bench.record.traces import AbortTrace, ChatTrace, JournalRow, Trace
from bench.workload.plan import Case

MIN_PHASE_S = 0.5
"""A shorter phase holds fewer than three samples of CPU time, which are 0.2 s apart."""
Span = tuple[int, int]


def case_head(case: Case, block: int, arm: str | None = None) -> CaseHead:
    """The fields that all rows of a case have in common; `arm` is that of the calibration."""
    return CaseHead(
        strategy=f"{case.strategy}-{arm}" if arm else case.strategy,
        store=case.store,
        delivery=case.delivery,
        scenario=case.scenario.name,
        workers=case.workers,
        streams=case.scenario.streams,
        block=block,
    )


def join(
    head: CaseHead, clients: Iterable[LoadRow], traces: Sequence[Trace], journal: Iterable[JournalRow]
) -> list[ChatRow]:
    """One row per chat that was sent, ordered by index. A side that recorded an id twice keeps its first row: the
    second is a retry."""
    chats = {line.request_id: line for line in reversed(traces) if isinstance(line, ChatTrace)}
    aborts: dict[str, AbortTrace] = {}
    for line in sorted((line for line in traces if isinstance(line, AbortTrace)), key=_refused):
        aborts.setdefault(line.request_id, line)
    witness: dict[str, JournalRow] = {}
    for seen in journal:
        witness.setdefault(seen.id, seen)
    fields = msgspec.structs.asdict(head)
    return [
        ChatRow(
            **fields,
            index=row.index,
            request_id=row.request_id,
            client=row.client,
            abort=row.abort,
            service=_service(chats.get(row.request_id), aborts.get(row.request_id)),
            witness=_witness(witness.get(row.request_id)),
            clock_uncertainty_ns=row.clock_uncertainty_ns,
        )
        for row in sorted(clients, key=lambda row: row.index)
    ]


def load_window(rows: Iterable[LoadRow | ChatRow]) -> Span:
    """First chat sent to last stream ended, in ns; (0, 0) when nothing could be sent."""
    clients = [row.client for row in rows]
    sent = [client.sent_ns for client in clients if client.sent_ns]
    return (min(sent), max(client.end_ns or 0 for client in clients if client.sent_ns)) if sent else (0, 0)


def load_phases(rows: Sequence[LoadRow]) -> dict[str, Span]:
    """`arriving` (first to last chat sent) and `ending` (to the last stream ended), in ns, from MIN_PHASE_S on."""
    began_ns, ended_ns = load_window(rows)
    last_ns = max((row.client.sent_ns or 0 for row in rows), default=0)
    phases = {"arriving": (began_ns, last_ns), "ending": (last_ns, ended_ns)}
    return {name: span for name, span in phases.items() if span[1] - span[0] >= MIN_PHASE_S * 1e9}


def pacing_ms(rows: Iterable[ChatRow]) -> float | None:
    """How late the mock wrote its tokens, in ms: the median over streams of each one's 99th percentile.

    That of one stream is nearly its maximum, so a single hiccup raises it in a few streams, and overload in all.
    """
    late = [row.witness.late_p99_ms for row in rows if row.witness is not None]
    known = [late_ms for late_ms in late if late_ms is not None]
    return statistics.median(known) if known else None


def _service(chat: ChatTrace | None, abort: AbortTrace | None) -> ServiceSide | None:
    if chat is None and abort is None:
        return None
    side = ServiceSide()
    if chat is not None:
        for name in ChatTrace.__struct_fields__:
            if name != "request_id":
                setattr(side, name, getattr(chat, name))
    if abort is not None:
        side.abort_pid, side.abort_outcome = abort.pid, abort.outcome
        side.abort_received_ns, side.abort_recorded_ns = abort.received_ns, abort.recorded_ns
    return side


def _witness(row: JournalRow | None) -> WitnessSide | None:
    return row and WitnessSide(**{name: getattr(row, name) for name in WitnessSide.__struct_fields__})


def _refused(abort: AbortTrace) -> tuple[bool, int]:
    """Of several aborts of a chat the first that was recorded counts, before those that were refused."""
    return abort.outcome not in ("accepted", "stopped", "remembered"), abort.received_ns
