"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.workload.plan import STRATEGIES
from bench.workload.scenario import MAX_WORKERS

RESULTS = Path("results")
BASELINE, NOISE = RESULTS / "baseline.json", RESULTS / "noise.json"

Folders = Annotated[Path, typer.Option(help="Where results are kept.")]
Run = Annotated[Path, typer.Argument(help="The results folder of a run.")]
Seed = Annotated[int, typer.Option(help="Same seed, same moments.")]
Quick = Annotated[bool, typer.Option("--quick", help="A first look in a short time: not for claims.")]
Workers = Annotated[int, typer.Option(min=1, max=MAX_WORKERS, help="Worker processes of the service.")]
Backend = Annotated[str, typer.Option(help="A store (with push), or a strategy such as redis-poll.")]
Strategies = Annotated[str, typer.Option(help=f"Some of {', '.join(STRATEGIES)}; comma-separated.")]
Scenarios = Annotated[str, typer.Option(help="Scenarios of the catalogue, or files ending in .toml.")]
Noise = Annotated[Path, typer.Option(help="This machine's noise, from `.venv/bin/python -m bench aa`.")]
Environment = Annotated[
    list[str] | None,
    typer.Option("--env", metavar="NAME=VALUE", help="A variable for the service under test; kept in the manifest."),
]


def words(text: str) -> list[str]:
    """The words of a comma-separated option."""
    return [word.strip() for word in text.split(",") if word.strip()]
