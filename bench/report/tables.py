"""The report's tables as plain strings: one for stopping and one for cost per scenario, and the run's facts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.report.formatting import Case, number, share

STOP_HEADS = (
    "strategy",
    "stop p50, ms",
    "stop p95, ms",
    "missed",
    "p50's 95 % interval, ms",
    "stopped of aborts",
    "tokens wasted per abort",
    "client stop p50, ms",
    "ack p50, ms",
)
COST_HEADS = (
    "strategy",
    "chats",
    "first token p50, ms",
    "between tokens p50 / p95, ms",
    "tokens/s",
    "service CPU, µs/token",
    "store operations per token",
    "per chat",
    "CPU s per 1,000 chats: service / store",
    "store connections",
    "errors",
)
GLOSSARY = (
    ("stop", "from sending the abort until the upstream saw its connection lost; only stops that happened are timed"),
    ("missed", "aborted in time, but the upstream ran to its natural end: counted here, never part of a latency"),
    (
        "tokens wasted",
        "what the upstream wrote after the abort was sent; mean over all aborts, the missed ones included",
    ),
    (
        "client stop, ack",
        "from sending the abort until the client saw the stream end, and until the abort was answered",
    ),
    ("p50, p95", "median and 95th percentile within this run; a dash where n is too small (p50 needs 6, p95 needs 72)"),
    ("poll, timer, push", "flag read before every chunk; read once per interval; told to the owning worker at once"),
)


@dataclass(frozen=True)
class Table:
    """A title, what the scenario is in a sentence, heads, rows of as many cells: text that a template must escape."""

    title: str
    sentence: str
    heads: tuple[str, ...]
    rows: list[tuple[str, ...]]
    text: bool = False  # cells of words, not of figures


def tables_of(cases: Sequence[Case], manifest: dict[str, Any]) -> list[Table]:
    """Per scenario (and load, where there are several) how well was stopped or, without aborts, what it cost."""
    scenarios = manifest.get("scenarios") or {}
    groups = dict.fromkeys((case["scenario"], case["workers"], case["streams"]) for case in cases)
    tables = []
    for group in groups:
        own = [case for case in cases if (case["scenario"], case["workers"], case["streams"]) == group]
        load = f"{group[0]} ({group[1]} worker{'s' if group[1] != 1 else ''}, {group[2]} streams)"
        sentence = str(scenarios.get(group[0], {}).get("sentence") or "")
        if any(case["aborts"] or case["late"] for case in own):
            tables.append(Table(f"Stopping: {load}", sentence, STOP_HEADS, [_stop_row(case) for case in own]))
        else:
            tables.append(Table(f"Cost: {load}", sentence, COST_HEADS, [_cost_row(case) for case in own]))
    return tables


def facts_of(manifest: dict[str, Any]) -> list[tuple[str, str]]:
    """The manifest as name and text, in reading order; what is absent is left out."""
    stores = {
        name: f"{store.get('name')} {store.get('version')} ({store.get('how')})"
        for name, store in (manifest.get("stores") or {}).items()
    }
    dirty = " with uncommitted changes" if manifest.get("dirty") else ""
    facts: list[tuple[str, Any]] = [
        ("run", f"{manifest.get('started_utc')} to {manifest.get('ended_utc') or 'interrupted'}"),
        ("commit", f"{manifest['commit']}{dirty}" if manifest.get("commit") else "unknown"),
        ("seed", manifest.get("seed")),
        ("host", _listed(manifest.get("host"))),
        ("stores", _listed(stores)),
        ("ASGI", _listed(manifest.get("asgi"))),
        ("versions", _listed(manifest.get("versions"))),
        ("settings", _listed(manifest.get("settings"))),
        *([("environment", _listed(manifest["environment"]))] if manifest.get("environment") else []),
        *((f"scenario {name}", _listed(each)) for name, each in (manifest.get("scenarios") or {}).items()),
    ]
    return [(name, str(text)) for name, text in facts if text not in (None, "")]


def _stop_row(case: Case) -> tuple[str, ...]:
    stop = _metric(case, "upstream_stop_ms")
    interval = (stop.get("ci95") or {}).get("p50")
    return (
        case["strategy"],
        number(stop.get("p50")),
        number(stop.get("p95")),
        f"{case['missed']} ({share(case['missed'], case['aborts'])})" if case["aborts"] else "-",
        f"{number(interval[0])} to {number(interval[1])}" if interval else "-",
        f"{stop.get('n', 0)} of {case['aborts']}{_aside(case)}",
        number(_metric(case, "wasted_tokens").get("mean")),
        number(_metric(case, "client_stop_ms").get("p50")),
        number(_metric(case, "abort_ack_ms").get("p50")),
    )


def _cost_row(case: Case) -> tuple[str, ...]:
    gaps = _metric(case, "itl_ms")
    return (
        case["strategy"],
        str(case["chats"]),
        number(_metric(case, "ttft_ms").get("p50")),
        f"{number(gaps.get('p50'))} / {number(gaps.get('p95'))}",
        number(_metric(case, "tokens_per_s").get("p50")),
        number(_metric(case, "server_cpu_us_per_token").get("p50")),
        number(_metric(case, "store_ops_per_token").get("p50")),
        number(_metric(case, "store_ops_per_chat").get("p50")),
        " / ".join(number(_metric(case, f"{name}_cpu_s_per_1000_chats").get("p50")) for name in ("service", "store")),
        number(_metric(case, "store_connections").get("p50")),
        str(case["errors"]),
    )


def _aside(case: Case) -> str:
    """What else happened to the case's chats, so that the counts add up."""
    words = [f"{case[what]} {word}" for what, word in (("late", "too late"), ("errors", "errors")) if case[what]]
    return f" ({', '.join(words)})" if words else ""


def _metric(case: Case, name: str) -> dict[str, Any]:
    metric: dict[str, Any] = case["metrics"].get(name, {})
    return metric


def _listed(facts: dict[str, Any] | None) -> str:
    shown = {
        name: value for name, value in (facts or {}).items() if value is not None and name not in ("sentence", "name")
    }
    return ", ".join(f"{name} {_worded(value)}" for name, value in shown.items())


def _worded(value: object) -> str:
    """A weight table such as `{"stream": 0.8, "last": 0.2}` as `stream 0.8 + last 0.2`, a list as `250 to 1430`."""
    if value == {}:
        return "by default"
    if isinstance(value, dict) and all(isinstance(weight, int | float) for weight in value.values()):
        return " + ".join(f"{name} {weight:g}" if len(value) > 1 else str(name) for name, weight in value.items())
    if isinstance(value, dict):
        return " ".join(f"{name}={each}" for name, each in value.items())
    return " to ".join(map(str, value)) if isinstance(value, list) and len(value) == 2 else str(value)
