"""`make doctor`: is this machine fit to measure on, and what to change where it is not."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench.workload.scenario import MAX_WORKERS, load_scenarios

INVALID = 2
_MARKS = {True: "[green]ok[/]", None: "[yellow]mind[/]", False: "[red]no[/]"}


def doctor(
    *,
    workers: Annotated[int, typer.Option(min=1, max=MAX_WORKERS, help="Worker processes of the run to come.")] = 2,
) -> None:
    """Look at this machine before a run, and say what to change. Exit code 2: a run here would be invalid."""
    from bench.experiments.doctor import checks  # noqa: PLC0415 - `--help` needs no store

    console = Console()
    table = Table("", "check", "found, and what to change", box=None, header_style="bold")
    with console.status("") as status:
        done = []
        for check in checks(workers=workers, streams=max(scenario.streams for scenario in load_scenarios())):
            done.append(check)
            status.update(f"looked at {check.name}")
            change = f"\n[yellow]-> {escape(check.fix)}[/]" if check.fix else ""
            table.add_row(_MARKS[check.ok], check.name, escape(check.found) + change)
    console.print(table)
    if bad := [check.name for check in done if check.ok is False]:
        typer.echo(f"bench: a run here would be invalid: {', '.join(bad)} (see above)", err=True)
        raise typer.Exit(INVALID)
