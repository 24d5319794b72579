"""The commands of the gate: `regress` and `aa` measure two sides, `baseline` keeps a run, `check` compares with it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from typer import Option

from bench.cli import options
from bench.cli.errors import exit_codes, measuring, writing_to
from bench.cli.terminal import BAD_USAGE, INVALID, REGRESSION, console, end, line, refuse_invalid
from bench.record.base import encode_file
from bench.record.files import replace_file
from bench.record.writer import LATEST
from bench.system.environment import parse, switch
from bench.workload.scenario import PlanError

if TYPE_CHECKING:
    from bench.gate.outcome import Outcome

FIRST_BLOCK = "about 125 s with the defaults"
"""Calibration and one block of the default cases, both sides, on a quiet machine; checked by a test."""
MINUTES = f"No block begins that would end later, except the first ({FIRST_BLOCK}); a verdict needs five."


@partial(measuring, give_up=lambda code, message: give_up(code, message, None))
def regress(
    *,
    base: Annotated[
        str, Option(help="The git ref to compare HEAD with: the merge base of the two is measured.")
    ] = "origin/main",
    tip: Annotated[bool, Option("--tip", help="Measure the commit of --base itself instead.")] = False,
    or_parent: Annotated[
        bool, Option("--or-parent", help="Compare with HEAD's first parent where --base contains HEAD already.")
    ] = False,
    target: options.Target = None,
    strategy: options.GatedStrategies = options.GATED,
    scenario: options.GatedScenarios = None,
    workers: options.Workers = 2,
    minutes: Annotated[float, Option(min=0.1, max=600, help=MINUTES)] = 15,
    seed: options.Seed = 1,
    noise: options.Noise = options.NOISE,
    env: options.Environment = None,
    turns: options.Turns = False,
    results: options.Folders = options.RESULTS,
    repository: Annotated[
        Path | None,
        Option(help="The checkout of the service to measure.", show_default="this one, or that of --target"),
    ] = None,
) -> None:
    """Is HEAD slower to stop than BASE, or does it cost more without stops? Both run here, at the same time.

    One lost abort is a regression; so is a HEAD that disturbs load and mock in its blocks where BASE does not.

    Exit codes: 0 fine, 1 worse, 2 the measurement is invalid, 3 inconclusive, 4 bad usage.
    """
    from bench.gate.commits import ROOT, choose_base
    from bench.gate.export import write_failure
    from bench.gate.margins import read_margins
    from bench.gate.regress import Gate
    from bench.gate.target_sides import SCENARIOS, cases_of_target, folder_of_target
    from bench.run.duet import shares_load
    from bench.run.settings import Settings
    from bench.system.storage import writing
    from bench.workload.plan import contender_of

    if switch("QUICK"):
        raise PlanError("QUICK runs yield no verdict: leave QUICK out")
    if target:
        if strategy != options.GATED or env:
            raise PlanError(
                "--target names the stops (my.toml/STOP) and the environment: leave out --strategy and --env"
            )
        cases = cases_of_target(target, options.words(scenario or SCENARIOS))
        checkout, workers = folder_of_target(contender_of(cases[0]).file, repository), 1
    else:
        cases, checkout = options.cases_of(scenario or options.GATED_IN, workers, strategy), repository or ROOT
    turns = turns or not any(map(shares_load, cases))  # such as services of others
    settings = Settings("all", workers, False, seed, "regress", environment=parse(env or ()))
    compared = choose_base(base, checkout, tip=tip, or_parent=or_parent)
    gate = Gate(cases, settings, read_margins(noise, duet=not turns), results, console, turns=turns)
    line(compared.note)
    with exit_codes(partial(give_up, folder=gate.folder)), writing(gate.folder):
        # Stays when the disk is full, or this process is killed.
        write_failure("the measurement broke off before its verdict", INVALID, gate.folder, {})
        outcome = gate.run(compared, minutes=minutes, repository=checkout)
    advice = "the verdict cannot be written ({}): free some space"
    _conclude(outcome, gate.folder, lambda cause: give_up(INVALID, advice.format(cause), gate.folder))


@measuring
def aa(
    *,
    strategy: options.Strategies = "redis-push",
    scenario: options.Scenarios = "flowing,steady",
    workers: options.Workers = 2,
    blocks: Annotated[int, Option(min=10, max=1000, help="Pairs; 18 give 20 comparisons of 5 blocks.")] = 18,
    seed: options.Seed = 1,
    noise: Annotated[Path, Option(help="Where this machine's noise is kept.")] = options.NOISE,
    env: options.Environment = None,
    turns: options.Turns = False,
    results: options.Folders = options.RESULTS,
) -> None:
    """Measure the same code against itself: this machine's noise (margins of the gate), and the rate of false alarms.

    The blocks of both sides are kept in verdict.json, for `prove --simulate --from`.

    Exit codes: 0 fine, 1 false alarms in more than one of twenty comparisons, 2 invalid, 4 bad usage.
    """
    cases = options.cases_of(scenario, workers, strategy)
    from bench.gate import aa_test
    from bench.gate.export import RECORD, record
    from bench.run.duet import shares_load
    from bench.run.settings import Settings

    turns = turns or not any(map(shares_load, cases))
    settings = Settings("all", workers, False, seed, "aa", environment=parse(env or ()))
    found = aa_test.measure(cases, settings, results, console, blocks=blocks, turns=turns)
    refuse_invalid(found.problems)
    noise.parent.mkdir(parents=True, exist_ok=True)
    replace_file(noise, encode_file(found.noise))
    console.print(found.table())
    kept = found.folder / RECORD
    replace_file(kept, encode_file(record(found.outcome)))
    for each in (*found.left_out, f"noise: {noise}", f"blocks: {kept}"):
        line(each)
    if loud := found.too_many_alarms:
        end(REGRESSION, f"more than {aa_test.MAX_ALARMS:.0%} false alarms: {', '.join(loud)}")


def baseline(
    folder: options.Run = options.RESULTS / LATEST,
    *,
    to: Annotated[Path, Option("--baseline", help="Where the baseline is kept.")] = options.BASELINE,
    noise: options.Noise = options.NOISE,
) -> None:
    """Keep a full run as the baseline: every metric as a multiple of the run's own floor, and the noise margins."""
    from bench.gate import baseline as kept
    from bench.gate.margins import read_margins

    with exit_codes(), writing_to(to, "choose another with --baseline"):
        record = kept.make(kept.load(folder), read_margins(noise))
        replace_file(to, encode_file(record))
    line(f"{len(record.cases)} cases, floor {record.floor_p50_ms:.3g} ms; {record.margins.says}")
    line(f"baseline: {to}")


def check(
    folder: options.Run = options.RESULTS / LATEST,
    *,
    against: Annotated[Path, Option("--baseline", help="Made by `make baseline`.")] = options.BASELINE,
    noise: options.Noise = options.NOISE,
) -> None:
    """Compare a run with the baseline, both as multiples of their own floor. Exit codes as for `regress`."""
    from bench.gate import baseline as kept
    from bench.gate.margins import read_margins

    judged = folder if (folder / "manifest.json").exists() else None
    with exit_codes(partial(give_up, folder=judged)):
        outcome = kept.check(kept.read(against), kept.load(folder), read_margins(noise))
    advice = "copy it to a place of yours"
    _conclude(outcome, folder, lambda cause: end(BAD_USAGE, f"{folder} cannot be written ({cause}): {advice}"))


def give_up(code: int, message: str, folder: Path | None) -> NoReturn:
    """End without a verdict: write the reason to verdict.json in `folder` and, in CI, to the job's outputs."""
    from bench.gate.export import write_failure

    try:
        write_failure(message, code, folder)
    except OSError as error:
        message += f" (verdict.json cannot be written either: {error.strerror or error})"
    end(code, message)


def _conclude(outcome: Outcome, folder: Path, unwritten: Callable[[str], NoReturn]) -> NoReturn:
    """Show and write a verdict, and end with its exit code; `unwritten` gets the cause when it cannot be written."""
    from bench.gate.export import write
    from bench.gate.verdict_text import show

    show(outcome, console)
    try:
        written = write(outcome, folder, typer.echo)
    except OSError as error:
        unwritten(error.strerror or str(error))
    line(f"verdict: {written[0]}")
    raise typer.Exit(outcome.exit_code)
