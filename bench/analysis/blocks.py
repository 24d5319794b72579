"""One value per metric, case and block: the unit in which the comparisons and the gate count."""

import statistics
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence

from bench.analysis.metrics import ChatMetrics
from bench.analysis.reading import CaseKey, Chat, Run
from bench.record.schema import CaseRow
from bench.stats.percentiles import MIN_SAMPLES

Block = tuple[CaseKey, int]
BlockValues = Mapping[tuple[CaseKey, str], Mapping[int, float]]
"""(case, metric) -> block -> the block's value, in the metric's unit."""
Middle = Callable[[Sequence[float]], float]
Middles = Mapping[str, Middle]
MEDIANS: Middles = dict.fromkeys(
    (
        *("upstream_stop_ms", "client_stop_ms", "abort_ack_ms", "ttft_ms", "itl_ms"),
        *("ttft_unstopped_ms", "itl_unstopped_ms"),
    ),
    statistics.median,
)


def block_values(run: Run, left_out: Collection[Block] = (), middles: Middles = MEDIANS) -> BlockValues:
    """The values of every case, floor and calibration included, without the blocks that are `left_out`.

    The value of a metric of single chats is the middle of its samples within the block, where there are MIN_SAMPLES:
    of the stops that happened, of all gaps between tokens. `*_unstopped_ms` are of the chats without an abort.
    """
    chats: dict[Block, list[Chat]] = defaultdict(list)
    for chat in run.chats:
        chats[chat.key, chat.block].append(chat)
    values: dict[tuple[CaseKey, str], dict[int, float]] = defaultdict(dict)
    for row in run.cases:
        key, block = row.key, row.block
        if (key, block) in left_out:
            continue
        own = [chat.measured for chat in chats[key, block]]
        for metric, middle in middles.items():
            samples = samples_of(own, metric)
            if len(samples) >= MIN_SAMPLES:
                values[key, metric][block] = float(middle(samples))
        for metric, value in row_values(row, own).items():
            values[key, metric][block] = value
    return dict(values)


def samples_of(chats: Sequence[ChatMetrics], metric: str) -> Sequence[float]:
    """A metric's value of each chat that has one; for itl metrics all gaps of all chats."""
    name = metric.replace("_unstopped", "")
    found = [getattr(each, name) for each in chats if name == metric or each.outcome == "plain"]
    return [gap for each in found for gap in each] if name == "itl_ms" else [each for each in found if each is not None]


def row_values(row: CaseRow, chats: Sequence[ChatMetrics]) -> dict[str, float]:
    """The metrics of a whole block, as far as it has them; `chats` are its own.

    chats_per_s counts the usable chats, tokens_per_s the content tokens the clients received; CPU is user + system time
    of all service processes, in microseconds, or of service and store server in seconds for a thousand chats.
    `store_connections` are those the service holds at the end of the load.
    """
    took_s = (row.ended_ns - row.started_ns) / 1e9
    usable = sum(each.outcome not in ("error", "rejected") for each in chats)
    shares = {
        "chats_per_s": (usable, took_s),
        "tokens_per_s": (row.tokens, took_s),
        "server_cpu_us_per_token": (row.service_cpu_s and row.service_cpu_s * 1e6, row.tokens),
        "store_ops_per_token": (row.store_ops, row.tokens),
        "store_ops_per_chat": (row.store_ops, usable),
        "service_cpu_s_per_1000_chats": (row.service_cpu_s and row.service_cpu_s * 1000, usable),
        "store_cpu_s_per_1000_chats": (row.store_cpu_s and row.store_cpu_s * 1000, usable),
        "store_connections": (row.connections, 1),
    }
    return {name: value / units for name, (value, units) in shares.items() if value is not None and units > 0}
