"""A process' own signs within a stretch of time, from the lines it keeps for each second; pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from statistics import median
from typing import Any

SIGNS = ("lag_p50_ms", "lag_p99_ms", "lag_max_ms", "gc_max_ms")
Row = dict[str, Any]
Span = tuple[int, int]


def touching(lines: Iterable[Row], span: Span) -> list[Row]:
    """The lines (each `{"from_ns", "to_ns", **SIGNS}`) that overlap the span (ns), be it by their edge."""
    return [line for line in lines if _common_ns(line, span) >= 0]


def mostly_within(lines: Iterable[Row], span: Span) -> list[Row]:
    """The lines that lie at least by half in the span (ns), or fill half of it: one second belongs to one phase.

    Else a phase of a second would be half of what came before it, and its median no longer its own.
    """
    return [
        line
        for line in lines
        if 2 * _common_ns(line, span) >= min(line["to_ns"] - line["from_ns"], span[1] - span[0]) > 0
    ]


def signs_of(lines: Iterable[Row]) -> dict[str, float | None]:
    """One value for each of SIGNS, in ms; None where no line knows it.

    Percentiles cannot be added up: p50 and p99 are those of the typical second (the median over the seconds).
    """
    known = list(lines)
    return {sign: _known(median, known, sign) for sign in SIGNS[:2]} | {
        sign: _known(max, known, sign) for sign in SIGNS[2:]
    }


def _common_ns(line: Row, span: Span) -> int:
    common_ns: int = min(line["to_ns"], span[1]) - max(line["from_ns"], span[0])
    return common_ns


def _known(reduce: Callable[[list[float]], float], lines: Iterable[Row], sign: str) -> float | None:
    values: list[float] = [line[sign] for line in lines if line[sign] is not None]
    return reduce(values) if values else None
