"""The commands that show: `report`, `compare`, `history`, `site`, `scenarios`, `strategies`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from rich.table import Table
from typer import Argument, Option

from bench.cli.errors import exit_codes, writing_to
from bench.cli.options import RESULTS, Folders, Run
from bench.cli.terminal import BAD_USAGE, INVALID, console, end, line, refuse_invalid, warn
from bench.experiments.tables import figure, table
from bench.record.base import RecordError, read_file
from bench.record.reader import UnreadableResults, read_manifest
from bench.record.summary import Metric, MetricIntervals, Summary, SummaryCase
from bench.record.writer import LATEST
from bench.report.formatting import plural
from bench.workload.plan import BACKENDS, STRATEGIES
from bench.workload.scenario import catalogue, load_scenarios

MOST_NAMED = 5
NO_METRIC = Metric(n=0, ci95=MetricIntervals())
METRICS = ("upstream_stop_ms", "wasted_tokens", "server_cpu_us_per_token")


def report(folder: Run = RESULTS / LATEST) -> None:
    """Render summary, charts and report of a results folder again, from its raw files alone."""
    refuse_invalid(render_report(folder, BAD_USAGE))


def render_report(folder: Path, failure: int) -> list[str]:
    """Render and print the report; returns the run's problems. `failure`: exit code when it cannot be rendered."""
    from bench.report.render import render  # brings in matplotlib

    try:
        page = render(folder)
        summary, manifest = read_file(folder / "summary.json", Summary), read_manifest(folder)
    except (UnreadableResults, RecordError, OSError) as error:
        end(failure, str(error))
    console.print(case_table(summary.cases))
    if summary.floor and summary.floor.p50:
        line(f"floor of this instrument and machine: {summary.floor.p50:.2f} ms; smaller differences are not claimed")
    if manifest.is_quick:
        line("a QUICK run: a first look, not for claims")
    line(f"report: {page}")
    warn("note", summary.warnings)
    return [] if summary.valid else summary.problems


def compare(
    a: Annotated[str, Argument(metavar="A", help="A results folder.", show_default=False)] = "",
    b: Annotated[str, Argument(metavar="B", help="Another one.", show_default=False)] = "",
    *,
    results: Folders = RESULTS,
) -> None:
    """Show two runs side by side: the cases that both measured in the same way; names the others.

    Exit codes: 0 fine, 2 one of the runs is invalid (the comparison is made, with a warning), 4 nothing to compare.
    """
    from bench.report import compare as runs  # brings in matplotlib

    if not (a and b):
        folders = sorted((path.parent for path in results.glob("*/manifest.json")), key=lambda each: each.name)
        names = [str(folder) for folder in reversed(folders) if not folder.is_symlink()][:MOST_NAMED]
        yours = f"yours: {', '.join(names)}" if names else f"{results} holds none yet: make bench"
        end(BAD_USAGE, f"compare needs two runs: make compare A=results/... B=results/...; {yours}")
    with exit_codes(usage=(runs.UnlikeRuns, UnreadableResults)):
        page = runs.compare(Path(a), Path(b), results, lambda what: warn("not compared", [what]))
    line(f"comparison: {page}")
    invalid = []
    for side, name in (("a", a), ("b", b)):
        summary = read_file(page.parent / side / "summary.json", Summary)
        if not summary.valid:
            invalid.append(f"{side.upper()} ({name}) is invalid: {[*summary.problems, 'no reason given'][0]}")
    if invalid:
        end(INVALID, f"no conclusions from this comparison: {'; '.join(invalid)}")


def history(
    *,
    metric: Annotated[str, Option(help="name.statistic, for example ttft_ms.p95.")] = "upstream_stop_ms.p50",
    strategy: Annotated[str, Option(help="One strategy.", show_default="all")] = "",
    scenario: Annotated[str, Option(help="One scenario; an empty one means all.")] = "flowing",
    results: Folders = RESULTS,
) -> None:
    """Draw a metric over the past full runs of this machine, with the 95 % interval of each."""
    from bench.report import history as past

    with exit_codes(usage=(past.HistoryError,)), writing_to(results, "choose another with --results"):
        found = past.history(results, metric, strategy or None, scenario or None)
        files = past.draw(found, results)
    for each in past.tables(found):
        console.print(each, "")
    left_out = ", ".join(f"{count} {why}" for why, count in found.left_out.items())
    line(f"runs shown: {found.runs}; left out: {left_out or 'none'}")
    for path in files:
        line(f"chart: {path}")


def site(
    into: Annotated[Path, Option(help="The folder to write; one that `site` made before is replaced.")] = Path("site"),
    *,
    results: Folders = RESULTS,
) -> None:
    """Render all runs into a static site: an index with filters, every report, the products table, and badges.

    Any static host serves it. Exit codes: 0 fine, 4 no run, or a folder that is somebody else's.
    """
    from bench.report.site.write import SiteError, write_site  # brings in matplotlib

    with exit_codes(usage=(SiteError,)), console.status("reading runs") as status:
        runs, left_out = write_site(results, into, status.update)
    line(f"{plural(runs, 'run')}: {into / 'index.html'}")
    warn("left out", left_out)


def scenarios() -> None:
    """List the catalogue of scenarios; the first ones are measured by default."""
    shown = Table("scenario", "what happens", "chats\na block", "loop", "stopped", box=None)
    for each in load_scenarios(catalogue()):
        load = f"open, {each.rate_per_s:g}/s" if each.rate_per_s else f"closed, {each.streams} at a time"
        shown.add_row(each.name, each.sentence, str(each.chats), load, f"{each.abort_share:.0%}")
    console.print(shown)
    line("A file of yours works the same way: make bench SCENARIO=my.toml")


def strategies() -> None:
    """List the strategies: the values of --strategy, --backend and BACKEND=."""
    for name in STRATEGIES:
        line(name)
    line(f"BACKEND also takes {', '.join(BACKENDS)}: every strategy of that store")


def case_table(cases: Sequence[SummaryCase]) -> Table:
    """The cases of a summary, a line each; it fits 80 columns."""
    title = "Latency to stop: from the abort sent to the upstream's connection lost"
    figures = ("n", "p50\nms", "p95\nms", "missed", "wasted\ntokens", "CPU us\n/token", "errors")
    found, before = table(title, ("<scenario", "<strategy", *figures)), ""
    for case in cases:
        heading = f"{case.scenario}, {case.workers} w"
        if before not in ("", heading):
            found.add_row()
        stop, wasted, cpu = (case.metrics.get(name, NO_METRIC) for name in METRICS)
        found.add_row(
            "" if heading == before else heading,
            case.strategy,
            str(case.aborts),
            figure(stop.p50, ",.1f"),
            figure(stop.p95, ",.1f"),
            str(case.missed),
            figure(wasted.mean, ",.1f"),
            figure(None if case.aborts else cpu.p50, ",.1f"),
            str(case.errors),
        )
        before = heading
    return found
