"""A/A: the same code measured as two sides. What differs is noise: the gate's margins, and the rate of false alarms."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.false_alarms import COMPARISONS, false_alarms, split
from bench.gate_run import block_values
from bench.margins import DEFAULTS, noise, write_noise
from bench.meter import Measured
from bench.names import is_special
from bench.plan import Case
from bench.reading import read_run
from bench.records import Results, utc_now
from bench.runner import Run, Settings
from bench.service import Side
from bench.stats import write_summary

LABELS = "ABCDEFG"
"""Seven labels make 21 pairs; 20 are compared."""
METRIC = "upstream_stop_ms"


@dataclass(frozen=True)
class Found:
    """What an A/A measurement gave; `alarms` are false_alarms' answer for each case, None with too few blocks."""

    record: dict[str, Any]
    alarms: dict[str, dict[str, Any]]
    problems: Sequence[str]

    def write(self, path: Path) -> None:
        """Keep the noise for the gate, and the comparisons beside it."""
        write_noise(path, self.record | {"false_alarms": self.alarms})

    def table(self) -> Table:
        """The noise of each metric, and how many of the comparisons cried wolf."""
        table = Table(title="the same code against itself", title_justify="left", box=None, header_style="bold")
        for name in ("metric", "pairs", "spread of a ratio"):
            table.add_column(name, justify="left" if name == "metric" else "right")
        for metric, measured in self.record["metrics"].items():
            table.add_row(metric, str(measured["pairs"]), f"{measured['spread']:.1%}")
        for case, found in self.alarms.items():
            table.add_row(
                f"{case}: false alarms", f"{found['comparisons']}", f"{found['alarms']} ({found['rate']:.0%})"
            )
        return table


class Itself:
    """Two sides of one checkout, in interleaved blocks."""

    def __init__(self, cases: Sequence[Case], settings: Settings, results: Path, console: Console) -> None:
        self._cases = cases
        self._settings = settings
        self._console = console
        self._kept = [Results(results, f"{settings.label}-{name}") for name in ("a", "b")]

    def run(self, blocks: int) -> Found:
        """Measure so many pairs. Raises StoreError, ChildError, KeyboardInterrupt."""
        sides = [Measured(Side(name), kept) for name, kept in zip(("a", "b"), self._kept, strict=True)]
        Run(
            self._cases, self._settings, sides, self._console, more=lambda done, _took_s, _medians_ms: done < blocks
        ).execute()
        runs = [read_run(kept.folder) for kept in self._kept]
        summaries = [write_summary(run) for run in runs]
        one, other = (block_values(run) for run in runs)
        pairs: dict[str, list[tuple[float, float]]] = {}
        alarms: dict[str, dict[str, Any]] = {}
        for key, values in one.items():
            case, metric = key
            if is_special(case.scenario) or metric not in DEFAULTS:
                continue
            common = sorted(values.keys() & other.get(key, {}).keys())
            pairs.setdefault(metric, []).extend((values[block], other[key][block]) for block in common)
            if metric == METRIC:
                # Both sides' blocks in the order in which they were measured, as if they were one long run.
                in_a_row = {
                    2 * block + turn: side[key][block] for turn, side in enumerate((one, other)) for block in common
                }
                tables = split(in_a_row, LABELS)
                if len(tables[LABELS[0]]) >= 5:
                    alarms[f"{case.strategy} in {case.scenario}"] = false_alarms(tables, COMPARISONS)
        host = json.loads((self._kept[0].folder / "manifest.json").read_text(encoding="utf-8"))["host"]
        return Found(
            record=noise(pairs, host, utc_now()),
            alarms=alarms,
            problems=[problem for summary in summaries for problem in summary["problems"]],
        )
