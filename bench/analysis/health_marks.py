"""How well the instrument was in each case: the worst figures of its blocks, for the summary; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench.analysis import health

Row = Mapping[str, Any]
SIGNS = ("cpu", "lag_p99_ms", "gc_max_ms")
SHARED = ("chat_lag_p99_ms", "abort_lag_p99_ms", "steal")


def mark_of(rows: Sequence[Row]) -> dict[str, Any]:
    """The `health` of a case of the summary; `rows` are its rows of cases.jsonl, one for each block.

    `{"ok", "unwell_blocks", "problems", "<load or mock>_<sign>" for cpu, lag_p99_ms and gc_max_ms,
    "<load or mock>_cpu_worst_phase", "pacing_p99_ms", "chat_lag_p99_ms", "abort_lag_p99_ms", "steal",
    "chunks_per_s"}`: figures are the worst of all blocks and processes, None where nobody saw one; `chunks_per_s` is
    for one load process. `ok` is false when any block was unwell, whether that spoils the run or not; `problems` are
    those of the worst block, with what to change.
    """
    found = [health.problems(row) for row in rows]
    signs = [row.get("health") or {} for row in rows]
    processes = [each for sign in signs for each in sign.get("processes", ())]
    mark: dict[str, Any] = {
        "ok": not any(found),
        "unwell_blocks": sum(map(bool, found)),
        "problems": max(found, key=len, default=[]),
    }
    for name in health.INSTRUMENT:
        own = [each for each in processes if each["name"] == name]
        for sign in SIGNS:
            mark[f"{name}_{sign}"] = _worst(each.get(sign) for each in own)
        mark[f"{name}_cpu_worst_phase"] = _worst(
            phase["cpu"] for each in own for phase in each.get("phases", {}).values()
        )
    mark["pacing_p99_ms"] = _worst(row.get("witness_late_p99_ms") for row in rows)
    for name in SHARED:
        mark[name] = _worst(sign.get(name) for sign in signs)
    mark["chunks_per_s"] = _worst(
        sign["chunks_per_s"] / (row.get("load_processes") or 1)
        for row, sign in zip(rows, signs, strict=True)
        if "chunks_per_s" in sign
    )
    return mark


def _worst(values: Iterable[float | None]) -> float | None:
    worst = max((value for value in values if value is not None), default=None)
    return None if worst is None else round(worst, 4)
