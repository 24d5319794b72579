"""The results of `python -m bench backends`: ratios to a bare driver, and the promises that were broken."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence

from rich.table import Table

from bench.experiments.tables import Row, figure, spread, table

GOALS = {50: 1.3, 99: 2.0}  # as multiples of a bare message in the same processes, by percentile
ENOUGH = {50: 6, 99: 368}  # samples that a 95 % interval of the percentile needs
MAX_TRIPS = {"register": 2, "read": 1, "abort": 2, "release": 2}
MAX_FIRST_TRIPS = 2  # on a new connection the statement may have to be prepared
WHOLE_INTERVAL = 0.9  # a timer may fire a little early
NOTIFY_NOTE = (
    "PostgreSQL wakes every listening session at each NOTIFY, so its cost grows with the workers; "
    "Redis sends to the owner alone."
)
FANOUT_NOTE = "x one listener\n(lowest..highest)"


def tables(record: Row) -> Iterator[Table]:
    """The four tables, without the parts that could not be measured."""
    servers = {kind: f"{store['name']} {store['version']}" for kind, store in record["stores"].items()}

    def of(part: str) -> dict[str, list[Row]]:
        return {
            servers.get(kind, kind): found for kind, parts in record["samples"].items() if (found := parts.get(part))
        }

    columns: Sequence[str] = (
        "<store",
        "<",
        "abort\nms",
        "bare\nms",
        "ratio\n(lowest..highest)",
        "of it\ncommand",
        "at most",
    )
    yield table(
        "Abort call to signal in another process, compared with a bare PUBLISH or NOTIFY in the same two processes",
        columns,
        _latency(of("latency")),
        "command: the store's own work for an abort (mark, find the owner, notify), on the bare driver.",
    )
    columns = ("<store", "aborts", "delivered", "abort\nus each", "bare\nus each", "ratio\n(lowest..highest)")
    title = "Aborts sent at once to as many live chats, compared with a bare pipeline of the same commands"
    yield table(title, columns, _burst(of("burst")))
    columns = ("<store", "workers", "alone\np50 ms", FANOUT_NOTE, "at once\nus each", FANOUT_NOTE)
    yield table("Cost of an abort by number of listening workers", columns, _fanout(of("fanout")), NOTIFY_NOTE)
    columns = ("<store", "<step", "push", "poll", "timer", "at most")
    note = "The first time on a new connection a step may take one more: the statement is prepared."
    yield table("Round trips to the store, counted by a proxy in front of it", columns, _trips(of("trips")), note)


def broken(record: Row) -> list[str]:
    """Broken promises that do not depend on the machine: lost aborts, too many round trips."""
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
            elif row["trips"] > MAX_TRIPS[row["step"]] * row["times"] or row["first"] > MAX_FIRST_TRIPS:
                found.append(f"{kind}-{row['delivery']}: {row['step']} takes too many round trips")
    return found


def percentile(samples: Sequence[float], number: int) -> float | None:
    """Linear between order statistics; None when there are too few samples for an interval."""
    if len(samples) < ENOUGH[number]:
        return None
    return statistics.quantiles(samples, n=100, method="inclusive")[number - 1]


def ratios(rows: Sequence[Row], number: int, side: str = "abort_ms") -> list[float]:
    """One per pair: the percentile of one side over that of the bare messages in the same pair."""
    both = [(percentile(row[side], number), percentile(row["bare_ms"], number)) for row in rows]
    return [ours / bare for ours, bare in both if ours is not None and bare is not None]


def _latency(by_store: dict[str, list[Row]]) -> Iterator[Sequence[str]]:
    for store, rows in by_store.items():
        for number, goal in GOALS.items():
            of_pairs = ratios(rows, number)
            if not of_pairs:
                yield store, f"p{number}", "-", "-", "too few samples", "", ""
                continue
            both_ms = (
                statistics.median(percentile(row[side], number) or 0 for row in rows)
                for side in ("abort_ms", "bare_ms")
            )
            command = statistics.median(ratios(rows, number, "command_ms"))
            verdict = "met" if statistics.median(of_pairs) <= goal else "missed"
            figures = (*(figure(ms, ".3f") for ms in both_ms), spread(of_pairs), figure(command))
            yield store, f"p{number}", *figures, f"{goal:g}: {verdict}"


def _burst(by_store: dict[str, list[Row]]) -> Iterator[Sequence[str]]:
    for store, rows in by_store.items():
        abort_us, bare_us = (
            [max(row[side], default=math.nan) * 1000 / row["aborts"] for row in rows]
            for side in ("abort_ms", "bare_ms")
        )
        delivered = sum(len(row["abort_ms"]) for row in rows) / sum(row["aborts"] for row in rows)
        each_us = (figure(statistics.median(us), ".1f") for us in (abort_us, bare_us))
        of_pairs = spread([abort / bare for abort, bare in zip(abort_us, bare_us, strict=True)])
        yield store, f"{len(rows)} x {rows[0]['aborts']}", f"{delivered:.1%}", *each_us, of_pairs


def _fanout(by_store: dict[str, list[Row]]) -> Iterator[Sequence[str]]:
    for store, rows in by_store.items():
        alone = _by_listeners(rows, lambda row: statistics.median(row["alone_ms"] or [math.nan]))
        each = _by_listeners(rows, lambda row: max(row["burst_ms"], default=math.nan) * 1000 / row["aborts"])
        for count in alone:
            cells = []
            for values, form in ((alone, ".3f"), (each, ".1f")):
                of_pairs = [more / one for one, more in zip(values[min(values)], values[count], strict=True)]
                cells += [figure(statistics.median(values[count]), form), spread(of_pairs)]
            yield store, str(count), *cells


def _trips(by_store: dict[str, list[Row]]) -> Iterator[Sequence[str]]:
    for store, rows in by_store.items():
        each = {(row["step"], row["delivery"]): f"{row['trips'] / row['times']:g}" for row in rows if "times" in row}
        for step, limit in MAX_TRIPS.items():
            yield store, step, *(each.get((step, name), "") for name in ("push", "poll", "timer")), str(limit)
        for row in rows:
            if "streams" in row:
                reads = f"{row['reads'] / row['intervals']:.2f}"
                yield store, f"read per interval, {row['streams']} streams", "", "", reads, "1"


def _by_listeners(rows: Sequence[Row], value: Callable[[Row], float]) -> dict[int, list[float]]:
    """A value per pair, in the order of the pairs, by number of listeners; complete pairs only."""
    found: dict[int, list[float]] = {count: [] for count in sorted({row["listeners"] for row in rows})}
    for row in rows:
        found[row["listeners"]].append(value(row))
    complete = min(map(len, found.values()))
    return {count: values[:complete] for count, values in found.items()}
