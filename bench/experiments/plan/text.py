"""A plan as tables for the terminal: needs, the model's errors, costs, and where each figure comes from."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from rich.table import Table

from bench.analysis.capacity import Demand, Model, notify_s
from bench.analysis.plan_fit import checks
from bench.experiments.tables import compact, lines, written
from bench.record.host import other_machine
from bench.record.manifest import Host
from bench.record.plan import VALIDATIONS, PlanRecord
from bench.stats.queueing import SOURCE

GOALS: Mapping[str, float] = {"p95": 0.15, "cpu": 0.05, "knee": 0.15}
CENSORED = ("load", "time")


def busy_chunks(results: Path, host: Host) -> tuple[dict[str, float], str]:
    """CPU time per chunk (us) of a worker that is never idle, by strategy: from relay.json of `bench relay`.

    The newest in `results`, else the committed one, if it has the cores of `host`; empty where there is none. The
    second result is a line with these figures and their source, which names how the machines differ.
    """
    for path in (results / "relay.json", results / "reference" / "relay.json"):
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            each = {name: one["cpu_us_per_chunk"]["median"] for name, one in found["contenders"].items()}
            rate, when = found["contenders"]["redis-push"]["chunks_per_s"]["median"], found["date"]
            there = msgspec.convert(found["host"], Host)
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if (there.cpus, there.machine) != (host.cpus, host.machine):
            continue
        known = {name: us for name, us in each.items() if name in ("redis-push", "redis-poll")}
        value = ", ".join(f"{name} {us:.1f} us" for name, us in known.items())
        what = f"CPU per chunk of a worker that is never idle ({rate:,.0f} chunks/s with redis-push)"
        differs = other_machine(there, host)
        where = f"another machine ({differs}); `make bench-relay` measures this one" if differs else "the same machine"
        return known, f"{what}: {value}; measured: {path}, {when}, {where}"
    return {}, ""


def plan_tables(record: PlanRecord, model: Model, demand: Demand) -> Iterator[Table]:
    """The needs, the errors of the model, and the costs behind both."""
    yield written("plan", needs=model.needs(demand))
    rows = [error_row(record, model, fit.strategy) for fit in model.fits]
    yield written("plan_errors", rows=rows, names=VALIDATIONS)
    yield written("plan_costs", fits=model.fits)


def error_row(record: PlanRecord, model: Model, strategy: str) -> dict[str, Any]:
    """`errors` of p95 and CPU at the validation loads, `knee`, whether that was not reached, and goals `met`."""
    measured = next(each for each in record.strategies if each.strategy == strategy)
    found = checks(measured, next(each for each in model.fits if each.strategy == strategy))
    (knee,), censored = found["knee"], measured.knee.ended_by in CENSORED
    known = {kind: {each.name: each.error for each in found[kind]} for kind in ("p95", "cpu")}
    errors = {kind: [own.get(name) for name in VALIDATIONS] for kind, own in known.items()}
    knee_met = _within("knee", knee.error) or bool(censored and knee.error and knee.error > 0)
    met = knee_met + sum(_within(kind, error) for kind, own in errors.items() for error in own)
    return {
        "strategy": strategy,
        "errors": [*errors["p95"], *errors["cpu"]],
        "knee": knee,
        "knee_met": knee_met,
        "censored": censored,
        "met": f"{met} of {2 * len(VALIDATIONS) + 1}",
    }


def goals_line(record: PlanRecord, model: Model) -> str:
    """The goals of the model, and how many of the checks meet them."""
    rows = [error_row(record, model, each.strategy) for each in model.fits]
    half = len(VALIDATIONS)
    parts = {
        f"p95 within {GOALS['p95']:.0%}": [_within("p95", e) for row in rows for e in row["errors"][:half]],
        f"CPU within {GOALS['cpu']:.0%}": [_within("cpu", e) for row in rows for e in row["errors"][half:]],
        f"knee within {GOALS['knee']:.0%}": [row["knee_met"] for row in rows],
    }
    counts = ", ".join(f"{goal} in {sum(met)} of {len(met)}" for goal, met in parts.items())
    return f"Fitted at 30 % of the knee. Goals met: {counts}. -: predicted to be over its capacity."


def sources(record: PlanRecord, model: Model, relay: str = "") -> list[str]:
    """Where each figure of a plan comes from: ours, with machine, time and commit; then the published ones.

    The published ones are for comparison only: no figure of a plan is computed from them.
    """
    return lines(
        "plan_sources", here=described(record), relay=relay, fanout=model.fanout, stores=record.stores,
        notify_per_s=lambda each, workers: 1 / notify_s(each, workers), formulas=SOURCE,
    )  # fmt: skip


def described(record: PlanRecord) -> str:
    """Machine, time and commit of a measurement."""
    host = record.host
    commit = f"commit {record.commit[:7]}{'+' if record.dirty else ''}" if record.commit else "commit unknown"
    return f"{record.started_utc}, {host.cpus} cores, {host.cpu or host.machine}, {commit}"


def beyond(model: Model, demand: Demand) -> str:
    """How far the demand lies beyond what was measured."""
    most = max(model.measured_streams.values(), default=0.0)
    times = f", {compact(demand.streams / most)} times as many" if most else ""
    asked = compact(demand.streams)
    return f"extrapolated: at most {compact(most)} live streams were measured; this plan is for {asked}{times}"


def doubts(record: PlanRecord, model: Model) -> list[str]:
    """Strategies that were measured but have no row, and knees at which aborts were missed, so that lie too high."""
    known = {each.strategy for each in model.fits}
    why = {"failed": "chats failed", "missed": "aborts were missed", "slow": "stops were slow"}
    found = [
        f"{each.strategy} is left out: at the lowest rate {why.get(each.knee.ended_by, 'the load was unhealthy')}"
        for each in record.strategies
        if each.strategy not in known
    ]
    return found + [
        f"{each.strategy}: {load.missed} aborts were missed at {load.name} % of its measured knee, which lies too high"
        for each in record.strategies
        for load in each.loads
        if load.missed
    ]


def _within(kind: str, error: float | None) -> bool:
    return error is not None and abs(error) <= GOALS[kind]
