"""One value per metric, case and block: the values that the gate compares."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Collection, Mapping

from bench.analysis.reading import CaseKey, Chat, Run
from bench.gate.block_filter import Block
from bench.gate.family import BlockValues
from bench.record.manifest import ScenarioSettings

MIN_SAMPLES = 6
"""Samples that a median needs, as for any p50 of this bench."""
CHAT_METRICS = ("upstream_stop_ms", "client_stop_ms", "abort_ack_ms", "ttft_ms", "wasted_tokens")
COSTS = ("server_cpu_us_per_token", "store_ops_per_token", "store_ops_per_chat")
"""Judged only in scenarios without aborts: in others a block has too few tokens for a share of CPU time."""


def without_stop_costs(values: BlockValues, scenarios: Mapping[str, ScenarioSettings]) -> BlockValues:
    """The values without the costs of scenarios with aborts."""
    calm = {name for name, settings in scenarios.items() if not settings.abort_share}
    return {key: each for key, each in values.items() if key[1] not in COSTS or key[0].scenario in calm}


def block_values(run: Run, excluded: Collection[Block] = ()) -> BlockValues:
    """The median of each chat metric (the mean of wasted tokens, most of which are 0) and the costs, by block."""
    chats: dict[Block, list[Chat]] = defaultdict(list)
    for chat in run.chats:
        chats[chat.key, chat.block].append(chat)
    values: dict[tuple[CaseKey, str], dict[int, float]] = defaultdict(dict)
    for (key, block), own in chats.items():
        if (key, block) in excluded:
            continue
        for metric in CHAT_METRICS:
            samples = [value for chat in own if (value := getattr(chat.measured, metric)) is not None]
            if len(samples) >= MIN_SAMPLES:
                middle = statistics.fmean if metric == "wasted_tokens" else statistics.median
                values[key, metric][block] = float(middle(samples))
    for row in run.cases:
        if (row.key, row.block) in excluded:
            continue
        for metric, cost, units in (
            ("server_cpu_us_per_token", (row.service_cpu_s or 0.0) * 1e6, row.tokens),
            ("store_ops_per_token", row.store_ops, row.tokens),
            ("store_ops_per_chat", row.store_ops, row.chats_planned - row.dropped),
        ):
            if cost and units:
                values[row.key, metric][row.block] = cost / units
    return without_stop_costs(values, run.manifest.scenarios)
