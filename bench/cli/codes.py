"""How a command of ours ends: the exit codes, and one line on stderr."""

from typing import NoReturn

import typer

OK, REGRESSION, INVALID, INCONCLUSIVE, BAD_USAGE, INTERRUPTED = 0, 1, 2, 3, 4, 130


def end(code: int, message: str) -> NoReturn:
    """Say why, and leave with this code."""
    typer.echo(f"bench: {message}", err=True)
    raise typer.Exit(code)
