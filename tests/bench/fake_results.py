"""A fake in the box: a seeded results folder of the real schema whose truths are known; `write` makes one."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

STRATEGIES = (
    "memory-poll", "memory-push", "postgres-poll", "postgres-timer", "postgres-push",
    "redis-poll", "redis-timer", "redis-push", "disconnect", "none",
)  # fmt: skip
SCENARIOS = ("flowing", "stalled", "first-token", "steady")
SPECIAL = (("floor", "floor"), *((f"calibration-{arm}", "calibration") for arm in ("instant", "delay", "drop")))
TTFT_MS, ITL_MS, TOKENS, STALL_AT, STALL_MS, TIMER_MS, HOP_MS, SPAWN_MS = (
    50.0, 20.0, 100, 15, 3000.0, 100.0, 0.3, 0.4
)  # fmt: skip
CPU_US_PER_TOKEN = {"poll": 140.0, "timer": 66.0, "push": 63.0, "": 62.0}
STORE_OPS_PER_TOKEN = {"poll": 1.0, "timer": 0.02, "push": 0.005}
START_NS = 1_000_000_000_000


def write(
    folder: Path,
    *,
    strategies: Sequence[str] = STRATEGIES,
    scenarios: Sequence[str] = SCENARIOS,
    chats: int = 300,
    blocks: int = 1,
    seed: int = 1,
    label: str = "fake",
    complete: bool = True,
    special: bool = False,
) -> Path:
    """Write manifest.json, chats.jsonl.gz and cases.jsonl into `folder` (made if absent) and return it.

    `special` adds the floor and the arms of the calibration, these in the first block and with 400 chats each.
    """
    rows, cases = [], []
    grid = [(strategy, scenario) for scenario in scenarios for strategy in strategies]
    for strategy, scenario in [*grid, *(SPECIAL if special else ())]:
        for block in range(blocks):
            rng = random.Random(f"{seed} {strategy} {scenario} {block}")
            if scenario == "calibration" and block:
                break
            count = 400 if scenario == "calibration" else chats
            made = [chat(strategy, scenario, index, rng, block=block) for index in range(count)]
            rows += made
            cases.append(case(strategy, scenario, made, rng, block=block))
    named = [*scenarios, *(("floor", "calibration") if special else ())]
    write_raw(folder, manifest(label=label, complete=complete, seed=seed, scenarios=named, blocks=blocks), rows, cases)
    return folder


def write_raw(folder: Path, head: dict[str, Any], rows: Iterable[Any], cases: Iterable[Any]) -> None:
    """Write given rows as they are: for folders that are wrong on purpose."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps(head))
    with gzip.open(folder / "chats.jsonl.gz", "wt", encoding="utf-8") as lines:
        lines.writelines(json.dumps(row) + "\n" for row in rows)
    (folder / "cases.jsonl").write_text("".join(json.dumps(row) + "\n" for row in cases))


def manifest(
    *, label: str = "fake", complete: bool = True, seed: int = 1, scenarios: Sequence[str] = SCENARIOS, blocks: int = 1
) -> dict[str, Any]:
    return {
        "schema": 1, "label": label, "blocks": blocks, "started_utc": "2026-11-24T10:00:00Z",
        "ended_utc": "2026-11-24T10:08:00Z" if complete else None, "complete": complete, "seed": seed,
        "settings": {"quick": False, "workers": 2, "timer_ms": TIMER_MS}, "commit": "0123abc", "dirty": False,
        "host": {"cpus": 4, "machine": "x86_64", "system": "Linux 6.1", "python": "3.11.7", "memory_gb": 15.6},
        "versions": {"fastapi": "0.165.0", "uvicorn": "0.54.0", "openai": "3.54.0", "redis": "8.1.0"},
        "stores": {"redis": {"name": "valkey", "version": "9.1.2", "how": "embedded"},
                   "postgres": {"name": "postgresql", "version": "18.4", "how": "embedded"}},
        "scenarios": {name: {"sentence": f"This is {name}.", "ttft_ms": ttft_ms(name), "itl_ms": ITL_MS,
                             "output_tokens": TOKENS, "stall_ms": STALL_MS if name == "stalled" else 0}
                      for name in scenarios},
        "asgi": {"server": "uvicorn 0.54.0", "spec": "2.3"},
    }  # fmt: skip


def ttft_ms(scenario: str) -> float:
    return 1000.0 if scenario == "first-token" else TTFT_MS


def chat(strategy: str, scenario: str, index: int, rng: random.Random, *, block: int = 0) -> dict[str, Any]:
    """One simulated chat: the upstream's plan, the abort's moment, and when the strategy would see it."""
    store, _, delivery = strategy.partition("-")
    sent_ms = START_NS / 1e6 + index * 40 + rng.random()
    plan_ms, at = [], sent_ms + ttft_ms(scenario)
    for number in range(TOKENS):
        at += STALL_MS if scenario == "stalled" and number == STALL_AT else (ITL_MS if number else 0)
        plan_ms.append(at)
    in_the_flow = ("flowing", "floor", "calibration")
    abort_ms = {
        **dict.fromkeys(in_the_flow, sent_ms + TTFT_MS + rng.uniform(0.1, 0.8) * TOKENS * ITL_MS),
        "stalled": plan_ms[STALL_AT - 1] + rng.uniform(0.1, 0.8) * STALL_MS,
        "first-token": sent_ms + rng.uniform(0.2, 0.8) * ttft_ms(scenario),
    }.get(scenario)
    dropped = strategy == "calibration-drop" and index % 100 == 99
    lost_ms = None if abort_ms is None or dropped else _stop_ms(strategy, abort_ms, plan_ms, rng)
    witness_ms = [moment for moment in plan_ms if lost_ms is None or moment <= lost_ms]
    end_ms = (lost_ms or plan_ms[-1]) + HOP_MS
    left = strategy in ("disconnect", "floor") and abort_ms is not None
    seen_until_ms = abort_ms if left and abort_ms is not None else end_ms
    client_ms = [moment + HOP_MS for moment in witness_ms if moment + HOP_MS <= seen_until_ms]
    reason = None if left else ("length" if lost_ms is None else "abort")
    ack_ms = None if left or abort_ms is None else abort_ms + rng.lognormvariate(0.0, 0.3)
    return {
        "schema": 1, "strategy": strategy, "store": store if delivery else None, "delivery": delivery or None,
        "scenario": scenario, "workers": 2, "streams": 50, "block": block, "index": index,
        "request_id": f"{strategy}-{scenario}-{block}-{index}",
        "client": {"intended_ns": None, "sent_ns": _ns(sent_ms), "status": 200, "headers_ns": _ns(sent_ms + 2),
                   "token_ns": [_ns(moment) for moment in client_ms], "end_ns": _ns(seen_until_ms),
                   "finish_reason": reason, "error": None},
        "abort": None if abort_ms is None else {
            "after_ms": abort_ms - sent_ms, "intended_ns": _ns(abort_ms - SPAWN_MS), "sent_ns": _ns(abort_ms),
            "accepted_sent_ns": None if left else _ns(abort_ms), "tries": 1, "again": None,
            "ack_ns": None if ack_ms is None else _ns(ack_ms),
            "status": None if left else 200, "outcome": None if left else "accepted", "error": None},
        "service": None if strategy == "floor" else service(index, sent_ms, None if left else abort_ms, lost_ms),
        "witness": {"model": "mock", "stream": True, "received_ns": _ns(sent_ms + 1), "headers_ns": _ns(sent_ms + 1.5),
                    "token_ns": [_ns(moment) for moment in witness_ms], "planned_tokens": TOKENS,
                    "done_ns": _ns(plan_ms[-1] + 0.1) if lost_ms is None else None,
                    "lost_ns": None if lost_ms is None else _ns(lost_ms),
                    "outcome": "finished" if lost_ms is None else "cut", "late_p99_ms": 0.4, "late_max_ms": 0.9},
    }  # fmt: skip


def service(index: int, sent_ms: float, abort_ms: float | None, lost_ms: float | None) -> dict[str, Any]:
    """The service's side of a chat: two workers, and an abort lands on either of them as often."""
    moments_ms = {
        "received_ns": sent_ms + 0.5, "registered_ns": sent_ms + 0.8, "first_byte_ns": None, "ended_ns": None,
        "signal_ns": None if lost_ms is None or abort_ms is None else max(lost_ms - 0.5, abort_ms + 0.1),
        "upstream_closed_ns": None if lost_ms is None else lost_ms - 0.2,
        "abort_received_ns": None if abort_ms is None else abort_ms + 0.3,
        "abort_recorded_ns": None if abort_ms is None else abort_ms + 0.6,
    }  # fmt: skip
    stamps = {name: None if moment is None else _ns(moment) for name, moment in moments_ms.items()}
    abort_pid, outcome = (None, None) if abort_ms is None else (100 + index // 2 % 2, "accepted")
    return {"pid": 100 + index % 2, "finish_reason": None, "chunks": 0, **stamps,
            "abort_pid": abort_pid, "abort_outcome": outcome}  # fmt: skip


def case(
    strategy: str, scenario: str, rows: Sequence[dict[str, Any]], rng: random.Random, *, block: int = 0
) -> dict[str, Any]:
    store, _, delivery = strategy.partition("-")
    tokens = sum(len(row["client"]["token_ns"]) for row in rows)
    per_token = STORE_OPS_PER_TOKEN.get(delivery)
    slow = 0.97 if delivery == "poll" else 1.0
    return {
        "strategy": strategy, "store": store if delivery else None, "delivery": delivery or None, "scenario": scenario,
        "workers": 2, "streams": 50, "block": block, "started_ns": START_NS, "ended_ns": START_NS + int(30e9 / slow),
        "service_cpu_s": CPU_US_PER_TOKEN.get(delivery, 100.0) * rng.uniform(0.98, 1.02) * tokens / 1e6,
        "tokens": tokens,
        "store_ops": None if store == "memory" or per_token is None else int(per_token * tokens),
        "chats_planned": len(rows), "witness_late_p99_ms": 0.8, "dropped": 0, "rate_per_s": None, "fault": None,
    }  # fmt: skip


def _stop_ms(strategy: str, abort_ms: float, plan_ms: Sequence[float], rng: random.Random) -> float | None:
    """When the upstream is cut, or None when the abort is never seen (then the stream runs to its end)."""
    store, _, delivery = strategy.partition("-")
    if strategy == "none" or (store == "memory" and rng.random() < 0.5):  # the abort reached the other of 2 workers
        return None
    if delivery == "poll":  # seen when the next token asks
        return next((moment for moment in plan_ms if moment > abort_ms), plan_ms[-1]) + 0.7
    if delivery == "timer":
        return abort_ms + rng.uniform(0, TIMER_MS) + 1.5
    if delivery == "delay":
        return abort_ms + rng.lognormvariate(0.7, 0.3) + 10.0  # ten more than the arm that is obeyed at once
    return abort_ms + rng.lognormvariate(0.7 if delivery else 0.0, 0.3)


def _ns(moment_ms: float) -> int:
    return round(moment_ms * 1e6)
