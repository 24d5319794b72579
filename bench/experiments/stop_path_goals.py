"""The results of `stop-path`: each push as a multiple of a hang-up, and whether the goals are met. Pure."""

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from rich.table import Table

from bench.analysis.checks import MAX_ERROR_SHARE
from bench.experiments.goals import NO_RATIO, judge, of_percentiles, of_rounds
from bench.experiments.tables import Row, written
from bench.stats.percentiles import describe
from bench.workload.strategies import DISCONNECT

GOALS = {
    ("memory-push", "p50"): 1.5,
    ("redis-push", "p50"): 1.9,
    ("redis-push", "p99"): 3.0,
    ("postgres-push", "p50"): 1.9,
    ("postgres-push", "p99"): 3.0,
}
"""Upper limits, as multiples of a client that hangs up."""
NOT_JUDGED = "not judged"
"""The verdict where there are too few rounds or stops for an interval."""


def goals_of(record: Row) -> list[Row]:
    """A row for each scenario, strategy and percentile, with `n` counted stops and `base_n` hang-ups.

    p50: `ratio` is the median of the rounds' own ratios, `min` and `max` theirs. p99: the ratio of the p99 of all
    rounds together, since a round has too few stops for one. `ci95` is of either; see bench.experiments.goals.
    """
    found = []
    for scenario in record["scenarios"]:
        rounds = [each["stops_ms"] for each in record["rounds"] if each["scenario"] == scenario]
        base = [stop_ms for each in rounds for stop_ms in each[DISCONNECT]]
        for (strategy, name), limit in GOALS.items():
            ours = [stop_ms for each in rounds for stop_ms in each[strategy]]
            row = {"scenario": scenario, "strategy": strategy, "percentile": name, "at_most": limit}
            row |= {"n": len(ours), "base_n": len(base), "rounds": len(rounds)}
            row |= {"ours_ms": describe(ours)[name], "disconnect_ms": describe(base)[name]}
            row |= _of_medians(rounds, strategy) if name == "p50" else of_percentiles(ours, base, name)
            verdict = NOT_JUDGED if row["ratio"] is None else judge(row["ci95"], limit)
            found.append(row | {"verdict": verdict})
    return found


def counts_of(rounds: Sequence[Row]) -> dict[str, Counter[str]]:
    """Chats by strategy and outcome in these rounds."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for each in rounds:
        for strategy, outcomes in each["counts"].items():
            counts[strategy] += Counter(outcomes)
    return counts


def broken(record: Row) -> list[str]:
    """Broken promises that do not depend on the machine, a line each.

    Lost aborts count in healthy rounds only: a chat may end before its abort when the machine stands still.
    """
    counted, all_rounds = counts_of(record["rounds"]), counts_of([*record["rounds"], *record["set_aside"]])
    promises = (
        ("missed", "aborts were lost", counted),
        ("wrong_stop", "chats were stopped without an abort", all_rounds),
        ("leaked", "upstreams left open", all_rounds),
    )
    return [
        f"{strategy}: {each[outcome]} {what}"
        for outcome, what, counts in promises
        for strategy, each in counts.items()
        if each[outcome]
    ]


def problems_of(record: Row) -> list[str]:
    """Why the measurement is invalid, a line each: too few rounds with a healthy instrument, chats that failed."""
    found = []
    for scenario in record["scenarios"]:
        healthy = sum(each["scenario"] == scenario for each in record["rounds"])
        reasons = [each["ill"][0] for each in record["set_aside"] if each["scenario"] == scenario]
        if healthy < record["pairs"]:
            rounds = f"only {healthy} of {healthy + len(reasons)} rounds had a healthy instrument"
            found.append(f"{scenario}: {rounds}: {reasons[0]}")
    failed: dict[str, list[str]] = defaultdict(list)
    for each in record["rounds"]:
        for strategy, errors in each["failed"].items():
            failed[strategy] += errors
    for strategy, counts in counts_of(record["rounds"]).items():
        if len(errors := failed[strategy]) > MAX_ERROR_SHARE * counts.total():
            found.append(f"{strategy}: {len(errors)} of {counts.total()} chats failed, for example: {errors[0]}")
    return found


def verdict_of(record: Row) -> tuple[str, str]:
    """`missed` (a goal or a promise), `invalid`, `undecided` or empty (all goals are met), and a message."""

    def judged(verdict: str) -> str:
        rows = [row for row in record["aims"] if row["verdict"] == verdict]
        return ", ".join(f"{row['strategy']} {row['percentile']} in {row['scenario']}" for row in rows)

    if promises := broken(record):
        return "missed", f"broken: {'; '.join(promises)}"
    if record["problems"]:
        return "invalid", f"the measurement is invalid: {'; '.join(record['problems'])}"
    if missed := judged("missed"):
        return "missed", f"missed beyond doubt: {missed}"
    if (undecided := judged("undecided")) and not record["quick"]:  # which has too few rounds to decide
        return "undecided", f"undecided: {undecided}"
    return "", ""


def tables(record: Row) -> Iterator[Table]:
    """The goals, and the outcomes of the chats."""
    floor = describe([stop_ms for each in record["floor_ms"] for stop_ms in each])
    yield written("goals", pairs=record["pairs"], floor=floor, goals=record["aims"])
    yield written("outcomes", workers=record["workers"], counts=counts_of(record["rounds"]))


def _of_medians(rounds: Sequence[Row], strategy: str) -> Row:
    both = [(each[strategy], each[DISCONNECT]) for each in rounds if each[strategy] and each[DISCONNECT]]
    if len(both) < 2:
        return NO_RATIO
    spread = of_rounds([statistics.median(ours) / statistics.median(base) for ours, base in both])
    return {"ratio": spread.pop("median"), **spread}
