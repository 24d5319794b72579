"""Every counted abort with the moments of its chat, as columns of whole numbers."""

import os
from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

from bench.analysis.reading import Run
from bench.record.reader import Raw
from bench.record.schema import CaseKey, ChatRow, ServiceSide
from bench.report.charts.over_time import began_ns
from bench.workload.strategies import hangs_up

NS_PER_US, NS_PER_TICK = 1000, 10_000_000
DIGITS = 4  # that a moment keeps: a chart shows no more
MOMENTS = ("received", "recorded", "signal", "closed", "lost", "end")


def series_of(run: Run, keys: Mapping[CaseKey, object], most: int) -> Iterator[tuple[CaseKey, dict[str, Any]]]:
    """A series per case of `keys` and block; with more than `most` aborts, each case's every n-th one.

    A series: `block`; `of`, the aborts it was chosen from; `id` without their common `prefix`; `at`, when the abort was
    sent, in 10 ms since the run began, as differences; and each of MOMENTS that one of its chats has, in µs after the
    abort was sent, null where the record lacks it. `lost` is null for a missed abort.
    """
    counted = {chat.request_id for chat in run.chats if chat.measured.counted and chat.key in keys}
    step, starts_ns = -(-len(counted) // most), began_ns(run)
    rows = [row for row in Raw(run.folder, run.manifest, run.cases).chats() if row.request_id in counted]
    rows.sort(key=lambda row: (row.key, row.block, _sent_ns(row), row.request_id))
    for (key, block), group in groupby(rows, lambda row: (row.key, row.block)):
        own = list(group)
        shown = own[::step]
        settings = run.manifest.scenarios.get(key.scenario)
        own_end = hangs_up(key.strategy, settings.abort_by if settings else "")
        moments = [_moments(row, own_end) for row in shown]
        at = [(_sent_ns(row) - starts_ns) // NS_PER_TICK for row in shown]
        prefix = os.path.commonprefix([row.request_id for row in shown])  # noqa: RUF071 - of ids, not of paths
        series = {
            "block": block,
            "of": len(own),
            "prefix": prefix,
            "id": [row.request_id.removeprefix(prefix) for row in shown],
            "at": [later - earlier for earlier, later in zip([0, *at], at, strict=False)],
            **{name: column for name in MOMENTS if any(column := [each[name] for each in moments])},
        }
        yield key, series


def _sent_ns(row: ChatRow) -> int:
    return (row.abort.sent_ns if row.abort else None) or 0


def _moments(row: ChatRow, own_end: bool) -> dict[str, int | None]:
    service, lost_ns = row.service or ServiceSide(), row.witness.lost_ns if row.witness else None
    stamps = {
        "received": service.abort_received_ns,
        "recorded": service.abort_recorded_ns,
        "signal": service.signal_ns,
        "closed": service.upstream_closed_ns if lost_ns else None,
        "lost": lost_ns,
        # A client that disconnects ends its own stream.
        "end": None if own_end else row.client.end_ns,
    }
    sent_ns = _sent_ns(row)
    return {name: None if at is None else _rounded((at - sent_ns) // NS_PER_US) for name, at in stamps.items()}


def _rounded(value_us: int) -> int:
    return round(value_us, min(0, DIGITS - len(str(abs(value_us)))))
