"""Two runs of the same load side by side, in a folder of their own; neither run's folder is touched."""

from __future__ import annotations

import filecmp
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.analysis.reading import CaseKey, Run, UnreadableResults, case_key, of_run, read_run
from bench.analysis.summary import write_summary
from bench.report.charts.compare import draw_costs, draw_stops
from bench.report.charts.draw import Chart, draw_all, stop_limits
from bench.report.compare_text import facts_table, pairs_of, says_of, stop_table
from bench.report.render import content_of, write_pages
from bench.workload.strategies import is_special

__all__ = ["UnlikeRuns", "UnreadableResults", "compare", "differences", "shared"]

MOST_NAMED, MOST_COMPARISONS = 5, 1000
SIDES = ("a", "b")
NOT_THE_LOAD = ("sentence", "name", "abort_window_ms")  # words, and what follows from the other settings
STOP = "upstream_stop_ms"
CAUTION = (
    "Two runs at two times: what the machine did meanwhile is part of every difference, and how much runs differ by"
    " themselves is not known from one of each. Intervals that lie apart are a hint; make regress gives a verdict."
)


class UnlikeRuns(Exception):  # noqa: N818 - reads as the sentence it makes in the CLI
    """The runs have nothing to compare; the message is one line naming the keys that differ."""


def compare(a: Path, b: Path, results: Path, say: Callable[[str], object] = lambda _line: None) -> Path:
    """Write `results`/compare-<a>-<b>/report.html and report.md (never over an older one) and give the HTML's path.

    Compares the cases that both have; `say` gets a line for each thing that only one of them has. Raises
    UnreadableResults, or UnlikeRuns for a run and itself, when no case is common, or when workers, `quick` or the
    service's environment differ; host and commit may.
    """
    runs = read_run(a), read_run(b)
    both, rest = _check(*runs)
    names = [run.folder.resolve().name for run in runs]
    try:
        page = _write(_new_folder(results, f"compare-{names[0]}-{names[1]}"), runs, names, both, rest)
    except OSError as error:
        raise UnreadableResults(f"{results} cannot be written ({error}): choose another with --results") from error
    for each in rest:
        say(each)
    return page


def _write(
    folder: Path, runs: Sequence[Run], names: Sequence[str], both: Container[CaseKey], rest: Sequence[str]
) -> Path:
    limits, drawn, summaries = stop_limits(*runs), [], []
    for run, side in zip(runs, SIDES, strict=True):
        out = folder / side
        out.mkdir()
        # The summary belongs beside the pictures made from it; the runs' own folders stay as they are.
        summaries.append(write_summary(replace(run, folder=out)))
        drawn.append({chart.name: chart for chart in draw_all(run, summaries[-1], out, limits)})
    pairs = [pair for pair in pairs_of(summaries[0], summaries[1]) if case_key(pair[0]) in both]
    content = {
        "names": names,
        "sides": [content_of(run, summary) for run, summary in zip(runs, summaries, strict=True)],
        "says": says_of(pairs),
        "rest": rest,
        "caution": CAUTION,
        "own": [chart for chart in (*draw_stops(folder, pairs, limits), draw_costs(folder, pairs)) if chart.drawn],
        "charts": _beside(drawn[0], drawn[1]),
        "table": stop_table(pairs),
        "facts": facts_table([run.manifest for run in runs], summaries),
    }
    return write_pages(folder, "compare", content)


def _beside(a: Mapping[str, Chart], b: Mapping[str, Chart]) -> list[tuple[Chart, Chart]]:
    """The charts of both runs by name, in A's order; those that neither run has data for are left out."""
    nothing = Chart("", "", "Not drawn: this run has fewer scenarios.", drawn=False)
    names = dict.fromkeys([*a, *b])
    both = [(a.get(name, nothing), b.get(name, nothing)) for name in names]
    return [(one, other) for one, other in both if one.drawn or other.drawn]


def _new_folder(parent: Path, name: str) -> Path:
    """A comparison that was made before is kept: the next one has a number behind it."""
    parent.mkdir(parents=True, exist_ok=True)
    for number in range(1, MOST_COMPARISONS):
        folder = parent / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise FileExistsError(f"{name} is taken {MOST_COMPARISONS} times")


def differences(a: Run, b: Run) -> list[str]:
    """What makes two runs incomparable as a whole, as `key is this in A, that in B`; mostly empty."""
    found: list[str] = []
    for key in ("schema", "quick"):
        found += _unlike(key, a.manifest.get(key) or None, b.manifest.get(key) or None)
    settings = [run.manifest.get("settings") or {} for run in (a, b)]
    found += _unlike("settings.workers", settings[0].get("workers"), settings[1].get("workers"))
    environments = of_run(a.manifest), of_run(b.manifest)
    if environments[0] is not None and environments[1] is not None:  # an old record does not say
        for key in dict.fromkeys([*environments[0], *environments[1]]):
            found += _unlike(f"environment.{key}", environments[0].get(key), environments[1].get(key))
    return found


def shared(a: Run, b: Run) -> tuple[set[CaseKey], list[str]]:
    """The cases that both runs measured in the same way, and in words what else there is, with the reason."""
    scenarios = [run.manifest.get("scenarios") or {} for run in (a, b)]
    unlike, rest = set(), []
    for name in dict.fromkeys([*scenarios[0], *scenarios[1]]):
        if told := list(_unlike_scenarios(f"scenarios.{name}", scenarios[0].get(name), scenarios[1].get(name))):
            unlike.add(name)
            rest += told
    strategies = [{row["strategy"] for row in run.cases} for run in (a, b)]
    rest += [f"strategy {name} is in {_only(name in strategies[0])}" for name in sorted(strategies[0] ^ strategies[1])]
    keys = [{case_key(row) for row in run.cases} for run in (a, b)]
    rest += [
        f"case {key.strategy} in {key.scenario} with {key.workers} workers and {key.streams} streams is in"
        f" {_only(key in keys[0])}"
        for key in sorted(keys[0] ^ keys[1])
        if key.scenario not in unlike and key.strategy not in strategies[0] ^ strategies[1]
    ]
    both = {key for key in keys[0] & keys[1] if key.scenario not in unlike and not is_special(key.scenario)}
    return both, rest


def _check(a: Run, b: Run) -> tuple[set[CaseKey], list[str]]:
    """What `shared` gives. Raises UnlikeRuns when there is nothing to compare."""
    if _is_same(a.folder, b.folder):
        raise UnlikeRuns(f"A and B are the same run, {a.folder.resolve().name}: name another one as B")
    found = differences(a, b)
    both, rest = shared(a, b)
    if found or not both:
        words = found or rest
        more = f" and {len(words) - MOST_NAMED} more" if len(words) > MOST_NAMED else ""
        raise UnlikeRuns(f"{a.folder} and {b.folder} did not measure the same: {'; '.join(words[:MOST_NAMED])}{more}")
    return both, rest


def _is_same(a: Path, b: Path) -> bool:
    """Whether one folder is the other, or a copy of it."""
    if a.resolve() == b.resolve():
        return True
    names = ("manifest.json", "cases.jsonl", "chats.jsonl.gz")
    return all(filecmp.cmp(a / name, b / name, shallow=False) for name in names)


def _unlike_scenarios(name: str, a: Mapping[str, Any] | None, b: Mapping[str, Any] | None) -> Iterator[str]:
    if a is None or b is None:
        yield f"{name} is in {_only(a is not None)}"
        return
    for key in dict.fromkeys([*a, *b]):
        if key not in NOT_THE_LOAD:
            yield from _unlike(f"{name}.{key}", a.get(key), b.get(key))


def _unlike(key: str, a: object, b: object) -> Iterator[str]:
    if a != b:
        yield f"{key} is {a} in A, {b} in B"


def _only(in_a: bool) -> str:
    return "A only" if in_a else "B only"
