"""The commands that measure two sides: `regress` compares head with a base, `aa` a strategy with itself."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from bench.cli.errors import exit_codes, measuring
from bench.cli.options import NOISE, RESULTS, Environment, Folders, Noise, Scenarios, Seed, Workers, words
from bench.cli.options import Strategies as AnyStrategies
from bench.cli.terminal import INVALID, REGRESSION, console, end, line, refuse_invalid
from bench.system.environment import check_crashes, parse, switch
from bench.workload.plan import STRATEGIES, select
from bench.workload.scenario import PlanError

GATED, GATED_IN = "redis-push,postgres-push,disconnect", "flowing,stalled,steady"
"""Each store's fastest way, and the client that hangs up. `memory` on several workers loses aborts by design, which no
number of blocks decides; polls and timers share their code with the pushes. Costs are judged in `steady`, which has no
aborts."""
FIRST_BLOCK = "about 95 s with the defaults"
"""Calibration and one block of the default cases, both sides, on a quiet machine; checked by a test."""

Strategies = Annotated[
    str, typer.Option(help=f"Some of {', '.join(STRATEGIES)}; comma-separated.", show_default=GATED.replace(",", ", "))
]
Minutes = Annotated[
    float,
    typer.Option(
        min=0.1,
        max=600,
        help=f"No block begins that would end later, except the first ({FIRST_BLOCK}); a verdict needs five.",
    ),
]


@partial(measuring, give_up=lambda code, message: give_up(code, message, None))
def regress(
    *,
    base: Annotated[
        str, typer.Option(help="The git ref to compare HEAD with: the merge base of the two is measured.")
    ] = "origin/main",
    tip: Annotated[bool, typer.Option("--tip", help="Measure the commit of --base itself instead.")] = False,
    or_parent: Annotated[
        bool, typer.Option("--or-parent", help="Compare with HEAD's first parent where --base contains HEAD already.")
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
    """Is HEAD slower to stop than BASE, or does it cost more without stops? Both run here, in interleaved blocks.

    One lost abort is a regression; so is a HEAD that disturbs load and mock in its blocks where BASE does not.

    Exit codes: 0 fine, 1 worse, 2 the measurement is invalid, 3 inconclusive, 4 bad usage.
    """
    from bench.gate.commits import ROOT, choose_base  # noqa: PLC0415
    from bench.gate.export import write, write_failure  # noqa: PLC0415
    from bench.gate.margins import read_margins  # noqa: PLC0415
    from bench.gate.regress import Gate  # noqa: PLC0415
    from bench.gate.verdict_text import show  # noqa: PLC0415 - `--help` needs none of this
    from bench.run.campaign import Settings  # noqa: PLC0415
    from bench.system.storage import writing  # noqa: PLC0415

    if switch("QUICK"):
        raise PlanError("QUICK runs yield no verdict: leave QUICK out")
    cases = select(scenarios=words(scenario), workers=workers, strategies=words(strategy))
    check_crashes(cases)
    settings = Settings("all", workers, False, seed, "regress", environment=parse(env or ()))
    checkout = repository or ROOT
    compared = choose_base(base, checkout, tip=tip, or_parent=or_parent)
    gate = Gate(cases, settings, read_margins(noise), results, console)
    line(compared.note)
    with exit_codes(partial(give_up, folder=gate.folder)), writing(gate.folder):
        # Stays when the disk is full, or this process is killed.
        write_failure("the measurement broke off before its verdict", INVALID, gate.folder, {})
        outcome = gate.run(compared, minutes=minutes, repository=checkout)
    show(outcome, console)
    try:
        written = write(outcome, gate.folder, typer.echo)
    except OSError as error:
        give_up(INVALID, f"the verdict cannot be written ({error.strerror or error}): free some space", gate.folder)
    line(f"verdict: {written[0]}")
    raise typer.Exit(outcome.exit_code)


@measuring
def aa(
    *,
    strategy: AnyStrategies = "redis-push",
    scenario: Scenarios = "flowing,steady",
    workers: Workers = 2,
    blocks: Annotated[int, typer.Option(min=10, max=1000, help="Pairs; 18 give 20 comparisons of 5 blocks.")] = 18,
    seed: Seed = 1,
    noise: Annotated[Path, typer.Option(help="Where this machine's noise is kept.")] = NOISE,
    env: Environment = None,
    results: Folders = RESULTS,
) -> None:
    """Measure the same code against itself: this machine's noise (margins of the gate), and the rate of false alarms.

    Exit codes: 0 fine, 1 false alarms in more than one of twenty comparisons, 2 invalid, 4 bad usage.
    """
    cases = select(scenarios=words(scenario), workers=workers, strategies=words(strategy))
    check_crashes(cases)
    from bench.gate import aa_test  # noqa: PLC0415 - `--help` and usage errors need none of this
    from bench.run.campaign import Settings  # noqa: PLC0415

    settings = Settings("all", workers, False, seed, "aa", environment=parse(env or ()))
    found = aa_test.measure(cases, settings, results, console, blocks=blocks)
    refuse_invalid(found.problems)
    noise.parent.mkdir(parents=True, exist_ok=True)
    found.write(noise)
    console.print(found.table())
    for each in (*found.left_out, f"noise: {noise}"):
        line(each)
    if loud := found.too_many_alarms:
        end(REGRESSION, f"more than {aa_test.MAX_ALARMS:.0%} false alarms: {', '.join(loud)}")


def give_up(code: int, message: str, folder: Path | None) -> NoReturn:
    """End without a verdict: write the reason to verdict.json in `folder` and, in CI, to the job's outputs."""
    from bench.gate.export import write_failure  # noqa: PLC0415 - `--help` needs none of this

    try:
        write_failure(message, code, folder)
    except OSError as error:
        message += f" (verdict.json cannot be written either: {error.strerror or error})"
    end(code, message)
