"""Two runs of the same load side by side, in a folder of their own; neither run's folder is touched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.charts import Chart, draw_all, stop_limits
from bench.charts_compare import draw_costs, draw_stops
from bench.compare_words import facts_table, pairs_of, says_of, stop_table
from bench.reading import Run, UnreadableResults, case_key, read_run
from bench.report import content_of, write_pages
from bench.stats import write_summary

__all__ = ["UnlikeRuns", "UnreadableResults", "compare", "differences"]

MOST_NAMED, MOST_COMPARISONS = 5, 1000
SIDES = ("a", "b")
NOT_THE_LOAD = ("sentence", "name", "abort_window_ms")  # words, and what follows from the other settings
STOP = "upstream_stop_ms"
CAUTION = (
    "Two runs at two times: what the machine did meanwhile is part of every difference, and how much runs differ by"
    " themselves is not known from one of each. Intervals that lie apart are a hint; make regress gives a verdict."
)


class UnlikeRuns(Exception):  # noqa: N818 - reads as the sentence it makes in the CLI
    """The runs did not measure the same; the message is one line naming the keys that differ."""


def compare(a: Path, b: Path, results: Path) -> Path:
    """Write `results`/compare-<a>-<b>/report.html and report.md (never over an older one) and give the HTML's path.

    Raises UnreadableResults, or UnlikeRuns when load, workers, strategies, `quick` or the service's settings
    differ; host and commit may.
    """
    runs = read_run(a), read_run(b)
    if keys := differences(*runs):
        more = f" and {len(keys) - MOST_NAMED} more" if len(keys) > MOST_NAMED else ""
        raise UnlikeRuns(f"{a} and {b} did not measure the same: {'; '.join(keys[:MOST_NAMED])}{more}")
    names = [run.folder.resolve().name for run in runs]
    try:
        return _write(_new_folder(results, f"compare-{names[0]}-{names[1]}"), runs, names)
    except OSError as error:
        raise UnreadableResults(f"{results} cannot be written ({error}): choose another with --results") from error


def _write(folder: Path, runs: Sequence[Run], names: Sequence[str]) -> Path:
    limits, drawn, summaries = stop_limits(*runs), [], []
    for run, side in zip(runs, SIDES, strict=True):
        out = folder / side
        out.mkdir()
        # The summary belongs beside the pictures made from it; the runs' own folders stay as they are.
        summaries.append(write_summary(replace(run, folder=out)))
        drawn.append({chart.name: chart for chart in draw_all(run, summaries[-1], out, limits)})
    pairs = pairs_of(summaries[0], summaries[1])
    content = {
        "names": names,
        "sides": [content_of(run, summary) for run, summary in zip(runs, summaries, strict=True)],
        "says": says_of(pairs),
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
    """What makes the runs unlike, as `key is this in A, that in B`; empty when they may be compared."""
    found: list[str] = []
    for key in ("schema", "quick"):
        found += _unlike(key, a.manifest.get(key) or None, b.manifest.get(key) or None)
    settings = [run.manifest.get("settings") or {} for run in (a, b)]
    found += _unlike("settings.workers", settings[0].get("workers"), settings[1].get("workers"))
    found += _unlike_services(settings[0].get("service"), settings[1].get("service"))
    scenarios = [run.manifest.get("scenarios") or {} for run in (a, b)]
    for name in dict.fromkeys([*scenarios[0], *scenarios[1]]):
        found += _unlike_scenarios(f"scenarios.{name}", scenarios[0].get(name), scenarios[1].get(name))
    strategies = [{row["strategy"] for row in run.cases} for run in (a, b)]
    found += [f"strategy {name} is in {_only(name in strategies[0])}" for name in sorted(strategies[0] ^ strategies[1])]
    if not found:
        keys = [{case_key(row) for row in run.cases} for run in (a, b)]
        found += [
            f"case {key.strategy} in {key.scenario} with {key.workers} workers and {key.streams} streams is in"
            f" {_only(key in keys[0])}"
            for key in sorted(keys[0] ^ keys[1])
        ]
    return found


def _unlike_services(a: Mapping[str, Any] | None, b: Mapping[str, Any] | None) -> Iterator[str]:
    """Settings of the service that were given by the environment; an old record does not say, and is let through."""
    if a is None or b is None:
        return
    for key in dict.fromkeys([*a, *b]):
        yield from _unlike(f"settings.service.{key}", a.get(key), b.get(key))


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
