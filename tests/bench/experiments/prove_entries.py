"""Made-up gate runs of a proof."""

from __future__ import annotations

from typing import Any

from bench.experiments.prove.record import Entry, entry

MEASURED = {
    "delay": ("worse", "abort_ack_ms", "redis-push"),
    "poll": ("worse", "upstream_stop_ms", "postgres-push"),
    "drop": ("missed", "missed", "redis-push"),
    "leak": ("missed", "missed", "disconnect"),
    "burn": ("worse", "server_cpu_us_per_token", "disconnect"),
    "ask": ("worse", "store_ops_per_chat", "redis-push"),
    "late": ("worse", "upstream_stop_ms", "redis-push"),
    "drop-rarely": ("missed", "missed", "redis-push"),
    "burn-little": ("worse", "server_cpu_us_per_token", "redis-push"),
    "overload": ("unhealthy_blocks", "unhealthy_blocks", "redis-push"),
    "answer-first": ("worse", "upstream_stop_ms", "redis-push"),
}


def verdict(part: str, says: str = "worse") -> dict[str, Any]:
    rule, metric, strategy = MEASURED.get(part, ("worse", "ttft_ms", "redis-push"))
    rules = [{"rule": rule, "metric": metric, "strategy": strategy, "scenario": "flowing", "sentence": "so it is"}]
    return {"verdict": says, "sentence": says, "blocks": 5, "rules": rules if says == "worse" else []}


def seen(part: str, says: str = "worse", number: int = 1) -> Entry:
    return entry(part, number, verdict(part, says), seconds=60.0, code=0, reason="")


def good(part: str, number: int) -> Entry:
    return seen(part, "worse" if part in MEASURED else "equivalent", number)
