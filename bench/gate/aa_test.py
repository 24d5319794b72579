"""A/A: the same code measured as two sides. What differs is noise: the gate's margins, and the rate of false alarms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.analysis.reading import read_run
from bench.analysis.summary import write_summary
from bench.gate.block_filter import unwell
from bench.gate.false_alarms import COMPARISONS, false_alarms, split
from bench.gate.gate_run import block_values
from bench.gate.margins import DEFAULTS, LEAST_PAIRS, NoiseError, noise, write_noise
from bench.record.writer import Results, utc_now
from bench.run.campaign import Run, Settings
from bench.run.meter import Measured
from bench.run.progress import Expected
from bench.run.subject import Side
from bench.stats.paired import MIN_BLOCKS
from bench.workload.plan import Case
from bench.workload.strategies import is_special

LABELS = "ABCDEFG"
"""Seven labels make 21 pairs; 20 are compared."""
METRIC = "upstream_stop_ms"
MAX_ALARMS = 0.05
"""Of the comparisons of one case; more, and the comparison itself cannot be trusted on this machine."""


@dataclass(frozen=True)
class Found:
    """What an A/A measurement gave; `alarms` are false_alarms' answer for each case that has enough blocks.

    `left_out` tells, in words, what was measured and not used.
    """

    record: dict[str, Any]
    alarms: dict[str, dict[str, Any]]
    problems: Sequence[str]
    left_out: Sequence[str] = ()

    @property
    def loud(self) -> list[str]:
        """The cases in which too many comparisons cried wolf."""
        return [case for case, found in self.alarms.items() if (found["rate"] or 0.0) > MAX_ALARMS]

    def write(self, path: Path) -> None:
        """Keep the noise for the gate, and the comparisons beside it."""
        write_noise(path, self.record | {"false_alarms": self.alarms})

    def table(self) -> Table:
        """The noise of each metric, and how many of the comparisons cried wolf, with and without Holm's correction."""
        table = Table(title="the same code against itself", title_justify="left", box=None, header_style="bold")
        for name in ("metric", "pairs", "spread of a ratio"):
            table.add_column(name, justify="left" if name == "metric" else "right")
        for metric, measured in self.record["metrics"].items():
            table.add_row(metric, str(measured["pairs"]), f"{measured['spread']:.1%}")
        for case, found in self.alarms.items():
            if found["rate"] is None:
                table.add_row(f"{case}: false alarms", "0", "too few blocks")
                continue
            told = f"{found['alarms']} ({found['rate']:.0%}; uncorrected {found['uncorrected']:.0%})"
            table.add_row(f"{case}: false alarms", f"{found['comparisons']}", told)
        return table


class Itself:
    """Two sides of one checkout, in interleaved blocks."""

    def __init__(self, cases: Sequence[Case], settings: Settings, results: Path, console: Console) -> None:
        self._cases = cases
        self._settings = settings
        self._console = console
        self._kept = [Results(results, f"{settings.label}-{name}") for name in ("a", "b")]

    def run(self, blocks: int) -> Found:
        """Measure so many pairs. Raises StoreError, ChildError, KeyboardInterrupt, NoiseError when none are usable."""
        sides = [Measured(Side(name), kept) for name, kept in zip(("a", "b"), self._kept, strict=True)]
        Run(
            self._cases,
            self._settings,
            sides,
            self._console,
            more=lambda done, _took_s, _medians_ms: done < blocks,
            expects=Expected(blocks),
        ).execute()
        return found_in([kept.folder for kept in self._kept])


def found_in(folders: Sequence[Path]) -> Found:
    """What two sides' results show. Raises NoiseError when no metric has enough pairs."""
    runs = [read_run(folder) for folder in folders]
    summaries = [write_summary(run) for run in runs]
    sick = unwell(runs[0]) | unwell(runs[1])
    one, other = (block_values(run, sick) for run in runs)
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
            if len(tables[LABELS[0]]) >= MIN_BLOCKS:
                alarms[f"{case.strategy} in {case.scenario}"] = false_alarms(tables, COMPARISONS)
    few = {metric: len(each) for metric, each in pairs.items() if len(each) < LEAST_PAIRS}
    enough = {metric: each for metric, each in pairs.items() if metric not in few}
    if not enough:
        raise NoiseError(f"no metric has {LEAST_PAIRS} usable A/A pairs: let `bench aa` measure more blocks")
    left_out = [f"{metric}: {count} pairs, not used ({LEAST_PAIRS} are needed)" for metric, count in few.items()]
    left_out += [f"{len(sick)} blocks of cases left out: the instrument was not well"] if sick else []
    return Found(
        record=noise(enough, runs[0].manifest["host"], utc_now()),
        alarms=alarms,
        problems=[problem for summary in summaries for problem in summary["problems"]],
        left_out=left_out,
    )
