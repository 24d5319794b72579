"""`python -m bench stop-path`: how many times a plain hang-up a Stop takes, and whether that is what was aimed at."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from bench.cli.codes import INCONCLUSIVE, INTERRUPTED, INVALID, REGRESSION, end
from bench.cli.measuring import measuring
from bench.record.writer import FolderError, Results

Row = dict[str, Any]


@measuring
def stop_path(
    *,
    pairs: Annotated[
        int | None, typer.Option(min=2, max=100, help="Rounds; each is measured in turn.", show_default="5; quick: 2")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Few Stops, no p99, never undecided: not for claims.")] = False,
    seed: Annotated[int, typer.Option(help="Same seed, same moments and order.")] = 1,
    results: Annotated[Path, typer.Option(help="Where stop-path.json and the chats' folder go.")] = Path("results"),
) -> None:
    """Compare an abort with a client that just hangs up: how many times as long?

    In every round `disconnect`, `redis-push` and `postgres-push` (two workers)
    and `memory-push` (one worker) take their turns, in a changing order, with a
    token every 20 ms, every 100 ms, and a silent upstream. With two workers only
    Stops that landed on the worker that does not own the chat are counted. A Stop
    takes from its request's leaving to the moment at which the mock upstream's
    transport saw the connection lost.

    A round in which load, mock or machine was not well is set aside, whatever it
    measured, and measured again once.

    Exit codes: 0 fine; 1 an aim was missed beyond doubt, or an abort was lost;
    2 could not measure; 3 undecided: give it more --pairs, or a quieter machine.
    """
    from bench.experiments.stop_path import FILE, PAIRS, QUICK_PAIRS, Asked, lasts_s, measure_stops  # noqa: PLC0415
    from bench.run.rig import Kept  # noqa: PLC0415
    from bench.system.embedded import StoreError  # noqa: PLC0415 - `--help` and usage errors need none of this
    from bench.system.procs import ChildError  # noqa: PLC0415

    console = Console()
    asked = Asked(pairs or (QUICK_PAIRS if quick else PAIRS), quick, seed)
    kept = Kept(results, f"stop-path{'-quick' if quick else ''}")
    console.print(f"{asked.pairs} rounds, about {lasts_s(asked) / 60:.1f} min", highlight=False)
    try:
        with console.status("starting") as status:
            record = measure_stops(
                asked, kept, status.update, lambda line: console.print(line, highlight=False, soft_wrap=True)
            )
    except (StoreError, ChildError, FolderError) as error:
        _keep(kept)
        end(INVALID, f"could not measure: {error}")
    except KeyboardInterrupt:
        _keep(kept)
        end(INTERRUPTED, "interrupted; everything started has been stopped")
    for table in tables(record):
        console.print(table, "")
    console.print(f"every Stop: {results / FILE}; every chat: {kept.folder}", highlight=False, soft_wrap=True)
    judge_record(record)


def tables(record: Row) -> list[Table]:
    """The aims, and what became of the chats."""
    from bench.experiments.stop_path_goals import counts_of  # noqa: PLC0415
    from bench.stats.percentiles import describe  # noqa: PLC0415 - scipy, which `--help` can do without

    floor = describe([stop_ms for each in record["floor_ms"] for stop_ms in each])
    aims = _table("upstream_stop_ms of a push, times that of a client that hangs up")
    aims.caption = (
        f"p50: median (lowest..highest) of {record['pairs']} rounds' ratios; p99: of all rounds\n"
        f"together; []: 95 %. n: counted Stops. Floor, without a service: {_ms(floor['p50'])} ms"
    )
    aims.caption_justify = "left"
    for name in ("push\nover", "", "n", "push / hang-up\nms", "ratio", "", "at\nmost", ""):
        aims.add_column(name, justify="left" if "over" in name else "right", no_wrap=True)
    scenario = ""
    for row in record["aims"]:
        if row["scenario"] != scenario:
            scenario = row["scenario"]
            aims.add_row(scenario.removeprefix("stop-path-"), style="bold")
        of = f" ({row['min']:.2f}..{row['max']:.2f})" if row["min"] else ""
        aims.add_row(
            row["strategy"].removesuffix("-push"),
            row["percentile"],
            str(row["n"]),
            f"{_ms(row['ours_ms'])} / {_ms(row['disconnect_ms'])}",
            f"{row['ratio']:.2f}{of}" if row["ratio"] else "-",
            f"\\[{row['ci95'][0]:.2f}..{row['ci95'][1]:.2f}]" if row["ci95"] else "",
            f"{row['at_most']:g}",
            row["verdict"],
        )
    chats = _table("What became of the chats, all rounds together")
    kinds = {"stopped": "counted", "own": "own worker", "missed": "lost", "late": "too late", "error": "failed"}
    for name in ("strategy", "workers", *kinds.values()):
        chats.add_column(name, justify="left" if name == "strategy" else "right", no_wrap=True)
    for strategy, counts in counts_of(record["rounds"]).items():
        chats.add_row(strategy, str(record["workers"][strategy]), *(f"{counts[kind]:,}" for kind in kinds))
    return [aims, chats]


def judge_record(record: Row) -> None:
    """Leave with the code that the record deserves."""
    from bench.experiments.stop_path_goals import broken  # noqa: PLC0415 - scipy, which `--help` can do without

    promises = broken(record)
    for promise in promises:
        typer.echo(f"bench: broken: {promise}", err=True)
    by_verdict: dict[str, list[str]] = {}
    for row in record["aims"]:
        by_verdict.setdefault(row["verdict"], []).append(f"{row['strategy']} {row['percentile']} in {row['scenario']}")
    if promises:
        raise typer.Exit(REGRESSION)
    if record["problems"]:
        end(INVALID, f"the measurement is invalid: {'; '.join(record['problems'])}")
    if missed := by_verdict.get("missed"):
        end(REGRESSION, f"missed beyond doubt: {', '.join(missed)}")
    if (undecided := by_verdict.get("undecided")) and not record["quick"]:  # which cannot decide much
        end(INCONCLUSIVE, f"undecided: {', '.join(undecided)}")


def _table(title: str) -> Table:
    return Table(title=title, box=None, padding=(0, 1, 0, 0), header_style="bold", title_justify="left")


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _keep(kept: Results) -> None:
    if (kept.folder / "cases.jsonl").exists():
        typer.echo(f"bench: what was measured is kept in {kept.folder}", err=True)
    elif not any(kept.logs.iterdir()):
        shutil.rmtree(kept.folder)  # nothing was measured, and no log tells why
