"""One value per metric, case and block: the values that the gate compares."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Mapping

from bench.analysis.blocks import Block, BlockValues, Middles, block_values
from bench.analysis.reading import CaseKey, Run
from bench.record.manifest import ScenarioSettings

CHAT_METRICS: Middles = {
    **dict.fromkeys(("upstream_stop_ms", "client_stop_ms", "abort_ack_ms", "ttft_ms"), statistics.median),
    "wasted_tokens": statistics.fmean,  # most of them are 0
}
COSTS = ("server_cpu_us_per_token", "store_ops_per_token", "store_ops_per_chat")
"""Judged only in scenarios without aborts: in others a block has too few tokens for a share of CPU time."""


def without_stop_costs(values: BlockValues, scenarios: Mapping[str, ScenarioSettings]) -> BlockValues:
    """The values without the costs of scenarios with aborts."""
    calm = {name for name, settings in scenarios.items() if not settings.abort_share}
    return {key: each for key, each in values.items() if key[1] not in COSTS or key[0].scenario in calm}


def gate_values(run: Run, excluded: Collection[Block] = ()) -> BlockValues:
    """The values of each chat metric and each cost that is not 0, by block.

    Store operations are per chat that was sent, not per usable one: chats that fail on head must not look like a cost.
    """
    found: dict[tuple[CaseKey, str], dict[int, float]] = {}
    for (key, metric), blocks in block_values(run, excluded, CHAT_METRICS).items():
        if metric in CHAT_METRICS:
            found[key, metric] = dict(blocks)
        elif metric in COSTS and (costs := {block: value for block, value in blocks.items() if value}):
            found[key, metric] = costs
    for row in run.cases:
        sent = row.chats_planned - row.dropped
        if row.store_ops and sent and (row.key, row.block) not in excluded:
            found.setdefault((row.key, "store_ops_per_chat"), {})[row.block] = row.store_ops / sent
    return without_stop_costs(found, run.manifest.scenarios)
