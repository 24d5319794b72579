"""The instrument by itself: floor and calibration, and its own stamps compared with each other."""

from collections.abc import Iterable, Sequence

import msgspec

from bench.analysis import calibration, health
from bench.analysis.metrics import measure
from bench.experiments.frame import measuring, write_json
from bench.experiments.tables import Row
from bench.record.schema import CaseRow, ChatRow
from bench.run.instrument import CALIBRATION_CASE, FLOOR_CASE
from bench.run.meter import settings_of
from bench.run.rig import Kept, Say
from bench.run.subject import calibrated
from bench.stats.percentiles import describe
from bench.workload.plan import Case
from bench.workload.scenario import Scenario
from bench.workload.strategies import FLOOR

CALIBRATION_FILE = "calibration.json"
CASES = (FLOOR_CASE, CALIBRATION_CASE)
SCENARIOS = {case.scenario.name: settings_of(case) for case in CASES}
LIVE = (50, 200, 500)
"""Simultaneous streams, each of 50 tokens/s."""
ABORT_SHARE = 0.8
ENOUGH_STOPS = 450
"""More than the 368 that the interval of a p99 needs: some are outside the steady part."""
LEAST_S = 4.0
ERRORS = ("witness_ms", "client_ms", "chat_lag_ms", "abort_lag_ms")
FILE = "instrument.json"
NS_PER_MS = 1e6


def calibrate_once(results: Kept, say: Say, *, seed: int) -> Row:
    """Measure once, and write calibration.json: `{"floor", "calibration", "problems"}`, the first two as in a run's
    summary; `problems` are those of the calibration and of the instrument's health. Raises ChildError.
    """
    with measuring(results, say, "calibrate", {"strategies": []}, CASES, seed=seed) as bench:
        rows, line = bench.measure(FLOOR_CASE, 0)
        with calibrated(bench.rig.mock, results.logs / "calibrated.log") as service:
            more, other = bench.measure(CALIBRATION_CASE, 0, bench.subject(service))
        found = judged([*rows, *more], [line, other])
        write_json(results.folder / CALIBRATION_FILE, found)
    return found


def judged(rows: Iterable[ChatRow], lines: Iterable[CaseRow]) -> Row:
    """The content of calibration.json, from the chats and the rows of cases.jsonl: pure."""
    pairs = [(row.strategy, measure(row, SCENARIOS[row.scenario])) for row in rows]
    found = calibration.calibrate(pairs)
    unhealthy = [f"{line.scenario}: {problem}" for line in lines for problem in health.problems(line)]
    return {
        "floor": describe(calibration.floor_samples(pairs)),
        "calibration": msgspec.to_builtins(found),
        "problems": [*calibration.problems(found), *dict.fromkeys(unhealthy)],
    }


def scenario_of(live: int, *, stops: int = ENOUGH_STOPS, least_s: float = LEAST_S) -> Scenario:
    """Chats at a rate at which `live` of them are under way on average (Little's law); most end by a hang-up.

    Long enough for `stops` stops, and for `least_s`, after the first chats have ended.
    """
    plain = FLOOR_CASE.scenario
    early_ms, late_ms = plain.window_ms("stream")
    life_ms = ABORT_SHARE * (early_ms + late_ms) / 2 + (1 - ABORT_SHARE) * plain.chat_ms
    rate = live / life_ms * 1000
    lasts_s = plain.chat_ms / 1000 + max(least_s, stops / (rate * ABORT_SHARE))
    values = plain.settings() | {"name": f"instrument-{live}", "rate_per_s": round(rate, 3), "abort_share": ABORT_SHARE}
    chats = round(rate * lasts_s)
    return Scenario(**values | {"chats": chats, "streams": chats})


def errors_of(rows: Sequence[ChatRow], scenario: Scenario) -> Row:
    """The differences of the stamps of a floor-like case: `{"live": mean, <one of ERRORS>: as describe()}`, ms.

    Only the steady part counts: from a chat's length after the first one until the last was sent. Each is an upper
    bound, since it includes loopback and the lag of both sides. `witness_ms`: from the client's hang-up to the
    witness's `lost_ns`; `client_ms`: from the witness's stamp of a token to the client's, of chats that were not
    stopped (the witness stamps after its write, so it may be below 0); `*_lag_ms`: from intended to sent.
    """
    sent = [row.client.sent_ns for row in rows if row.client.sent_ns]
    begin_ns, end_ns = (min(sent) + int(scenario.chat_ms * NS_PER_MS), max(sent)) if sent else (0, 0)
    samples: dict[str, list[float]] = {name: [] for name in ERRORS}
    lived_ns = 0

    def add(name: str, later_ns: int | None, earlier_ns: int | None) -> None:
        if later_ns is not None and earlier_ns is not None and begin_ns <= earlier_ns <= end_ns:
            samples[name].append((later_ns - earlier_ns) / NS_PER_MS)

    for row in rows:
        client, abort, witness = row.client, row.abort, row.witness
        if client.error or not client.sent_ns:
            continue
        lived_ns += max(0, min(client.end_ns or 0, end_ns) - max(client.sent_ns, begin_ns))
        add("chat_lag_ms", client.sent_ns, client.intended_ns)
        if abort is None and witness is not None and witness.outcome == "finished":
            for seen_ns, written_ns in zip(client.token_ns, witness.token_ns, strict=False):
                add("client_ms", seen_ns, written_ns)
        elif abort is not None and abort.sent_ns is not None:
            add("abort_lag_ms", abort.sent_ns, abort.intended_ns)
            if witness is not None and witness.outcome == "cut":
                add("witness_ms", witness.lost_ns, abort.sent_ns)
    live = round(lived_ns / max(1, end_ns - begin_ns), 1)
    return {"live": live} | {name: describe(samples[name]) for name in ERRORS}


def measure_errors(results: Kept, say: Say, scenarios: Sequence[Scenario], *, seed: int = 1) -> list[Row]:
    """Measure each scenario of `scenario_of` and write instrument.json: a row of `errors_of` each, with `asked` (live
    streams), `load_processes`, `chunks_per_s` and `problems` (of the health gate). Raises ChildError.
    """
    cases = [Case(FLOOR, scenario, workers=1) for scenario in scenarios]
    lines: list[Row] = []
    with measuring(results, say, "instrument", {"strategies": [FLOOR]}, cases, seed=seed) as bench:
        for case in cases:
            rows, line = bench.measure(case, 0)
            facts: Row = {"asked": int(case.scenario.name.rpartition("-")[2]), "load_processes": line.load_processes}
            facts |= {"chunks_per_s": line.health and line.health.chunks_per_s, "problems": health.problems(line)}
            lines.append(errors_of(rows, case.scenario) | facts)
        write_json(results.folder / FILE, lines)
    return lines
