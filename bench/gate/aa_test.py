"""A/A test: the same code measured as two sides, for the margins of the gate and the rate of its false alarms."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.analysis.calibration import pair_problems
from bench.analysis.comparison import ALPHA, Blocks, corrected, verdict
from bench.analysis.reading import read_run
from bench.analysis.summary import write_summary
from bench.gate import INVALID, GateError
from bench.gate.block_filter import unhealthy_blocks
from bench.gate.family import gate_values
from bench.gate.margins import MIN_PAIRS, change_of, defaults_of, margins, noise_of
from bench.gate.outcome import Outcome
from bench.gate.pairing import longer
from bench.gate.pairs import change, pairs_of
from bench.gate.regress import Evidence
from bench.record.host import utc_now
from bench.record.verdict import FalseAlarmPair, FalseAlarms, Noise
from bench.record.writer import Results
from bench.run.campaign import Run
from bench.run.duet import Always
from bench.run.meter import Measured
from bench.run.progress import Expected
from bench.run.settings import Settings
from bench.run.subject import Side
from bench.stats.paired import MIN_BLOCKS
from bench.workload.plan import Case
from bench.workload.strategies import is_special

LABELS = "ABCDEFG"
"""Seven labels make 21 pairs, of which COMPARISONS are compared."""
COMPARISONS = 20
METRIC = "upstream_stop_ms"
MAX_ALARMS = 0.05
"""Share of the comparisons of one case; with more false alarms, comparisons on this machine cannot be trusted."""


@dataclass(frozen=True)
class AAResult:
    """What an A/A test found; `left_out` are sentences on what was measured and not used.

    `outcome`: the two sides judged as base and head, with the margins of this noise. `folder` is that of head.
    """

    noise: Noise
    outcome: Outcome
    folder: Path
    problems: Sequence[str] = ()
    left_out: Sequence[str] = ()

    @property
    def alarms(self) -> Mapping[str, FalseAlarms]:
        """The comparisons by case, for the cases with enough blocks."""
        return self.noise.false_alarms or {}

    @property
    def too_many_alarms(self) -> list[str]:
        """The cases with more false alarms than MAX_ALARMS."""
        return [case for case, found in self.alarms.items() if (found.rate or 0.0) > MAX_ALARMS]

    def table(self) -> Table:
        """The noise of each metric, and the false alarms of each case with and without Holm's correction."""
        table = Table(title="the same code against itself", title_justify="left", box=None, header_style="bold")
        table.add_column("metric")
        for name in ("pairs", "spread of a ratio"):
            table.add_column(name, justify="right")
        for metric, measured in self.noise.metrics.items():
            table.add_row(metric, str(measured.pairs), f"{measured.spread:.1%}")
        for case, found in self.alarms.items():
            shares = (
                f"{found.alarms} ({found.rate:.0%}; uncorrected {found.uncorrected:.0%})" if found.comparisons else ""
            )
            table.add_row(f"{case}: false alarms", str(found.comparisons), shares or "too few blocks")
        return table


def measure(
    cases: Sequence[Case], settings: Settings, results: Path, console: Console, *, blocks: int, turns: bool = False
) -> AAResult:
    """Measure one checkout as two sides, which share loads or take `turns`.

    Raises StoreError, ChildError, and GateError without usable pairs.
    """
    sides = [Measured(Side(name), Results(results, f"{settings.label}-{name}")) for name in ("a", "b")]
    expects = Expected(blocks)
    pairing, cases = (None, cases) if turns else (Always(), longer(cases))
    Run(
        cases, settings, sides, console, more=lambda done, *_: done < blocks, expects=expects, pairing=pairing
    ).execute()
    return evaluate([each.results.folder for each in sides])


def evaluate(folders: Sequence[Path]) -> AAResult:
    """The result of two sides. Raises GateError if no metric has enough pairs."""
    runs = [read_run(folder) for folder in folders]
    summaries = [write_summary(run) for run in runs]
    excluded = unhealthy_blocks(runs[0]) | unhealthy_blocks(runs[1])
    one, other = (gate_values(run, excluded) for run in runs)
    of_pairs = pairs_of(runs[0], runs[1], excluded)
    changes: dict[str, list[float]] = {}
    alarms: dict[str, FalseAlarms] = {}
    usual = defaults_of(runs[0].manifest.duet is not None)
    for key, values in one.items():
        case, metric = key
        if is_special(case.scenario) or metric not in usual:
            continue
        common = sorted(values.keys() & other.get(key, {}).keys())
        shared = of_pairs.get(key, {})
        changes.setdefault(metric, []).extend(
            change(shared[block], usual[metric])
            if block in shared
            else change_of(usual[metric], values[block], other[key][block])
            for block in common
        )
        if metric == METRIC:
            # the blocks of both sides in the order in which they were measured, like those of one long run
            row = {2 * block + turn: side[key][block] for turn, side in enumerate((one, other)) for block in common}
            tables = split(row, LABELS)
            if len(tables[LABELS[0]]) >= MIN_BLOCKS:
                alarms[f"{case.strategy} in {case.scenario}"] = false_alarms(tables)
    enough = {metric: each for metric, each in changes.items() if len(each) >= MIN_PAIRS}
    if not enough:
        raise GateError(f"no metric has {MIN_PAIRS} usable A/A pairs: let `bench aa` measure more blocks", INVALID)
    few = [(metric, len(each)) for metric, each in changes.items() if metric not in enough]
    left_out = [f"{metric}: {count} pairs, not used ({MIN_PAIRS} needed)" for metric, count in few]
    left_out += [f"{len(excluded)} unhealthy blocks excluded"] if excluded else []
    duet = runs[0].manifest.duet is not None
    noise = Noise(
        made_utc=utc_now(),
        host=runs[0].manifest.host,
        duet=duet,
        metrics=noise_of(enough),
        false_alarms=alarms,
    )
    measured = margins(noise, duet=duet)
    outcome = Evidence(runs[0], runs[1], measured.of).outcome(None, measured.source, [], [])
    return AAResult(
        noise,
        replace(outcome, mode="duet" if duet else "turns"),
        runs[1].folder,
        problems=[
            *(problem for summary in summaries for problem in summary.problems),
            *pair_problems(runs[0].manifest.duet),
        ],
        left_out=left_out,
    )


def false_alarms(tables: Mapping[str, Blocks], comparisons: int = COMPARISONS) -> FalseAlarms:
    """Compare labels that are one and the same strategy; `tables` hold the block values of each label.

    The pairs are chosen so that all labels occur about equally often. `rate` counts verdicts as a run gives them (Holm
    over all pairs), `uncorrected` p values below 0.05; both are None if no pair has enough blocks. Raises ValueError
    for too few labels.
    """
    labels, around = list(tables), len(tables)  # a ring of labels: first the neighbours, then those two apart, ...
    ring = sorted(combinations(range(around), 2), key=lambda at: (min(at[1] - at[0], around - at[1] + at[0]), at))
    pairs = [(labels[one], labels[other]) for one, other in ring[:comparisons]]
    if len(pairs) < comparisons:
        raise ValueError(f"{len(tables)} labels make {len(pairs)} comparisons, {comparisons} were asked for")
    compared = corrected((a, b, tables[a], tables[b]) for a, b in pairs)
    entries = [
        FalseAlarmPair(
            a=a, b=b, blocks=each.blocks, ratio=each.ratio, p=each.p, p_holm=p_holm, verdict=verdict(each, p_holm)
        )
        for a, b, each, p_holm in compared
        if each.p is not None
    ]
    alarms = sum(entry.verdict in ("faster", "slower") for entry in entries)
    significant = sum(entry.p is not None and entry.p < ALPHA for entry in entries)
    rate, uncorrected = (count / len(entries) if entries else None for count in (alarms, significant))
    return FalseAlarms(comparisons=len(entries), alarms=alarms, rate=rate, uncorrected=uncorrected, pairs=entries)


def split(values: Blocks, labels: Sequence[str], seed: int = 1) -> dict[str, dict[int, float]]:
    """Distribute one strategy's blocks over `labels`: of each group of consecutive blocks every label gets one.

    So the values of a new block were measured near each other, as in a real run. Blocks left at the end are not used.
    """
    rng = random.Random(seed)
    order = sorted(values)
    tables: dict[str, dict[int, float]] = {label: {} for label in labels}
    for new_block in range(len(order) // len(labels)):
        group = order[new_block * len(labels) : (new_block + 1) * len(labels)]
        for label, block in zip(labels, rng.sample(group, len(group)), strict=True):
            tables[label][new_block] = values[block]
    return tables
