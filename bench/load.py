"""Runs Locust for one case, in a process of its own, and reads back what its users saw."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from bench.plan import FOLDER, RAMP_MS, Case, abort_moments
from bench.procs import Child, ChildError

LOCUSTFILE = FOLDER / "chat_load.py"
START_S = 0.8
"""About what Locust takes to start and to end."""
SILENCE_DEADLINE_S = 20.0
POLL_S = 0.1
Row = dict[str, Any]


def expected_s(case: Case) -> float:
    """About how long the load takes when no abort is obeyed, in seconds: for the progress bar and the deadline."""
    scenario = case.scenario
    chat_ms = scenario.ttft_ms + scenario.itl_ms * scenario.output_tokens + scenario.stall_ms
    rounds = -(-scenario.chats // scenario.streams)
    return START_S + (RAMP_MS + rounds * chat_ms) / 1000


def run_load(
    case: Case,
    *,
    url: str,
    seed: int,
    request_prefix: str,
    scratch: Path,
    log: Path,
    beside: Iterable[Child],
    progress: Callable[[float], None],
) -> list[Row]:
    """Send the case's chats to `url` and give one row per chat (`index`, `request_id`, `client`, `abort`).

    `progress` is called with the share of chats done. Raises ChildError when Locust, or a child `beside` it, fails.
    """
    rows_file, config_file = scratch / "rows.jsonl", scratch / "load.json"
    rows_file.write_text("")
    moments = abort_moments(case.scenario, seed)
    config = {
        "url": url,
        "rows": str(rows_file),
        "id_prefix": request_prefix,
        "marker": case.scenario.marker,
        "abort_after_ms": moments,
        "disconnect": case.strategy == "disconnect",
        "silence_deadline_s": SILENCE_DEADLINE_S,
        "ramp_ms": RAMP_MS,
        "seed": seed,
    }
    config_file.write_text(json.dumps(config))
    users = str(min(case.scenario.streams, case.scenario.chats))
    arguments = ["locust", "-f", str(LOCUSTFILE), "--headless", "-u", users, "-r", users, "--only-summary"]
    arguments += ["--exit-code-on-error", "0"]  # failed chats are data; they are counted from the rows
    env = {"CHAT_LOAD": str(config_file)}
    with Child("locust", arguments, log, env=env, ready=False) as locust, rows_file.open("rb") as written:
        patience_s = 30 + 3 * expected_s(case)
        deadline = time.monotonic() + patience_s
        chats = 0
        while locust.process.poll() is None:
            time.sleep(POLL_S)
            for child in beside:
                child.check()
            chats += written.read().count(b"\n")
            progress(chats / len(moments))
            if time.monotonic() > deadline:
                raise ChildError(f"locust has not ended after {patience_s:.0f} s; its log is {log}")
        if locust.process.returncode != 0:
            locust.check()
    rows = [json.loads(line) for line in rows_file.read_text().splitlines()]
    if len(rows) < len(moments):
        raise ChildError(f"locust did {len(rows)} of {len(moments)} chats; its log is {log}")
    return rows
