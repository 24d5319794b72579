"""Options that several commands share, and what their values mean."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from bench.system.environment import check_crashes
from bench.workload.plan import STRATEGIES, Case, select
from bench.workload.scenario import MAX_WORKERS, PlanError

RESULTS = Path("results")
BASELINE, NOISE = RESULTS / "baseline.json", RESULTS / "noise.json"
GATED, GATED_IN = "redis-push,postgres-push,disconnect", "flowing,stalled,steady"
"""Each store's fastest way, and the client that hangs up. `memory` on several workers loses aborts by design, which no
number of blocks decides; polls and timers share their code with the pushes. Costs are judged in `steady`, which has no
aborts."""
_SOME = f"Some of {', '.join(STRATEGIES)}; comma-separated."

Folders = Annotated[Path, Option(help="Where results are kept.")]
Run = Annotated[Path, Argument(help="The results folder of a run.")]
Seed = Annotated[int, Option(help="Same seed, same moments.")]
Quick = Annotated[bool, Option("--quick", help="A first look in a short time: not for claims.")]
Workers = Annotated[int, Option(min=1, max=MAX_WORKERS, help="Worker processes of the service.")]
Backend = Annotated[str, Option(help="A store (with push), or a strategy such as redis-poll.")]
Strategies = Annotated[str, Option(help=_SOME)]
GatedStrategies = Annotated[str, Option(help=_SOME, show_default=GATED.replace(",", ", "))]
GatedScenarios = Annotated[
    str | None,
    Option(
        help="Scenarios of the catalogue, or files ending in .toml.",
        show_default=f"{GATED_IN.replace(',', ', ')}; with --target flowing-long, stalled-long, steady",
    ),
]
Target = Annotated[
    str | None,
    Option(help="A target file (my.toml, my.toml/STOP): gate the service of the repository that it lies in."),
]
Scenarios = Annotated[str, Option(help="Scenarios of the catalogue, or files ending in .toml.")]
Turns = Annotated[
    bool, Option("--turns", help="The sides take turns, for a service that cannot run twice on a machine.")
]
Noise = Annotated[Path, Option(help="This machine's noise, from `.venv/bin/python -m bench aa`.")]
Environment = Annotated[
    list[str] | None,
    Option("--env", metavar="NAME=VALUE", help="A variable for the service under test; kept in the manifest."),
]


def percentage(text: str, name: str) -> float:
    """The share that a percentage such as `10%` stands for. Raises PlanError unless it is above 0 and below 100 %."""
    number, unit = text.strip()[:-1], text.strip()[-1:]
    try:
        share = float(number) / 100
    except ValueError:
        share = 0.0
    if unit != "%" or not 0 < share < 1:
        raise PlanError(f"{name} is {text!r}: give a percentage above 0% and below 100%, such as 10%")
    return share


def words(text: str) -> list[str]:
    """The words of a comma-separated option."""
    return [word.strip() for word in text.split(",") if word.strip()]


def cases_of(scenario: str, workers: int, strategy: str) -> list[Case]:
    """The cases of these options. Raises PlanError, also for a crash of a store that is not ours."""
    cases = select(scenarios=words(scenario), workers=workers, strategies=words(strategy))
    check_crashes(cases)
    return cases
