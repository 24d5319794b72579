"""Was the instrument itself well? Limits for load, mock and machine, and what to change where one is passed.

Pure functions over a row of cases.jsonl. The service is not judged here: one that fills its core is a finding about
the service, a load or a mock that does so is a stopwatch that runs late.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from bench.analysis.health_phases import only_in_a_phase
from bench.load.driver import MAX_CHUNKS_PER_S

INSTRUMENT = ("load", "mock")

MAX_CPU_SHARE = 0.85
"""Of one core, over the whole load: beyond it the bursts within no longer find it free, and every stamp waits."""
MAX_LAG_MS = 5.0
"""Of a 10 ms probe, p99: a stamp may be as late as that. A fair push stops in 2 to 3 ms."""
WARN_LAG_MS = 2.5
MAX_GC_MS = 50.0
"""The longest pause: all streams at once miss two tokens or more. One of 10 ms shifts a few of some hundred stops."""
WARN_GC_MS = 10.0
MAX_STEAL = 0.05
"""Of all CPU time, taken by the host for others: it comes in slices of some ms, which look like latency."""
WARN_STEAL = 0.01
MAX_PACING_MS = 5.0
"""Median over streams of each one's p99: tokens that come later than that are not the load that was asked for."""
MAX_SCHEDULE_MS = 5.0
"""p99 of sent less intended: a load that sends late measures another schedule than the one it writes down."""
MS_PER_BURST_STOP = 0.1
"""A storm's Stops leave one process one after the other, and wake the whole machine at one instant: for each of them
the limits in ms are so much wider. Those n Stops are what such a case is about, and they take tens of ms."""

_LOAD_LESS = "add cores, lower the scenario's streams, or stop other work: `make doctor` names it"
_REMEDY = {
    "load": "add load processes and cores, lower the scenario's streams, or stop other work (see `top`)",
    "mock": "add cores, lower the scenario's streams or tokens per second, or stop other work (see `top`)",
}


def problems(case: Mapping[str, Any]) -> list[str]:
    """Why this case cannot be believed: each what was seen, what is allowed, and what to change.

    `case` is a row of cases.jsonl. Rows of older runs have no `health`: only the mock's pacing is judged then.
    """
    return [*_pacing(case), *_steal(case), *_processes(case), *_schedule(case)]


def warnings(case: Mapping[str, Any]) -> list[str]:
    """What makes this case less exact, and not wrong; nothing that `problems` tells already, nor `stolen`.

    Also what passed a limit within a phase, and not over the whole load: a long tail dilutes a busy beginning.
    """
    health = case.get("health")
    if not health:
        return []
    found = [*_unknown(health), *_chunk_rate(case, health)]
    for each in _of_instrument(health):
        more_ms = _burst_ms(case)
        found += _over(
            each, "lag_p99_ms", WARN_LAG_MS + more_ms, MAX_LAG_MS + more_ms, "its loop was {:.1f} ms late at p99"
        )
        found += _over(each, "gc_max_ms", WARN_GC_MS, MAX_GC_MS, "garbage collection stopped it for {:.1f} ms")
    return [*found, *only_in_a_phase(case, problems)]


def stolen(cases: Iterable[Mapping[str, Any]]) -> list[str]:
    """That the host took CPU time for others, once for all rows of a run: it is the machine's, not a case's."""
    shares = [(case.get("health") or {}).get("steal") or 0.0 for case in cases]
    felt = [share for share in shares if WARN_STEAL < share <= MAX_STEAL]
    if not felt:
        return []
    return [
        f"the host took up to {max(felt):.1%} of the CPU time for others (steal, {_allowed(MAX_STEAL)}) in"
        f" {len(felt)} of {len(shares)} measurements: use a machine or an hour with less of it"
    ]


def _burst_ms(case: Mapping[str, Any]) -> float:
    return MS_PER_BURST_STOP * ((case.get("at_once") or 1) - 1)


def _pacing(case: Mapping[str, Any]) -> Iterator[str]:
    late_ms, limit_ms = case.get("witness_late_p99_ms"), MAX_PACING_MS + _burst_ms(case)
    if late_ms is not None and late_ms > limit_ms:
        yield (
            f"the mock upstream could not keep its pace (p99 {late_ms:.1f} ms late, allowed is {limit_ms:g} ms),"
            f" so the machine was overloaded: {_LOAD_LESS}"
        )


def _steal(case: Mapping[str, Any]) -> Iterator[str]:
    steal = (case.get("health") or {}).get("steal") or 0.0
    if steal > MAX_STEAL:
        yield (
            f"the host took {steal:.1%} of the CPU time for others (steal, {_allowed(MAX_STEAL)}): "
            "use a machine or an hour with less of it"
        )


def _processes(case: Mapping[str, Any]) -> Iterator[str]:
    for each in _of_instrument(case.get("health") or {}):
        if each["cpu"] is not None and each["cpu"] > MAX_CPU_SHARE:
            yield f"{_who(each)} used {each['cpu']:.0%} of a core ({_allowed(MAX_CPU_SHARE)}): {_REMEDY[each['name']]}"
        yield from _over(each, "lag_p99_ms", MAX_LAG_MS + _burst_ms(case), None, "its loop was {:.1f} ms late at p99")
        yield from _over(each, "gc_max_ms", MAX_GC_MS, None, "garbage collection stopped it for {:.1f} ms")


def _schedule(case: Mapping[str, Any]) -> Iterator[str]:
    for key, what in (("chat_lag_p99_ms", "chats"), ("abort_lag_p99_ms", "Stops")):
        late_ms, limit_ms = (case.get("health") or {}).get(key), MAX_SCHEDULE_MS + _burst_ms(case)
        if late_ms is not None and late_ms > limit_ms:
            yield (
                f"{what} left {late_ms:.1f} ms after their planned moment at p99 (allowed is {limit_ms:g} ms):"
                f" {_REMEDY['load']}"
            )


def _chunk_rate(case: Mapping[str, Any], health: Mapping[str, Any]) -> Iterator[str]:
    processes = case.get("load_processes") or sum(each["name"] == "load" for each in health["processes"]) or 1
    per_process = health["chunks_per_s"] / processes
    if per_process > MAX_CHUNKS_PER_S:
        yield (
            f"each load process read {per_process:,.0f} chunks/s, and is known to be exact up to {MAX_CHUNKS_PER_S:,}:"
            " add load processes, or lower the scenario's streams"
        )


def _unknown(health: Mapping[str, Any]) -> Iterator[str]:
    for each in _of_instrument(health):
        if each["cpu"] is None:
            yield f"how busy {_who(each)} was is not known: nobody could look at the process while the load went on"


def _over(each: Mapping[str, Any], key: str, above: float, up_to: float | None, words: str) -> Iterator[str]:
    value = each[key]
    if value is not None and value > above and (up_to is None or value <= up_to):
        limit = above if up_to is None else up_to
        yield f"{_who(each)}: {words.format(value)} (allowed is {limit:g} ms): {_REMEDY[each['name']]}"


def _of_instrument(health: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [each for each in health.get("processes", ()) if each["name"] in INSTRUMENT]


def _who(each: Mapping[str, Any]) -> str:
    return f"the {each['name']} (process {each['pid']})"


def _allowed(share: float) -> str:
    return f"allowed is {share:.0%}"
