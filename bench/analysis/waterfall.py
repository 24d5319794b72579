"""Where the time of a stop goes: parts that add up exactly to the stop, and from there to the client's end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from bench.stats.percentiles import describe
from bench.workload.strategies import hangs_up

NO_SETTINGS: Mapping[str, Any] = {}

PARTS = (
    "sent_to_received",
    "received_to_recorded",
    "recorded_to_signal",
    "signal_to_closed",
    "closed_to_witness",
    "witness_to_client",
)
STAMPS = ("abort_received_ns", "abort_recorded_ns", "signal_ns", "upstream_closed_ns")
PartsNs = tuple[int | None, ...]


def split_ns(row: dict[str, Any], settings: Mapping[str, Any] = NO_SETTINGS) -> PartsNs:
    """The six PARTS of one stop in nanoseconds, null where one of a part's two stamps is missing.

    The row's witness was cut, after the abort had been sent. The stamps are those of three processes, and a stamp is
    taken when its process gets to it: the owner may see the signal before the store's answer is back at the aborting
    worker, and the witness may see the connection lost before `close` has returned at the owner. So each stamp counts
    as no later than what it led to (the envelope: the running minimum, from the witness backwards, never before the
    abort was sent). What overlaps is given to the later part. The first five parts are never negative and add up to
    `upstream_stop_ms` exactly.

    The client's end leads to nothing and follows from the signal, not from the witness: `witness_to_client` is what
    is left to `client_stop_ms`, and negative when the client saw the end first. All six add up to `client_stop_ms`.
    An abort that was pressed more than once counts from the first press: the waiting is part of `sent_to_received`.
    """
    sent_ns, lost_ns = row["abort"]["sent_ns"], row["witness"]["lost_ns"]
    service = row.get("service") or {}
    envelope: list[int | None] = []
    bound_ns = lost_ns
    for name in reversed(STAMPS):
        stamp_ns = service.get(name)
        if stamp_ns is not None:
            stamp_ns = bound_ns = max(sent_ns, min(stamp_ns, bound_ns))
        envelope.append(stamp_ns)
    moments = [sent_ns, *reversed(envelope), lost_ns]
    parts = [None if None in pair else pair[1] - pair[0] for pair in pairwise(moments)]
    # Who hangs up ends his own stream: when that was says nothing about the service.
    return (*parts, None if hangs_up(row["strategy"], settings) else row["client"]["end_ns"] - lost_ns)


def describe_parts(stops: Sequence[PartsNs]) -> dict[str, dict[str, Any] | None] | None:
    """`{part: {"n", "p50", "p95", "mean"}}` of a case's stops in milliseconds; None when no part is known of any.

    All parts are of the same stops, those of which the most parts are known, so the means add up to the mean stop of
    these (a sum of medians is the median of nothing). A part that none of them has is null: with `disconnect` no
    abort is received, recorded or signalled.
    """
    known = max((sum(part is not None for part in parts) for parts in stops), default=0)
    if not known:
        return None
    fullest = [parts for parts in stops if sum(part is not None for part in parts) == known]
    pattern = [part is None for part in fullest[0]]
    chosen = [parts for parts in fullest if [part is None for part in parts] == pattern]
    described: dict[str, dict[str, Any] | None] = {}
    for position, name in enumerate(PARTS):
        samples = [part / 1e6 for parts in chosen if (part := parts[position]) is not None]
        whole = describe(samples)
        described[name] = {key: whole[key] for key in ("n", "p50", "p95", "mean")} if samples else None
    return described
