"""The command `compare`: two results folders of the same load, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench.codes import BAD_USAGE, end

RESULTS = Path("results")
console = Console()


def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="A results folder.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Another one of the same load.")],
    *,
    results: Annotated[Path, typer.Option(help="Where the comparison's folder is made.")] = RESULTS,
) -> None:
    """Show two runs side by side; refuses runs that did not measure the same, and names what differs."""
    from bench import compare as runs  # noqa: PLC0415 - brings in pandas and matplotlib

    try:
        page = runs.compare(a, b, results)
    except (runs.UnlikeRuns, runs.UnreadableResults) as error:
        end(BAD_USAGE, str(error))
    console.print(f"comparison: {page}", highlight=False, soft_wrap=True)
