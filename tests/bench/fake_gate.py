"""Made-up block values with known truths, and results folders as `make bench` writes them."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.analysis.reading import CaseKey
from bench.workload.scenario import load_scenarios

NS_PER_MS = 1_000_000
HOST = {"cpus": 4, "machine": "x86_64", "system": "Linux 6.1", "python": "3.11.7", "memory_gb": 15.6}
FLOWING, STEADY = (scenario.settings() for scenario in load_scenarios(["flowing", "steady"]))
"""As they are shipped: people press Stop in the first, and nobody does in the second."""
PUSH = CaseKey("redis-push", "flowing", 2, FLOWING["streams"])
TIMER = CaseKey("redis-timer", "flowing", 2, FLOWING["streams"])
STEADY_PUSH = CaseKey("redis-push", "steady", 2, STEADY["streams"])
CPU_US, OPS_PER_CHAT = 190.0, 6
"""Of a token and of a chat, about as redis-push was measured."""


def arm(
    rng: np.random.Generator, level: float, blocks: int, noise: float, outliers: float = 0.0
) -> NDArray[np.float64]:
    """Block values around `level`: log-normal run noise, and now and then a block that a neighbour doubled."""
    doubled = np.where(rng.random(blocks) < outliers, 2.0, 1.0)
    return level * rng.lognormal(0.0, noise, blocks) * doubled


def summary_case(strategy: str = "redis-push", workers: int = 2, **more: Any) -> dict[str, Any]:
    """A `cases` entry of a summary, with the counts that the rules look at."""
    return {"strategy": strategy, "scenario": "flowing", "workers": workers, "streams": 150, "chats": 1000, "errors": 0,
            "missed": 0, "wrong_stops": 0, "leaked": 0, "tokens_after_stop": 0, "metrics": {}} | more  # fmt: skip


def counts(strategy: str = "redis-push", workers: int = 2, **more: int) -> dict[CaseKey, dict[str, int]]:
    """The counts that the rules look at, of one case in `flowing`."""
    names = ("errors", "aborts", "missed", "wrong_stops", "leaked", "tokens_after_stop")
    return {CaseKey(strategy, "flowing", workers, 150): {"chats": 1000} | dict.fromkeys(names, 0) | more}


def write_run(
    folder: Path,
    *,
    stop_ms: Mapping[str, float],
    blocks: int = 6,
    floor_ms: float | None = 0.5,
    seed: int = 1,
    summary: Mapping[str, Any] | None = None,
    manifest: Mapping[str, Any] | None = None,
    scenario: Mapping[str, Any] | None = None,
    lose: Collection[str] = (),
    unhealthy: Collection[int] = (),
    ops_in: Collection[int] | None = None,
    cpu_us: float = CPU_US,
    ops: float = OPS_PER_CHAT,
) -> Path:
    """A run of `stop_ms`' strategies in `flowing` and `steady`, eight chats a block, its summary beside it.

    `lose`: these strategies lose an abort in block 0 of `flowing`. `unhealthy`: the mock was late there in these.
    `ops_in`: store operations are known of these blocks only. `cpu_us`, `ops`: CPU time of a token and store operations
    of a chat, in both scenarios.
    """
    folder.mkdir(parents=True)
    rng = random.Random(seed)
    chats, cases = [], []
    for strategy, stop in stop_ms.items():
        for block in range(blocks):
            own = [chat_row(strategy, block, index, stop * rng.uniform(0.97, 1.03)) for index in range(8)]
            if strategy in lose and block == 0:
                own[0] = lost(own[0])
            calm = [unstopped(strategy, block, index) for index in range(8)]
            for rows in (own, calm):
                row = case_row(strategy, block, rows, cpu_us=cpu_us * rng.uniform(0.99, 1.01), ops=ops)
                late_ms = 40.0 if block in unhealthy and rows is own else 0.4
                known = ops_in is None or block in ops_in
                cases.append(row | {"witness_late_p99_ms": late_ms} | ({} if known else {"store_ops": None}))
            chats += own + calm
    written: dict[str, Any] = {
        "schema": 1, "valid": True, "problems": [],
        "cases": [
            summary_case(strategy, scenario=settings["name"], streams=settings["streams"])
            for strategy in stop_ms
            for settings in (FLOWING, STEADY)
        ],
    }  # fmt: skip
    if floor_ms:
        written["floor"] = {"n": 60, "p50": floor_ms, "ci95": {}}
    write_rows(folder, chats, cases, dict(manifest or {}), dict(scenario or {}))
    (folder / "summary.json").write_text(json.dumps(written | dict(summary or {})))
    return folder


def write_rows(
    folder: Path,
    chats: Sequence[dict[str, Any]],
    cases: Sequence[dict[str, Any]],
    manifest: Mapping[str, Any],
    scenario: Mapping[str, Any] | None = None,
) -> None:
    """The raw files of a run in `flowing` and `steady`; `scenario` changes the first."""
    head = {
        "schema": 1, "label": "fake", "started_utc": "2026-11-24T10:00:00Z", "ended_utc": "2026-11-24T10:08:00Z",
        "complete": True, "quick": False, "settings": {"quick": False, "workers": 2}, "host": HOST,
        "commit": "0123abcdef", "dirty": False,
        "scenarios": {"flowing": FLOWING | dict(scenario or {}), "steady": STEADY},
    } | dict(manifest)  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(head))
    (folder / "cases.jsonl").write_text("".join(json.dumps(row) + "\n" for row in cases))
    with gzip.open(folder / "chats.jsonl.gz", "wt", encoding="utf-8") as lines:
        lines.writelines(json.dumps(row) + "\n" for row in chats)


def lost(chat: dict[str, Any]) -> dict[str, Any]:
    """The same chat, its abort accepted and lost: it ran to its natural end."""
    end = chat["abort"]["ack_ns"] + 800 * NS_PER_MS
    client = chat["client"] | {"end_ns": end, "finish_reason": "stop"}
    return chat | {"client": client, "witness": chat["witness"] | {"done_ns": end, "lost_ns": None, "outcome": "done"}}


def write_history(results: Path, values: Sequence[float], *, first: int = 1, **manifest: Any) -> list[Path]:
    """One run folder a day with a manifest and a summary only, its stop of redis-push as in `values`."""
    folders = []
    for day, value in enumerate(values, first):
        folder = results / f"202611{day:02}T100000Z-all"
        folder.mkdir(parents=True)
        head = {"schema": 1, "started_utc": f"2026-11-{day:02}T10:00:00Z", "quick": False, "host": HOST,
                "commit": f"{day:07x}abc", "dirty": False, "scenarios": {"flowing": FLOWING}} | manifest  # fmt: skip
        stop = {"n": 300, "p50": value, "p95": None, "ci95": {"p50": [value * 0.95, value * 1.05], "p95": None}}
        case = summary_case(metrics={"upstream_stop_ms": stop})
        (folder / "manifest.json").write_text(json.dumps(head))
        (folder / "summary.json").write_text(json.dumps({"schema": 1, "valid": True, "problems": [], "cases": [case]}))
        folders.append(folder)
    return folders


def chat_row(strategy: str, block: int, index: int, stop_ms: float) -> dict[str, Any]:
    sent = (1_000_000 + block * 10_000 + index * 40) * NS_PER_MS
    tokens = [sent + (103 + 20 * number) * NS_PER_MS for number in range(5)]
    abort = tokens[-1] + 5 * NS_PER_MS
    lost = abort + int(stop_ms * NS_PER_MS)
    return {
        "schema": 1, "strategy": strategy, "store": "redis", "delivery": strategy.partition("-")[2],
        "scenario": "flowing", "workers": 2, "streams": FLOWING["streams"], "block": block, "index": index,
        "request_id": f"{strategy}-{block}-{index}",
        "client": {"sent_ns": sent, "status": 200, "headers_ns": sent + NS_PER_MS, "token_ns": tokens,
                   "end_ns": lost + NS_PER_MS, "finish_reason": "abort", "error": None},
        "abort": {"after_ms": 188.0, "sent_ns": abort, "ack_ns": abort + NS_PER_MS, "status": 200,
                  "outcome": "accepted", "error": None},
        "service": None,
        "witness": {"token_ns": tokens, "done_ns": None, "lost_ns": lost, "outcome": "cut", "late_p99_ms": 0.4},
    }  # fmt: skip


def unstopped(strategy: str, block: int, index: int) -> dict[str, Any]:
    """A chat of `steady`: it runs to its natural end."""
    chat = chat_row(strategy, block, index, 2.0)
    end = chat["client"]["token_ns"][-1] + NS_PER_MS
    return chat | {
        "scenario": "steady", "streams": STEADY["streams"], "request_id": f"steady-{chat['request_id']}",
        "client": chat["client"] | {"end_ns": end, "finish_reason": "length"}, "abort": None,
        "witness": chat["witness"] | {"done_ns": end, "lost_ns": None, "outcome": "finished"},
    }  # fmt: skip


def case_row(
    strategy: str,
    block: int,
    chats: Sequence[dict[str, Any]],
    *,
    cpu_us: float = CPU_US,
    ops: float = OPS_PER_CHAT,
) -> dict[str, Any]:
    """The line of cases.jsonl of these chats."""
    tokens = sum(len(row["client"]["token_ns"]) for row in chats)
    return {
        "strategy": strategy, "store": "redis", "delivery": strategy.partition("-")[2],
        "scenario": chats[0]["scenario"], "workers": 2, "streams": chats[0]["streams"], "block": block,
        "started_ns": 0, "ended_ns": 10**9, "tokens": tokens, "service_cpu_s": cpu_us * 1e-6 * tokens,
        "store_ops": round(ops * len(chats)), "chats_planned": len(chats), "witness_late_p99_ms": 0.4,
    }  # fmt: skip
