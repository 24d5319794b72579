"""The stamps of single chats that charts need beside the metrics: when in a gap Stop was pressed, whole timelines."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from bench.analysis.reading import CaseKey, Run, case_key
from bench.record.reader import Raw
from bench.workload.strategies import DISCONNECT

Row = Any  # ChatRow
NS_PER_MS = 1e6


class Moment(NamedTuple):
    """One abort that was sent, CLOCK_MONOTONIC ns; `since_token_ms`: from the witness's last token before it, or None.

    `accepted_ns` is when the press that was accepted left (None: none was), `lost_ns` when the witness saw the
    connection lost (None: it never was); `counted`: it came in time, so that it is stopped or missed.
    """

    key: CaseKey
    block: int
    since_token_ms: float | None
    sent_ns: int
    accepted_ns: int | None
    lost_ns: int | None
    counted: bool


@dataclass(frozen=True)
class Timelines:
    """`moments` of all aborts that were sent; `rows` of the chats that were asked for, by request id, as recorded."""

    moments: list[Moment] = field(default_factory=list)
    rows: dict[str, Row] = field(default_factory=dict)


def read_timelines(run: Run, wanted: Collection[str]) -> Timelines:
    """Go through chats.jsonl.gz once more, for what `read_run` does not keep; reads as far as the file is whole.

    A run keeps the metrics of every chat in memory, but not its hundreds of stamps; charts need few of them.
    """
    found = Timelines()
    counted = {chat.request_id for chat in run.chats if chat.measured.counted}
    for row in Raw(run.folder, run.manifest, run.cases).chats():
        if row["request_id"] in wanted:
            found.rows[row["request_id"]] = row
        if moment := _moment(row, counted):
            found.moments.append(moment)
    return found


def median_chats(run: Run, keys: Collection[CaseKey]) -> dict[str, str]:
    """Strategy -> request id of the chat with the median stop of its case; of the median waste where nothing stopped.

    One that was stopped before the upstream was asked has no witness, and so no timeline to show.
    Ties and even counts fall to the smaller one, and to the smaller id, so that it is the same chat each time.
    """
    chosen = {}
    for key in keys:
        chats = [(chat.request_id, chat.measured) for chat in run.chats if chat.key == key and chat.measured.counted]
        stops = sorted((each.upstream_stop_ms, id_) for id_, each in chats if each.upstream_stop_ms is not None)
        missed = ((float(each.wasted_tokens or 0), id_) for id_, each in chats if each.outcome == "missed")
        ranked = stops or sorted(missed)
        if ranked:
            chosen[key.strategy] = ranked[(len(ranked) - 1) // 2][1]
    return chosen


def _moment(row: Row, counted: Collection[str]) -> Moment | None:
    abort, witness = row["abort"], row["witness"]
    if not abort or abort["sent_ns"] is None or witness is None:
        return None
    sent_ns: int = abort["sent_ns"]
    before = bisect_right(witness["token_ns"], sent_ns)
    since_ms = (sent_ns - witness["token_ns"][before - 1]) / NS_PER_MS if before else None
    accepted_ns, in_time = _accepted_ns(row, abort), row["request_id"] in counted
    return Moment(case_key(row), row["block"], since_ms, sent_ns, accepted_ns, witness["lost_ns"], in_time)


def _accepted_ns(row: Row, abort: Row) -> int | None:
    """`accepted_sent_ns`, or, in records that have no second presses, when the only one left."""
    left = row["strategy"] == DISCONNECT  # nobody is asked
    if "accepted_sent_ns" in abort and not left:
        accepted: int | None = abort["accepted_sent_ns"]
        return accepted
    return abort["sent_ns"] if left or (abort["status"] is not None and abort["status"] < 300) else None
