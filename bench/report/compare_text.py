"""What two runs beside each other say: pairs of cases, the table of their stops, and what differs around them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.report.evidence import METRIC, place_of
from bench.report.formatting import Case, join, measured, number
from bench.report.tables import Table, facts_of

Pair = tuple[Case, Case]
STOP_HEADS = ("strategy, scenario", "A: stop p50", "B: stop p50", "B / A", "95 % intervals", "missed: A, B",
              "tokens wasted: A, B")  # fmt: skip


def pairs_of(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Pair]:
    """The same cases of two summaries, in A's order."""
    others = {(case["strategy"], place_of(case)): case for case in b["cases"]}
    keys = [(case["strategy"], place_of(case)) for case in a["cases"]]
    return [(case, others[key]) for case, key in zip(a["cases"], keys, strict=True) if key in others]


def where(case: Case) -> str:
    """`flowing (2 w)`."""
    return f"{case['scenario']} ({case['workers']} w)"


def both_timed(pair: Pair) -> bool:
    """Whether both cases have a median stop."""
    return all(_p50(case) is not None for case in pair)


def apart(pair: Pair) -> bool:
    """Whether the 95 % intervals of the two medians do not touch."""
    (low, high), (other_low, other_high) = (case["metrics"][METRIC]["ci95"]["p50"] for case in pair)
    return bool(high < other_low or other_high < low)


def says_of(pairs: Sequence[Pair]) -> str:
    """How many medians lie apart, which changed most, and whether more aborts were missed."""
    timed = [pair for pair in pairs if both_timed(pair)]
    far = [pair for pair in timed if apart(pair)]
    text = f"Of {len(timed)} median stops, {len(far)} have 95 % intervals that lie apart"
    if far:
        most = max(far, key=lambda pair: max(_ratio(pair), 1 / _ratio(pair)))
        text += (
            f", most of all {most[0]['strategy']} in {where(most[0])}: {measured(most[0])} in A,"
            f" {measured(most[1])} in B, {number(_ratio(most))} times as long"
        )
    worse = [pair for pair in pairs if pair[1]["missed"] != pair[0]["missed"] and pair[0]["strategy"] != "none"]
    if not worse:
        return text + ". As many aborts were missed in both."
    words = [
        f"{a['strategy']} in {where(a)} {a['missed']} of {a['aborts']} and {b['missed']} of {b['aborts']}"
        for a, b in worse[:3]
    ]
    more = f", and {len(worse) - 3} more" if len(worse) > 3 else ""
    return f"{text}. Aborts missed differ: {join(words)}{more}."


def stop_table(pairs: Sequence[Pair]) -> Table:
    """One line per case with aborts."""
    rows: list[tuple[str, ...]] = []
    for pair in pairs:
        a, b = pair
        if not (a["aborts"] or b["aborts"]):
            continue
        timed = both_timed(pair)
        rows.append((
            f"{a['strategy']}, {where(a)}",
            measured(a), measured(b),
            number(_ratio(pair)) if timed else "-",
            ("apart" if apart(pair) else "overlap") if timed else "-",
            f"{a['missed']} of {a['aborts']}, {b['missed']} of {b['aborts']}",
            f"{number(_waste(a))}, {number(_waste(b))}",
        ))  # fmt: skip
    return Table("Stops of both runs", "Medians with their 95 % intervals within each run.", STOP_HEADS, rows)


def facts_table(manifests: Sequence[dict[str, Any]], summaries: Sequence[Mapping[str, Any]]) -> Table:
    """Host, commit, versions and floor of both; those that differ first."""
    sides = [dict(facts_of(manifest)) for manifest in manifests]
    for side, summary, manifest in zip(sides, summaries, manifests, strict=True):
        floor = summary.get("floor") or {}
        side["floor"] = f"{number(floor['p50'])} ms" if floor.get("p50") is not None else "not measured"
        side["blocks"] = str(manifest.get("blocks") or 1)
    names = [name for name in dict.fromkeys([*sides[0], *sides[1]]) if not name.startswith("scenario ")]
    values = {name: [side.get(name, "-") for side in sides] for name in names}
    rows: list[tuple[str, ...]] = [(name, "same" if a == b else "differs", a, b) for name, (a, b) in values.items()]
    rows.sort(key=lambda row: row[1])
    return Table("What else differs", "Shown, not judged.", ("of the run", "is", "A", "B"), rows, text=True)


def _p50(case: Case) -> Any:
    return case["metrics"].get(METRIC, {}).get("p50")


def _ratio(pair: Pair) -> float:
    return float(_p50(pair[1]) / _p50(pair[0]))


def _waste(case: Case) -> Any:
    return case["metrics"].get("wasted_tokens", {}).get("mean")
