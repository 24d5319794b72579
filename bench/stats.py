"""Percentiles with their intervals, the cases of a run, and whether the run is valid: writes summary.json."""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scipy.stats import quantile_test

from bench.checks import find_problems
from bench.measures import Measured
from bench.reading import SCHEMA, CaseKey, Chat, Run, case_key, read_run
from bench.styles import scenario_rank, strategy_rank

PERCENTILES = (("p50", 0.50), ("p95", 0.95), ("p99", 0.99))
CHAT_METRICS = ("upstream_stop_ms", "client_stop_ms", "abort_ack_ms", "wasted_tokens", "ttft_ms")
DIGITS = 4  # 0.1 us in milliseconds: below what any clock here can tell

Summary = dict[str, Any]


def summarise(folder: Path) -> Summary:
    """Read the raw files of a results folder, write its summary.json (DESIGN section 7) and return it.

    Raises UnreadableResults when the folder holds no results.
    """
    return write_summary(read_run(folder))


def write_summary(run: Run) -> Summary:
    """Reduce a run that was read already; summary.json appears whole or not at all."""
    by_key: dict[CaseKey, list[Chat]] = {case_key(row): [] for row in run.cases}
    for chat in run.chats:
        by_key.setdefault(chat.key, []).append(chat)
    rows_of = {key: [row for row in run.cases if case_key(row) == key] for key in by_key}
    order = sorted(by_key, key=lambda key: (scenario_rank(key.scenario), strategy_rank(key.strategy), key))
    cases = [summarise_case(key, by_key[key], rows_of[key]) for key in order]
    problems = [*run.damage, *find_problems(run, cases)]
    summary = {"schema": SCHEMA, "valid": not problems, "problems": problems, "cases": cases}
    scratch = run.folder / ".summary.json.part"
    scratch.write_text(json.dumps(summary, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    scratch.replace(run.folder / "summary.json")
    return summary


def summarise_case(key: CaseKey, chats: Sequence[Chat], rows: Sequence[dict[str, Any]]) -> Summary:
    """One entry of `cases`: counts and metrics of all blocks of one case.

    A metric without samples is left out; only `upstream_stop_ms` stays (n 0, all null) wherever an abort counted.
    """
    measured = [chat.measured for chat in chats]
    kinds = Counter(each.kind for each in measured)
    aborts = kinds["stopped"] + kinds["missed"]
    metrics = {name: _chat_samples(measured, name) for name in CHAT_METRICS}
    metrics["itl_ms"] = [gap_ms for each in measured for gap_ms in each.itl_ms]
    described = {name: describe(samples) for name, samples in metrics.items() if samples}
    if aborts:
        described.setdefault("upstream_stop_ms", describe([]))
    described |= {name: describe_blocks(values) for name, values in block_values(chats, rows).items() if values}
    store, _, delivery = key.strategy.partition("-")
    return {
        "strategy": key.strategy,
        "store": store if delivery else None,
        "delivery": delivery or None,
        "scenario": key.scenario,
        "workers": key.workers,
        "streams": key.streams,
        "chats": len(chats),
        "aborts": aborts,
        "missed": kinds["missed"],
        "errors": sum(each.error is not None for each in measured),
        "late": kinds["late"],
        "metrics": described,
    }


def block_values(chats: Sequence[Chat], rows: Sequence[dict[str, Any]]) -> dict[str, list[float]]:
    """The metrics that belong to a whole block, one value per block that could give one.

    chats_per_s counts the usable chats, tokens_per_s the content tokens the clients received; CPU is user + system
    time of all service processes, in microseconds.
    """
    usable = Counter(chat.block for chat in chats if chat.measured.kind != "error")
    values: dict[str, list[float]] = {
        "chats_per_s": [],
        "tokens_per_s": [],
        "server_cpu_us_per_token": [],
        "store_ops_per_token": [],
        "store_ops_per_chat": [],
    }
    for row in rows:
        took_s = (row["ended_ns"] - row["started_ns"]) / 1e9
        tokens, chats_done = row["tokens"], usable[row["block"]]
        if took_s > 0:
            values["chats_per_s"].append(chats_done / took_s)
            values["tokens_per_s"].append(tokens / took_s)
        if row["service_cpu_s"] is not None and tokens:
            values["server_cpu_us_per_token"].append(row["service_cpu_s"] * 1e6 / tokens)
        if row["store_ops"] is not None and tokens:
            values["store_ops_per_token"].append(row["store_ops"] / tokens)
        if row["store_ops"] is not None and chats_done:
            values["store_ops_per_chat"].append(row["store_ops"] / chats_done)
    return values


def describe(samples: Sequence[float]) -> Summary:
    """`{"n", "p50", "p95", "p99", "mean", "ci95"}` of samples of single chats.

    A percentile whose 95 % interval does not exist is null, not a guess: p50 needs n >= 6, p95 72, p99 368.
    Samples within one chat (itl_ms) hang together, so their intervals are narrower than the truth.
    """
    intervals = {name: interval95(samples, quantile) for name, quantile in PERCENTILES}
    # quantiles(n=100, inclusive) interpolates linearly between order statistics, as numpy's default does.
    cuts = statistics.quantiles(samples, n=100, method="inclusive") if len(samples) > 1 else []
    points = {name: cuts[round(quantile * 100) - 1] if intervals[name] else None for name, quantile in PERCENTILES}
    return _described(samples, points, intervals)


def describe_blocks(values: Sequence[float]) -> Summary:
    """The same for one value per block: p50 is given from the first block on, p95 and p99 never."""
    points = {"p50": statistics.median(values), "p95": None, "p99": None}
    return _described(values, points, {"p50": interval95(values, 0.5), "p95": None, "p99": None})


def interval95(samples: Sequence[float], quantile: float) -> tuple[float, float] | None:
    """The two-sided 95 % order-statistic interval of a quantile, or None when n is too small for one.

    Source: scipy.stats.quantile_test, which inverts the binomial test (Conover, Practical Nonparametric Statistics,
    3rd ed., section 3.2); it distributes nothing and holds for every continuous or discrete distribution.
    """
    if not samples:
        return None
    interval: Any = quantile_test(samples, p=quantile).confidence_interval(confidence_level=0.95)
    low, high = float(interval.low), float(interval.high)
    return None if math.isnan(low) or math.isnan(high) else (low, high)


def _described(
    samples: Sequence[float],
    points: Mapping[str, float | None],
    intervals: Mapping[str, tuple[float, float] | None],
) -> Summary:
    return {
        "n": len(samples),
        **{name: None if point is None else round(point, DIGITS) for name, point in points.items()},
        "mean": round(statistics.fmean(samples), DIGITS) if samples else None,
        "ci95": {name: [round(end, DIGITS) for end in ends] if ends else None for name, ends in intervals.items()},
    }


def _chat_samples(measured: Sequence[Measured], name: str) -> list[float]:
    return [value for each in measured if (value := getattr(each, name)) is not None]
