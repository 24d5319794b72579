"""The commands that measure two sides: `regress` compares head with a base, `aa` a strategy with itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench.codes import BAD_USAGE, INTERRUPTED, INVALID, end
from bench.plan import STRATEGIES, select
from bench.scenario import MAX_WORKERS

RESULTS = Path("results")
NOISE = RESULTS / "noise.json"
GATED = "redis-push,postgres-push,memory-push,disconnect"
console = Console()

Scenarios = Annotated[str, typer.Option(help="Scenarios of the catalogue, or files ending in .toml.")]
Workers = Annotated[int, typer.Option(min=1, max=MAX_WORKERS, help="Worker processes of the service.")]
Minutes = Annotated[float, typer.Option(min=0.1, max=600, help="No block is begun that would end later.")]
Seed = Annotated[int, typer.Option(help="Same seed, same moments.")]
Folders = Annotated[Path, typer.Option(help="Where results folders are kept.")]
Noise = Annotated[Path, typer.Option(help="This machine's noise, from `python -m bench aa`.")]


def regress(
    *,
    base: Annotated[str, typer.Option(help="The git ref to compare HEAD with.")] = "origin/main",
    strategy: Annotated[str, typer.Option(help=f"Some of {','.join(STRATEGIES)}.")] = GATED,
    scenario: Scenarios = "flowing,stalled",
    workers: Workers = 2,
    minutes: Minutes = 12,
    seed: Seed = 1,
    noise: Noise = NOISE,
    results: Folders = RESULTS,
) -> None:
    """Is HEAD slower to stop than BASE? Both run here, in interleaved blocks; one lost abort is enough for a no.

    Exit codes: 0 fine, 1 worse, 2 the measurement is invalid, 3 inconclusive, 4 bad usage.
    """
    if (os.environ.get("QUICK") or "0") != "0":
        end(
            BAD_USAGE,
            "QUICK runs yield no verdict: leave QUICK out",
        )
    cases = select(scenarios=_words(scenario), workers=workers, strategies=_words(strategy))
    from bench.checkouts import GitError, commit_of  # noqa: PLC0415 - `--help` and usage errors need none of this
    from bench.embedded import StoreError  # noqa: PLC0415
    from bench.margins import NoiseError, read_margins  # noqa: PLC0415
    from bench.procs import ChildError  # noqa: PLC0415
    from bench.regress import Gate  # noqa: PLC0415
    from bench.runner import Settings  # noqa: PLC0415
    from bench.verdict_output import write  # noqa: PLC0415
    from bench.verdict_table import show  # noqa: PLC0415

    try:
        commit_of(base)
        margins = read_margins(noise)
    except (GitError, NoiseError) as error:
        end(BAD_USAGE, str(error))
    gate = Gate(cases, Settings("all", workers, False, seed, "regress"), margins, results, console)
    try:
        outcome = gate.run(base, minutes=minutes)
    except (StoreError, ChildError, GitError) as error:
        end(INVALID, f"could not measure: {error}")
    except KeyboardInterrupt:
        end(INTERRUPTED, "interrupted; everything started has been stopped")
    show(outcome, console)
    written = write(outcome, gate.folder, typer.echo)
    console.print(f"verdict: {written[0]}", highlight=False, soft_wrap=True)
    raise typer.Exit(outcome.exit_code)


def aa(
    *,
    strategy: Annotated[str, typer.Option(help=f"Some of {','.join(STRATEGIES)}.")] = "redis-push",
    scenario: Scenarios = "flowing",
    workers: Workers = 2,
    blocks: Annotated[int, typer.Option(min=10, max=1000, help="Pairs; 18 give 20 comparisons of 5 blocks.")] = 18,
    seed: Seed = 1,
    noise: Annotated[Path, typer.Option(help="Where this machine's noise is kept.")] = NOISE,
    results: Folders = RESULTS,
) -> None:
    """Measure the same code against itself: this machine's noise (margins of the gate), and how often it cries wolf."""
    cases = select(scenarios=_words(scenario), workers=workers, strategies=_words(strategy))
    from bench.embedded import StoreError  # noqa: PLC0415 - `--help` and usage errors need none of this
    from bench.itself import Itself  # noqa: PLC0415
    from bench.procs import ChildError  # noqa: PLC0415
    from bench.runner import Settings  # noqa: PLC0415

    itself = Itself(cases, Settings("all", workers, False, seed, "aa"), results, console)
    try:
        found = itself.run(blocks)
    except (StoreError, ChildError) as error:
        end(INVALID, f"could not measure: {error}")
    except KeyboardInterrupt:
        end(INTERRUPTED, "interrupted; everything started has been stopped")
    if found.problems:
        for problem in found.problems:
            typer.echo(f"bench: problem: {problem}", err=True)
        end(INVALID, f"the measurement is invalid ({len(found.problems)} problems, see above)")
    noise.parent.mkdir(parents=True, exist_ok=True)
    found.write(noise)
    console.print(found.table())
    console.print(f"noise: {noise}", highlight=False, soft_wrap=True)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]
