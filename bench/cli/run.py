"""The commands that measure the strategies: `run`, `rerun`; and those that show: `report`, `scenarios`."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from bench.analysis.reading import of_run
from bench.cli.codes import BAD_USAGE, INTERRUPTED, INVALID, end
from bench.cli.measuring import measuring
from bench.cli.show import by_cause, case_table
from bench.record.base import read_file
from bench.record.manifest import Manifest
from bench.record.writer import LATEST, SCHEDULE, Results, publish
from bench.run.repeat import changed_since
from bench.system import environment
from bench.workload.plan import BACKENDS, STRATEGIES, Case, select
from bench.workload.scenario import DEFAULT, MAX_WORKERS, PlanError, Scenario, catalogue, load_scenarios
from bench.workload.schedule import Planned

RESULTS = Path("results")
FOLDERS = Annotated[Path, typer.Option(help="Where results folders are kept.")]
Environment = Annotated[
    list[str] | None,
    typer.Option("--env", metavar="NAME=VALUE", help="A variable for the service under test; kept in the manifest."),
]
console = Console()


@measuring
def run(
    *,
    backend: Annotated[str, typer.Option(help=f"{', '.join(BACKENDS)}, or one strategy such as redis-push.")] = "all",
    strategy: Annotated[
        str,
        typer.Option(
            help=f"Instead of --backend, some of {', '.join(STRATEGIES)}; comma-separated.", show_default=False
        ),
    ] = "",
    scenario: Annotated[
        str,
        typer.Option(
            help=f"Some of {', '.join(catalogue())}, or files of yours ending in .toml; comma-separated.",
            show_default=", ".join(DEFAULT),
        ),
    ] = ",".join(DEFAULT),
    workers: Annotated[str, typer.Option(help=f"Worker processes of the service, 1 to {MAX_WORKERS}.")] = "2",
    quick: Annotated[bool, typer.Option("--quick", help="One small block: a first look, not for claims.")] = False,
    minutes: Annotated[
        float, typer.Option(min=0.1, max=600, help="Blocks are added until medians are known well, or no more fits.")
    ] = 11.5,
    blocks: Annotated[
        int | None, typer.Option(min=1, max=1000, help="Measure so many blocks instead, however long it takes.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same moments.")] = 1,
    label: Annotated[str, typer.Option(help="Ends the results folder's name.", show_default="the backend")] = "",
    starve: Annotated[
        bool,
        typer.Option("--starve", hidden=True, help="Leave the load hardly any CPU: the run must come out invalid."),
    ] = False,
    env: Environment = None,
    results: FOLDERS = RESULTS,
) -> None:
    """Measure, record and report.

    REDIS_URL and DATABASE_URL name servers of yours; without them the run starts its own. Other variables of your
    shell do not reach what is measured: give them by --env.
    """
    if not workers.isdecimal():
        raise PlanError(f"WORKERS is {workers!r}: choose from 1 to {MAX_WORKERS}")
    cases = select(backend, _words(scenario), int(workers), strategies=_words(strategy) or None, quick=quick)
    environment.check_crashes(cases)
    asked = {"backend": backend, "workers": int(workers), "quick": quick, "seed": seed, "starve": starve}
    asked["environment"] = environment.parse(env or ())
    name = label or f"{'-'.join(_words(strategy)[:2]) or backend}{'-quick' if quick else ''}"
    _measure(cases, asked, name, results, minutes=minutes, blocks=1 if quick else blocks)


@measuring
def rerun(
    folder: Annotated[Path, typer.Argument(help="The results folder of a run.")] = RESULTS / LATEST,
    *,
    results: FOLDERS = RESULTS,
) -> None:
    """Measure again what a run measured: the same cases, moments and number of blocks, from its folder alone.

    The service gets the variables that the run was given by --env. What differs is named: the code, versions, the
    store.
    """
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        with gzip.open(folder / SCHEDULE, "rt", encoding="utf-8") as lines:
            saved = [json.loads(line) for line in lines]
        scenarios = {name: Scenario(**values) for name, values in manifest["scenarios"].items()}
        cases = [Case(strategy, scenarios[name], workers) for strategy, name, workers in manifest["cases"]]
        asked = {name: manifest["settings"][name] for name in ("backend", "workers", "quick", "seed")}
        schedules = {(row["scenario"], row["block"]): [Planned(**chat) for chat in row["chats"]] for row in saved}
        given = of_run(manifest) or {}
        blocks, label = max(1, manifest["blocks"]), manifest["label"]
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError, AttributeError) as error:
        end(BAD_USAGE, f"{folder} cannot be repeated ({error}): give a folder that `make bench` made")
    environment.check_crashes(cases)
    asked["environment"] = environment.parse(f"{name}={value}" for name, value in given.items())
    _measure(cases, asked, f"{label}-rerun", results, minutes=0, blocks=blocks, schedules=schedules, repeats=manifest)


def report(
    folder: Annotated[Path, typer.Argument(help="A results folder.")] = RESULTS / LATEST,
) -> None:
    """Render summary, charts and report of a results folder again, from its raw files alone."""
    _refuse_invalid(_render(folder, BAD_USAGE))


def _render(folder: Path, failure: int) -> list[str]:
    """Render and print the report, and give the run's problems; `failure` is the exit code when that is impossible."""
    from bench.report.render import UnreadableResults, render  # noqa: PLC0415 - brings in pandas and matplotlib

    try:
        page = render(folder)
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    except (UnreadableResults, OSError) as error:
        end(failure, str(error))
    console.print(case_table(summary["cases"]))
    if floor := (summary.get("floor") or {}).get("p50"):
        console.print(f"floor of this instrument and machine: {floor:.2f} ms; smaller differences are not claimed")
    if json.loads((folder / "manifest.json").read_text(encoding="utf-8")).get("quick"):
        console.print("a QUICK run: a first look, not for claims")
    console.print(f"report: {page}", highlight=False, soft_wrap=True)
    for warning in summary.get("warnings", []):
        typer.echo(f"bench: note: {warning}", err=True)
    return [] if summary["valid"] else list(summary["problems"])


def _refuse_invalid(problems: Sequence[str]) -> None:
    for problem in by_cause(problems):
        typer.echo(f"bench: problem: {problem}", err=True)
    if problems:
        end(INVALID, f"the measurement is invalid ({len(problems)} problems, see above)")


def scenarios() -> None:
    """List the catalogue of scenarios; the first ones are what `make bench` measures unless told otherwise."""
    table = Table("scenario", "what happens", "chats\na block", "loop", "stopped", box=None)
    for each in load_scenarios(catalogue()):
        load = f"open, {each.rate_per_s:g}/s" if each.rate_per_s else f"closed, {each.streams} at a time"
        table.add_row(each.name, each.sentence, str(each.chats), load, f"{each.abort_share:.0%}")
    console.print(table)
    console.print("A file of yours works the same way: make bench SCENARIO=my.toml", highlight=False)


def strategies() -> None:
    """List the strategies: what --strategy, --backend and BACKEND= take."""
    for name in STRATEGIES:
        console.print(name, highlight=False)
    console.print(f"BACKEND also takes {', '.join(BACKENDS)}: every strategy of that store", highlight=False)


def _measure(
    cases: Sequence[Case],
    asked: dict[str, Any],
    label: str,
    results: Path,
    *,
    minutes: float,
    blocks: int | None,
    schedules: dict[tuple[str, int], list[Planned]] | None = None,
    repeats: Mapping[str, Any] | None = None,
) -> None:
    from bench.run.campaign import Run, Settings  # noqa: PLC0415
    from bench.run.enough import fits, tight_enough  # noqa: PLC0415
    from bench.run.meter import Measured  # noqa: PLC0415
    from bench.run.progress import Expected  # noqa: PLC0415
    from bench.run.subject import Side  # noqa: PLC0415
    from bench.system.embedded import StoreError  # noqa: PLC0415 - `--help` and usage errors need none of this
    from bench.system.procs import ChildError  # noqa: PLC0415
    from bench.system.storage import StorageError  # noqa: PLC0415

    ends_s = [0.0]

    def more(done: int, took_s: float, medians_ms: Mapping[str, Sequence[float]]) -> bool:
        if blocks is not None:
            return done < blocks
        ends_s.append(took_s)
        return not tight_enough(medians_ms) and fits(ends_s, minutes * 60)

    kept = Results(results, label)
    settings = Settings(label=label, **asked)
    try:
        sides = [Measured(Side(), kept)]
        Run(
            cases, settings, sides, console, more=more, schedules=schedules, expects=Expected(blocks, minutes)
        ).execute()
    except StorageError as error:
        end(INVALID, f"could not measure: {error}")
    except (StoreError, ChildError) as error:
        _keep(kept.folder)
        end(INVALID, f"could not measure: {error}")
    except KeyboardInterrupt:
        _keep(kept.folder)
        end(INTERRUPTED, "interrupted; everything started has been stopped")
    if repeats:
        before = msgspec.convert(repeats, Manifest)
        for each in changed_since(before, read_file(kept.folder / "manifest.json", Manifest)):
            typer.echo(f"bench: note: not as in the run that was repeated: {each}", err=True)
    problems = _render(kept.folder, INVALID)
    publish(kept.folder, full=not (problems or settings.quick))
    _refuse_invalid(problems)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _keep(folder: Path) -> None:
    if (folder / "cases.jsonl").exists():
        typer.echo(f"bench: finished cases are kept; make report RUN_DIR={folder} shows them", err=True)
