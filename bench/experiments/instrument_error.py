"""How exact the instrument is: its own stamps against each other, client straight at the witness, no service."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from bench.analysis import health
from bench.load.driver import processes_for
from bench.record.writer import utc_now
from bench.run.instrument import FLOOR_CASE
from bench.run.meter import Measured, Subject
from bench.run.rig import Kept, Row, Say, note_case, rig
from bench.run.rig import describe as describe_run
from bench.run.subject import Side
from bench.stats.percentiles import describe
from bench.workload.plan import FLOOR, Case
from bench.workload.scenario import Scenario

LIVE = (50, 200, 500)
"""Streams at once, each of 50 tokens/s."""
ABORT_SHARE = 0.8
ENOUGH_STOPS = 450
"""More than the 368 that the interval of a p99 needs: some fall out of the steady part."""
LEAST_S = 4.0
ERRORS = ("witness_ms", "client_ms", "chat_lag_ms", "abort_lag_ms")
FILE = "instrument.json"
NS_PER_MS = 1e6


def scenario_of(live: int, *, stops: int = ENOUGH_STOPS, least_s: float = LEAST_S) -> Scenario:
    """Chats that arrive at such a rate that `live` of them are under way on average (Little's law), most hung up on.

    Long enough for so many stops, and for `least_s`, after the first chats have run their course.
    """
    plain = FLOOR_CASE.scenario
    early_ms, late_ms = plain.window_ms("stream")
    life_ms = ABORT_SHARE * (early_ms + late_ms) / 2 + (1 - ABORT_SHARE) * plain.chat_ms
    rate = live / life_ms * 1000
    lasts_s = plain.chat_ms / 1000 + max(least_s, stops / (rate * ABORT_SHARE))
    values = plain.settings() | {"name": f"instrument-{live}", "rate_per_s": round(rate, 3), "abort_share": ABORT_SHARE}
    chats = round(rate * lasts_s)
    return Scenario(**values | {"chats": chats, "streams": chats})


def errors_of(rows: Sequence[Row], scenario: Scenario) -> Row:
    """What the stamps of a floor-like case differ by: `{"live": mean, <one of ERRORS>: what describe() gives}`; ms.

    Only the steady part counts: from a chat's length after the first one until the last was sent. Each is an upper
    bound, since it holds the way over loopback and both sides' lateness:
    `witness_ms` the witness's `lost_ns` less the client's stamp of its own hanging up;
    `client_ms` the client's stamp of a token less the witness's, of chats that nobody stopped; the witness stamps after
    it has written, so this may be a little below 0; `*_lag_ms` sent less intended.
    """
    sent = [row["client"]["sent_ns"] for row in rows if row["client"]["sent_ns"]]
    if not sent:
        return {"live": 0.0} | {name: describe([]) for name in ERRORS}
    window = (min(sent) + int(scenario.chat_ms * NS_PER_MS), max(sent))
    of: dict[str, list[float]] = {name: [] for name in ERRORS}
    lived_ns = 0
    for row in rows:
        client, abort, witness = row["client"], row["abort"], row["witness"]
        if client["error"] or not client["sent_ns"]:
            continue
        lived_ns += max(0, min(client["end_ns"], window[1]) - max(client["sent_ns"], window[0]))
        _add(of["chat_lag_ms"], client["sent_ns"], client["intended_ns"], window)
        if abort is None and witness is not None and witness["outcome"] == "finished":
            for seen_ns, written_ns in zip(client["token_ns"], witness["token_ns"], strict=False):
                _add(of["client_ms"], seen_ns, written_ns, window)
        elif abort is not None and abort["sent_ns"] is not None:
            _add(of["abort_lag_ms"], abort["sent_ns"], abort["intended_ns"], window)
            if witness is not None and witness["outcome"] == "cut":
                _add(of["witness_ms"], witness["lost_ns"], abort["sent_ns"], window)
    took_ns = max(1, window[1] - window[0])
    return {"live": round(lived_ns / took_ns, 1)} | {name: describe(of[name]) for name in ERRORS}


def _add(samples: list[float], later_ns: int, earlier_ns: int, window: tuple[int, int]) -> None:
    if window[0] <= earlier_ns <= window[1]:
        samples.append((later_ns - earlier_ns) / NS_PER_MS)


def measure_errors(
    results: Kept,
    say: Say,
    scenarios: Sequence[Scenario],
    *,
    seed: int = 1,
    tell: Callable[[Row], None] = lambda _line: None,
) -> list[Row]:
    """Measure each scenario of `scenario_of` and write instrument.json: a row of `errors_of` each, with `asked` (live
    streams), `load_processes`, `chunks_per_s` and `problems` (of the health gate). Raises ChildError.
    """
    cases = [Case(FLOOR, scenario, workers=1) for scenario in scenarios]
    manifest = describe_run("instrument", {"strategies": [FLOOR]}, seed=seed, quick=False)
    for case in cases:
        note_case(manifest, case)
    lines: list[Row] = []
    try:
        results.write_manifest(manifest)
        with rig(results, say, processes=processes_for(cases), seed=seed) as mine:
            for case in cases:
                mine.meter.measure(case, 0, Subject(mine.mock, [Measured(Side(), results)]))
                lines.append(_line(case.scenario, results.rows, results.case))
                tell(lines[-1])
        (results.folder / FILE).write_text(json.dumps(lines, indent=1) + "\n", encoding="utf-8")
        manifest["complete"] = True
    finally:
        manifest["ended_utc"] = utc_now()
        results.write_manifest(manifest)
    return lines


def _line(scenario: Scenario, rows: Sequence[Row], case: dict[str, Any]) -> Row:
    return {
        "asked": int(scenario.name.rpartition("-")[2]),
        **errors_of(rows, scenario),
        "load_processes": case["load_processes"],
        "chunks_per_s": case["health"]["chunks_per_s"],
        "problems": health.problems(case),
    }
