"""`python -m bench backends`: the abort path itself, between two processes, on real stores; no HTTP, no service."""

import json
import math
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from rich.table import Table

from bench.experiments.frame import provenance, start_store, wait, write_json
from bench.experiments.goals import spread_of
from bench.experiments.tables import Row, figure, spread, written
from bench.record.host import utc_now
from bench.record.writer import check_writable
from bench.run.rig import Say
from bench.stats.percentiles import describe
from bench.system.embedded import StoreError, temporary_folder
from bench.system.procs import Child
from bench.system.stores import Store

# History of abort-path.json. Readers refuse other schemas.
#   1  2026-11  stores, samples[store][part] = the rows of `python -m backends.measure <part>`, unmeasured
SCHEMA = 1
FILE = "abort-path.json"
KINDS = ("redis", "postgres")
CHOICES = ("postgres", "redis", "postgres-push", "redis-push")
PARTS = ("latency", "trips", "burst", "fanout")
SAMPLES = {"latency": 400, "burst": 1000, "fanout": 100}  # per pair and side; a p99 needs 368
QUICK_SAMPLES = {"latency": 100, "burst": 200, "fanout": 30}
PAIRS = 5
SETTINGS: dict[str, Mapping[str, str]] = {
    "redis": {},
    "postgres": {"max_connections": "500"},  # 64 workers listen at the same time, each with its own pool
}
PART_DEADLINE_S = 300.0
GOALS = {"p50": 1.3, "p99": 2.0}  # as multiples of a bare message in the same processes
SIDES = ("abort_ms", "bare_ms")
MAX_TRIPS = {"register": 2, "read": 1, "abort": 2, "release": 2}
MAX_FIRST_TRIPS = 2  # on a new connection the statement may have to be prepared
WHOLE_INTERVAL = 0.9  # a timer may fire a little early


def measure(kinds: Sequence[str], folder: Path, say: Say, *, quick: bool = False) -> Row:
    """Measure these stores and return the record; abort-path.json in `folder` holds it from the first part on.

    `say` gets the current step. A part that fails is in `unmeasured`, with its reason; the others go on. Raises
    FolderError when the folder cannot be written, and OSError when that happens later.
    """
    record: Row = {"schema": SCHEMA, "started": utc_now(), **provenance(), "quick": quick, "pairs": PAIRS}
    record |= {"stores": {}, "samples": {}, "unmeasured": []}
    check_writable(folder)
    write_json(folder / FILE, record, indent=None)
    for kind in kinds:
        with ExitStack() as stack:
            say(f"starting {kind}")
            namespace = f"stopwatch_bench_{secrets.token_hex(3)}"
            try:
                store = start_store(stack, kind, namespace, SETTINGS[kind])
            except StoreError as error:
                record["unmeasured"].append(f"{kind}: {error}")
                continue
            record["stores"][kind] = {"name": store.name, "version": store.version, "how": store.how}
            logs = stack.enter_context(temporary_folder("measure"))
            for part in PARTS:
                rows, failure = measure_part(store, part, logs, namespace, say, quick=quick)
                record["samples"].setdefault(kind, {})[part] = rows
                if failure:
                    record["unmeasured"].append(f"{kind} {part}: {failure}")
                write_json(folder / FILE, record, indent=None)
    return record


def measure_part(
    store: Store, part: str, logs: Path, namespace: str, say: Say, *, quick: bool
) -> tuple[list[Row], str | None]:
    """The rows that `python -m backends.measure` printed, and why there are not all of them, or None."""
    arguments = ["backends.measure", part, "--namespace", namespace, "--pairs", str(PAIRS)]
    if part in SAMPLES:
        arguments += ["--samples", str((QUICK_SAMPLES if quick else SAMPLES)[part])]
    # Not an argument: the address may hold a password, and every user can read arguments.
    env = {"ABORT_BACKEND": store.strategy_url("push")}
    with Child(f"measuring {part}", arguments, logs / part, env=env, ready=False) as child:
        code = wait(child, lambda _: say(f"{store.kind} {part}: {len(_output(child.log)[0])} rows"), PART_DEADLINE_S)
    rows, messages = _output(child.log)
    if code == 0:
        return rows, None
    if code is None:
        return rows, f"it was not done after {PART_DEADLINE_S:g} s"
    return rows, messages[-1] if messages else f"it ended with exit code {code}"


def _output(log: Path) -> tuple[list[Row], list[str]]:
    """The JSON rows and the other lines of the output, without a line that is not complete yet."""
    lines = log.read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line) for line in lines if line.startswith("{")], [x for x in lines if not x.startswith("{")]


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
