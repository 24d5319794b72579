"""The commands that measure two sides: `regress` compares head with a base, `aa` a strategy with itself."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from bench.cli.codes import BAD_USAGE, INTERRUPTED, INVALID, REGRESSION, end
from bench.cli.measuring import measuring
from bench.cli.run import Environment
from bench.record.writer import FolderError
from bench.system.environment import check_crashes, parse, switch
from bench.workload.plan import STRATEGIES, select
from bench.workload.scenario import MAX_WORKERS, PlanError

RESULTS = Path("results")
NOISE = RESULTS / "noise.json"
GATED, GATED_IN = "redis-push,postgres-push,disconnect", "flowing,stalled,steady"
"""What can fail and be told: each store's fastest way, and the client who leaves. `memory` on several workers loses
aborts by design, which no number of blocks decides; polls and timers share their code with the pushes. Costs are judged
in `steady` only, where nobody stops anything."""
FIRST_BLOCK = "about 95 s with the defaults"
"""Calibration and one block of the default cases, both sides, on a quiet machine; a test keeps it true."""
console = Console()

Strategies = Annotated[
    str,
    typer.Option(help=f"Some of {', '.join(STRATEGIES)}; comma-separated.", show_default=GATED.replace(",", ", ")),
]
Scenarios = Annotated[str, typer.Option(help="Scenarios of the catalogue, or files ending in .toml.")]
Workers = Annotated[int, typer.Option(min=1, max=MAX_WORKERS, help="Worker processes of the service.")]
Minutes = Annotated[
    float,
    typer.Option(
        min=0.1,
        max=600,
        help=f"No block is begun that would end later; but the first one always runs ({FIRST_BLOCK}),"
        " and a verdict needs five.",
    ),
]
Seed = Annotated[int, typer.Option(help="Same seed, same moments.")]
Folders = Annotated[Path, typer.Option(help="Where results folders are kept.")]
Noise = Annotated[Path, typer.Option(help="This machine's noise, from `.venv/bin/python -m bench aa`.")]


@partial(measuring, give_up=lambda code, message: give_up(code, message, None))
def regress(
    *,
    base: Annotated[
        str, typer.Option(help="The git ref to compare HEAD with: the merge base of the two is measured.")
    ] = "origin/main",
    tip: Annotated[bool, typer.Option("--tip", help="Measure the commit of --base itself instead.")] = False,
    or_parent: Annotated[
        bool,
        typer.Option("--or-parent", help="Compare with HEAD's first parent where --base contains HEAD already."),
    ] = False,
    strategy: Strategies = GATED,
    scenario: Scenarios = GATED_IN,
    workers: Workers = 2,
    minutes: Minutes = 12,
    seed: Seed = 1,
    noise: Noise = NOISE,
    env: Environment = None,
    results: Folders = RESULTS,
    repository: Annotated[
        Path | None, typer.Option(help="The checkout of the service to measure.", show_default="this one")
    ] = None,
) -> None:
    """Is HEAD slower to stop than BASE, or dearer while nobody stops? Both run here, in interleaved blocks.

    One lost abort is enough for a no; so is a HEAD that disturbs load and mock in its blocks where BASE does not.

    Exit codes: 0 fine, 1 worse, 2 the measurement is invalid, 3 inconclusive, 4 bad usage.
    """
    from bench.cli.verdict_table import show  # noqa: PLC0415
    from bench.gate import GateError  # noqa: PLC0415
    from bench.gate.commits import ROOT, choose_base  # noqa: PLC0415 - `--help` needs none of this
    from bench.gate.export import write, write_failure  # noqa: PLC0415
    from bench.gate.margins import read_margins  # noqa: PLC0415
    from bench.gate.regress import Gate  # noqa: PLC0415
    from bench.run.campaign import Settings  # noqa: PLC0415
    from bench.system.embedded import StoreError  # noqa: PLC0415
    from bench.system.git import GitError  # noqa: PLC0415
    from bench.system.procs import ChildError  # noqa: PLC0415
    from bench.system.storage import writing  # noqa: PLC0415

    checkout = repository or ROOT
    try:
        if switch("QUICK"):
            raise PlanError("QUICK runs yield no verdict: leave QUICK out")  # noqa: TRY301 - as what follows does
        cases = select(scenarios=_words(scenario), workers=workers, strategies=_words(strategy))
        check_crashes(cases)
        settings = Settings("all", workers, False, seed, "regress", environment=parse(env or ()))
        compared = choose_base(base, checkout, tip=tip, or_parent=or_parent)
        margins = read_margins(noise)
        gate = Gate(cases, settings, margins, results, console)
    except (PlanError, FolderError, GateError) as error:
        give_up(BAD_USAGE, str(error), None)
    console.print(compared.note, highlight=False, soft_wrap=True, markup=False)
    try:
        with writing(gate.folder):
            # Stays when the disk is full, or this process is killed.
            write_failure("the measurement broke off before its verdict", INVALID, gate.folder, {})
            outcome = gate.run(compared, minutes=minutes, repository=checkout)
    except (StoreError, ChildError, GitError, GateError) as error:
        give_up(INVALID, f"could not measure: {error}", gate.folder)
    except KeyboardInterrupt:
        give_up(INTERRUPTED, "interrupted; everything started has been stopped", gate.folder)
    show(outcome, console)
    try:
        written = write(outcome, gate.folder, typer.echo)
    except OSError as error:
        give_up(INVALID, f"the verdict cannot be written ({error.strerror or error}): free some space", gate.folder)
    console.print(f"verdict: {written[0]}", highlight=False, soft_wrap=True)
    raise typer.Exit(outcome.exit_code)


@measuring
def aa(
    *,
    strategy: Annotated[str, typer.Option(help=f"Some of {', '.join(STRATEGIES)}; comma-separated.")] = "redis-push",
    scenario: Scenarios = "flowing,steady",
    workers: Workers = 2,
    blocks: Annotated[int, typer.Option(min=10, max=1000, help="Pairs; 18 give 20 comparisons of 5 blocks.")] = 18,
    seed: Seed = 1,
    noise: Annotated[Path, typer.Option(help="Where this machine's noise is kept.")] = NOISE,
    env: Environment = None,
    results: Folders = RESULTS,
) -> None:
    """Measure the same code against itself: this machine's noise (margins of the gate), and how often it cries wolf.

    Exit codes: 0 fine, 1 it cries wolf in more than one of twenty comparisons, 2 invalid, 4 bad usage.
    """
    cases = select(scenarios=_words(scenario), workers=workers, strategies=_words(strategy))
    check_crashes(cases)
    from bench.gate import GateError, aa_test  # noqa: PLC0415 - `--help` and usage errors need none of this
    from bench.run.campaign import Settings  # noqa: PLC0415
    from bench.system.embedded import StoreError  # noqa: PLC0415 - `--help` and usage errors need none of this
    from bench.system.procs import ChildError  # noqa: PLC0415

    settings = Settings("all", workers, False, seed, "aa", environment=parse(env or ()))
    try:
        found = aa_test.measure(cases, settings, results, console, blocks=blocks)
    except (StoreError, ChildError) as error:
        end(INVALID, f"could not measure: {error}")
    except KeyboardInterrupt:
        end(INTERRUPTED, "interrupted; everything started has been stopped")
    except GateError as error:
        end(error.code, str(error))
    if found.problems:
        for problem in found.problems:
            typer.echo(f"bench: problem: {problem}", err=True)
        end(INVALID, f"the measurement is invalid ({len(found.problems)} problems, see above)")
    noise.parent.mkdir(parents=True, exist_ok=True)
    found.write(noise)
    console.print(found.table())
    for line in found.left_out:
        console.print(line, highlight=False, soft_wrap=True)
    console.print(f"noise: {noise}", highlight=False, soft_wrap=True)
    if loud := found.too_many_alarms:
        end(REGRESSION, f"more than {aa_test.MAX_ALARMS:.0%} false alarms: {', '.join(loud)}")


def give_up(code: int, message: str, folder: Path | None) -> NoReturn:
    """End without a verdict, and leave word of it where machines look for one."""
    from bench.gate.export import write_failure  # noqa: PLC0415 - `--help` needs none of this

    try:
        write_failure(message, code, folder)
    except OSError as error:
        message += f" (verdict.json cannot be written either: {error.strerror or error})"
    end(code, message)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]
