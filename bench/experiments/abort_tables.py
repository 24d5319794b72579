"""The results of `python -m bench backends`: ratios to a bare driver, and the promises that were broken."""

import math
from collections.abc import Callable, Iterator, Sequence
from statistics import median

from rich.table import Table

from bench.experiments.goals import spread_of
from bench.experiments.tables import Row, figure, spread, written
from bench.stats.percentiles import describe

GOALS = {"p50": 1.3, "p99": 2.0}  # as multiples of a bare message in the same processes
SIDES = ("abort_ms", "bare_ms")
MAX_TRIPS = {"register": 2, "read": 1, "abort": 2, "release": 2}
MAX_FIRST_TRIPS = 2  # on a new connection the statement may have to be prepared
WHOLE_INTERVAL = 0.9  # a timer may fire a little early


def tables(record: Row) -> Iterator[Table]:
    """The four tables, without the parts that could not be measured."""
    servers = {kind: f"{store['name']} {store['version']}" for kind, store in record["stores"].items()}
    for part, rows_of in (("latency", _latency), ("burst", _burst), ("fanout", _fanout), ("trips", _trips)):
        samples = {servers.get(kind, kind): parts.get(part) for kind, parts in record["samples"].items()}
        cells = [(server, *row) for server, rows in samples.items() if rows for row in rows_of(rows)]
        yield written(part, rows=cells)


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


def ratios(rows: Sequence[Row], name: str, side: str = "abort_ms") -> list[float]:
    """One per pair with enough samples: a percentile of one side over that of the bare messages in the same pair."""
    both = [(describe(row[side])[name], describe(row["bare_ms"])[name]) for row in rows]
    return [ours / bare for ours, bare in both if ours is not None and bare is not None]


def _latency(rows: Sequence[Row]) -> Iterator[Sequence[str]]:
    for name, goal in GOALS.items():
        if of_pairs := ratios(rows, name):
            ratio, command = spread_of(of_pairs), figure(median(ratios(rows, name, "command_ms")))
            both_ms = (median(describe(row[side])[name] or 0 for row in rows) for side in SIDES)
            verdict = f"{goal:g}: {'met' if ratio['median'] <= goal else 'missed'}"
            yield name, *(figure(ms, ".3f") for ms in both_ms), spread(ratio), command, verdict
        else:
            yield name, "-", "-", "too few samples", "", ""


def _burst(rows: Sequence[Row]) -> Iterator[Sequence[str]]:
    abort_us, bare_us = ([max(row[side], default=math.nan) * 1000 / row["aborts"] for row in rows] for side in SIDES)
    delivered = sum(len(row["abort_ms"]) for row in rows) / sum(row["aborts"] for row in rows)
    each_us = (figure(median(us), ".1f") for us in (abort_us, bare_us))
    ratio = spread(spread_of([abort / bare for abort, bare in zip(abort_us, bare_us, strict=True)]))
    yield f"{len(rows)} x {rows[0]['aborts']}", f"{delivered:.1%}", *each_us, ratio


def _fanout(rows: Sequence[Row]) -> Iterator[Sequence[str]]:
    alone = _by_listeners(rows, lambda row: median(row["alone_ms"] or [math.nan]))
    each = _by_listeners(rows, lambda row: max(row["burst_ms"], default=math.nan) * 1000 / row["aborts"])
    for count in alone:
        cells = []
        for values, form in ((alone, ".3f"), (each, ".1f")):
            of_pairs = [more / one for one, more in zip(values[min(values)], values[count], strict=True)]
            cells += [figure(median(values[count]), form), spread(spread_of(of_pairs))]
        yield str(count), *cells


def _trips(rows: Sequence[Row]) -> Iterator[Sequence[str]]:
    each = {(row["step"], row["delivery"]): f"{row['trips'] / row['times']:g}" for row in rows if "times" in row}
    for step, limit in MAX_TRIPS.items():
        yield step, *(each.get((step, name), "") for name in ("push", "poll", "timer")), str(limit)
    for row in rows:
        if "streams" in row:
            reads = f"{row['reads'] / row['intervals']:.2f}"
            yield f"read per interval, {row['streams']} streams", "", "", reads, "1"


def _by_listeners(rows: Sequence[Row], value: Callable[[Row], float]) -> dict[int, list[float]]:
    """A value per pair, in the order of the pairs, by number of listeners; complete pairs only."""
    counts = sorted({row["listeners"] for row in rows})
    found = {count: [value(row) for row in rows if row["listeners"] == count] for count in counts}
    complete = min(map(len, found.values()))
    return {count: values[:complete] for count, values in found.items()}
