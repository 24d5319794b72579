"""`python -m bench`: run the benchmark, render a report again, and the smaller commands around it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

try:
    import typer
    from typer.exceptions import TyperException
except ModuleNotFoundError as error:
    sys.stderr.write(
        f"bench: {sys.executable} has no {error.name}: use make, or .venv/bin/python -m bench (make setup makes it)\n"
    )
    sys.exit(4)

from bench.cli import gate as cli_gate
from bench.cli import regress as cli_regress
from bench.cli import run as cli_run
from bench.cli.calibrate import calibrate
from bench.cli.codes import BAD_USAGE, INTERRUPTED, INVALID, REGRESSION, end
from bench.cli.compare import compare
from bench.cli.doctor import doctor
from bench.cli.instrument import instrument
from bench.cli.knee import knee
from bench.cli.measuring import measuring
from bench.cli.prove import prove
from bench.cli.run import RESULTS, console
from bench.cli.stop_path import stop_path
from bench.record.writer import FolderError, check_writable
from bench.system.interrupts import end_with_make, interrupt_on_signals
from bench.workload.scenario import MAX_WORKERS, PlanError

app = typer.Typer(
    help="How fast does a streaming chat really stop? Measure abort strategies against each other.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for command in (
    cli_run.run,
    cli_run.rerun,
    cli_run.report,
    compare,
    cli_run.scenarios,
    cli_run.strategies,
    doctor,
    knee,
    stop_path,
    instrument,
    calibrate,
    cli_gate.baseline,
    cli_gate.check,
    cli_gate.history,
    cli_regress.regress,
    cli_regress.aa,
    prove,
):
    app.command()(command)


@app.command()
@measuring
def backends(
    *,
    backend: Annotated[str, typer.Option(help="all, postgres, redis; or postgres-push, redis-push.")] = "all",
    quick: Annotated[bool, typer.Option("--quick", help="Fewer aborts: no p99.")] = False,
    results: Annotated[Path, typer.Option(help="Where abort-path.json is written.")] = RESULTS,
) -> None:
    """Measure the abort path itself, store by store, beside the bare driver: latency, round trips, bursts, fan-out."""
    from bench.experiments import abort_path, abort_tables  # noqa: PLC0415 - `--help` and usage errors need none of this

    choices = {"all": abort_path.KINDS, **{name: (name.removesuffix("-push"),) for name in abort_path.CHOICES}}
    if backend not in choices:
        raise PlanError(f"BACKEND {backend!r} has no push path to measure: choose from {', '.join(choices)}")
    kinds = choices[backend]
    with console.status("starting") as status:
        record = abort_path.measure(kinds, results, status.update, quick=quick)
    for table in abort_tables.tables(record):
        console.print(table, "")
    console.print(f"every sample: {results / abort_path.FILE}", highlight=False, soft_wrap=True)
    for promise in abort_tables.broken(record):
        typer.echo(f"bench: broken: {promise}", err=True)
    if record["unmeasured"]:
        end(INVALID, f"could not measure: {'; '.join(record['unmeasured'])}")
    if abort_tables.broken(record):
        raise typer.Exit(REGRESSION)


@app.command()
@measuring
def relay(
    *,
    pairs: Annotated[int, typer.Option(min=1, max=100, help="Rounds; in each, all contenders take a turn.")] = 5,
    streams: Annotated[int, typer.Option(min=1, max=5000, help="Streams held open at once.")] = 400,
    itl_ms: Annotated[float, typer.Option(min=1, max=1000, help="Time between the chunks of a stream, ms.")] = 20,
    held_streams: Annotated[int, typer.Option(min=1, max=5000, help="Slow streams held, then stopped at once.")] = 1000,
    results: Annotated[Path, typer.Option(help="Where relay.json is written.")] = RESULTS,
) -> None:
    """Measure what relaying a chunk costs, beside other relays: a bare one, and the tutorials' way."""
    from bench.experiments.relay.compare import compare  # noqa: PLC0415
    from bench.experiments.relay.turns import RelayError  # noqa: PLC0415
    from bench.system.embedded import StoreError  # noqa: PLC0415 - `--help` and usage errors need none of this
    from bench.system.procs import ChildError  # noqa: PLC0415

    check_writable(results)
    try:
        compare(console, results / "relay.json", pairs=pairs, streams=streams, itl_ms=itl_ms, held_streams=held_streams)
    except (RelayError, StoreError, ChildError) as error:
        end(INVALID, f"could not measure: {error}")


@app.command()
@measuring
def soak(
    *,
    minutes: Annotated[float, typer.Option(min=0.1, max=240, help="How long the traffic goes on.")] = 10,
    workers: Annotated[int, typer.Option(min=1, max=MAX_WORKERS, help="Worker processes of the service.")] = 2,
    backend: Annotated[str, typer.Option(help="A store (with push), or a strategy such as redis-poll.")] = "redis",
    seed: Annotated[int, typer.Option(help="Same seed, same traffic.")] = 1,
) -> None:
    """Mixed traffic for a while, then look for leaks: exit code 1 names them, 0 says there are none."""
    from bench.experiments.soak.run import SoakError, find_leaks  # noqa: PLC0415
    from bench.system.embedded import StoreError  # noqa: PLC0415 - `--help` and usage errors need none of this
    from bench.system.procs import ChildError  # noqa: PLC0415

    try:
        leaks = find_leaks(console, minutes=minutes, workers=workers, backend=backend, seed=seed)
    except (SoakError, StoreError, ChildError) as error:
        end(INVALID, f"could not measure: {error}")
    for leak in leaks:
        typer.echo(f"bench: leak: {leak}", err=True)
    if leaks:
        raise typer.Exit(REGRESSION)


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
    from bench.experiments.serve import PortError, serve  # noqa: PLC0415
    from bench.system.embedded import StoreError  # noqa: PLC0415 - `--help` and usage errors need none of this
    from bench.system.procs import ChildError  # noqa: PLC0415

    try:
        serve(console, backend=backend, port=port, workers=workers)
    except PortError as error:
        end(BAD_USAGE, str(error))
    except (StoreError, ChildError) as error:
        end(INVALID, str(error))
    except KeyboardInterrupt:
        end(0, "stopped")


def main() -> None:
    """Run the command line; bad usage is one line and exit code 4."""
    interrupt_on_signals()
    end_with_make()
    try:
        code = app(standalone_mode=False)
    except (PlanError, FolderError) as error:
        typer.echo(f"bench: {error}", err=True)
        code = BAD_USAGE
    except TyperException as error:
        if message := error.format_message():  # empty after the help that a bare call gets
            if message.startswith("No such command") and "Did you mean" not in message:
                message += " Choose from " + ", ".join(sorted(typer.main.get_command(app).commands))  # type: ignore[attr-defined]
            typer.echo(f"bench: {message}", err=True)
        code = BAD_USAGE
    except (typer.Abort, KeyboardInterrupt):
        code = INTERRUPTED
    sys.exit(code)


if __name__ == "__main__":
    main()
