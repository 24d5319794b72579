"""Joins the three timelines of a case (client, service, witness) on the request id: pure functions, no files."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench.workload.plan import Case

Row = dict[str, Any]

MIN_PHASE_S = 0.5
"""Shorter than that, a phase holds fewer than two or three samples of CPU, each 0.2 s after the other: no share."""
CHAT_FIELDS = (
    "pid",
    "received_ns",
    "registered_ns",
    "first_byte_ns",
    "signal_ns",
    "upstream_closed_ns",
    "ended_ns",
    "finish_reason",
    "chunks",
)
ABORT_FIELDS = {
    "abort_pid": "pid",
    "abort_received_ns": "received_ns",
    "abort_recorded_ns": "recorded_ns",
    "abort_outcome": "outcome",
}


def case_head(case: Case, block: int, arm: str | None = None) -> Row:
    """What every row of a case begins with, in chats.jsonl.gz as in cases.jsonl; `arm` is the calibration's."""
    return {
        "strategy": f"{case.strategy}-{arm}" if arm else case.strategy,
        "store": case.store,
        "delivery": case.delivery,
        "scenario": case.scenario.name,
        "workers": case.workers,
        "streams": case.scenario.streams,
        "block": block,
    }


def join(head: Mapping[str, Any], clients: Iterable[Row], traces: Sequence[Row], journal: Iterable[Row]) -> list[Row]:
    """One row per chat the clients sent, in the order of their index; what a side did not see is None.

    `clients` are the load's rows, `traces` the service's trace lines, `journal` the witness's rows, all in
    CLOCK_MONOTONIC ns. An id that a side saw twice keeps its first row: a second one is a retry, not this chat.
    """
    chats = _first_by_id(line for line in traces if line["kind"] == "chat")
    aborts = _first_by_id(sorted((line for line in traces if line["kind"] == "abort"), key=_refused))
    witness = _first_by_id(journal, key="id")
    rows = []
    for client in sorted(clients, key=lambda row: int(row["index"])):
        request_id = client["request_id"]
        seen = witness.get(request_id)
        rows.append(
            {
                **head,
                "index": client["index"],
                "request_id": request_id,
                "client": client["client"],
                "abort": client["abort"],
                "service": _service(chats.get(request_id), aborts.get(request_id)),
                "witness": None if seen is None else {name: value for name, value in seen.items() if name != "id"},
            }
        )
    return rows


def load_window(clients: Iterable[Row]) -> tuple[int, int]:
    """First chat sent to last stream ended, in ns; (0, 0) when nothing could be sent."""
    spans = [(row["client"]["sent_ns"], row["client"]["end_ns"]) for row in clients if row["client"]["sent_ns"]]
    return (min(start for start, _ in spans), max(end for _, end in spans)) if spans else (0, 0)


def load_phases(clients: Sequence[Row]) -> dict[str, tuple[int, int]]:
    """`arriving` (first chat sent to last chat sent) and `ending` (from then to the last stream ended), in ns.

    One that is shorter than MIN_PHASE_S is left out; nothing that could be sent has none.
    """
    began_ns, ended_ns = load_window(clients)
    last_ns = max((row["client"]["sent_ns"] or 0 for row in clients), default=0)
    phases = {"arriving": (began_ns, last_ns), "ending": (last_ns, ended_ns)}
    return {name: span for name, span in phases.items() if span[1] - span[0] >= MIN_PHASE_S * 1e9}


def pacing_ms(rows: Iterable[Row]) -> float | None:
    """How late the witness was with its tokens, in ms: the median over streams of each stream's own 99th percentile.

    That of one stream is nearly its maximum, so one hiccup of the machine marks a few; overload marks them all.
    """
    late = [row["witness"]["late_p99_ms"] for row in rows if row["witness"] is not None]
    known = [late_ms for late_ms in late if late_ms is not None]
    return statistics.median(known) if known else None


def _service(chat: Row | None, abort: Row | None) -> Row | None:
    if chat is None and abort is None:
        return None
    return {name: (chat or {}).get(name) for name in CHAT_FIELDS} | {
        name: (abort or {}).get(source) for name, source in ABORT_FIELDS.items()
    }


def _refused(abort: Row) -> tuple[bool, int]:
    """Of several presses for one chat the first that was recorded counts, before those that were refused."""
    return abort["outcome"] not in ("accepted", "stopped", "remembered"), abort["received_ns"]


def _first_by_id(rows: Iterable[Row], key: str = "request_id") -> dict[str, Row]:
    found: dict[str, Row] = {}
    for row in rows:
        found.setdefault(row[key], row)
    return found
