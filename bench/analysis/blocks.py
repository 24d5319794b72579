"""What every block of every case measured: one value per metric and block, the unit that comparisons count in."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from bench.analysis.metrics import ChatMetrics
from bench.analysis.reading import CaseKey, Chat, Run, case_key

MIN_SAMPLES = 6
"""A block with fewer gives no median: that of a handful is mostly luck (see percentiles.interval95)."""
MEDIANS = ("upstream_stop_ms", "client_stop_ms", "abort_ack_ms", "ttft_ms")
Values = dict[tuple[CaseKey, str], dict[int, float]]


def block_values(run: Run) -> Values:
    """`{(case, metric): {block: value}}` of every case, floor and calibration included.

    The value of a metric of single chats is its median within the block (of the stops that happened; of all gaps
    between tokens). `ttft_unstopped_ms` and `itl_unstopped_ms` are those of chats nobody aborted. The metrics of a
    whole block are those of `row_values`.
    """
    chats: dict[tuple[CaseKey, int], list[Chat]] = defaultdict(list)
    for chat in run.chats:
        chats[chat.key, chat.block].append(chat)
    rows = {(case_key(row), row["block"]): row for row in run.cases}
    values: Values = defaultdict(dict)
    for (key, block), row in rows.items():
        own = chats[key, block]
        for metric, samples in _samples([chat.measured for chat in own]).items():
            if len(samples) >= MIN_SAMPLES:
                values[key, metric][block] = statistics.median(samples)
        for metric, value in row_values(row, own).items():
            values[key, metric][block] = value
    return dict(values)


def row_values(row: dict[str, Any], chats: Sequence[Chat]) -> dict[str, float]:
    """The metrics that belong to a whole block, those that it could give.

    chats_per_s counts the usable chats, tokens_per_s the content tokens the clients received; CPU is user + system
    time of all service processes, in microseconds, or of service and store server in seconds for a thousand chats.
    `store_connections` are those the service holds at the end of the load.
    """
    values: dict[str, float] = {}
    took_s = (row["ended_ns"] - row["started_ns"]) / 1e9
    tokens = row["tokens"]
    chats_done = sum(chat.measured.outcome not in ("error", "rejected") for chat in chats)
    if took_s > 0:
        values["chats_per_s"] = chats_done / took_s
        values["tokens_per_s"] = tokens / took_s
    if row["service_cpu_s"] is not None and tokens:
        values["server_cpu_us_per_token"] = row["service_cpu_s"] * 1e6 / tokens
    if row["store_ops"] is not None and tokens:
        values["store_ops_per_token"] = row["store_ops"] / tokens
    if row["store_ops"] is not None and chats_done:
        values["store_ops_per_chat"] = row["store_ops"] / chats_done
    for name in ("service", "store"):
        if row.get(f"{name}_cpu_s") is not None and chats_done:
            values[f"{name}_cpu_s_per_1000_chats"] = 1000 * row[f"{name}_cpu_s"] / chats_done
    if row.get("connections") is not None:
        values["store_connections"] = row["connections"]
    return values


def _samples(measured: Sequence[ChatMetrics]) -> dict[str, list[float]]:
    unstopped = [each for each in measured if each.outcome == "plain"]
    samples = {name: [value for each in measured if (value := getattr(each, name)) is not None] for name in MEDIANS}
    samples["itl_ms"] = [gap_ms for each in measured for gap_ms in each.itl_ms]
    samples["ttft_unstopped_ms"] = [each.ttft_ms for each in unstopped if each.ttft_ms is not None]
    samples["itl_unstopped_ms"] = [gap_ms for each in unstopped for gap_ms in each.itl_ms]
    return samples
