"""What would change the answer, and what it stands on: sentences computed from the run, if the run shows them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from bench.report.evidence import METRIC, UNREPLICATED_RATIO, Evidence, missed_words, whole, worst
from bench.report.formatting import Case, interval, join, measured, number
from bench.stats.paired import MIN_BLOCKS

SOON_MS = 100.0  # what people take for at once (Nielsen, Usability Engineering, 1993, section 5.5)
CPU = "server_cpu_us_per_token"


def changes_of(evidence: Evidence, many: Sequence[Case], chosen: Collection[str]) -> list[str]:
    """What a reader may have that the answer for several workers (`chosen`, from the cases `many`) did not assume."""
    flowing = [case for case in many if case["scenario"] == "flowing"] or list(many)
    (main, _count), *_others = Counter(case["workers"] for case in flowing).most_common(1) or [(0, 0)]
    here = {case["strategy"]: case for case in flowing if case["workers"] == main and _p50(case) is not None}
    sure = [name for name in whole(many) if name in here and name not in chosen]
    found = []
    if timers := [name for name in sure if name.endswith("-timer")]:
        timer = min(timers, key=lambda name: _p50(here[name]))
        ends = (here[timer]["metrics"][METRIC].get("ci95") or {}).get("p95")
        if ends:
            found.append(
                f"You cannot keep a listener: {timer} has its 95th percentile at {measured(here[timer], key='p95')},"
                f" {_soon(ends)} the {SOON_MS:.0f} ms that people take for at once{_cpu(evidence, timer)}."
            )
    if polls := [name for name in sure if name.endswith("-poll")]:
        poll = min(polls, key=lambda name: _p50(here[name]))
        slow = worst(many, [poll])[poll]
        found.append(
            f"Your upstream never falls silent: {poll} stops within {measured(here[poll])} at the median in"
            f" {here[poll]['scenario']}, and within {measured(slow)} at its worst ({slow['scenario']})"
            f"{_cpu(evidence, poll)}."
        )
    hanging = [case for case in evidence.usual() if case["strategy"] == "disconnect" and case["workers"] == main]
    slow_hanging = worst(hanging, ["disconnect"]).get("disconnect")
    if slow_hanging:
        found.append(
            "Your clients can hang up, and nothing between them and the service hides it: the upstream is gone within"
            f" {measured(slow_hanging)} at the median ({slow_hanging['scenario']}), with no store at all."
        )
    if lost := sorted({case["strategy"] for case in many if case["missed"] and case["store"] == "memory"}):
        words = [f"{name} has {missed_words(many, name)}" for name in lost]
        found.append(
            f"Every abort reaches the worker that holds its chat (sticky sessions): without that {join(words)}."
        )
    return found


def footing_of(summary: Mapping[str, Any], manifest: Mapping[str, Any]) -> list[str]:
    """What the answers stand on: floor, calibration, number of blocks, machine."""
    found = []
    if manifest.get("quick"):
        found.append("This is a QUICK run: for a first look, not for claims.")
    floor, calibration = summary.get("floor") or {}, summary.get("calibration") or {}
    if floor.get("p50") is not None:
        ends = (floor.get("ci95") or {}).get("p50")
        found.append(
            f"The instrument's own floor is {number(floor['p50'])} ms{interval(ends)} (client to upstream, no service,"
            f" n = {floor['n']:,}): differences below it are not claimed."
        )
    if calibration:
        found.append(calibration_words(calibration))
    blocks = _blocks(summary, manifest)
    if blocks < MIN_BLOCKS:
        found.append(
            f"{blocks} block{'s' if blocks != 1 else ''} measured, so how much runs differ is not known: two strategies"
            f" count as different only when their intervals lie apart, the ratio is beyond {UNREPLICATED_RATIO:g} and"
            f" the difference beyond the floor. {MIN_BLOCKS} blocks would tell."
        )
    if cpus := (manifest.get("host") or {}).get("cpus"):
        found.append(
            f"One machine ({cpus} cores) and a mock upstream: elsewhere expect the ratios, not the milliseconds."
        )
    return found


def calibration_words(calibration: Mapping[str, Any]) -> str:
    """What was injected and what was found again."""
    delay, drops = calibration.get("delay_ms") or {}, calibration.get("drop_rate") or {}
    ends = drops.get("ci95")
    bounds = f" [{100 * ends[0]:.2g} to {100 * ends[1]:.2g} %]" if ends else ""
    recovered = drops.get("recovered")
    return (
        f"Calibration: of {number(delay.get('injected'))} ms injected, {number(delay.get('recovered_p50'))} ms were"
        f" found; of {100 * drops.get('injected', 0):g} % of aborts dropped,"
        f" {'-' if recovered is None else f'{100 * recovered:.2g}'} %{bounds}."
    )


def _soon(ends: Sequence[float]) -> str:
    """Judged by the interval: where SOON_MS lies in it, the run does not know."""
    if ends[1] <= SOON_MS:
        return "within"
    return "beyond" if ends[0] > SOON_MS else "not told apart from"


def _cpu(evidence: Evidence, strategy: str) -> str:
    """`, at 144 µs of service CPU per token (none: 63.3 µs)`, or nothing when it was not measured."""
    steady = {
        case["strategy"]: case for case in evidence.cases if case["scenario"] == "steady" and CPU in case["metrics"]
    }
    if strategy not in steady:
        return ""
    base = f" (none: {measured(steady['none'], CPU)})" if "none" in steady else ""
    return f", at {measured(steady[strategy], CPU)} of service CPU per token{base}"


def _blocks(summary: Mapping[str, Any], manifest: Mapping[str, Any]) -> int:
    each = [int(case["blocks"]) for case in summary["cases"] if case.get("blocks")]
    return min(each, default=int(manifest.get("blocks") or 1))


def _p50(case: Case) -> Any:
    return case["metrics"].get(METRIC, {}).get("p50")
