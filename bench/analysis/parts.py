"""The parts of a stop as means with intervals, all of the same chats, so that they add up; and their table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from bench.analysis.reading import CaseKey, Chat, Run
from bench.stats.spread import Mean, mean_interval
from bench.workload.strategies import is_special

NS_PER_MS = 1e6
WORDS = {
    "sent_to_received": "the abort travels to a worker",
    "received_to_recorded": "it is recorded in the store",
    "recorded_to_signal": "the worker that owns the chat learns of it",
    "signal_to_closed": "that worker closes the upstream connection",
    "closed_to_witness": "the upstream sees it",
}
"""The parts of a stop (bench.analysis.waterfall) that add up to it, in order, in words."""
LAST_WORDS = "the client sees the end (before the upstream, where negative)"
LETTERS = "abcdef"


class Parts(NamedTuple):
    """Milliseconds: `each` part of WORDS, the way `upto` its end (the last: the whole stop), and the client's end.

    `client` counts from the upstream's end, `client_end` from the abort; None where who hangs up ends his own stream.
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


def parts_by_case(run: Run) -> dict[CaseKey, Parts]:
    """The parts of every case in which all of them are known of some stop."""
    chats: dict[CaseKey, list[Chat]] = {}
    for chat in run.chats:
        if not is_special(chat.key.scenario):
            chats.setdefault(chat.key, []).append(chat)
    found = {key: parts_of(own) for key, own in chats.items()}
    return {key: parts for key, parts in found.items() if parts}


def parts_of(chats: Sequence[Chat]) -> Parts | None:
    """The means over the chats of which all parts are known; None when there is none, as when the client hangs up."""
    count = len(WORDS)
    rows: list[tuple[int, list[float], float | None]] = []
    for chat in chats:
        parts_ns = chat.measured.parts_ns
        ms = [part / NS_PER_MS for part in (parts_ns or ())[:count] if part is not None]
        if parts_ns and len(ms) == count:
            last_ns = parts_ns[count]
            rows.append((chat.block, ms, None if last_ns is None else last_ns / NS_PER_MS))
    if not rows or not any(sum(ms) for _block, ms, _client in rows):
        return None

    def mean_of(values: Sequence[float], least: float = 0.0) -> Mean:
        by_block: dict[int, list[float]] = {}
        for (block, _ms, _client), value in zip(rows, values, strict=True):
            by_block.setdefault(block, []).append(value)
        return mean_interval(by_block, least)

    clients = [client for _block, _ms, client in rows if client is not None]
    known = len(clients) == len(rows)
    ends = [sum(ms) + client for (_block, ms, _none), client in zip(rows, clients, strict=False)]
    return Parts(
        len(rows),
        [mean_of([ms[place] for _block, ms, _client in rows]) for place in range(count)],
        [mean_of([sum(ms[: place + 1]) for _block, ms, _client in rows]) for place in range(count)],
        mean_of(clients, -math.inf) if known else None,
        mean_of(ends) if known else None,
    )
