"""Tables on how it was measured: latency from the intended moment, the instrument's health, what idling costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.analysis.parts import LAST_WORDS, LETTERS, WORDS, Parts
from bench.analysis.reading import CaseKey, case_key
from bench.report.evidence import place_of
from bench.report.formatting import Case, mean_words, number, share
from bench.report.tables import Table

INTENDED_HEADS = (
    "scenario", "strategy", "load", "stop p50 / p99, ms", "from the intended moment",
    "first token p50 / p99, ms", "from the intended moment",
)  # fmt: skip
HEALTH_HEADS = (
    "scenario", "strategy", "well", "load: CPU / in its worst phase", "its loop late, ms",
    "mock: CPU / in its worst phase", "its loop late, ms", "tokens late, ms", "chats / Stops sent late, ms",
    "longest gc pause, ms", "steal", "chunks/s per load process",
)  # fmt: skip
IDLE_HEADS = ("strategy", "store operations/s", "service CPU, ms/s", "store CPU, ms/s")


def instrument_tables(summary: Mapping[str, Any], manifest: Mapping[str, Any]) -> list[Table]:
    """Those of the three that this run has data for."""
    cases = summary["cases"]
    tables = [intended_table(cases, manifest), idle_table(summary.get("idle") or [])]
    return [*(table for table in tables if table), health_table(cases)]


def intended_table(cases: Sequence[Case], manifest: Mapping[str, Any]) -> Table | None:
    """Service time and, beside it, the same from the moment the load had planned; None when no load was open."""
    scenarios = manifest.get("scenarios") or {}
    rows: list[tuple[str, ...]] = [
        (
            f"{case['scenario']}, {case['workers']} w",
            case["strategy"],
            load_of(scenarios.get(case["scenario"]) or {}),
            *(_pair(case, name) for name in _METRICS),
        )
        for case in cases
    ]
    if all(case.get("loop") != "open" for case in cases):
        return None
    sentence = (
        "What a user waits for begins when Stop is meant to be pressed, also when the load was late: with an open loop"
        " both are given, in a closed loop a chat has no intended moment (its Stop has)."
    )
    return Table(
        "Open and closed loops: from sending, and from the intended moment", sentence, INTENDED_HEADS, rows, text=True
    )


_METRICS = ("upstream_stop_ms", "upstream_stop_intended_ms", "ttft_ms", "ttft_intended_ms")


def load_of(scenario: Mapping[str, Any]) -> str:
    """`open loop, 80/s poisson`, or `closed loop, 100 readers`."""
    if not scenario.get("rate_per_s"):
        return f"closed loop, {scenario.get('streams', '?')} readers"
    return f"open loop, {scenario['rate_per_s']:g}/s {scenario.get('arrivals') or 'poisson'}"


def health_table(cases: Sequence[Case]) -> Table:
    """The worst figures of each case; what is beyond its limit is told in words among the problems or the notes."""
    sentence = (
        "The worst of all blocks; lateness is p99; phases: chats are arriving, streams are ending."
        " The service is not here: how busy it is, is a finding."
    )
    rows: list[tuple[str, ...]] = []
    for case in cases:
        mark = case["health"]
        well = "yes" if mark["ok"] else f"not in {mark['unwell_blocks']} of {case['blocks']} blocks"
        rows.append((
            f"{case['scenario']}, {case['workers']} w", case["strategy"], well,
            _cpu(mark, "load"), number(mark["load_lag_p99_ms"]),
            _cpu(mark, "mock"), number(mark["mock_lag_p99_ms"]), number(mark["pacing_p99_ms"]),
            f"{number(mark['chat_lag_p99_ms'])} / {number(mark['abort_lag_p99_ms'])}",
            number(max(filter(None, (mark["load_gc_max_ms"], mark["mock_gc_max_ms"])), default=None)),
            _percent(mark["steal"]), number(mark["chunks_per_s"]),
        ))  # fmt: skip
    return Table("Health of the instrument", sentence, HEALTH_HEADS, rows, text=True)


def idle_table(idle: Sequence[Mapping[str, Any]]) -> Table | None:
    """What a strategy costs while its streams are silent and nobody presses Stop; None when it was not measured."""
    if not idle:
        return None
    first = idle[0]
    sentence = f"{first['streams']} live and silent streams, nobody presses Stop, for {first['window_s']:g} s, once."
    rows: list[tuple[str, ...]] = [
        (
            f"{each['strategy']}, {each['workers']} w",
            *(number(each[name]) for name in ("idle_ops_per_s", "idle_cpu_ms_per_s", "idle_store_cpu_ms_per_s")),
        )
        for each in idle
    ]
    return Table("Cost of idling", sentence, IDLE_HEADS, rows)


def _pair(case: Case, name: str) -> str:
    metric = case["metrics"].get(name)
    return f"{number(metric['p50'])} / {number(metric['p99'])}" if metric else "-"


def _cpu(mark: Mapping[str, Any], name: str) -> str:
    return f"{_percent(mark[f'{name}_cpu'])} / {_percent(mark[f'{name}_cpu_worst_phase'])}"


def _percent(value: float | None) -> str:
    return "-" if value is None else share(round(value * 1000), 1000)


def parts_table(cases: Sequence[Case], parts: Mapping[CaseKey, Parts]) -> Table | None:
    """A line for every case with all parts; None when there is none."""
    rows: list[tuple[str, ...]] = []
    for case in cases:
        if own := parts.get(case_key(case)):
            scenario, workers, _streams = place_of(case)
            rows.append((
                f"{case['strategy']}, {scenario} ({workers} w)",
                str(own.n),
                *(mean_words(mean) for mean in own.each),
                mean_words(own.whole),
                mean_words(own.client) if own.client else "-",
            ))  # fmt: skip
    heads = [f"{letter}: {words}" for letter, words in zip(LETTERS, [*WORDS.values(), LAST_WORDS], strict=True)]
    sentence = "Means in ms with their 95 % intervals, all of the same stops: a to e add up to the stop, f comes after."
    return (
        Table(
            "Where a stop's time goes",
            sentence,
            ("strategy, scenario", "n", *heads[:-1], "the stop: a to e", heads[-1]),
            rows,
        )
        if rows
        else None
    )
