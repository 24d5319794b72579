"""A results folder as the gate needs it: manifest, summary, and one value per block; refuses what cannot be judged."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.analysis.reading import CaseKey, Chat, Run, UnreadableResults, case_key, is_quick, read_run
from bench.gate.block_filter import Block, unwell
from bench.gate.family import BlockValues
from bench.stats.paired import MIN_BLOCKS

INVALID, BAD_USAGE = 2, 4
MIN_SAMPLES = 6
"""Stops a block needs before it has a median worth the name, as for any p50 here."""
CHAT_METRICS = ("upstream_stop_ms", "client_stop_ms", "abort_ack_ms", "ttft_ms", "wasted_tokens")
COSTS = ("server_cpu_us_per_token", "store_ops_per_token", "store_ops_per_chat")
"""Judged only where nobody stops anything: elsewhere a block holds too few tokens for a share of CPU time to mean
something."""


class GateError(Exception):
    """The gate cannot judge; the message is one line, cause and next step; `code` is the exit code."""

    def __init__(self, message: str, code: int = BAD_USAGE) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class GateRun:
    """One run in memory; `values` are `(case, metric) -> block -> value` in the metric's own unit.

    They are those of the blocks that are evidence; `left_out` are the others, each with the reason.
    """

    run: Run
    summary: dict[str, Any]
    values: BlockValues
    left_out: Mapping[Block, str]

    @property
    def folder(self) -> Path:
        """Where its files are."""
        return self.run.folder

    @property
    def manifest(self) -> Any:
        """The contents of its manifest.json."""
        return self.run.manifest

    @property
    def floor_ms(self) -> float:
        """The run's own floor, ms; raises GateError where it was not measured."""
        floor = (self.summary.get("floor") or {}).get("p50")
        if not floor:
            raise GateError(f"{self.folder} has no floor: measure again with this version (`make bench`)")
        return float(floor)

    @property
    def side(self) -> dict[str, Any]:
        """How the outcome names this run."""
        return {"name": self.folder.resolve().name, "commit": self.manifest.get("commit")}


def load(folder: Path) -> GateRun:
    """Read a run that may be judged. Raises GateError: no results (4), QUICK (4), too few blocks (4), invalid (2)."""
    try:
        run = read_run(folder)
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        valid = bool(summary["valid"])
    except UnreadableResults as error:
        raise GateError(str(error)) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        advice = f"`make report RUN_DIR={folder}` writes it again"
        raise GateError(f"{folder / 'summary.json'} cannot be read ({error!r}): {advice}") from error
    if is_quick(run.manifest):
        raise GateError(f"{folder} is a QUICK run, which yields no verdict: run `make bench` without QUICK=1")
    if not valid:
        cause = "; ".join(summary.get("problems") or ["no reason given"])
        raise GateError(f"{folder} is not valid, so it is no ground for a verdict: {cause}", INVALID)
    blocks = len({row["block"] for row in run.cases})
    if blocks < MIN_BLOCKS:
        raise GateError(f"{folder} has too few blocks ({blocks}, a verdict needs {MIN_BLOCKS}): give the run more time")
    left_out = unwell(run)
    return GateRun(run, summary, block_values(run, left_out), left_out)


def judged(values: BlockValues, scenarios: Mapping[str, Mapping[str, Any]]) -> BlockValues:
    """The values that may be judged; `scenarios` are their settings, as the manifest keeps them."""
    unstopped = {name for name, settings in scenarios.items() if not settings.get("abort_share")}
    return {key: each for key, each in values.items() if key[1] not in COSTS or key[0].scenario in unstopped}


def block_values(run: Run, left_out: Collection[Block] = ()) -> BlockValues:
    """The median of each chat metric in each block (the mean of wasted tokens, most of which are 0), and its costs.

    Blocks that are `left_out` have no values, and costs only the scenarios in which nobody stops anything.
    """
    chats: dict[tuple[CaseKey, int], list[Chat]] = defaultdict(list)
    for chat in run.chats:
        chats[chat.key, chat.block].append(chat)
    values: dict[tuple[CaseKey, str], dict[int, float]] = defaultdict(dict)
    for (key, block), own in chats.items():
        if (key, block) in left_out:
            continue
        for metric in CHAT_METRICS:
            samples = [value for chat in own if (value := getattr(chat.measured, metric)) is not None]
            if len(samples) >= MIN_SAMPLES:
                middle = statistics.fmean if metric == "wasted_tokens" else statistics.median
                values[key, metric][block] = float(middle(samples))
    for row in run.cases:
        key, block, sent = case_key(row), row["block"], row["chats_planned"] - (row.get("dropped") or 0)
        if (key, block) in left_out:
            continue
        for metric, cost, units in (
            ("server_cpu_us_per_token", (row["service_cpu_s"] or 0.0) * 1e6, row["tokens"]),
            ("store_ops_per_token", row["store_ops"], row["tokens"]),
            ("store_ops_per_chat", row["store_ops"], sent),
        ):
            if cost and units:
                values[key, metric][block] = cost / units
    return judged(values, run.manifest.get("scenarios") or {})
