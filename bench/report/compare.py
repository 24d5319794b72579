"""Two runs of the same load side by side, in a folder of their own; neither run's folder is touched."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from bench.analysis.reading import Run, UnreadableResults, read_run
from bench.analysis.summary import write_summary
from bench.record.manifest import Manifest
from bench.record.schema import CaseKey
from bench.record.summary import Summary, SummaryCase
from bench.report.cases import median, overlap, value_of
from bench.report.charts.canvas import left_out
from bench.report.charts.compare import draw_costs, draw_stops
from bench.report.charts.draw import Chart, draw_all, stop_limits
from bench.report.differences import UnlikeRuns, check, differences, shared
from bench.report.formatting import number
from bench.report.pages import Table, sentence, table, write_pages
from bench.report.render import content_of
from bench.report.tables import facts_of

__all__ = ["UnlikeRuns", "UnreadableResults", "compare", "differences", "shared"]

MOST_COMPARISONS = 1000
SIDES = ("a", "b")
Pair = tuple[SummaryCase, SummaryCase]


def compare(a: Path, b: Path, results: Path, report: Callable[[str], object] = lambda _line: None) -> Path:
    """Write `results`/compare-<a>-<b>/report.html and report.md (never over an older one) and give the HTML's path.

    Compares the cases that both have; `report` gets a line for each thing that only one of them has. Raises
    UnreadableResults, or UnlikeRuns for a run and itself, when no case is common, or when workers, `quick` or the
    service's environment differ; host and commit may.
    """
    runs = read_run(a), read_run(b)
    both, rest = check(*runs)
    names = [run.folder.resolve().name for run in runs]
    try:
        page = _write(_new_folder(results, f"compare-{names[0]}-{names[1]}"), runs, names, both, rest)
    except OSError as error:
        raise UnreadableResults(f"{results} cannot be written ({error}): choose another with --results") from error
    for each in rest:
        report(each)
    return page


def _write(
    folder: Path,
    runs: Sequence[Run],
    names: Sequence[str],
    both: Container[CaseKey],
    rest: Sequence[str],
) -> Path:
    limits, drawn, summaries = stop_limits(*runs), [], []
    for run, side in zip(runs, SIDES, strict=True):
        out = folder / side
        out.mkdir()
        # Each page gets a copy of the summary that its charts are drawn from; the runs' own folders are not changed.
        summaries.append(write_summary(replace(run, folder=out)))
        drawn.append({chart.name: chart for chart in draw_all(run, summaries[-1], out, limits)})
    pairs = [pair for pair in pairs_of(*summaries) if pair[0].key in both]
    content = {
        "names": names,
        "sides": [content_of(run, summary) for run, summary in zip(runs, summaries, strict=True)],
        "changes": changes_text(pairs),
        "rest": rest,
        "own": [chart for chart in (*draw_stops(folder, pairs, limits), draw_costs(folder, pairs)) if chart.drawn],
        "charts": _beside(*drawn),
        "table": stop_table(pairs),
        "facts": facts_table([run.manifest for run in runs], summaries),
    }
    return write_pages(folder, "compare", content)


def _beside(a: Mapping[str, Chart], b: Mapping[str, Chart]) -> list[tuple[Chart, Chart]]:
    """The charts of both runs by name, in A's order; those that neither run has data for are left out."""
    none = {name: left_out(name, "this run has fewer scenarios") for name in [*a, *b]}
    both = [(a.get(name, none[name]), b.get(name, none[name])) for name in none]
    return [(one, other) for one, other in both if one.drawn or other.drawn]


def _new_folder(parent: Path, name: str) -> Path:
    """A new folder; when the name is taken, with a number."""
    parent.mkdir(parents=True, exist_ok=True)
    for count in range(1, MOST_COMPARISONS):
        folder = parent / (name if count == 1 else f"{name}-{count}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise FileExistsError(f"{name} is taken {MOST_COMPARISONS} times")


def pairs_of(a: Summary, b: Summary) -> list[Pair]:
    """The same cases of two summaries, in A's order."""
    others = {case.key: case for case in b.cases}
    return [(case, others[case.key]) for case in a.cases if case.key in others]


def timed(pair: Pair) -> bool:
    """Whether both cases have a median stop."""
    return all(value_of(case) is not None for case in pair)


def ratio(pair: Pair) -> float:
    """B's median stop over A's."""
    return median(pair[1]) / median(pair[0])


def changes_text(pairs: Sequence[Pair]) -> str:
    """How many medians differ, which one most, and where another number of aborts was missed."""
    both = [pair for pair in pairs if timed(pair)]
    apart = [pair for pair in both if not overlap(*pair)]
    most = max(apart, key=lambda pair: max(ratio(pair), 1 / ratio(pair)), default=None)
    missed = [pair for pair in pairs if pair[1].missed != pair[0].missed and pair[0].strategy != "none"]
    return sentence("compare.changes", timed=both, apart=apart, most=most, ratio=most and ratio(most), missed=missed)


def stop_table(pairs: Sequence[Pair]) -> Table:
    """A row per case with aborts."""
    found = [pair for pair in pairs if any(case.aborts for case in pair)]
    rows = [(*pair, ratio(pair) if timed(pair) else None, overlap(*pair)) for pair in found]
    return table("pair", pairs=rows)


def facts_table(manifests: Sequence[Manifest], summaries: Sequence[Summary]) -> Table:
    """Host, commit, versions, floor and blocks of both; those that differ first."""
    sides = [dict(facts_of(manifest)) for manifest in manifests]
    for side, summary, manifest in zip(sides, summaries, manifests, strict=True):
        floor = summary.floor.p50 if summary.floor else None
        side["floor"] = "not measured" if floor is None else f"{number(floor)} ms"
        side["blocks"] = str(manifest.blocks or 1)
    names = [name for name in dict.fromkeys([*sides[0], *sides[1]]) if not name.startswith("scenario ")]
    both = [(name, *(side.get(name, "-") for side in sides)) for name in names]
    rows: list[tuple[str, ...]] = [(name, "same" if a == b else "differs", a, b) for name, a, b in both]
    rows.sort(key=lambda row: row[1])
    heads = ("property", "same or not", "A", "B")
    return Table("Conditions of both runs", "For information; nothing here is a result.", heads, rows, text=True)
