"""The parts of a stop: they add up exactly to the stop, and from there to the client's end."""

import math
from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

from bench.analysis.clocks import carry_part, too_uncertain
from bench.analysis.metrics import NS_PER_MS, PartsNs
from bench.analysis.reading import Chat, Run
from bench.record.schema import CaseKey
from bench.record.summary import Part
from bench.stats.percentiles import describe
from bench.stats.spread import Mean, mean_interval
from bench.workload.strategies import is_special

WORDS = {
    "sent_to_received": "the abort travels to a worker",
    "received_to_recorded": "it is recorded in the store",
    "recorded_to_signal": "the worker that owns the chat learns of it",
    "signal_to_closed": "that worker closes the upstream connection",
    "closed_to_witness": "the upstream sees it",
}
"""The parts that add up to the stop, in order, in words."""
LAST_WORDS = "the client sees the end (before the upstream, where negative)"
PARTS = (*WORDS, "witness_to_client")
LETTERS = "abcdef"


class Parts(NamedTuple):
    """Means, ms: `each` part of WORDS, the sums `upto` its end (the last: the whole stop), and the client's end.

    `client` counts from the upstream's end, `client_end` from the abort; None where the client disconnects.
    """

    n: int
    each: list[Mean]
    upto: list[Mean]
    client: Mean | None
    client_end: Mean | None

    @property
    def whole(self) -> Mean:
        """The mean stop of these chats."""
        return self.upto[-1]


def describe_parts(stops: Sequence[PartsNs], clock_ms: float = 0.0) -> dict[str, Part | None] | None:
    """The distribution of each part of a case's stops in milliseconds; None when no part is known of any.

    All parts are of the same stops, those of which the most parts are known, so the means add up to the mean stop of
    these. A part that none of them has is None: with `disconnect` no abort is received, recorded or signalled.
    `clock_ms` is the uncertainty of the load's clocks, on which the first part begins and the last ends.
    """
    known = max((sum(part is not None for part in parts) for parts in stops), default=0)
    if not known:
        return None
    fullest = [parts for parts in stops if sum(part is not None for part in parts) == known]
    pattern = [part is None for part in fullest[0]]
    chosen = [parts for parts in fullest if [part is None for part in parts] == pattern]
    described: dict[str, Part | None] = {}
    for position, name in enumerate(PARTS):
        samples = [part_ns / NS_PER_MS for parts in chosen if (part_ns := parts[position]) is not None]
        found = describe(samples)
        part = Part(n=found["n"], p50=found["p50"], p95=found["p95"], mean=found["mean"]) if samples else None
        described[name] = carry_part(part, clock_ms) if part and name in (PARTS[0], PARTS[-1]) else part
    return described


def parts_by_case(run: Run) -> dict[CaseKey, Parts]:
    """The parts of every case in which all of them are known of some stop."""
    chats: dict[CaseKey, list[Chat]] = {}
    for chat in run.chats:
        if not is_special(chat.key.scenario):
            chats.setdefault(chat.key, []).append(chat)
    found = {key: parts_of(own) for key, own in chats.items()}
    return {key: parts for key, parts in found.items() if parts}


def parts_of(chats: Sequence[Chat]) -> Parts | None:
    """The means over the chats of which all parts are known; None when there is none, or the first is too uncertain."""
    rows: list[tuple[int, list[float], float | None]] = []
    for chat in chats:
        *first, last_ns = chat.measured.parts_ns or (None,)
        ms = [part / NS_PER_MS for part in first if part is not None]
        if len(ms) == len(WORDS):
            rows.append((chat.block, ms, None if last_ns is None else last_ns / NS_PER_MS))
    if not any(sum(ms) for _block, ms, _client in rows):
        return None

    def mean_of(values: Sequence[float], least: float = 0.0) -> Mean:
        by_block: dict[int, list[float]] = {}
        for (block, _ms, _client), value in zip(rows, values, strict=True):
            by_block.setdefault(block, []).append(value)
        return mean_interval(by_block, least)

    if too_uncertain(fmean(ms[0] for _block, ms, _client in rows), max(chat.measured.clock_ms for chat in chats)):
        return None
    clients = [client for _block, _ms, client in rows if client is not None]
    known = len(clients) == len(rows)
    ends = [sum(ms) + client for (_block, ms, _none), client in zip(rows, clients, strict=False)]
    return Parts(
        len(rows),
        [mean_of([ms[place] for _block, ms, _client in rows]) for place in range(len(WORDS))],
        [mean_of([sum(ms[: place + 1]) for _block, ms, _client in rows]) for place in range(len(WORDS))],
        mean_of(clients, -math.inf) if known else None,
        mean_of(ends) if known else None,
    )
