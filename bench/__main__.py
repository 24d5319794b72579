"""`python -m bench`: run the benchmark, render a report again, and the smaller commands around it."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from typer.exceptions import TyperException

from bench.plan import BACKENDS, MAX_WORKERS, SCENARIOS, PlanError, abort_moments, load_scenarios, select
from bench.records import LATEST, FolderError, Results

REGRESSION, INVALID, BAD_USAGE, INTERRUPTED = 1, 2, 4, 130
LEAKING = 1
RESULTS = Path("results")

app = typer.Typer(
    help="How fast does a streaming chat really stop? Measure abort strategies against each other.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
console = Console()


@app.command()
def run(
    *,
    backend: Annotated[str, typer.Option(help=f"Which strategies: {', '.join(BACKENDS)}.")] = "all",
    scenario: Annotated[str, typer.Option(help=f"Some of {','.join(SCENARIOS)}.")] = ",".join(SCENARIOS),
    workers: Annotated[str, typer.Option(help=f"Worker processes of the service, 1 to {MAX_WORKERS}.")] = "2",
    quick: Annotated[bool, typer.Option("--quick", help="Fewer chats: wider intervals, no p99.")] = False,
    seed: Annotated[int, typer.Option(help="Same seed, same abort moments.")] = 1,
    label: Annotated[str, typer.Option(help="Ends the results folder's name.", show_default="the backend")] = "",
    results: Annotated[Path, typer.Option(help="Where results folders are kept.")] = RESULTS,
) -> None:
    """Measure, record and report. REDIS_URL / DATABASE_URL name servers of yours; without them we start our own."""
    from bench.embedded import StoreError  # noqa: PLC0415 - `--help` and usage errors need none of this
    from bench.procs import ChildError  # noqa: PLC0415
    from bench.runner import Run, Settings  # noqa: PLC0415

    if not workers.isdecimal():
        raise PlanError(f"WORKERS is {workers!r}: choose from 1 to {MAX_WORKERS}")
    names = [name.strip() for name in scenario.split(",") if name.strip()]
    plan = select(backend, names, int(workers), quick=quick)
    settings = Settings(backend, int(workers), quick, seed, label or f"{backend}{'-quick' if quick else ''}")
    kept = Results(results, settings.label)
    try:
        folder = Run(plan, settings, kept, console).execute()
    except (StoreError, ChildError) as error:
        _keep(kept.folder)
        _end(INVALID, f"could not measure: {error}")
    except KeyboardInterrupt:
        _keep(kept.folder)
        _end(INTERRUPTED, "interrupted; everything started has been stopped")
    _report(folder)


@app.command()
def backends(
    *,
    backend: Annotated[str, typer.Option(help="Which stores: all, postgres, redis.")] = "all",
    quick: Annotated[bool, typer.Option("--quick", help="Fewer aborts: no p99.")] = False,
    results: Annotated[Path, typer.Option(help="Where abort-path.json is written.")] = RESULTS,
) -> None:
    """Measure the abort path itself, store by store, beside the bare driver: latency, round trips, bursts, fan-out."""
    from bench import abort_path, abort_tables  # noqa: PLC0415 - `--help` and usage errors need none of this

    if backend not in ("all", *abort_path.KINDS):
        raise PlanError(f"BACKEND is {backend!r}: choose from all, {', '.join(sorted(abort_path.KINDS))}")
    kinds = abort_path.KINDS if backend == "all" else (backend,)
    with console.status("starting") as status:
        record = abort_path.measure(kinds, results, status.update, quick=quick)
    for table in abort_tables.tables(record):
        console.print(table, "")
    console.print(f"every sample: {results / abort_path.FILE}", highlight=False, soft_wrap=True)
    for promise in abort_tables.broken(record):
        typer.echo(f"bench: broken: {promise}", err=True)
    if record["unmeasured"]:
        _end(INVALID, f"could not measure: {'; '.join(record['unmeasured'])}")
    if abort_tables.broken(record):
        raise typer.Exit(REGRESSION)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="A results folder.")] = RESULTS / LATEST,
) -> None:
    """Render summary, charts and report of a results folder again, from its raw files alone."""
    _report(folder)


@app.command()
def scenarios() -> None:
    """List the catalogue of scenarios."""
    table = Table("scenario", "what happens", "chats", "at a time", "aborted", box=None)
    for each in load_scenarios():
        aborted = sum(moment is not None for moment in abort_moments(each, 1))
        table.add_row(each.name, each.sentence, str(each.chats), str(each.streams), str(aborted))
    console.print(table)


@app.command()
def relay(
    *,
    pairs: Annotated[int, typer.Option(min=1, max=100, help="Rounds; in each, all contenders take a turn.")] = 5,
    streams: Annotated[int, typer.Option(min=1, max=5000, help="Streams held open at once.")] = 400,
    itl_ms: Annotated[float, typer.Option(min=1, max=1000, help="Time between the chunks of a stream, ms.")] = 20,
    held_streams: Annotated[int, typer.Option(min=1, max=5000, help="Slow streams held, then stopped at once.")] = 1000,
    results: Annotated[Path, typer.Option(help="Where relay.json is written.")] = RESULTS,
) -> None:
    """Measure what relaying a chunk costs, beside other relays: a bare one, and the tutorials' way."""
    from bench.embedded import StoreError  # noqa: PLC0415 - `--help` and usage errors need none of this
    from bench.procs import ChildError  # noqa: PLC0415
    from bench.relay import compare  # noqa: PLC0415
    from bench.relay_turns import RelayError  # noqa: PLC0415

    try:
        compare(console, results / "relay.json", pairs=pairs, streams=streams, itl_ms=itl_ms, held_streams=held_streams)
    except (RelayError, StoreError, ChildError) as error:
        _end(INVALID, f"could not measure: {error}")
    except OSError as error:
        _end(BAD_USAGE, f"{results} cannot be written ({error.strerror or error}): choose another with --results")


@app.command()
def soak(
    *,
    minutes: Annotated[float, typer.Option(min=0.1, max=240, help="How long the traffic goes on.")] = 10,
    workers: Annotated[int, typer.Option(min=1, max=MAX_WORKERS, help="Worker processes of the service.")] = 2,
    backend: Annotated[str, typer.Option(help="A store (with push), or a strategy such as redis-poll.")] = "redis",
    seed: Annotated[int, typer.Option(help="Same seed, same traffic.")] = 1,
) -> None:
    """Mixed traffic for a while, then look for leaks: exit code 1 names them, 0 says there are none."""
    from bench.embedded import StoreError  # noqa: PLC0415 - `--help` and usage errors need none of this
    from bench.procs import ChildError  # noqa: PLC0415
    from bench.soak import SoakError, find_leaks  # noqa: PLC0415

    try:
        leaks = find_leaks(console, minutes=minutes, workers=workers, backend=backend, seed=seed)
    except (SoakError, StoreError, ChildError) as error:
        _end(INVALID, f"could not measure: {error}")
    for leak in leaks:
        typer.echo(f"bench: leak: {leak}", err=True)
    if leaks:
        raise typer.Exit(LEAKING)


@app.command()
def serve(
    *,
    backend: Annotated[str, typer.Option(help="A store (with push), or a strategy such as redis-poll.")] = "redis",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free port.")] = 8000,
    workers: Annotated[
        int | None, typer.Option(min=1, max=MAX_WORKERS, help="Worker processes.", show_default="2; memory: 1")
    ] = None,
) -> None:
    """Serve the chat page: store, mock upstream (unless OPENAI_API_KEY or OPENAI_BASE_URL is set) and service."""
    from bench.embedded import StoreError  # noqa: PLC0415 - `--help` and usage errors need none of this
    from bench.procs import ChildError  # noqa: PLC0415
    from bench.serve import PortError, serve  # noqa: PLC0415

    try:
        serve(console, backend=backend, port=port, workers=workers)
    except PortError as error:
        _end(BAD_USAGE, str(error))
    except (StoreError, ChildError) as error:
        _end(INVALID, str(error))
    except KeyboardInterrupt:
        _end(0, "stopped")


def _report(folder: Path) -> None:
    """Render, print the table, say where the report lies; an invalid measurement ends with exit code 2."""
    from bench.report import UnreadableResults, render  # noqa: PLC0415 - brings in pandas and matplotlib

    try:
        page = render(folder)
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    except (UnreadableResults, OSError) as error:
        _end(BAD_USAGE, str(error))
    console.print(_table(summary["cases"]))
    console.print(f"report: {page}", highlight=False, soft_wrap=True)
    if not summary["valid"]:
        for problem in summary["problems"]:
            typer.echo(f"bench: problem: {problem}", err=True)
        _end(INVALID, f"the measurement is invalid ({len(summary['problems'])} problems, see above)")


def _table(cases: list[dict[str, Any]]) -> Table:
    title = "Latency to stop: from the abort sent to the upstream's connection lost"
    table = Table(title=title, box=None, padding=(0, 1, 0, 0), header_style="bold")  # fits 80 columns
    for name in ("scenario", "strategy"):
        table.add_column(name, no_wrap=True)
    for name in ("n", "p50\nms", "p95\nms", "missed", "wasted\ntokens", "CPU us\n/token", "errors"):
        table.add_column(name, justify="right", no_wrap=True)
    before = None
    for case in cases:
        new = case["scenario"] != before
        if new and before is not None:
            table.add_row()
        before = case["scenario"]
        metrics = case["metrics"]
        stop = metrics.get("upstream_stop_ms", {})
        table.add_row(
            case["scenario"] if new else "",
            case["strategy"],
            str(case["aborts"]),
            _number(stop.get("p50")),
            _number(stop.get("p95")),
            str(case["missed"]),
            _number(metrics.get("wasted_tokens", {}).get("mean")),
            _number(metrics.get("server_cpu_us_per_token", {}).get("p50")),
            str(case["errors"]),
        )
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}"


def _keep(folder: Path) -> None:
    if (folder / "cases.jsonl").exists():
        typer.echo(f"bench: finished cases are kept; `python -m bench report {folder}` shows them", err=True)


def _end(code: int, message: str) -> None:
    typer.echo(f"bench: {message}", err=True)
    raise typer.Exit(code)


def _interrupt(signum: int, _frame: object) -> None:
    raise KeyboardInterrupt(signum)


def main() -> None:
    """Run the command line; bad usage is one line and exit code 4."""
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, _interrupt)  # all three mean: stop what was started, keep what is finished
    try:
        code = app(standalone_mode=False)
    except (PlanError, FolderError) as error:
        typer.echo(f"bench: {error}", err=True)
        code = BAD_USAGE
    except TyperException as error:
        if message := error.format_message():  # empty after the help that a bare call gets
            typer.echo(f"bench: {message}", err=True)
        code = BAD_USAGE
    except (typer.Abort, KeyboardInterrupt):
        code = INTERRUPTED
    sys.exit(code)


if __name__ == "__main__":
    main()
