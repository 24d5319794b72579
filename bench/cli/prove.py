"""The command `prove`: does the gate find what it must, and keep quiet where it must?"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console

from bench.cli.codes import BAD_USAGE, INTERRUPTED, INVALID, REGRESSION, end
from bench.cli.measuring import measuring
from bench.cli.regress import GATED, GATED_IN, NOISE, RESULTS, Folders, Noise, Scenarios, Seed, Strategies, Workers
from bench.experiments.prove.faults import FAULTS
from bench.experiments.prove.record import FILE, PARTS, Entry, promises, table
from bench.system.environment import check_crashes
from bench.workload.plan import Case, select
from bench.workload.scenario import PlanError

console = Console()


@measuring
def prove(
    *,
    aa: Annotated[int, typer.Option(min=1, max=1000, help="Gate runs of HEAD against itself.")] = 20,
    faults: Annotated[int, typer.Option(min=1, max=1000, help="Gate runs of each other commit.")] = 5,
    only: Annotated[str, typer.Option(help=f"Some of {', '.join(PARTS)}.", show_default="all")] = "",
    strategy: Strategies = GATED,
    scenario: Scenarios = GATED_IN,
    workers: Workers = 2,
    minutes: Annotated[float, typer.Option(min=0.1, max=600, help="The longest that one gate run may take.")] = 8,
    seed: Seed = 1,
    noise: Noise = NOISE,
    results: Folders = RESULTS,
) -> None:
    """Measure the gate's false alarms and missed faults: runs `regress` on commits that it must find, and on others.

    In a throw-away clone of HEAD: `aa`, HEAD against itself, at most one run in twenty worse. Commits that must be
    found each time: `delay` adds 5 ms to the stop path, `poll` polls instead of pushing, `drop` drops 1 % of aborts,
    `leak` leaks the upstream on disconnect, `burn` burns 0.1 ms of CPU time per chunk, `ask` asks the store once more
    per chat. And `docs`, a change of docs while a process burns CPU time on every core: never worse. Whole, it takes
    some hours; try `prove --aa 1 --faults 1`, or a part with `--only drop`.

    prove.json is written after each run, so that an interrupted proof keeps what it has. Exit codes: 0 every promise
    was kept, 1 one was broken, 2 it could not be measured, 4 bad usage.
    """
    cases = select(scenarios=_words(scenario), workers=workers, strategies=_words(strategy))
    check_crashes(cases)
    parts = _parts(only, strategy, scenario)
    from bench.experiments.prove.faults import FaultError  # noqa: PLC0415
    from bench.experiments.prove.proof import Asked, Proof  # noqa: PLC0415
    from bench.record.writer import Results  # noqa: PLC0415
    from bench.system.git import GitError  # noqa: PLC0415 - `--help` and usage errors need none of this
    from bench.system.procs import ChildError  # noqa: PLC0415

    asked = Asked(parts, aa, faults, strategy, scenario, workers, minutes, seed)
    kept = Results(results, "prove")
    console.print(f"{len(asked.runs)} gate runs, {_left(asked.runs, [], cases, minutes)}", highlight=False)
    with console.status("starting") as status:
        proof = Proof(asked, kept, noise, status.update)

        def finished(entry: Entry) -> None:
            done = len(proof.entries)
            left = _left(asked.runs[done:], proof.entries, cases, minutes)
            name = f"{entry['part']} {entry['number']} of {asked.runs_of(entry['part'])}"
            console.print(f"{name:16} {entry['verdict']:12} {entry['seconds']:5.0f} s  ({left})", highlight=False)
            console.print(f"  {entry['sentence']}", style="dim", highlight=False, soft_wrap=True, markup=False)

        failure: tuple[int, str] | None = None
        try:
            proof.run(finished)
        except (GitError, FaultError) as error:
            failure = (BAD_USAGE, str(error))
        except ChildError as error:
            failure = (INVALID, f"could not measure: {error}")
        except KeyboardInterrupt:
            failure = (INTERRUPTED, "interrupted; everything started has been stopped, finished runs are kept")
    if proof.entries:
        console.print(table(proof.entries))
    console.print(f"proof: {kept.folder / FILE}", highlight=False, soft_wrap=True)
    if failure:
        end(*failure)
    for kept_is, code, words in (
        (False, REGRESSION, "broken"),
        (None, INVALID, "not shown, the machine not being well"),
    ):
        if found := [each["promise"] for each in promises(proof.entries) if each["kept"] is kept_is]:
            end(code, f"{words}: {'; '.join(found)}")


def _parts(only: str, strategy: str, scenario: str) -> list[str]:
    """The parts that were asked for, in their order. Raises PlanError."""
    asked = _words(only) or list(PARTS)
    if unknown := [name for name in asked if name not in PARTS]:
        raise PlanError(f"--only {', '.join(unknown)}: choose from {', '.join(PARTS)}")
    for fault in FAULTS:
        if fault.name in asked and not any(fault.needs in name for name in _words(strategy)):
            raise PlanError(f"{fault.name} {fault.sentence}: it shows only with a strategy that is *{fault.needs}")
        if fault.name in asked and fault.needs_scenario and fault.needs_scenario not in _words(scenario):
            raise PlanError(f"{fault.name} {fault.sentence}: it shows only in the scenario {fault.needs_scenario}")
    return [part for part in PARTS if part in asked]


def _left(runs: Sequence[tuple[str, int]], done: Sequence[Entry], cases: Sequence[Case], minutes: float) -> str:
    """How long these runs will take, by what those of their part took, else by what their loads should take."""
    from bench.experiments.prove.proof import expected_run_s  # noqa: PLC0415 - `--help` and usage errors need none of this

    left_s = 0.0
    for part, _number in runs:
        took_s = [each["seconds"] for each in done if each["part"] == part]
        left_s += statistics.fmean(took_s) if took_s else expected_run_s(part, cases, minutes)
    return f"about {left_s / 60:.0f} minutes left"


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]
