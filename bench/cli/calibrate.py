"""`python -m bench calibrate`: floor and calibration alone, several times over, each time with everything anew."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from bench.cli.codes import INTERRUPTED, INVALID, end
from bench.cli.measuring import measuring

HEADS = ("time", "floor p50\nms", "delay found\nms", "lost", "drop rate", "95 %", "valid")


@measuring
def calibrate(
    *,
    times: Annotated[int, typer.Option(min=1, max=100, help="How often.")] = 10,
    seed: Annotated[int, typer.Option(help="Same seed, same moments.")] = 1,
    results: Annotated[Path, typer.Option(help="Where results folders are kept.")] = Path("results"),
) -> None:
    """Does the instrument find 10 ms and one lost abort in a hundred again? Exit code 2 when it did not even once."""
    from bench.experiments.calibrate import Record, calibrate_once  # noqa: PLC0415 - `--help` needs no rig
    from bench.system.procs import ChildError  # noqa: PLC0415

    console = Console()
    rows, failed = [], []
    try:
        with console.status("starting") as status:
            for number in range(1, times + 1):
                found = calibrate_once(Record(results, f"calibrate-{number}"), status.update, seed=seed + number - 1)
                rows.append(_row(number, found))
                failed += [f"time {number}: {problem}" for problem in found["problems"]]
    except ChildError as error:
        end(INVALID, f"could not measure: {error}")
    except KeyboardInterrupt:
        end(INTERRUPTED, "interrupted; everything started has been stopped")
    console.print(_table(rows))
    for problem in failed:
        typer.echo(f"bench: problem: {problem}", err=True)
    well = sum(row[-1] == "yes" for row in rows)
    console.print(f"found again {well} times of {times}", highlight=False)
    if failed:
        end(INVALID, f"the instrument failed {times - well} times of {times}: see `make doctor`")


def _table(rows: Iterable[tuple[str, ...]]) -> Table:
    table = Table(title="Injected: 10 ms of delay, 1 % of losses", box=None, padding=(0, 1, 0, 0), header_style="bold")
    for name in HEADS:
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def _row(number: int, found: dict[str, Any]) -> tuple[str, ...]:
    delay_ms, rate = found["calibration"]["delay_ms"]["recovered_p50"], found["calibration"]["drop_rate"]
    ends = rate["ci95"]
    return (
        str(number),
        "-" if found["floor"]["p50"] is None else f"{found['floor']['p50']:.2f}",
        "-" if delay_ms is None else f"{delay_ms:.2f}",
        f"{rate['lost']} of {found['calibration']['n']['drop']}",
        "-" if rate["recovered"] is None else f"{rate['recovered']:.2%}",
        f"{ends[0]:.2%} to {ends[1]:.2%}" if ends else "-",
        "no" if found["problems"] else "yes",
    )
