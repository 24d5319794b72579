"""The tables that come first: all strategies on one line each, what was told apart, and the controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.report.formatting import Case, interval, number, share
from bench.report.tables import Table
from bench.workload.strategies import is_special, scenario_rank, strategy_rank

SHOWN = ("flowing", "stalled")
COST = (
    ("server_cpu_us_per_token", "service CPU, µs/token"),
    ("store_ops_per_token", "store operations per token"),
)


def headline(cases: Sequence[Case], manifest: Mapping[str, Any]) -> Table | None:
    """One line per strategy: stops in the first scenarios with aborts, all it missed, waste, and what it costs.

    Cases at the run's usual number of workers; None when nothing was aborted.
    """
    ours = [case for case in cases if not is_special(case["scenario"])]
    numbers = [case["workers"] for case in ours]
    usual = (manifest.get("settings") or {}).get("workers") or max(set(numbers), key=numbers.count, default=0)
    here = {(case["strategy"], case["scenario"]): case for case in ours if case["workers"] == usual}
    aborted = sorted({case["scenario"] for case in here.values() if case["aborts"]}, key=scenario_rank)
    shown = [name for name in SHOWN if name in aborted] or aborted[: len(SHOWN)]
    if not shown:
        return None
    costs = [(metric, head) for metric, head in COST if any(metric in _steady(here, name) for name, _scenario in here)]
    heads = ("strategy", *(f"{name}: stop p50 / p95, ms" for name in shown), "aborts missed", "tokens wasted per abort")
    rows: list[tuple[str, ...]] = []
    for strategy in sorted({name for name, _scenario in here}, key=strategy_rank):
        own = [here[strategy, name] for name in aborted if (strategy, name) in here]
        missed, aborts = sum(case["missed"] for case in own), sum(case["aborts"] for case in own)
        first = here.get((strategy, shown[0]), {}).get("metrics", {})
        steady = _steady(here, strategy)
        rows.append((
            strategy,
            *(_stop(here.get((strategy, name))) for name in shown),
            f"{missed} of {aborts} ({share(missed, aborts)})" if aborts else "-",
            number(first.get("wasted_tokens", {}).get("mean")),
            *(number(steady.get(metric, {}).get("p50")) for metric, _head in costs),
        ))  # fmt: skip
    workers = f"{usual} worker{'s' if usual != 1 else ''}"
    sentence = f"{workers}; missed over {', '.join(aborted)}; wasted tokens from {shown[0]}" + (
        "; costs from steady." if costs else "."
    )
    return Table("All strategies at a glance", sentence, (*heads, *(head for _metric, head in costs)), rows)


def comparison_table(summary: Mapping[str, Any]) -> Table | None:
    """What the run's own comparison over blocks tells apart; None when it has too few blocks for any."""
    compared = [each for each in summary.get("comparisons") or [] if each["p_holm"] is not None]
    rows: list[tuple[str, ...]] = []
    for each in compared:
        ends = each.get("ci95") or {}
        rows.append((
            f"{each['a']} against {each['b']}",
            each["scenario"] + (f", {each['workers']} w" if each.get("workers") else ""),
            str(each["verdict"]),
            f"{number(each['ratio'])}{interval(ends.get('ratio'))}",
            f"{number(each['shift_ms'])}{interval(ends.get('shift_ms'))}",
            f"{each['p_holm']:.2g}",
            str(each["blocks"]),
        ))  # fmt: skip
    heads = ("stop of", "scenario", "verdict", "ratio [95 %]", "difference, ms [95 %]", "p (Holm)", "blocks")
    sentence = "Block by block, paired; p corrected over all comparisons of the run (Holm)."
    return Table("What is told apart", sentence, heads, rows) if rows else None


def control_table(summary: Mapping[str, Any]) -> Table | None:
    """Whether what must come out came out; None when the run has no controls."""
    words = {True: "holds", False: "FAILED", None: "cannot be told"}
    rows: list[tuple[str, ...]] = [
        (str(each["name"]), words[each["holds"]], str(each["says"])) for each in summary.get("controls") or []
    ]
    heads = ("control", "outcome", "what was seen")
    sentence = "What must come out whatever the strategies do."
    return Table("Controls", sentence, heads, rows, text=True) if rows else None


def _steady(here: Mapping[tuple[str, str], Case], strategy: str) -> dict[str, Any]:
    metrics: dict[str, Any] = here.get((strategy, "steady"), {}).get("metrics", {})
    return metrics


def _stop(case: Case | None) -> str:
    stop = (case or {"metrics": {}})["metrics"].get("upstream_stop_ms") or {}
    return f"{number(stop.get('p50'))} / {number(stop.get('p95'))}" if stop.get("p50") is not None else "-"
