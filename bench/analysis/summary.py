"""Writes summary.json: the cases of a run, what sets them apart, and whether the run is valid."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from bench.analysis import calibration, clocks, health
from bench.analysis.blocks import block_values, row_values, samples_of
from bench.analysis.checks import find_problems, find_warnings
from bench.analysis.comparison import STOP, comparisons_of, floor_spread_ms
from bench.analysis.controls import controls_of
from bench.analysis.metrics import ChatMetrics
from bench.analysis.precision import interval_goal
from bench.analysis.reading import Run, read_run
from bench.analysis.waterfall import describe_parts
from bench.record.base import encode_file
from bench.record.files import replace_file
from bench.record.schema import CaseKey, CaseRow
from bench.record.summary import Metric, Summary, SummaryCase
from bench.stats.percentiles import describe_blocks, describe_values
from bench.workload.plan import delivery_of, store_of
from bench.workload.strategies import FLOOR, is_special, scenario_rank, strategy_rank, target_of

CHAT_METRICS = (
    STOP,
    "upstream_stop_intended_ms",
    "client_stop_ms",
    "abort_ack_ms",
    "wasted_tokens",
    "ttft_ms",
    "ttft_intended_ms",
    "itl_ms",
    "queue_ms",
    "next_ttft_ms",
    "upstream_open_s",
)
Blocks = dict[int, list[ChatMetrics]]


def summarise(folder: Path) -> Summary:
    """Read the raw files of a results folder, write its summary.json and return it. Raises UnreadableResults."""
    return write_summary(read_run(folder))


def write_summary(run: Run) -> Summary:
    """Reduce a run and write its summary.json."""
    summary = summary_of(run)
    replace_file(run.folder / "summary.json", encode_file(summary))
    return summary


def summary_of(run: Run) -> Summary:
    """Reduce a run. Floor and calibration are not among the cases."""
    chats: dict[CaseKey, Blocks] = defaultdict(lambda: defaultdict(list))
    for chat in run.chats:
        chats[chat.key][chat.block].append(chat.measured)
    rows: dict[CaseKey, list[CaseRow]] = defaultdict(list)
    for row in run.cases:
        rows[row.key].append(row)
    ours = [key for key in dict.fromkeys([*rows, *chats]) if not is_special(key.scenario)]
    order = sorted(ours, key=lambda key: (scenario_rank(key.scenario), strategy_rank(key.strategy), key))
    cases = [summarise_case(key, chats[key], rows[key]) for key in order]
    values = block_values(run)
    controls = controls_of(cases, values, floor_spread_ms(run))
    special = [(chat.key.strategy, chat.measured) for chat in run.chats if is_special(chat.key.scenario)]
    calibrated = calibration.calibrate(special) if special else None
    floor = next((blocks for key, blocks in chats.items() if key.strategy == FLOOR), {})
    problems = [*run.damage, *find_problems(run, cases), *(calibration.problems(calibrated) if calibrated else ())]
    goal = run.manifest.settings.get("interval")
    return Summary(
        valid=not problems,
        problems=problems,
        warnings=list(dict.fromkeys([*find_warnings(run, cases, controls), *health.stolen(run.cases)])),
        floor=_metric(floor, STOP) if special else None,
        calibration=calibrated,
        cases=cases,
        idle=run.manifest.idle or None,
        comparisons=comparisons_of(run, cases, values),
        controls=controls,
        interval=interval_goal(run, cases, goal) if isinstance(goal, float) else None,
    )


def summarise_case(key: CaseKey, blocks: Blocks, rows: Sequence[CaseRow]) -> SummaryCase:
    """Counts and metrics of all blocks of one case.

    A metric without samples is left out, except `upstream_stop_ms` (n 0, all null) wherever an abort counted.
    `aborts` are the counted ones: stopped (of these `prevented` before the upstream was requested) and missed.
    """
    measured = [each for block in blocks.values() for each in block]
    outcomes = Counter(each.outcome for each in measured)
    aborts = outcomes["stopped"] + outcomes["missed"]
    metrics = {name: _metric(blocks, name) for name in CHAT_METRICS}
    metrics = {name: metric for name, metric in metrics.items() if metric.n or (name == STOP and aborts)}
    of_blocks: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        for name, value in row_values(row, blocks.get(row.block, [])).items():
            of_blocks[name].append(value)
    return SummaryCase(
        **key._asdict(),
        target=target_of(key.strategy),
        store=store_of(key.strategy),
        delivery=delivery_of(key.strategy),
        loop="open" if any(row.rate_per_s for row in rows) else "closed",
        blocks=len({row.block for row in rows}),
        chats=len(measured),
        aborts=aborts,
        missed=outcomes["missed"],
        errors=sum(each.error is not None for each in measured),
        late=outcomes["late"],
        prevented=sum(each.prevented for each in measured),
        refused=outcomes["refused"],
        own=outcomes["same_worker"],
        turned_away=outcomes["rejected"],
        dropped=sum(row.dropped for row in rows),
        dishonest=sum(each.dishonest for each in measured),
        wrong_stops=sum(each.wrong_stop for each in measured),
        tokens_after_stop=sum(each.tokens_after_stop for each in measured),
        leaked=sum(each.leaked for each in measured),
        metrics=metrics | {name: _typed(describe_values(values)) for name, values in of_blocks.items()},
        health=health.case_health(rows),
        waterfall=describe_parts(
            [each.parts_ns for each in measured if each.parts_ns is not None],
            max((each.clock_ms for each in measured), default=0.0),
        ),
    )


def _metric(blocks: Blocks, name: str) -> Metric:
    described = _typed(describe_blocks([samples_of(chats, name) for chats in blocks.values()]))
    measured = [each for block in blocks.values() for each in block]
    return clocks.carry(name, described, clocks.uncertainty(measured, name))


def _typed(described: dict[str, Any]) -> Metric:
    return msgspec.convert(described, Metric)
