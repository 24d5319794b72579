"""Whether load, mock and machine kept up with a case: their limits, and what to change where one is exceeded.

Pure functions of a row of cases.jsonl. The service is not judged: one that fills its core is a finding about the
service, a load or a mock that does so takes late timestamps.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from bench.load.driver import MAX_CHUNKS_PER_S
from bench.record.schema import CaseRow, Health, PhaseUse, ProcessUse
from bench.record.summary import CaseHealth

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
"""p99 of sent less planned: a load that sends late measures another schedule than the one it writes down."""
MS_PER_BURST_STOP = 0.1
"""A storm's aborts leave one process one after the other and wake the whole machine at one instant: for each of them
the limits in ms are so much wider."""
FIELDS = ("cpu", "lag_p99_ms", "gc_max_ms")
PHASES = {"arriving": "while chats were arriving", "ending": "while streams were ending, after the last chat was sent"}

NO_CASE: dict[str, Any] = {"strategy": "", "scenario": "", "workers": 0, "streams": 0, "block": 0}
_ADVICE = {
    "load": "add load processes and cores, lower the scenario's streams, or stop other work (see `top`)",
    "mock": "add cores, lower the scenario's streams or tokens per second, or stop other work (see `top`)",
    "pacing": "add cores, lower the scenario's streams, or stop other work: `make doctor` names it",
    "steal": "use a machine or an hour with less of it",
}
_LAG, _GC = "its loop was {:.1f} ms late at p99", "garbage collection stopped it for {:.1f} ms"


def problems(case: CaseRow) -> list[str]:
    """Why this case cannot be believed: what was measured, its limit, and what to change."""
    health, more_ms = case.health or Health(), _burst_ms(case)
    found = _over(
        case.witness_late_p99_ms,
        MAX_PACING_MS + more_ms,
        "the mock upstream could not keep its pace (p99 {:.1f} ms late, limit {:g} ms), so the machine was overloaded",
        "pacing",
    )
    found += _over(health.steal, MAX_STEAL, "the host took {:.1%} of the CPU time (steal, limit {:.0%})", "steal")
    for each in _instrument(health):
        name = _name(each)
        found += _over(each.cpu, MAX_CPU_SHARE, name + " used {:.0%} of a core (limit {:.0%})", each.name)
        found += _over(each.lag_p99_ms, MAX_LAG_MS + more_ms, f"{name}: {_LAG} (limit {{:g}} ms)", each.name)
        found += _over(each.gc_max_ms, MAX_GC_MS, f"{name}: {_GC} (limit {{:g}} ms)", each.name)
    late = "{} left {{:.1f}} ms after their planned moment at p99 (limit {{:g}} ms)"
    for late_ms, what in ((health.chat_lag_p99_ms, "chats"), (health.abort_lag_p99_ms, "Stops")):
        found += _over(late_ms, MAX_SCHEDULE_MS + more_ms, late.format(what), "load")
    return found


def warnings(case: CaseRow) -> list[str]:
    """What makes this case less exact and not wrong: nothing that is in `problems` or `stolen`.

    Also what exceeded a limit within a phase and not over the whole load, which a long tail dilutes.
    """
    health = case.health
    if health is None:
        return []
    processes, more_ms = _instrument(health), _burst_ms(case)
    found = [f"the CPU use of {_name(each)} was not measured" for each in processes if each.cpu is None]
    per_process = (health.chunks_per_s or 0.0) / _load_processes(case)
    if per_process > MAX_CHUNKS_PER_S:
        found.append(
            f"each load process read {per_process:,.0f} chunks/s, and is known to be exact up to {MAX_CHUNKS_PER_S:,}:"
            " add load processes, or lower the scenario's streams"
        )
    for each in processes:
        for value, soft, hard, text in (
            (each.lag_p99_ms, WARN_LAG_MS + more_ms, MAX_LAG_MS + more_ms, _LAG),
            (each.gc_max_ms, WARN_GC_MS, MAX_GC_MS, _GC),
        ):
            if value is not None and soft < value <= hard:
                found += _over(value, soft, f"{_name(each)}: {text} (soft limit {{:g}} ms)", each.name)
    return [*found, *_only_in_a_phase(case, health)]


def stolen(cases: Iterable[CaseRow]) -> list[str]:
    """That the host took CPU time for others, once for all rows of a run: it is the machine's, not a case's."""
    shares = [(case.health or Health()).steal or 0.0 for case in cases]
    felt = [share for share in shares if WARN_STEAL < share <= MAX_STEAL]
    if not felt:
        return []
    return [
        f"the host took up to {max(felt):.1%} of the CPU time (steal, soft limit {WARN_STEAL:.0%}) in"
        f" {len(felt)} of {len(shares)} measurements: {_ADVICE['steal']}"
    ]


def case_health(rows: Sequence[CaseRow]) -> CaseHealth:
    """The worst figures over all blocks and processes; `problems` are those of the worst block."""
    found = [problems(row) for row in rows]
    healths = [row.health for row in rows if row.health]
    figures: dict[str, float | None] = {}
    for name in INSTRUMENT:
        own = [each for health in healths for each in health.processes if each.name == name]
        for field in FIELDS:
            figures[f"{name}_{field}"] = _worst(getattr(each, field) for each in own)
        figures[f"{name}_cpu_worst_phase"] = _worst(phase.cpu for each in own for phase in each.phases.values())
    for shared in ("chat_lag_p99_ms", "abort_lag_p99_ms", "steal"):
        figures[shared] = _worst(getattr(health, shared) for health in healths)
    per_process = (
        row.health.chunks_per_s / (row.load_processes or 1)
        for row in rows
        if row.health and row.health.chunks_per_s is not None
    )
    return CaseHealth(
        ok=not any(found),
        unwell_blocks=sum(map(bool, found)),
        problems=max(found, key=len, default=[]),
        pacing_p99_ms=_worst(row.witness_late_p99_ms for row in rows),
        chunks_per_s=_worst(per_process),
        **figures,
    )


def _worst(values: Iterable[float | None]) -> float | None:
    worst = max((value for value in values if value is not None), default=None)
    return None if worst is None else round(worst, 4)


def _only_in_a_phase(case: CaseRow, health: Health) -> Iterator[str]:
    """Each problem of a phase that the whole load does not show; judged by rows that hold a single figure."""
    for phase, text in PHASES.items():
        pairs = [(Health(steal=each.steal), Health(steal=health.steal)) for each in [health.phases.get(phase)] if each]
        for process in health.processes:
            if seen := process.phases.get(phase):
                pairs += [(_only(process, seen, field), _only(process, process, field)) for field in FIELDS]
        for within, whole in pairs:
            if not problems(_bare(case, whole)):
                yield from (f"{text}, {problem}" for problem in problems(_bare(case, within)))


def _only(process: ProcessUse, seen: PhaseUse, field: str) -> Health:
    return Health(processes=[ProcessUse(name=process.name, pid=process.pid, **{field: getattr(seen, field)})])


def _bare(case: CaseRow, health: Health) -> CaseRow:
    return CaseRow(**NO_CASE, at_once=case.at_once, health=health)


def _over(value: float | None, limit: float, text: str, advice: str) -> list[str]:
    return [f"{text.format(value, limit)}: {_ADVICE[advice]}"] if value is not None and value > limit else []


def _instrument(health: Health) -> list[ProcessUse]:
    return [each for each in health.processes if each.name in INSTRUMENT]


def _burst_ms(case: CaseRow) -> float:
    return MS_PER_BURST_STOP * ((case.at_once or 1) - 1)


def _load_processes(case: CaseRow) -> int:
    known = case.load_processes or sum(each.name == "load" for each in (case.health or Health()).processes)
    return known or 1


def _name(process: ProcessUse) -> str:
    where = f", {process.host}" if process.host else ""
    return f"the {process.name} (process {process.pid}{where})"
