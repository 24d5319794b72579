"""Timelines of single chats for the charts: when an abort was sent between two tokens, and what followed."""

from bisect import bisect_right
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import NamedTuple

from bench.analysis.metrics import NS_PER_MS
from bench.analysis.reading import CaseKey, Run
from bench.record.reader import Raw
from bench.record.schema import AbortSide, ChatRow
from bench.workload.strategies import DISCONNECT


class Moment(NamedTuple):
    """One abort that was sent, CLOCK_MONOTONIC ns; `since_token_ms`: from the witness's last token before it, or None.

    `accepted_ns` is when the try that was accepted was sent (None: none was), `lost_ns` when the witness saw the
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
    """`moments` of all aborts that were sent; `rows` of the wanted chats, by request id."""

    moments: list[Moment] = field(default_factory=list)
    rows: dict[str, ChatRow] = field(default_factory=dict)


def read_timelines(run: Run, wanted: Collection[str]) -> Timelines:
    """Read chats.jsonl.gz again, as far as it is whole: a run in memory has no timestamps."""
    found = Timelines()
    counted = {chat.request_id for chat in run.chats if chat.measured.counted}
    for row in Raw(run.folder, run.manifest, run.cases).chats():
        if row.request_id in wanted:
            found.rows[row.request_id] = row
        if moment := _moment(row, counted):
            found.moments.append(moment)
    return found


def median_chats(run: Run, keys: Collection[CaseKey]) -> dict[str, str]:
    """Strategy -> request id of the chat with the median stop of its case; of the median waste where nothing stopped.

    A chat that was stopped before the upstream was requested has no timeline. Ties and even counts go to the smaller
    value and id, so that it is the same chat each time.
    """
    chosen = {}
    for key in keys:
        chats = [(chat.request_id, chat.measured) for chat in run.chats if chat.key == key and chat.measured.counted]
        stops = sorted((each.upstream_stop_ms, id_) for id_, each in chats if each.upstream_stop_ms is not None)
        missed = sorted((float(each.wasted_tokens or 0), id_) for id_, each in chats if each.outcome == "missed")
        if ranked := stops or missed:
            chosen[key.strategy] = ranked[(len(ranked) - 1) // 2][1]
    return chosen


def _moment(row: ChatRow, counted: Collection[str]) -> Moment | None:
    abort, witness = row.abort, row.witness
    if abort is None or abort.sent_ns is None or witness is None:
        return None
    before = bisect_right(witness.token_ns, abort.sent_ns)
    since_ms = (abort.sent_ns - witness.token_ns[before - 1]) / NS_PER_MS if before else None
    accepted_ns = _accepted_ns(row.strategy, abort)
    return Moment(row.key, row.block, since_ms, abort.sent_ns, accepted_ns, witness.lost_ns, row.request_id in counted)


def _accepted_ns(strategy: str, abort: AbortSide) -> int | None:
    """When the accepted try was sent: the only one, where the client disconnects or an old record has no tries."""
    if strategy == DISCONNECT:
        return abort.sent_ns
    if abort.tries is not None or abort.accepted_sent_ns is not None:
        return abort.accepted_sent_ns
    return abort.sent_ns if abort.status is not None and abort.status < 300 else None
