"""`python -m bench knee BACKEND`: how many chats and stops per second, until stops get slow or are lost."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from bench.cli.codes import BAD_USAGE, INTERRUPTED, INVALID, end
from bench.cli.measuring import measuring
from bench.record.writer import Results
from bench.workload.plan import BACKENDS, STRATEGIES, check_backend, store_of
from bench.workload.scenario import MAX_WORKERS, PlanError

ENDS = {
    "slow": "stops got slow",
    "missed": "aborts were missed",
    "failed": "chats or aborts failed",
    "load": "the load gave up, not the service",
    "time": "the time was over",
}


@measuring
def knee(
    backend: Annotated[str, typer.Argument(help=f"{', '.join(BACKENDS)}; or a strategy such as redis-push.")] = "all",
    *,
    workers: Annotated[
        int, typer.Option(min=1, max=MAX_WORKERS, help="Worker processes of the service (memory: always 1).")
    ] = 2,
    limit_ms: Annotated[
        float, typer.Option(min=1, max=10000, help="How much slower than at a low rate the p99 of a stop may get.")
    ] = 20,
    minutes: Annotated[
        float | None, typer.Option(min=0.1, max=600, help="For each strategy.", show_default="3; quick: 0.75")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Short probes, no interval: not for claims.")] = False,
    seed: Annotated[int, typer.Option(help="Same seed, same moments.")] = 1,
    results: Annotated[Path, typer.Option(help="Where results folders are kept.")] = Path("results"),
    into: Annotated[
        Path | None, typer.Option(help="A run's folder, e.g. results/latest: its report then shows the knee, too.")
    ] = None,
) -> None:
    """Raise the rate of chats until stops get slow or are lost: chats/s and aborts/s that each strategy bears."""
    from bench.experiments.knee_run import FILE, Asked, add_to, measure_knees  # noqa: PLC0415
    from bench.run.rig import Kept  # noqa: PLC0415
    from bench.system.embedded import StoreError  # noqa: PLC0415 - `--help` and usage errors need none of this
    from bench.system.procs import ChildError  # noqa: PLC0415

    strategies = _strategies(backend)
    run = into.resolve() if into else None  # results/latest may point elsewhere by then
    if run and not (run / "manifest.json").is_file():
        raise PlanError(f"--into {into} is no results folder: give one that `make bench` made, e.g. results/latest")
    minutes = minutes or (0.75 if quick else 3)
    console = Console()
    kept = Kept(results, f"knee-{backend}{'-quick' if quick else ''}")
    asked = Asked(backend, strategies, workers, limit_ms, minutes, quick, seed)
    try:
        with console.status("starting") as status:
            points = measure_knees(
                asked, kept, status.update, lambda line: console.print(line, highlight=False, soft_wrap=True)
            )
    except (StoreError, ChildError) as error:
        _keep(kept)
        end(INVALID, f"could not measure: {error}")
    except KeyboardInterrupt:
        _keep(kept)
        end(INTERRUPTED, "interrupted; everything started has been stopped")
    table = Table("strategy", box=None, title="The knee: chats per second until stops fail", header_style="bold")
    for name in ("chats/s", "95 %", "aborts/s", "95 %", "p99 limit\nms"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("ended, because")
    for point in points:
        least = ">= " if point["at_least"] else ""
        table.add_row(
            point["strategy"],
            f"{least}{point['chats_per_s']:,.0f}",
            _interval(point["chats_ci95"], point["chats_shown"]),
            f"{least}{point['aborts_per_s']:,.0f}",
            _interval(point["ci95"]),
            f"{point['limit_ms']:.1f}",
            ENDS[point["ended_by"]],
        )
    console.print(table)
    for point in points:
        if point["why"]:
            typer.echo(f"bench: note: {point['strategy']}: {point['why']}", err=True)
    console.print(f"every sample: {kept.folder / FILE}", highlight=False, soft_wrap=True)
    if run:
        try:
            add_to(run, points)
        except (OSError, ValueError) as error:
            end(BAD_USAGE, f"{run / FILE} cannot be written ({error}): copy {kept.folder / FILE} there")
        console.print(f"added to {run}; `make report RUN_DIR={run}` draws it", highlight=False, soft_wrap=True)
    if unmeasured := [point["strategy"] for point in points if point["at_least"] and not point["chats_per_s"]]:
        end(INVALID, f"the load was not well at any rate for {', '.join(unmeasured)}: see `make doctor`")


def _strategies(backend: str) -> list[str]:
    check_backend(backend)
    choices = [name for name in STRATEGIES if name != "none"]
    if backend == "none":
        found = ", ".join([*BACKENDS, *choices])
        raise PlanError(f"BACKEND none delivers no abort, so it has no knee: choose from {found}")
    if backend in choices:
        return [backend]
    return [name for name in choices if store_of(name) and backend in ("all", store_of(name))]


def _interval(ends: list[float] | None, shown: float | None = None) -> str:
    if shown is not None:
        return f"{shown:,.0f} or more"
    return f"{ends[0]:,.0f} to {ends[1]:,.0f}" if ends else "-"


def _keep(kept: Results) -> None:
    if (kept.folder / "cases.jsonl").exists():
        typer.echo(f"bench: what was measured is kept in {kept.folder}", err=True)
    elif not any(kept.logs.iterdir()):
        shutil.rmtree(kept.folder)  # nothing was measured, and no log tells why
