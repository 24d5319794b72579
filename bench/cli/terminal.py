"""What every command prints, and its exit codes."""

import re
from collections.abc import Iterable, Sequence
from typing import NoReturn

import typer
from rich.console import Console

OK, REGRESSION, INVALID, INCONCLUSIVE, BAD_USAGE, INTERRUPTED = 0, 1, 2, 3, 4, 130
_FIGURES = re.compile(r"\d[\d.,]*")
console = Console()


def line(text: str, style: str = "") -> None:
    """Print a line as it is: no markup, no colours for figures, no wrapping."""
    console.print(text, style=style or None, highlight=False, soft_wrap=True, markup=False)


def warn(label: str, texts: Iterable[str]) -> None:
    """Print a line per text on stderr."""
    for text in texts:
        typer.echo(f"bench: {label}: {text}", err=True)


def end(code: int, message: str) -> NoReturn:
    """Print the reason on stderr, and end with this code."""
    typer.echo(f"bench: {message}", err=True)
    raise typer.Exit(code)


def refuse_invalid(problems: Iterable[str]) -> None:
    """End with INVALID when there are problems of a measurement; prints a line per cause."""
    found = list(problems)
    warn("problem", by_cause(found))
    if found:
        end(INVALID, f"the measurement is invalid ({len(found)} problems, see above)")


def by_cause(problems: Sequence[str]) -> list[str]:
    """The problems (`case: cause`), one for each cause; causes that differ only in their figures count as the same."""
    groups: dict[str, list[str]] = {}
    for problem in problems:
        groups.setdefault(_FIGURES.sub("0", problem.partition(": ")[2] or problem), []).append(problem)
    found = []
    for first, *others in groups.values():
        also = list(dict.fromkeys(each.partition(": ")[0] for each in others))
        found.append(f"{first} (and in {len(others)} more: {', '.join(also)})" if also else first)
    return found
