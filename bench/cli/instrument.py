"""The commands around the instrument and the service: `doctor`, `calibrate`, `instrument`, `serve`."""

from typing import Annotated

from rich.markup import escape
from rich.table import Table
from typer import Option

from bench.cli.errors import exit_codes, keeping, measuring
from bench.cli.options import RESULTS, Backend, Folders, Seed, Workers
from bench.cli.terminal import INVALID, OK, console, end, line, refuse_invalid, warn
from bench.experiments.tables import written
from bench.workload.scenario import MAX_WORKERS, load_scenarios

_MARKS = {True: "[green]ok[/]", None: "[yellow]warn[/]", False: "[red]fail[/]"}


def doctor(*, workers: Workers = 2) -> None:
    """Check this machine before a run, and print what to change. Exit code 2: a run here would be invalid."""
    from bench.experiments.doctor import checks

    table = Table("", "check", "found, and what to change", box=None, header_style="bold")
    failed = []
    with console.status("") as status:
        for check in checks(workers=workers, streams=max(scenario.streams for scenario in load_scenarios())):
            status.update(f"checked {check.name}")
            change = f"\n[yellow]-> {escape(check.fix)}[/]" if check.fix else ""
            table.add_row(_MARKS[check.ok], check.name, escape(check.found) + change)
            failed += [check.name] if check.ok is False else []
    console.print(table)
    if failed:
        end(INVALID, f"a run here would be invalid: {', '.join(failed)} (see above)")


@measuring
def calibrate(
    *,
    times: Annotated[int, Option(min=1, max=100, help="How often.")] = 10,
    seed: Seed = 1,
    results: Folders = RESULTS,
) -> None:
    """Does the instrument recover 10 ms of delay and one lost abort in a hundred? Exit code 2 when it fails once."""
    from bench.experiments import instrument as alone
    from bench.run.rig import Kept

    records = []
    with console.status("starting") as status:
        for number in range(times):
            kept = Kept(results, f"calibrate-{number + 1}")
            with keeping(kept):
                records.append(alone.calibrate_once(kept, status.update, seed=seed + number))
    console.print(written("calibration", records=records))
    warn("problem", (f"time {number}: {each}" for number, found in enumerate(records, 1) for each in found["problems"]))
    failed = sum(bool(found["problems"]) for found in records)
    line(f"recovered {times - failed} times of {times}")
    if failed:
        end(INVALID, f"the instrument failed {failed} times of {times}: see `make doctor`")


@measuring
def instrument(*, seed: Seed = 1, results: Folders = RESULTS) -> None:
    """Measure the instrument itself at 50, 200 and 500 live streams: witness stamp, client stamp, schedule lag."""
    from bench.experiments import instrument as alone
    from bench.run.rig import Kept

    kept = Kept(results, "instrument")
    with keeping(kept), console.status("starting") as status:
        lines = alone.measure_errors(kept, status.update, [alone.scenario_of(live) for live in alone.LIVE], seed=seed)
    console.print(written("instrument", lines=lines, errors=alone.ERRORS))
    line(f"every sample: {kept.folder / alone.FILE}")
    refuse_invalid(f"{each['asked']} streams: {problem}" for each in lines for problem in each["problems"])


def serve(
    *,
    backend: Backend = "redis",
    port: Annotated[int, Option(min=0, max=65535, help="0 takes any free port.")] = 8000,
    workers: Annotated[
        int | None, Option(min=1, max=MAX_WORKERS, help="Worker processes.", show_default="2; memory: 1")
    ] = None,
) -> None:
    """Serve the chat page: store, mock upstream (unless OPENAI_API_KEY or OPENAI_BASE_URL is set) and service."""
    from bench.experiments.serve import serve

    with exit_codes(prefix=""):
        try:
            serve(console, backend=backend, port=port, workers=workers)
        except KeyboardInterrupt:
            end(OK, "stopped")
