"""Fake runs of the larger record: blocks, 1/2/4 workers, three paces, an outage, floor and calibration, a knee."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.bench import fake_results as fake

Row = dict[str, Any]
TIMER_MS, TOKENS, PRESS_EVERY_MS = 100.0, 75, 200.0
# The way of an abort, ms: to a worker, into the store, to the owner (push), upstream closed, seen there, client's end.
TO_WORKER_MS, TO_STORE_MS, TO_OWNER_MS, TO_CLOSE_MS, TO_WITNESS_MS, TO_CLIENT_MS = 0.4, 0.25, 0.3, 0.35, 0.25, 0.3
SCENARIOS: dict[str, Row] = {
    "flowing": {"itl_ms": 20.0, "ttft_ms": 100.0},
    "fast": {"itl_ms": 5.0, "ttft_ms": 100.0, "output_tokens": 200},
    "slow": {"itl_ms": 200.0, "ttft_ms": 100.0, "output_tokens": 15},
    "stalled": {"itl_ms": 20.0, "ttft_ms": 50.0, "stall_at": 15, "stall_ms": 3000.0, "abort_over": {"silence": 1.0}},
    "wrong-worker": {"itl_ms": 20.0, "ttft_ms": 100.0, "count_only": "other-worker", "workers": 4},
    "outage": {"itl_ms": 20.0, "ttft_ms": 100.0, "output_tokens": 200, "fault": "store-crash"},
    "steady": {"itl_ms": 20.0, "ttft_ms": 50.0},
    "floor": {"itl_ms": 20.0, "ttft_ms": 100.0},
    "calibration": {"itl_ms": 20.0, "ttft_ms": 100.0},
}
MEASURED = ("flowing", "fast", "slow", "stalled", "wrong-worker", "outage", "steady")
DOWN_MS, AWAY_MS, BLOCK_MS = 3000.0, 1200.0, 60_000.0


class Bent(NamedTuple):
    """How a fake run differs from the plain one, by strategy: added to its stops; the share of aborts it also loses."""

    slower_ms: Mapping[str, float] = {}
    loses: Mapping[str, float] = {}


PLAIN = Bent()


def write(
    folder: Path,
    *,
    strategies: Sequence[str] = fake.STRATEGIES,
    scenarios: Sequence[str] = MEASURED,
    workers: Mapping[str, Sequence[int]] | None = None,
    blocks: int = 6,
    chats: int = 60,
    bent: Bent = PLAIN,
    manifest: Mapping[str, Any] | None = None,
) -> Path:
    """Write a results folder with floor and calibration; `workers` by scenario (else 4 in wrong-worker, 2)."""
    rows: list[Row] = []
    cases = []
    for strategy, scenario, count, block, number in _plan(strategies, scenarios, workers or {}, blocks, chats):
        rng = random.Random(f"{strategy} {scenario} {count} {block}")
        way = _Way(strategy, scenario, count, block, bent, rng.uniform(0.97, 1.03))
        made = [chat(way, index, rng) for index in range(number)]
        rows += made
        cases.append(_case(way, made, rng))
    head = fake.manifest(label=folder.name, scenarios=[], blocks=blocks)  # two runs are never the same bytes
    head["scenarios"] = {
        name: {"name": name, "sentence": f"This is {name}.", "output_tokens": TOKENS, "stall_ms": 0.0,
               "abort_over": {"stream": 1.0}, **SCENARIOS[name]}
        for name in scenarios
    }  # fmt: skip
    fake.write_raw(folder, {**head, "quick": False, **(manifest or {})}, rows, cases)
    return folder


def write_knee(folder: Path) -> None:
    """knee.json as knee_run.as_point has it: three strategies, of one of which the knee was not reached."""
    knees = {
        "redis-push": (900.0, "slow", 22.4),
        "postgres-push": (620.0, "load", 23.1),
        "redis-poll": (75.0, "slow", 41),
    }
    points = [
        {"strategy": name, "aborts_per_s": rate, "chats_per_s": rate * 1.25, "limit_ms": limit_ms, "ended_by": ended,
         "ci95": None if ended == "load" else [rate * 0.9, rate * 1.08], "at_least": ended == "load", "why": ""}
        for name, (rate, ended, limit_ms) in knees.items()
    ]  # fmt: skip
    (folder / "knee.json").write_text(json.dumps(points))


class _Press(NamedTuple):
    """When Stop was first pressed and when accepted, how often, and the workers that own the chat and got the abort."""

    sent_ms: float
    accepted_ms: float | None
    tries: int
    owner: int
    landed: int


class _Way(NamedTuple):
    """Which case a chat belongs to, and how that case behaves."""

    strategy: str
    scenario: str
    workers: int
    block: int
    bent: Bent
    drift: float

    @property
    def start_ms(self) -> float:
        return fake.START_NS / 1e6 + self.block * BLOCK_MS

    @property
    def down_ms(self) -> float | None:
        stored = self.strategy.split("-")[0] in ("redis", "postgres")
        return self.start_ms + DOWN_MS if self.scenario == "outage" and stored else None


def _plan(
    strategies: Sequence[str], scenarios: Sequence[str], workers: Mapping[str, Sequence[int]], blocks: int, chats: int
) -> Iterator[tuple[str, str, int, int, int]]:
    """`(strategy, scenario, workers, block, chats)`."""
    for block in range(blocks):
        for scenario in scenarios:
            for count in workers.get(scenario, (SCENARIOS[scenario].get("workers", 2),)):
                yield from ((strategy, scenario, count, block, chats) for strategy in strategies)
        yield "floor", "floor", 2, block, chats
    for arm, number in (("instant", 80), ("delay", 80), ("drop", 500)):
        yield f"calibration-{arm}", "calibration", 1, 0, number


def chat(way: _Way, index: int, rng: random.Random) -> Row:
    """One chat of the record, with the stamps of the service and of the presses of Stop."""
    settings = SCENARIOS[way.scenario]
    sent_ms = way.start_ms + index * 90 + rng.random()
    plan_ms, at = [], sent_ms + settings["ttft_ms"]
    for number in range(settings.get("output_tokens", TOKENS)):
        at += settings["stall_ms"] if number == settings.get("stall_at") else (settings["itl_ms"] if number else 0)
        plan_ms.append(at)
    first, last = (settings["stall_at"] - 1, settings["stall_at"]) if "stall_at" in settings else (0, -1)
    room_ms = plan_ms[last] - plan_ms[first] - 2 * TIMER_MS
    abort_ms = None if way.scenario == "steady" else plan_ms[first] + rng.uniform(0.02, 1.0) * room_ms
    accepted_ms, tries = abort_ms, 1
    if abort_ms and way.down_ms and way.down_ms <= abort_ms < way.down_ms + AWAY_MS:
        tries = int((way.down_ms + AWAY_MS - abort_ms) // PRESS_EVERY_MS) + 2
        accepted_ms = abort_ms + (tries - 1) * PRESS_EVERY_MS
        accepted_ms = accepted_ms if accepted_ms < plan_ms[-1] - 2 * TIMER_MS else None
    owner, landed = index % way.workers, rng.randrange(way.workers)
    lost_ms = None
    if accepted_ms is not None:
        lost_ms = _stop_ms(way, accepted_ms, plan_ms, rng, index, elsewhere=owner != landed)
    made = _row(way, index, sent_ms, plan_ms, lost_ms)
    if abort_ms is None:
        return made | {"abort": None, "service": fake.service(0, sent_ms, None, None)}
    return made | _pressed(way, sent_ms, _Press(abort_ms, accepted_ms, tries, owner, landed), lost_ms)


def _row(way: _Way, index: int, sent_ms: float, plan_ms: Sequence[float], lost_ms: float | None) -> Row:
    row = fake.chat("redis-push", "steady", index, random.Random(0), block=way.block)
    left = way.strategy in ("disconnect", "floor") and way.scenario != "steady"
    written_ms = [each for each in plan_ms if lost_ms is None or each <= lost_ms]
    seen_ms = lost_ms - 0.2 if left and lost_ms else (lost_ms or plan_ms[-1]) + TO_CLIENT_MS
    store, _, delivery = way.strategy.partition("-")
    row["client"] |= {
        "intended_ns": _ns(sent_ms), "sent_ns": _ns(sent_ms), "headers_ns": _ns(sent_ms + 2), "end_ns": _ns(seen_ms),
        "token_ns": [_ns(each + 0.2) for each in written_ms if each + 0.2 <= seen_ms],
        "finish_reason": None if left else ("length" if lost_ms is None else "abort"),
    }  # fmt: skip
    row["witness"] |= {
        "received_ns": _ns(sent_ms + 1), "headers_ns": _ns(sent_ms + 1.5),
        "token_ns": [_ns(each) for each in written_ms],
        "planned_tokens": len(plan_ms), "done_ns": _ns(plan_ms[-1] + 0.1) if lost_ms is None else None,
        "lost_ns": None if lost_ms is None else _ns(lost_ms), "outcome": "finished" if lost_ms is None else "cut",
    }  # fmt: skip
    return row | {
        "strategy": way.strategy, "store": store if delivery else None, "delivery": delivery or None,
        "scenario": way.scenario, "workers": way.workers,
        "request_id": f"{way.strategy}-{way.scenario}-{way.workers}-{way.block}-{index}",
    }  # fmt: skip


def _pressed(way: _Way, sent_ms: float, press: _Press, lost_ms: float | None) -> Row:
    """The row's `abort` and `service`."""
    abort_ms, accepted_ms, tries, owner, landed = press
    left, at_ms = way.strategy in ("disconnect", "floor"), abort_ms if accepted_ms is None else accepted_ms
    abort = {
        "after_ms": abort_ms - sent_ms, "intended_ns": _ns(abort_ms), "sent_ns": _ns(abort_ms), "tries": tries,
        "accepted_sent_ns": None if left or accepted_ms is None else _ns(accepted_ms), "again": None, "error": None,
        "ack_ns": None if left else _ns(at_ms + TO_WORKER_MS + TO_STORE_MS + 0.5),
        "status": None if left else (503 if accepted_ms is None else 200),
        "outcome": None if left or accepted_ms is None else "accepted",
    }  # fmt: skip
    service = fake.service(0, sent_ms, None if left else at_ms, lost_ms) | {"pid": owner, "abort_pid": landed}
    if not left:
        service |= {
            "abort_received_ns": _ns(at_ms + TO_WORKER_MS),
            "abort_recorded_ns": _ns(at_ms + TO_WORKER_MS + TO_STORE_MS),
            "signal_ns": None if lost_ms is None else _ns(lost_ms - TO_WITNESS_MS - TO_CLOSE_MS),
            "upstream_closed_ns": None if lost_ms is None else _ns(lost_ms - TO_WITNESS_MS),
        }  # fmt: skip
    return {"abort": abort, "service": None if way.strategy == "floor" else service}


def _case(way: _Way, rows: Sequence[Row], rng: random.Random) -> Row:
    fault = None
    if way.down_ms is not None:
        fault = {"kind": "store-crash", "down_ns": _ns(way.down_ms), "up_ns": _ns(way.down_ms + AWAY_MS)}
    made = fake.case(way.strategy, way.scenario, rows, rng, block=way.block)
    held = 3 * way.workers if (made["store"] or "memory") in ("redis", "postgres") else None
    return made | {"workers": way.workers, "fault": fault, "rate_per_s": 11.0, "load_processes": 1, "connections": held}


def _stop_ms(
    way: _Way, abort_ms: float, plan_ms: Sequence[float], rng: random.Random, index: int, *, elsewhere: bool
) -> float | None:
    """When the upstream is cut, or None when the abort is never obeyed."""
    store, _, delivery = way.strategy.partition("-")
    lost = rng.random() < way.bent.loses.get(way.strategy, 0.0) or (store == "memory" and elsewhere)
    if way.strategy == "none" or lost or (delivery == "drop" and index % 100 == 99):
        return None
    direct_ms = TO_WORKER_MS + TO_STORE_MS + TO_CLOSE_MS + TO_WITNESS_MS
    if delivery == "poll":
        stop_ms = next((each for each in plan_ms if each > abort_ms + TO_WORKER_MS), plan_ms[-1]) + 0.7 * way.drift
    elif delivery == "timer":
        stop_ms = abort_ms + direct_ms + rng.uniform(0, TIMER_MS)
    elif store == "calibration":
        stop_ms = abort_ms + direct_ms * rng.lognormvariate(0.0, 0.05) + (10.0 if delivery == "delay" else 0.0)
    elif delivery == "push":
        hop_ms = 0.02 if store == "memory" else TO_OWNER_MS
        stop_ms = abort_ms + (direct_ms + hop_ms) * way.drift * rng.lognormvariate(0.0, 0.25)
    else:
        stop_ms = abort_ms + (0.25 if way.strategy == "floor" else 0.6) * way.drift * rng.lognormvariate(0.0, 0.25)
    return stop_ms + way.bent.slower_ms.get(way.strategy, 0.0)


def _ns(moment_ms: float) -> int:
    return round(moment_ms * 1e6)
