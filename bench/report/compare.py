"""Two runs of the same load side by side, in a folder of their own; neither run's folder is touched."""

import filecmp
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from bench.analysis.ranking import median, value_of
from bench.analysis.reading import Run, read_run, unlike_environments
from bench.analysis.summary import write_summary
from bench.record.reader import UnreadableResults
from bench.record.schema import CaseKey
from bench.record.summary import Summary
from bench.report.cases import overlap
from bench.report.charts.canvas import Chart, left_out
from bench.report.charts.compare import Pair, draw_costs, draw_stops
from bench.report.charts.draw import draw_all, stop_limits
from bench.report.formatting import number
from bench.report.live import Side, live_data
from bench.report.pages import Table, sentence, table, write_pages
from bench.report.render import content_of
from bench.report.tables import facts_of
from bench.workload.strategies import is_special

MOST_COMPARISONS, MOST_NAMED = 1000, 5
SIDES = ("a", "b")
NOT_THE_LOAD = ("sentence", "name")


class UnlikeRuns(Exception):  # noqa: N818 - reads as the sentence it makes in the CLI
    """The runs have nothing to compare; the message is one line naming the keys that differ."""


def compare(a: Path, b: Path, results: Path, report: Callable[[str], object] = lambda _line: None) -> Path:
    """Write `results`/compare-<a>-<b>/report.html and report.md (never over an older one) and give the HTML's path.

    Compares the cases that both have; `report` gets a line for each thing that only one of them has. Raises
    UnreadableResults, or UnlikeRuns for a run and itself, when no case is common, or when workers, `quick` or the
    service's environment differ; host and commit may.
    """
    runs = read_run(a), read_run(b)
    names = [run.folder.resolve().name for run in runs]
    if _is_same(a, b):
        raise UnlikeRuns(f"A and B are the same run, {names[0]}: name another one as B")
    found, (both, rest) = differences(*runs), shared(*runs)
    if found or not both:
        named = found or rest
        more = f" and {len(named) - MOST_NAMED} more" if len(named) > MOST_NAMED else ""
        raise UnlikeRuns(f"{a} and {b} did not measure the same: {'; '.join(named[:MOST_NAMED])}{more}")
    try:
        folder = _new_folder(results, f"compare-{names[0]}-{names[1]}")
        page = write_pages(folder, "compare", {"names": names, "rest": rest, **_content(folder, runs, both)})
    except OSError as error:
        raise UnreadableResults(f"{results} cannot be written ({error}): choose another with --results") from error
    for each in rest:
        report(each)
    return page


def differences(a: Run, b: Run) -> list[str]:
    """What makes two runs incomparable as a whole, as `key is this in A, that in B`; mostly empty."""
    manifests = a.manifest, b.manifest
    sides = [{"quick": each.quick or None, "settings.workers": each.settings.get("workers")} for each in manifests]
    return [*_unlike("", *sides), *(f"environment.{text}" for text in unlike_environments(*manifests))]


def shared(a: Run, b: Run) -> tuple[set[CaseKey], list[str]]:
    """The cases that both runs measured in the same way, and in words what only one has, or has differently."""
    one, other = (msgspec.to_builtins(run.manifest.scenarios) for run in (a, b))
    keys = [{row.key for row in run.cases} for run in (a, b)]
    mine, theirs = ({key.strategy for key in each} for each in keys)
    unlike = {
        name: _unlike(f"scenarios.{name}.", one[name], other[name])
        if name in one and name in other
        else [f"scenarios.{name} is in {_only(name in one)}"]
        for name in {**one, **other}
    }
    rest = [text for texts in unlike.values() for text in texts]
    rest += [f"strategy {name} is in {_only(name in mine)}" for name in sorted(mine ^ theirs)]
    rest += [
        f"case {key.strategy} in {key.scenario} with {key.workers} workers and {key.streams} streams is in"
        f" {_only(key in keys[0])}"
        for key in sorted(keys[0] ^ keys[1])
        if not unlike.get(key.scenario) and key.strategy not in mine ^ theirs
    ]
    return {key for key in keys[0] & keys[1] if not unlike.get(key.scenario) and not is_special(key.scenario)}, rest


def _is_same(a: Path, b: Path) -> bool:
    """Whether one folder is the other, or a copy of it."""
    names = ("manifest.json", "cases.jsonl", "chats.jsonl.gz")
    return a.resolve() == b.resolve() or all(filecmp.cmp(a / name, b / name, shallow=False) for name in names)


def _unlike(prefix: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    keys = [key for key in a if a[key] != b[key] and key not in NOT_THE_LOAD]
    return [f"{prefix}{key} is {a[key]} in A, {b[key]} in B" for key in keys]


def _only(in_a: bool) -> str:
    return "A only" if in_a else "B only"


def _content(folder: Path, runs: Sequence[Run], both: Container[CaseKey]) -> dict[str, Any]:
    """Draw the charts of both runs, and of both in one, into `folder`; give what the templates show."""
    limits, drawn, summaries = stop_limits(*runs), [], []
    for run, side in zip(runs, SIDES, strict=True):
        out = folder / side
        out.mkdir()
        # Each page gets a copy of the summary that its charts are drawn from; the runs' own folders are not changed.
        summaries.append(write_summary(replace(run, folder=out)))
        drawn.append({chart.name: chart for chart in draw_all(run, summaries[-1], out, limits)})
    pairs = [pair for pair in pairs_of(*summaries) if pair[0].key in both]
    names = [f"{side.upper()}: {run.folder.resolve().name}" for side, run in zip(SIDES, runs, strict=True)]
    return {
        "live": live_data([Side(*each) for each in zip(runs, summaries, strict=True)], names),
        "sides": [content_of(run, summary) for run, summary in zip(runs, summaries, strict=True)],
        "changes": changes_text(pairs),
        "own": [chart for chart in (*draw_stops(folder, pairs, limits), draw_costs(folder, pairs)) if chart.drawn],
        "charts": _beside(*drawn),
        "table": stop_table(pairs),
        "facts": facts_table(runs, summaries),
    }


def _beside(a: Mapping[str, Chart], b: Mapping[str, Chart]) -> list[tuple[Chart, Chart]]:
    """The charts of both runs by name, in A's order; those that neither run has data for are left out."""
    none = {name: left_out(name, "this run has fewer scenarios") for name in [*a, *b]}
    both = [(a.get(name, none[name]), b.get(name, none[name])) for name in none]
    return [(one, other) for one, other in both if one.drawn or other.drawn]


def _new_folder(parent: Path, name: str) -> Path:
    """A new folder; when the name is taken, with a number."""
    names = [name, *(f"{name}-{count}" for count in range(2, MOST_COMPARISONS))]
    folder = next((parent / each for each in names if not (parent / each).exists()), parent / name)
    folder.mkdir(parents=True)
    return folder


def pairs_of(a: Summary, b: Summary) -> list[Pair]:
    """The same cases of two summaries, in A's order."""
    others = {case.key: case for case in b.cases}
    return [(case, others[case.key]) for case in a.cases if case.key in others]


def ratio(pair: Pair) -> float | None:
    """B's median stop over A's; None unless both have one."""
    return median(pair[1]) / median(pair[0]) if all(value_of(case) is not None for case in pair) else None


def changes_text(pairs: Sequence[Pair]) -> str:
    """How many medians differ, which one most, and where another number of aborts was missed."""
    timed = [(value, pair) for pair in pairs if (value := ratio(pair))]
    apart = [(value, pair) for value, pair in timed if not overlap(*pair)]
    most = max(apart, key=lambda each: max(each[0], 1 / each[0]), default=None)
    missed = [pair for pair in pairs if pair[1].missed != pair[0].missed and pair[0].strategy != "none"]
    return sentence("compare.changes", timed=timed, apart=apart, most=most, missed=missed)


def stop_table(pairs: Sequence[Pair]) -> Table:
    """A row per case with aborts."""
    found = [pair for pair in pairs if any(case.aborts for case in pair)]
    return table("pair", pairs=[(*pair, ratio(pair), overlap(*pair)) for pair in found])


def facts_table(runs: Sequence[Run], summaries: Sequence[Summary]) -> Table:
    """Host, commit, versions, floor and blocks of both; those that differ first."""
    sides = []
    for run, summary in zip(runs, summaries, strict=True):
        floor = summary.floor.p50 if summary.floor else None
        measured = {"floor": "not measured" if floor is None else f"{number(floor)} ms"}
        sides.append({**dict(facts_of(run.manifest)), **measured, "blocks": str(run.manifest.blocks or 1)})
    names = [name for name in {**sides[0], **sides[1]} if not name.startswith("scenario ")]
    both = [(name, *(side.get(name, "-") for side in sides)) for name in names]
    return table("both", both=sorted(both, key=lambda row: row[1] == row[2]), text=True)
