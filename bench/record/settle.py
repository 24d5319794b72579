"""Waits until a load has died down: every chat over for the witness, and written down by the service."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.system.http import request_json

SETTLE_S = 5.0
"""How long the last traces and closed connections are waited for; a stream that is open even then has leaked."""
LOOK_S = 0.02
Row = dict[str, Any]


def settled(mock_url: str, traces: Path | None, clients: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """The witness's journal and the service's trace lines, when both are complete or 5 s have passed.

    `traces` is the service's TRACE_DIR, None for one that writes none.
    """
    answered = {row["request_id"] for row in clients if row["client"]["status"] is not None} if traces else set()
    deadline = time.monotonic() + SETTLE_S
    while True:
        journal: list[Row] = request_json(mock_url, "/__mock/journal")["rows"]
        files = traces.glob("*.jsonl") if traces else ()
        lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
        over = all(row["outcome"] != "open" for row in journal)
        written = answered <= {line["request_id"] for line in lines if line["kind"] == "chat"}
        if (over and written) or time.monotonic() > deadline:
            return journal, lines
        time.sleep(LOOK_S)
