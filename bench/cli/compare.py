"""The command `compare`: two results folders, side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench.cli.codes import BAD_USAGE, INVALID, end

RESULTS = Path("results")
MOST_NAMED = 5
console = Console()


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="A results folder.", show_default=False)] = "",
    b: Annotated[str, typer.Argument(metavar="B", help="Another one.", show_default=False)] = "",
    *,
    results: Annotated[Path, typer.Option(help="Where the comparison's folder is made.")] = RESULTS,
) -> None:
    """Show two runs side by side: the cases that both measured in the same way; names the others.

    Exit codes: 0 fine, 2 one of the runs is invalid (the comparison is made, and says so), 4 nothing to compare.
    """
    from bench.report import compare as runs  # noqa: PLC0415 - brings in pandas and matplotlib

    if not (a and b):
        end(BAD_USAGE, f"compare needs two runs: make compare A=results/... B=results/...; {_yours(results)}")

    def left_out(what: str) -> None:
        typer.echo(f"bench: not compared: {what}", err=True)

    try:
        page = runs.compare(Path(a), Path(b), results, left_out)
    except (runs.UnlikeRuns, runs.UnreadableResults) as error:
        end(BAD_USAGE, str(error))
    console.print(f"comparison: {page}", highlight=False, soft_wrap=True)
    invalid = []
    for side, name in (("a", a), ("b", b)):
        summary = json.loads((page.parent / side / "summary.json").read_text(encoding="utf-8"))
        if not summary["valid"]:
            invalid.append(f"{side.upper()} ({name}) is invalid: {[*summary['problems'], 'no reason given'][0]}")
    if invalid:
        end(INVALID, f"no conclusions from this comparison: {'; '.join(invalid)}")


def _yours(results: Path) -> str:
    """The newest runs in the folder, in words."""
    folders = sorted((path.parent for path in results.glob("*/manifest.json")), key=lambda each: each.name)
    names = [str(folder) for folder in reversed(folders) if not folder.is_symlink()][:MOST_NAMED]
    return f"yours: {', '.join(names)}" if names else f"{results} holds none yet: make bench"
