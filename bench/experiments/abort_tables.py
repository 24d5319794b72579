"""What the record of `python -m bench backends` says: ratios to a bare driver, and the promises that were broken."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rich.table import Table

TARGETS = {50: 1.3, 99: 2.0}  # times a bare message beside it, by percentile
ENOUGH = {50: 6, 99: 368}  # samples that a 95 % interval of the percentile needs
MOST_TRIPS = {"register": 2, "read": 1, "abort": 2, "release": 2}
MOST_FIRST_TRIPS = 2  # a new connection may have to be told the statement first
WHOLE_INTERVAL = 0.9  # a timer may fire early by a little
Row = dict[str, Any]
NOTIFY_NOTE = (
    "PostgreSQL wakes every listening session at each NOTIFY, whoever it is for, so its cost grows with the workers; "
    "Redis tells the owner alone."
)


def tables(record: Row) -> Iterator[Table]:
    """The four tables, without the parts that could not be measured."""
    samples = {_said(record, kind): parts for kind, parts in record["samples"].items()}
    yield _latency({kind: parts["latency"] for kind, parts in samples.items() if parts.get("latency")})
    yield _burst({kind: parts["burst"] for kind, parts in samples.items() if parts.get("burst")})
    yield _fanout({kind: parts["fanout"] for kind, parts in samples.items() if parts.get("fanout")})
    yield _trips({kind: parts["trips"] for kind, parts in samples.items() if parts.get("trips")})


def _said(record: Row, kind: str) -> str:
    """The server by what it says of itself."""
    store = record["stores"].get(kind)
    return f"{store['name']} {store['version']}" if store else kind


def broken(record: Row) -> list[str]:
    """Promises that do not depend on the machine and were not kept: lost aborts, too many round trips."""
    found = []
    for kind, parts in record["samples"].items():
        for row in parts.get("burst", []):
            if lost := row["aborts"] - len(row["abort_ms"]):
                found.append(f"{kind}: {lost} of {row['aborts']} aborts at once were lost")
        for row in parts.get("fanout", []):
            if lost := 2 * row["aborts"] - len(row["alone_ms"]) - len(row["burst_ms"]):
                found.append(f"{kind}: {lost} aborts were lost with {row['listeners']} workers listening")
        for row in parts.get("trips", []):
            if "streams" in row:
                if row["closest"] < WHOLE_INTERVAL:
                    found.append(f"{kind}: a timer with {row['streams']} streams reads more than once per interval")
            elif row["trips"] > MOST_TRIPS[row["step"]] * row["times"] or row["first"] > MOST_FIRST_TRIPS:
                found.append(f"{kind}-{row['delivery']}: {row['step']} takes too many round trips")
    return found


def percentile(samples: Sequence[float], number: int) -> float | None:
    """Linear between order statistics; None when there are too few samples to trust it."""
    if len(samples) < ENOUGH[number]:
        return None
    return statistics.quantiles(samples, n=100, method="inclusive")[number - 1]


def ratios(rows: Sequence[Row], number: int, side: str = "abort_ms") -> list[float]:
    """One per pair: the percentile of one side over that of the bare messages beside it."""
    both = [(percentile(row[side], number), percentile(row["bare_ms"], number)) for row in rows]
    return [ours / bare for ours, bare in both if ours is not None and bare is not None]


def _latency(by_kind: dict[str, list[Row]]) -> Table:
    table = _table("Abort call to signal in another process, beside a bare PUBLISH or NOTIFY in the same two processes")
    table.caption = "command: what the store itself does for an abort (mark, find the owner, tell), on the bare driver."
    _columns(table, "store", "", "abort\nms", "bare\nms", "ratio\n(lowest to highest)", "of it\ncommand", "at most")
    for kind, rows in by_kind.items():
        for number, target in TARGETS.items():
            of_pairs = ratios(rows, number)
            if not of_pairs:
                table.add_row(kind, f"p{number}", "-", "-", "too few samples", "", "")
                continue
            abort_ms, bare_ms = (
                statistics.median(percentile(row[side], number) or 0 for row in rows)
                for side in ("abort_ms", "bare_ms")
            )
            verdict = "met" if statistics.median(of_pairs) <= target else "missed"
            table.add_row(
                kind,
                f"p{number}",
                f"{abort_ms:.3f}",
                f"{bare_ms:.3f}",
                _spread(of_pairs),
                f"{statistics.median(ratios(rows, number, 'command_ms')):.2f}",
                f"{target:g}: {verdict}",
            )
    return table


def _burst(by_kind: dict[str, list[Row]]) -> Table:
    table = _table("Aborts fired at once on as many live chats, beside a bare pipeline of the same commands")
    _columns(table, "store", "aborts", "delivered", "abort\nus each", "bare\nus each", "ratio\n(lowest to highest)")
    for kind, rows in by_kind.items():
        each_us = {
            side: [_last_ms(row[side]) * 1000 / row["aborts"] for row in rows] for side in ("abort_ms", "bare_ms")
        }
        of_pairs = [abort / bare for abort, bare in zip(each_us["abort_ms"], each_us["bare_ms"], strict=True)]
        table.add_row(
            kind,
            f"{len(rows)} x {rows[0]['aborts']}",
            f"{sum(len(row['abort_ms']) for row in rows) / sum(row['aborts'] for row in rows):.1%}",
            f"{statistics.median(each_us['abort_ms']):.1f}",
            f"{statistics.median(each_us['bare_ms']):.1f}",
            _spread(of_pairs),
        )
    return table


def _fanout(by_kind: dict[str, list[Row]]) -> Table:
    table = _table("What an abort costs as more workers listen, against one listener")
    table.caption = NOTIFY_NOTE
    against = "x one listener\n(lowest to highest)"
    _columns(table, "store", "workers", "alone\np50 ms", against, "at once\nus each", against)
    for kind, rows in by_kind.items():
        alone = _by_listeners(rows, lambda row: statistics.median(row["alone_ms"] or [math.nan]))
        each = _by_listeners(rows, lambda row: _last_ms(row["burst_ms"]) * 1000 / row["aborts"])
        least = min(alone)
        for count in alone:
            table.add_row(
                kind,
                str(count),
                f"{statistics.median(alone[count]):.3f}",
                _spread([more / one for one, more in zip(alone[least], alone[count], strict=True)]),
                f"{statistics.median(each[count]):.1f}",
                _spread([more / one for one, more in zip(each[least], each[count], strict=True)]),
            )
    return table


def _trips(by_kind: dict[str, list[Row]]) -> Table:
    table = _table("Round trips to the store, counted by a proxy in front of it")
    table.caption = "A step's very first time on a new connection may take one more: the statement is prepared."
    _columns(table, "store", "step", "push", "poll", "timer", "at most")
    for kind, rows in by_kind.items():
        each = {(row["step"], row["delivery"]): f"{row['trips'] / row['times']:g}" for row in rows if "times" in row}
        for step, most in MOST_TRIPS.items():
            table.add_row(kind, step, *(each.get((step, name), "") for name in ("push", "poll", "timer")), str(most))
        for row in rows:
            if "streams" in row:
                per_interval = f"{row['reads'] / row['intervals']:.2f}"
                table.add_row(kind, f"read per interval, {row['streams']} streams", "", "", per_interval, "1")
    return table


def _columns(table: Table, *names: str) -> None:
    for name in names:
        table.add_column(name, justify="left" if name in ("store", "step", "") else "right", no_wrap=True)


def _table(title: str) -> Table:
    return Table(title=title, box=None, padding=(0, 1, 0, 0), header_style="bold", title_justify="left")


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def _last_ms(took_ms: Sequence[float]) -> float:
    return max(took_ms, default=math.nan)


def _by_listeners(rows: Sequence[Row], value: Callable[[Row], float]) -> dict[int, list[float]]:
    """One value per pair, in the order of the pairs, under each number of listeners; whole pairs only."""
    found: dict[int, list[float]] = {count: [] for count in sorted({row["listeners"] for row in rows})}
    for row in rows:
        found[row["listeners"]].append(value(row))
    whole = min(map(len, found.values()))
    return {count: values[:whole] for count, values in found.items()}
