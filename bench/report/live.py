"""The data of the two charts of report.html that a reader can query: stops as curves, and every stop over time."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup

from bench.analysis.comparison import STOP
from bench.analysis.ranking import interval_of, place_of, value_of
from bench.analysis.reading import Run
from bench.record.reader import Raw
from bench.record.schema import CaseKey, ChatRow, ServiceSide
from bench.record.summary import Summary, SummaryCase
from bench.report.charts.canvas import style_of
from bench.report.charts.data import chats_of
from bench.report.charts.over_time import LEGEND, began_ns, shaded
from bench.report.charts.stop import thin
from bench.stats.ecdf import ecdf_band
from bench.workload.strategies import hangs_up, is_special

MOST_POINTS, LAST_POINTS = 180, 40  # of a curve: evenly chosen ones, and the last ones, which are all kept
MOST_CHATS = 12_000  # of a page: each takes some 35 bytes
SHARE = 10_000
PERCENTILES = ("p50", "p95", "p99")
NS_PER_US, NS_PER_TICK = 1000, 10_000_000
DIGITS = 4  # that a moment keeps: a chart shows no more
MOMENTS = ("received", "recorded", "signal", "closed", "lost", "end")
# On a dark page, by strategy: the same hues, lighter.
DARK = {
    "disconnect": "#e6e6e6", "memory-push": "#b3e0ff", "postgres-push": "#57b7ff", "redis-push": "#7d9bff",
    "postgres-timer": "#3fd0a2", "redis-timer": "#22a37b", "memory-poll": "#ffd27a", "postgres-poll": "#ff9d5c",
    "redis-poll": "#e8744a", "none": "#9a9a9a",
}  # fmt: skip
OTHERS = ("#aa4499", "#2f9e62", "#4b8fd6", "#a3912f", "#cc6677", "#7a6fd0")  # of foreign contenders, light and dark


class Side(NamedTuple):
    """A run that the page draws, and its summary."""

    run: Run
    summary: Summary


def live_data(sides: Sequence[Side], names: Sequence[str] = ("",)) -> Markup | None:
    """The data of the charts as JSON for a script element; None when no run has an abort.

    `names` are those of the runs in the legend. The same runs give the same text.
    """
    found = payload(sides, names)
    text = json.dumps(found, separators=(",", ":")).replace("<", "\\u003c")
    return Markup(text) if found["contenders"] else None  # noqa: S704 - no tag can begin in it


def payload(sides: Sequence[Side], names: Sequence[str] = ("",)) -> dict[str, Any]:
    """`runs`, their `floors`, `contenders`, `places`, `curves`, `chats`, `bands`; who, run and place are indexes.

    A floor is a median in ms, or null. A curve: x in µs, then share, low and high in 1/10,000; and the summary's
    percentiles in ms, each with its interval. A series of `chats`: see `series_of`. Bands: minutes.
    """
    contenders = list(dict.fromkeys(case.strategy for side in sides for case in _cases(side)))
    places = list(dict.fromkeys(str(place_of(case)) for side in sides for case in _cases(side)))
    foreign = [name for name in contenders if name not in DARK]

    def marks(number: int, key: CaseKey, place: str) -> dict[str, int]:
        return {"run": number, "who": contenders.index(key.strategy), "place": places.index(place)}

    return {
        "runs": list(names),
        "floors": [side.summary.floor and side.summary.floor.p50 for side in sides],
        "contenders": [_look(name, foreign) for name in contenders],
        "places": places,
        "curves": [
            {**marks(number, case.key, str(place_of(case))), **curve}
            for number, side in enumerate(sides)
            for case, curve in _curves(side)
        ],
        "chats": [
            {**marks(number, key, where[key]), **series}
            for number, side in enumerate(sides)
            for where in [{case.key: str(place_of(case)) for case in _cases(side)}]
            for key, series in series_of(side.run, where, MOST_CHATS // len(sides))
        ],
        "bands": [
            {"run": number, "what": LEGEND[colour], "colour": colour, "from": round(start, 4), "to": round(end, 4)}
            for number, side in enumerate(sides)
            for colour, start, end in shaded(side.run)
        ],
    }


def _cases(side: Side) -> list[SummaryCase]:
    return [case for case in side.summary.cases if case.aborts and not is_special(case.scenario)]


def _look(name: str, foreign: Sequence[str]) -> dict[str, Any]:
    line = style_of(name).line
    dash = "" if isinstance(line, str) else " ".join(f"{2 * each:g}" for each in line[1])
    if name in foreign:
        colour = OTHERS[foreign.index(name) % len(OTHERS)]
        return {"name": name, "light": colour, "dark": colour, "dash": dash}
    return {"name": name, "light": style_of(name).colour, "dark": DARK[name], "dash": dash}


def _curves(side: Side) -> Iterator[tuple[SummaryCase, Mapping[str, Any]]]:
    chats = chats_of(side.run)
    for case in _cases(side):
        own = (chats[list(CaseKey._fields)] == list(case.key)).all(axis="columns")
        stops_ms = chats.loc[own, STOP].dropna().tolist()
        x, *shares = ecdf_band(stops_ms, case.aborts - len(stops_ms))
        shown = _chosen(len(x))
        curve = [np.round(each[shown] * SHARE).astype(int).tolist() for each in shares]
        yield case, {
            "aborts": case.aborts,
            "missed": case.missed,
            "x": [int(f"{each * 1000:.0f}") for each in x[shown].tolist()],
            **dict(zip(("share", "low", "high"), curve, strict=True)),
            **{key: [value, *(interval_of(case, key=key) or ())]
               for key in PERCENTILES if (value := value_of(case, key=key)) is not None},
        }  # fmt: skip


def _chosen(count: int) -> list[int]:
    """Which of `count` corners are drawn: MOST_POINTS evenly spaced ones, and the last LAST_POINTS."""
    evenly = thin(np.arange(count, dtype=np.float64), MOST_POINTS)
    return sorted({*map(int, evenly.tolist()), *range(max(0, count - LAST_POINTS), count)})


def series_of(run: Run, keys: Mapping[CaseKey, object], most: int) -> Iterator[tuple[CaseKey, dict[str, Any]]]:
    """A series per case of `keys` and block; with more than `most` aborts, each case's every n-th one.

    A series: `block`; `of`, the aborts it was chosen from; `id` without their common `prefix`; `at`, when the abort was
    sent, in 10 ms since the run began, as differences; and each of MOMENTS that one of its chats has, in µs after the
    abort was sent, null where the record lacks it. `lost` is null for a missed abort.
    """
    counted = {chat.request_id for chat in run.chats if chat.measured.counted and chat.key in keys}
    step, starts_ns = -(-len(counted) // most), began_ns(run)
    rows = [row for row in Raw(run.folder, run.manifest, run.cases).chats() if row.request_id in counted]
    rows.sort(key=lambda row: (row.key, row.block, _sent_ns(row), row.request_id))
    for (key, block), group in groupby(rows, lambda row: (row.key, row.block)):
        own = list(group)
        shown = own[::step]
        settings = run.manifest.scenarios.get(key.scenario)
        own_end = hangs_up(key.strategy, settings.abort_by if settings else "")
        moments = [_moments(row, own_end) for row in shown]
        at = [(_sent_ns(row) - starts_ns) // NS_PER_TICK for row in shown]
        prefix = os.path.commonprefix([row.request_id for row in shown])  # noqa: RUF071 - of ids, not of paths
        series = {
            "block": block,
            "of": len(own),
            "prefix": prefix,
            "id": [row.request_id.removeprefix(prefix) for row in shown],
            "at": [later - earlier for earlier, later in zip([0, *at], at, strict=False)],
            **{name: column for name in MOMENTS if any(column := [each[name] for each in moments])},
        }
        yield key, series


def _sent_ns(row: ChatRow) -> int:
    return (row.abort.sent_ns if row.abort else None) or 0


def _moments(row: ChatRow, own_end: bool) -> dict[str, int | None]:
    service, lost_ns = row.service or ServiceSide(), row.witness.lost_ns if row.witness else None
    stamps = {
        "received": service.abort_received_ns,
        "recorded": service.abort_recorded_ns,
        "signal": service.signal_ns,
        "closed": service.upstream_closed_ns if lost_ns else None,
        "lost": lost_ns,
        # A client that disconnects ends its own stream.
        "end": None if own_end else row.client.end_ns,
    }
    sent_ns = _sent_ns(row)
    return {name: None if at is None else _rounded((at - sent_ns) // NS_PER_US) for name, at in stamps.items()}


def _rounded(value_us: int) -> int:
    return round(value_us, min(0, DIGITS - len(str(abs(value_us)))))
