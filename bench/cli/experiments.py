"""The commands that measure something beside a run: `knee`, `stop-path`, `backends`, `relay`, `storm`, ..."""

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from bench.cli.errors import keeping, measuring
from bench.cli.options import RESULTS, Backend, Folders, Quick, Seed, Workers
from bench.cli.terminal import BAD_USAGE, INCONCLUSIVE, INVALID, REGRESSION, console, end, line, warn
from bench.experiments.tables import written
from bench.workload.plan import BACKENDS, STRATEGIES, check_backend, is_asked, store_of
from bench.workload.scenario import PlanError

LIMIT_MS = "Limit of a stop's p99, above its p99 at a low rate."
MINUTES, PAIRS = "3; quick: 0.75", "5; quick: 2"
INTO = "A run's folder, e.g. results/latest: its report then shows the knee, too."


@measuring
def knee(
    backend: Annotated[str, Argument(help=f"{', '.join(BACKENDS)}; or a strategy such as redis-push.")] = "all",
    *,
    workers: Workers = 2,
    limit_ms: Annotated[float, Option(min=1, max=10000, help=LIMIT_MS)] = 20,
    minutes: Annotated[float | None, Option(min=0.1, max=600, help="For each strategy.", show_default=MINUTES)] = None,
    quick: Quick = False,
    seed: Seed = 1,
    results: Folders = RESULTS,
    into: Annotated[Path | None, Option(help=INTO)] = None,
) -> None:
    """Raise the rate of chats until stops get slow or are lost: the chats/s and aborts/s that each strategy carries.

    Strategies over memory are measured with one worker.
    """
    from bench.experiments import knee_run
    from bench.run.rig import Kept

    strategies = _strategies(backend)
    run = into.resolve() if into else None  # results/latest may point elsewhere by then
    if run and not (run / "manifest.json").is_file():
        raise PlanError(f"--into {into} is no results folder: give one that `make bench` made, e.g. results/latest")
    kept = Kept(results, f"knee-{backend}{'-quick' if quick else ''}")
    minutes = minutes or (0.75 if quick else 3)
    request = knee_run.Request(backend, strategies, workers, limit_ms, minutes, quick, seed)
    with keeping(kept), console.status("starting") as status:
        points = knee_run.measure_knees(request, kept, status.update, line)
    console.print(written("knee", points=points, wrap=True))
    warn("note", (f"{point['strategy']}: {point['why']}" for point in points if point["why"]))
    line(f"every sample: {kept.folder / knee_run.FILE}")
    if run:
        try:
            knee_run.add_to(run, points)
        except (OSError, ValueError) as error:
            file = knee_run.FILE
            end(BAD_USAGE, f"{run / file} cannot be written ({error}): copy {kept.folder / file} there")
        line(f"added to {run}; `make report RUN_DIR={run}` draws it")
    if unmeasured := [point["strategy"] for point in points if point["at_least"] and not point["chats_per_s"]]:
        end(INVALID, f"the load was unhealthy at any rate for {', '.join(unmeasured)}: see `make doctor`")


def _strategies(backend: str) -> list[str]:
    check_backend(backend)
    choices = [name for name in STRATEGIES if name != "none"]
    if backend == "none":
        found = ", ".join([*BACKENDS, *choices])
        raise PlanError(f"BACKEND none delivers no abort, so it has no knee: choose from {found}")
    if backend in choices:
        return [backend]
    return [name for name in choices if store_of(name) and is_asked(name, backend)]


@measuring
def stop_path(
    *,
    pairs: Annotated[
        int | None, Option(min=2, max=100, help="Rounds; each is measured in turn.", show_default=PAIRS)
    ] = None,
    quick: Quick = False,
    seed: Seed = 1,
    results: Folders = RESULTS,
) -> None:
    """Compare an abort with a client that just hangs up: the ratio of their times to stop.

    Each round measures `disconnect`, `redis-push` and `postgres-push` (two workers) and `memory-push` (one worker) in a
    changing order, with a token every 20 ms, every 100 ms, and a silent upstream. Of two workers, only aborts on the
    one that does not own the chat count. A stop lasts from the sending of its request until the mock's transport lost
    the connection. A round with an unhealthy load, mock or machine is measured again once.

    Exit codes: 0 fine, 1 a goal was missed beyond doubt or an abort was lost, 2 could not measure, 3 undecided: give it
    more --pairs, or a quieter machine.
    """
    from bench.experiments import stop_path as path
    from bench.experiments.stop_path_goals import tables, verdict_of
    from bench.run.rig import Kept

    pairs = pairs or (path.QUICK_PAIRS if quick else path.PAIRS)
    kept = Kept(results, f"stop-path{'-quick' if quick else ''}")
    line(f"{pairs} rounds, about {path.lasts_s(pairs, quick=quick) / 60:.1f} min")
    with keeping(kept), console.status("starting") as status:
        record = path.measure_stops(kept, status.update, line, pairs=pairs, quick=quick, seed=seed)
    for table in tables(record):
        console.print(table, "")
    line(f"every stop: {results / path.FILE}; every chat: {kept.folder}")
    verdict, message = verdict_of(record)
    if verdict:
        end({"missed": REGRESSION, "invalid": INVALID, "undecided": INCONCLUSIVE}[verdict], message)


@measuring
def backends(
    *,
    backend: Annotated[str, Option(help="all, postgres, redis; or postgres-push, redis-push.")] = "all",
    quick: Quick = False,
    results: Folders = RESULTS,
) -> None:
    """Measure the abort path itself, by store, and the bare driver: latency, round trips, bursts, fan-out."""
    from bench.experiments import abort_path

    choices = {"all": abort_path.KINDS, **{name: (name.removesuffix("-push"),) for name in abort_path.CHOICES}}
    if backend not in choices:
        raise PlanError(f"BACKEND {backend!r} has no push path to measure: choose from {', '.join(choices)}")
    with console.status("starting") as status:
        record = abort_path.measure(choices[backend], results, status.update, quick=quick)
    for table in abort_path.tables(record):
        console.print(table, "")
    line(f"every sample: {results / abort_path.FILE}")
    broken = abort_path.broken(record)
    warn("broken", broken)
    if record["unmeasured"]:
        end(INVALID, f"could not measure: {'; '.join(record['unmeasured'])}")
    if broken:
        raise typer.Exit(REGRESSION)


@measuring
def relay(
    *,
    pairs: Annotated[int, Option(min=1, max=100, help="Rounds; in each, all contenders take a turn.")] = 5,
    streams: Annotated[int, Option(min=1, max=5000, help="Streams held open at once.")] = 400,
    itl_ms: Annotated[float, Option(min=1, max=1000, help="Time between the chunks of a stream, ms.")] = 20,
    held_streams: Annotated[int, Option(min=1, max=5000, help="Slow streams held, then stopped at once.")] = 1000,
    results: Folders = RESULTS,
) -> None:
    """Measure the cost of relaying a chunk, compared with other relays: a bare one, and that of the tutorials."""
    from bench.experiments.relay.compare import compare
    from bench.record.writer import check_writable

    check_writable(results)
    compare(console, results / "relay.json", pairs=pairs, streams=streams, itl_ms=itl_ms, held_streams=held_streams)


@measuring
def storm(
    *,
    rounds: Annotated[int, Option(min=1, max=100, help="Rounds of each abuse, without it and with it.")] = 5,
    seconds: Annotated[float, Option(min=1, max=600, help="Duration of each of the two phases.")] = 10,
    streams: Annotated[int, Option(min=1, max=8000, help="Streams on two workers, stopped at once.")] = 5000,
    knee: Annotated[float, Option(min=1, help="Chats/s that `make knee` found; the retry storm has 80 %.")] = 100,
    seed: Seed = 1,
    results: Folders = RESULTS,
) -> None:
    """Stop 5,000 streams at once, slow the store down, and let one owner abuse the service: what others notice."""
    from bench.experiments.storm.run import measure_storms
    from bench.record.writer import check_writable

    check_writable(results)
    file, phases = results / "storm.json", {"rounds": rounds, "seed": seed}
    goals = measure_storms(console, file, seconds=seconds, streams=streams, knee_per_s=knee, **phases)
    line(f"every sample: {file}")
    if missed := [f"{goal['part']}: {goal['name']}" for goal in goals if goal["verdict"] == "missed"]:
        end(REGRESSION, f"missed: {'; '.join(missed)}")


@measuring
def soak(
    *,
    minutes: Annotated[float, Option(min=0.1, max=240, help="Duration of the traffic.")] = 10,
    workers: Workers = 2,
    backend: Backend = "redis",
    seed: Seed = 1,
) -> None:
    """Mixed traffic, then a search for leaks: exit code 1 names them, 0 means that there are none."""
    from bench.experiments.soak.run import find_leaks

    leaks = find_leaks(console, minutes=minutes, workers=workers, backend=backend, seed=seed)
    warn("leak", leaks)
    if leaks:
        raise typer.Exit(REGRESSION)
