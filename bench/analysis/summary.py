"""The cases of a run, what sets them apart, and whether the run is valid: writes summary.json."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from bench.analysis import blocks, calibration, health
from bench.analysis.checks import find_problems, find_warnings
from bench.analysis.comparison import STOP, comparisons_of, floor_spread_ms
from bench.analysis.controls import controls_of
from bench.analysis.health_marks import mark_of
from bench.analysis.reading import SCHEMA, CaseKey, Chat, Run, case_key, read_run
from bench.analysis.waterfall import describe_parts
from bench.record.base import encode_file
from bench.record.files import replace_file
from bench.record.summary import Summary as SummaryRecord
from bench.stats.percentiles import describe_blocks, describe_values, interval95
from bench.workload.strategies import FLOOR, is_special, scenario_rank, strategy_rank

__all__ = ["Summary", "block_values", "interval95", "summarise", "write_summary"]

CHAT_METRICS = (
    "upstream_stop_ms",
    "upstream_stop_intended_ms",
    "client_stop_ms",
    "abort_ack_ms",
    "wasted_tokens",
    "ttft_ms",
    "ttft_intended_ms",
    "itl_ms",
)

Summary = Any  # bench.record.summary.Summary, once every reader uses attributes


def summarise(folder: Path) -> Summary:
    """Read the raw files of a results folder, write its summary.json (DESIGN section 7) and return it.

    Raises UnreadableResults when the folder holds no results.
    """
    return write_summary(read_run(folder))


def write_summary(run: Run) -> Summary:
    """Reduce a run that was read already; summary.json appears whole or not at all.

    The metrics of a case describe the samples of all its blocks; what is said about differences between cases
    (`comparisons`, `controls`) counts in blocks. Floor and calibration are not among the cases.
    """
    by_key: dict[CaseKey, list[Chat]] = {case_key(row): [] for row in run.cases}
    for chat in run.chats:
        by_key.setdefault(chat.key, []).append(chat)
    rows_of: dict[CaseKey, list[dict[str, Any]]] = defaultdict(list)
    for row in run.cases:
        rows_of[case_key(row)].append(row)
    ours = [key for key in by_key if not is_special(key.scenario)]
    order = sorted(ours, key=lambda key: (scenario_rank(key.scenario), strategy_rank(key.strategy), key))
    cases = [summarise_case(key, by_key[key], rows_of[key]) for key in order]
    values = blocks.block_values(run)
    controls = controls_of(cases, values, floor_spread_ms(run))
    instrument = _instrument(run)
    problems = [*run.damage, *find_problems(run, cases)]
    if "calibration" in instrument:
        problems += calibration.problems(instrument["calibration"])
    warnings = find_warnings(run, cases, controls)
    warnings += health.stolen(run.cases)
    found = {
        "schema": SCHEMA,
        "valid": not problems,
        "problems": problems,
        "warnings": list(dict.fromkeys(warnings)),
        **instrument,
        "cases": cases,
        **({"idle": run.manifest["idle"]} if run.manifest.get("idle") else {}),
        "comparisons": comparisons_of(run, cases, values),
        "controls": controls,
    }
    summary = msgspec.convert(found, SummaryRecord)
    replace_file(run.folder / "summary.json", encode_file(summary))
    return summary


def _instrument(run: Run) -> Summary:
    """`floor` and `calibration` of the run; an old one, from before they were measured, has neither."""
    pairs = [(chat.key.strategy, chat.measured) for chat in run.chats if is_special(chat.key.scenario)]
    if not pairs:
        return {}
    return {
        "floor": _metric([chat for chat in run.chats if chat.key.strategy == FLOOR], "upstream_stop_ms"),
        "calibration": calibration.calibrate(pairs),
    }


def summarise_case(key: CaseKey, chats: Sequence[Chat], rows: Sequence[dict[str, Any]]) -> Summary:
    """One entry of `cases`: counts and metrics of all blocks of one case.

    A metric without samples is left out; only `upstream_stop_ms` stays (n 0, all null) wherever an abort counted.
    `aborts` are the counted ones: stopped (of these `prevented` before the upstream was asked) and missed.
    """
    measured = [chat.measured for chat in chats]
    kinds = Counter(each.outcome for each in measured)
    aborts = kinds["stopped"] + kinds["missed"]
    found = {name: _metric(chats, name) for name in CHAT_METRICS}
    described = {name: metric for name, metric in found.items() if metric["n"] or (name == STOP and aborts)}
    described |= {name: describe_values(values) for name, values in block_values(chats, rows).items() if values}
    store, _, delivery = key.strategy.partition("-")
    return {
        "strategy": key.strategy,
        "store": store if delivery else None,
        "delivery": delivery or None,
        "scenario": key.scenario,
        "workers": key.workers,
        "streams": key.streams,
        "loop": "open" if any(row.get("rate_per_s") for row in rows) else "closed",
        "blocks": len({row["block"] for row in rows}),
        "chats": len(chats),
        "aborts": aborts,
        "missed": kinds["missed"],
        "errors": sum(each.error is not None for each in measured),
        "late": kinds["late"],
        "prevented": sum(each.prevented for each in measured),
        "refused": kinds["refused"],
        "own": kinds["same_worker"],
        "turned_away": kinds["rejected"],
        "dropped": sum(row.get("dropped") or 0 for row in rows),
        "wrong_stops": sum(each.wrong_stop for each in measured),
        "tokens_after_stop": sum(each.tokens_after_stop for each in measured),
        "leaked": sum(each.leaked for each in measured),
        "metrics": described,
        "health": mark_of(rows),
        "waterfall": describe_parts([each.parts_ns for each in measured if each.parts_ns is not None]),
    }


def block_values(chats: Sequence[Chat], rows: Sequence[dict[str, Any]]) -> dict[str, list[float]]:
    """The metrics that belong to a whole block of one case, one value per block that could give one."""
    values: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        own = [chat for chat in chats if chat.block == row["block"]]
        for name, value in blocks.row_values(row, own).items():
            values[name].append(value)
    return dict(values)


def _metric(chats: Sequence[Chat], name: str) -> dict[str, Any]:
    """A metric of single chats; all gaps of all chats for itl_ms."""
    blocks: dict[int, list[float]] = defaultdict(list)
    for chat in chats:
        value = getattr(chat.measured, name)
        if value is not None:
            blocks[chat.block] += value if name == "itl_ms" else (value,)
    return describe_blocks(list(blocks.values()))
