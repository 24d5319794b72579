"""The command `prove`: the gate's false alarms and missed faults, measured or simulated."""

from pathlib import Path
from typing import Annotated

import typer
from typer import Option

from bench.cli import options
from bench.cli.errors import exit_codes, measuring
from bench.cli.options import NOISE, RESULTS, Folders, Noise, Scenarios, Seed, Workers, words
from bench.cli.terminal import INVALID, REGRESSION, console, end, line, warn
from bench.experiments.prove import counter
from bench.experiments.prove import simulate as simulation
from bench.experiments.prove.record import FILE, PARTS, promises_table, verdict_of
from bench.workload.scenario import PlanError

FROM = "A verdict.json of equal code; repeat it for more."


@measuring
def prove(
    *,
    aa: Annotated[int, Option(min=1, max=1000, help="Gate runs of HEAD against itself.")] = 20,
    faults: Annotated[int, Option(min=1, max=1000, help="Gate runs of each other commit.")] = 5,
    only: Annotated[str, Option(help=f"Some of {', '.join(PARTS)}.", show_default="all")] = "",
    strategy: options.GatedStrategies = options.GATED,
    scenario: Scenarios = options.GATED_IN,
    workers: Workers = 2,
    minutes: Annotated[float, Option(min=0.1, max=600, help="Limit for one gate run.")] = 8,
    seed: Seed = 1,
    noise: Noise = NOISE,
    results: Folders = RESULTS,
    simulated: Annotated[bool, Option("--simulate", help="Measure nothing: simulate, from recorded blocks.")] = False,
    from_: Annotated[list[Path] | None, Option("--from", help=FROM, show_default=simulation.DEFAULT.name)] = None,
) -> None:
    """Measure the gate's false alarms and missed faults: runs `regress` on commits that it must find, and on others.

    In a throw-away clone of HEAD: `aa`, HEAD against itself, at most one run in twenty worse. Commits that must be
    found each time: `delay` and `late` add 5 and 0.3 ms to the stop path, `poll` polls instead of pushing, `drop` and
    `drop-rarely` drop 1 and 0.5 % of aborts, `leak` leaks the upstream on disconnect, `burn`, `burn-little` and
    `overload` burn 0.1, 0.019 and 1 ms of CPU time per chunk, `ask` asks the store once more per chat. And `docs`, a
    change of docs while a process burns CPU time on every core: never worse. All parts take some hours; try
    `prove --aa 1 --faults 1`, or a part with `--only drop`.

    prove.json is written after each run, so that an interrupted proof keeps its finished runs. Each run is also added
    to results/reference/prove.json, which counts the runs of each kind of machine over all proofs.

    `--simulate` takes less than a minute: it draws 4,000 comparisons from the blocks of recorded ones, shifts a metric
    by 0 to 50 %, and counts the verdicts after 5, 10 and 20 blocks. Without `--from` it also updates docs/gate.md.
    Record your own: `make regress` of two commits that differ in docs only, then `--from` its verdict.json.

    Exit codes: 0 every promise was kept, 1 one was broken (simulated: wrong verdicts in more than 1 % of a cell), 2 it
    could not be measured, 4 bad usage.
    """
    if simulated:
        _simulate(from_, results, seed)
        return
    if from_:
        raise PlanError("--from belongs to --simulate: give both")
    cases = options.cases_of(scenario, workers, strategy)
    from bench.experiments.prove import proof as proving
    from bench.gate.commits import ROOT
    from bench.record.host import describe_host, utc_now
    from bench.record.writer import Results
    from bench.system.git import GitError

    parts = proving.chosen_parts(words(only), words(strategy), words(scenario))
    request = proving.Request(parts, aa, faults, strategy, scenario, workers, minutes, seed)
    host = describe_host()
    counter.read(ROOT / counter.FILE)  # before hours of runs that could not be added
    kept = Results(results, "prove")
    line(f"{len(request.runs)} gate runs, {proving.time_left(request, [], cases)}")
    with console.status("starting") as status:
        proof = proving.Proof(request, kept, noise, status.update)
        try:
            with exit_codes(usage=(GitError,)):
                for entry in proof.run():
                    name = f"{entry['part']} {entry['number']} of {request.runs_of(entry['part'])}"
                    left = proving.time_left(request, proof.entries, cases)
                    line(f"{name:16} {entry['verdict']:12} {entry['seconds']:5.0f} s  ({left})")
                    line(f"  {entry['sentence']}", "dim")
                    counter.add(ROOT / counter.FILE, entry, host=host, commit=proof.commit, date=utc_now())
        finally:
            if proof.entries:
                console.print(promises_table(proof.entries))
                for text in counter.progress(counter.read(ROOT / counter.FILE), host, proof.entries[-1]["mode"]):
                    line(f"counted on this kind of machine: {text}")
            line(f"proof: {kept.folder / FILE}; finished runs are kept")
    code, message = verdict_of(proof.entries)
    if code:
        end({"broken": REGRESSION, "not shown": INVALID}[code], message)


def _simulate(paths: list[Path] | None, results: Path, seed: int) -> None:
    """Simulate the gate on recorded blocks, and write simulated.json, simulated.md and a chart."""
    from bench.experiments.frame import write_json
    from bench.gate.commits import ROOT
    from bench.record.writer import Results
    from bench.report.charts.error_rates import draw_error_rates

    cells, record = simulation.measure(paths or [ROOT / simulation.DEFAULT], seed=seed)
    folder, table = Results(results, "prove-simulated").folder, simulation.markdown(cells)
    write_json(folder / simulation.FILE, record)
    (folder / "simulated.md").write_text(table, encoding="utf-8")
    draw_error_rates(folder, record["cells"])
    if not paths:
        simulation.write_page(ROOT / simulation.PAGE, table)
    for each in simulation.terminal_tables(cells):
        console.print(each, "")
    line(f"table, chart and every count: {folder}")
    if wrong := simulation.too_often_wrong(cells):
        warn("wrong verdicts", wrong)
        raise typer.Exit(REGRESSION)
