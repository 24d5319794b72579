"""`python -m bench instrument`: the table of what the stopwatch's own stamps are worth on this machine."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from bench.cli.codes import INTERRUPTED, INVALID, end
from bench.cli.measuring import measuring


@measuring
def instrument(
    *,
    seed: Annotated[int, typer.Option(help="Same seed, same moments.")] = 1,
    results: Annotated[Path, typer.Option(help="Where results folders are kept.")] = Path("results"),
) -> None:
    """Measure the instrument itself at 50, 200 and 500 live streams: witness stamp, client stamp, schedule lag."""
    from bench.experiments.instrument_error import FILE, LIVE, measure_errors, scenario_of  # noqa: PLC0415 - `--help` needs no rig
    from bench.run.rig import Kept  # noqa: PLC0415
    from bench.system.procs import ChildError  # noqa: PLC0415

    console = Console()
    kept = Kept(results, "instrument")
    try:
        with console.status("starting") as status:
            lines = measure_errors(kept, status.update, [scenario_of(live) for live in LIVE], seed=seed)
    except ChildError as error:
        end(INVALID, f"could not measure: {error}")
    except KeyboardInterrupt:
        if not (kept.folder / "cases.jsonl").exists():
            shutil.rmtree(kept.folder)
        end(INTERRUPTED, "interrupted; everything started has been stopped")
    console.print(_table(lines))
    console.print(f"every sample: {kept.folder / FILE}", highlight=False, soft_wrap=True)
    problems = [f"{line['asked']} streams: {each}" for line in lines for each in line["problems"]]
    for problem in problems:
        typer.echo(f"bench: problem: {problem}", err=True)
    if problems:
        end(INVALID, f"the measurement is invalid ({len(problems)} problems, see above)")


def _table(lines: list[dict[str, Any]]) -> Table:
    table = Table(
        title="How late the instrument's stamps are: p50 / p99, ms", box=None, padding=(0, 1, 0, 0), header_style="bold"
    )
    columns = ("streams\nlive", "load\nproc.", "chunks/s", "witness\nstamp", "client\nstamp", "chats\nsent late")
    for name in (*columns, "Stops\nsent late"):
        table.add_column(name, justify="right", no_wrap=True)
    for line in lines:
        pairs = [line[name] for name in ("witness_ms", "client_ms", "chat_lag_ms", "abort_lag_ms")]
        table.add_row(
            f"{line['live']:.0f}",
            str(line["load_processes"]),
            f"{line['chunks_per_s']:,.0f}",
            *(f"{_number(pair['p50'])} / {_number(pair['p99'])}" for pair in pairs),
        )
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
