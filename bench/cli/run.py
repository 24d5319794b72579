"""The commands that measure the strategies: `run` and `rerun`."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from typer import Option

from bench.cli.errors import keeping, measuring
from bench.cli.options import RESULTS, Environment, Folders, Quick, Run, Seed, percentage, words
from bench.cli.show import render_report
from bench.cli.terminal import BAD_USAGE, INCONCLUSIVE, INVALID, console, end, line, refuse_invalid, warn
from bench.load.fleet.protocol import parse_fleet
from bench.record.base import read_file
from bench.record.manifest import Manifest
from bench.record.summary import Summary
from bench.record.writer import LATEST, SCHEDULE, Results, publish
from bench.system import environment
from bench.workload.plan import BACKENDS, STRATEGIES, Case, select
from bench.workload.scenario import DEFAULT, MAX_WORKERS, PlanError, Scenario, catalogue
from bench.workload.schedule import Planned

if TYPE_CHECKING:
    from bench.run.settings import Settings

BACKEND = f"{', '.join(BACKENDS)}, or one strategy such as redis-push."
STRATEGY = f"Instead of --backend, some of {', '.join(STRATEGIES)}, or targets (`target list`); comma-separated."
LOOPBACK = "127.0.0.1"
URL = "Address of a running service: the only target of --strategy is not started."
SCENARIO = f"Some of {', '.join(catalogue())}, or files of yours ending in .toml; comma-separated."
MINUTES = "Blocks are added until the advice is decided (or --interval is reached), or no more fits."
BLOCKS = "Measure this number of blocks, without a time limit."
INTERVAL = (
    "Measure until every stop's p95 has a 95 % interval this tight, such as 10%: half its width, as a share of the p95,"
    " over at least 5 blocks. Exit code 3: not reached within --minutes; the reasons are printed."
)
HOST = "Address of this machine, for load workers and a service on other machines."
LOAD = (
    "Load processes that report to a Locust master: '--processes 4', or '--master --expect-workers 2' (`load --help`)."
)
STARVE = "Leave the load hardly any CPU: the run must come out invalid."


@measuring
def run(
    *,
    backend: Annotated[str, Option(help=BACKEND)] = "all",
    strategy: Annotated[str, Option(help=STRATEGY, show_default=False)] = "",
    scenario: Annotated[str, Option(help=SCENARIO, show_default=", ".join(DEFAULT))] = ",".join(DEFAULT),
    workers: Annotated[str, Option(help=f"Worker processes of the service, 1 to {MAX_WORKERS}.")] = "2",
    quick: Quick = False,
    minutes: Annotated[float, Option(min=0.1, max=600, help=MINUTES)] = 11.5,
    blocks: Annotated[int | None, Option(min=1, max=1000, help=BLOCKS)] = None,
    interval: Annotated[str, Option(help=INTERVAL, show_default=False)] = "",
    seed: Seed = 1,
    label: Annotated[str, Option(help="Ends the results folder's name.", show_default="the backend")] = "",
    starve: Annotated[bool, Option("--starve", hidden=True, help=STARVE)] = False,
    env: Environment = None,
    url: Annotated[str, Option(help=URL, show_default=False)] = "",
    mock_port: Annotated[int, Option(min=0, max=65535, help="Port of the mock upstream; 0: any.")] = 0,
    host: Annotated[str, Option(help=HOST)] = LOOPBACK,
    load: Annotated[str, Option(help=LOAD, show_default=False)] = "",
    results: Folders = RESULTS,
) -> None:
    """Measure, record and report.

    REDIS_URL and DATABASE_URL name servers of yours; without them the run starts its own. Other variables of your
    shell do not reach the service: give them by --env.
    """
    goal = percentage(interval, "--interval") if interval else None
    if goal and (quick or blocks is not None):
        raise PlanError("--interval adds blocks until it is reached: leave out --quick and --blocks")
    if not workers.isdecimal():
        raise PlanError(f"WORKERS is {workers!r}: choose from 1 to {MAX_WORKERS}")
    cases = select(
        backend, words(scenario), int(workers), strategies=words(strategy) or None, quick=quick, targets=True
    )
    environment.check_crashes(cases)
    services = {case.foreign.service if case.foreign else None for case in cases}
    if url and (len(services) != 1 or None in services):
        raise PlanError("--url is the address of one target: name it, and nothing else, by --strategy")
    from bench.run.settings import Settings

    parse_fleet(load)
    measured = re.sub(r"[^A-Za-z0-9.]+", "-", "-".join(Path(each).name for each in words(strategy)[:2]))
    name = label or f"{measured or backend}{'-quick' if quick else ''}"
    settings = Settings(
        backend, int(workers), quick, seed, name, starve, environment.parse(env or ()), url or None, mock_port,
        host=host, load=load, interval=goal, early=goal is None and blocks is None and not quick,
    )  # fmt: skip
    _report(_measure(cases, settings, results, minutes=minutes, blocks=1 if quick else blocks), settings)


@measuring
def rerun(folder: Run = RESULTS / LATEST, *, results: Folders = RESULTS) -> None:
    """Measure a run again: the same cases, moments and number of blocks, from its folder alone.

    The service gets the variables that the run was given by --env. Differences in code, versions and store are printed.
    """
    try:
        manifest = read_file(folder / "manifest.json", Manifest)
        with gzip.open(folder / SCHEDULE, "rt", encoding="utf-8") as lines:
            saved = [json.loads(line) for line in lines]
        scenarios = {name: Scenario(**msgspec.structs.asdict(values)) for name, values in manifest.scenarios.items()}
        cases = [Case(strategy, scenarios[name], workers) for strategy, name, workers in manifest.cases]
        asked: dict[str, Any] = {name: manifest.settings[name] for name in ("backend", "workers", "quick", "seed")}
        schedules = {(row["scenario"], row["block"]): [Planned(**chat) for chat in row["chats"]] for row in saved}
        given = [f"{name}={value}" for name, value in (manifest.service_environment or {}).items()]
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError, AttributeError) as error:
        end(BAD_USAGE, f"{folder} cannot be repeated ({error}): give a folder that `make bench` made")
    environment.check_crashes(cases)
    from bench.run.repeat import changed_since
    from bench.run.settings import Settings

    settings = Settings(**asked, label=f"{manifest.label}-rerun", environment=environment.parse(given))
    folder = _measure(cases, settings, results, blocks=max(1, manifest.blocks), schedules=schedules)
    warn("note: differs from the repeated run", changed_since(manifest, read_file(folder / "manifest.json", Manifest)))
    _report(folder, settings)


def _measure(
    cases: Sequence[Case],
    settings: Settings,
    results: Path,
    *,
    minutes: float = 0,
    blocks: int | None,
    schedules: dict[tuple[str, int], list[Planned]] | None = None,
) -> Path:
    """Measure `blocks` blocks or, without a number, until it is sure within `minutes`; returns the results folder."""
    from bench.run.campaign import Run
    from bench.run.meter import Measured
    from bench.run.progress import Expected
    from bench.run.stopping import Stopping
    from bench.run.subject import Side

    kept, expects = Results(results, settings.label), Expected(blocks, minutes)
    stopping = Stopping(kept.folder, minutes, line)

    def more(done: int, took_s: float, medians_ms: Mapping[str, Sequence[float]]) -> bool:
        return done < blocks if blocks is not None else stopping.more(done, took_s, medians_ms)

    with keeping(kept):
        sides = [Measured(Side(), kept)]
        Run(cases, settings, sides, console, more=more, schedules=schedules, expects=expects).execute()
    return kept.folder


def _report(folder: Path, settings: Settings) -> None:
    problems = render_report(folder, INVALID)
    publish(folder, full=not (problems or settings.quick))
    refuse_invalid(problems)
    if settings.interval is None:
        return
    from bench.analysis.precision import describe

    goal = read_file(folder / "summary.json", Summary).interval
    if goal is not None and not goal.reached:
        end(INCONCLUSIVE, f"the interval was not reached: {describe(goal)}")
