"""Keeps what a run of the tests saw in docs/clients.json, and draws the tables of docs/clients.md from it.

The text of the page is written by hand; only what stands between its `<!-- name -->` and `<!-- /name -->` is replaced.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from tests.clients.catalogue import CLIENTS, Client
from tests.clients.environments import ROOT
from tests.clients.load_tools import LOAD_TOOLS, REQUESTS, LoadTool
from tests.clients.rig import PLANNED_TOKENS, SHORT_TOKENS, Outcome

DATA = ROOT / "docs" / "clients.json"
PAGE = ROOT / "docs" / "clients.md"
CASES = ("stream-none", "whole-none", "stream-client", "whole-client", "stream-abort", "stream-early", "whole-abort")
TARGETS = ("service", "mock")
Record = Mapping[str, Mapping[str, Outcome]]
Rows = dict[str, dict[str, Any]]


def keep(record: Record) -> None:
    """Replace the rows of those that were run completely; the others stay as they were, each with its date."""
    rows: Rows = json.loads(DATA.read_text()) if DATA.exists() else {}
    today = datetime.now(UTC).date().isoformat()
    for client in CLIENTS:
        cases = record.get(client.name, {})
        if set(CASES) <= set(cases):
            facts = {case: _facts(cases[case]) for case in CASES}
            rows[client.name] = {"date": today, "versions": client.versions(), "cases": facts}
    for tool in LOAD_TOOLS:
        cases = record.get(tool.name, {})
        if set(TARGETS) <= set(cases):
            finished = {each: sum(row["outcome"] == "finished" for row in cases[each].upstream) for each in TARGETS}
            rows[tool.name] = {"date": today, "versions": {tool.name: tool.version}, "finished": finished}
    DATA.write_text(json.dumps(rows, indent=1) + "\n")
    draw(rows)


def _facts(outcome: Outcome) -> dict[str, Any]:
    seen = {key: value for key, value in outcome.seen.items() if key != "stopped_ns" and value is not None}
    cut_ms = None if outcome.cut_ms is None else round(outcome.cut_ms, 1)
    upstream = {"requests": outcome.requests, "first": outcome.end, "tokens": outcome.tokens, "cut_ms": cut_ms}
    return {"seen": seen, "upstream": upstream}


def draw(rows: Rows) -> None:
    """Draw the tables of docs/clients.md from the rows."""
    page = PAGE.read_text()
    clients = [(client, rows[client.name]) for client in CLIENTS if client.name in rows]
    tools = [(tool, rows[tool.name]) for tool in LOAD_TOOLS if tool.name in rows]
    tables = {"aborts": _aborts(clients), "own-stops": _own_stops(clients), "load-tools": _tools(tools)}
    for name, table in tables.items():
        before, rest = page.split(f"<!-- {name} -->\n")
        _, after = rest.split(f"<!-- /{name} -->")
        page = f"{before}<!-- {name} -->\n{table}<!-- /{name} -->{after}"
    PAGE.write_text(page)


def _aborts(clients: list[tuple[Client, dict[str, Any]]]) -> str:
    at = ("while it streams", "before its first token", "a whole answer")
    head = ("client", "version", *at, "asks again", "upstream cut within", "run on")
    body = []
    for client, row in clients:
        stopped = [row["cases"][case] for case in ("stream-abort", "stream-early", "whole-abort")]
        again = sum(case["upstream"]["requests"] - 1 for case in stopped)
        cuts = [case["upstream"]["cut_ms"] for case in stopped]
        saw = (
            _saw(case["seen"]) + " (**of a second answer**)" * (case["upstream"]["requests"] > 1) for case in stopped
        )
        asks, cut = f"**{again} x**" if again else "no", "**not cut**" if None in cuts else f"{max(cuts):.0f} ms"
        body.append((client.title, _versions(row), *saw, asks, cut, row["date"]))
    return _table(head, body)


def _own_stops(clients: list[tuple[Client, dict[str, Any]]]) -> str:
    reads = (f"reads a stream of {SHORT_TOKENS} tokens", "reads a whole answer")
    head = ("client", "version", *reads, "stops its stream", "stops its whole answer")
    body = []
    for client, row in clients:
        cases = row["cases"]
        read = (_read(cases[case]) for case in ("stream-none", "whole-none"))
        stream, whole = (cases[case]["upstream"] for case in ("stream-client", "whole-client"))
        tokens = f"{stream['tokens']} of {PLANNED_TOKENS} tokens"
        stops = (f"{client.closes}: {_cut(stream)}, {tokens}", f"{client.cancels}: {_cut(whole)}")
        body.append((client.title, _versions(row), *read, *stops))
    return _table(head, body)


def _tools(tools: list[tuple[LoadTool, dict[str, Any]]]) -> str:
    body = [
        (
            tool.name,
            _versions(row),
            *(f"{row['finished'][target]} of {REQUESTS} requests" for target in TARGETS),
            f"`{tool.name} {' '.join(tool.arguments)}`",
            row["date"],
        )
        for tool, row in tools
    ]
    return _table(("load tool", "version", "service", "mock", "command", "run on"), body)


def _versions(row: dict[str, Any]) -> str:
    return " + ".join(row["versions"].values())


def _saw(seen: dict[str, Any]) -> str:
    if error := seen.get("error"):
        status = f" {error['status']}" if error.get("status") else ""
        code = f", code `{error['code']}`" if error.get("code") else ""
        message = " ".join(error["message"].split()).replace("|", r"\|")
        return f"`{error['type']}`{status}{code}" if status or code else f"{error['type']}, {message}"
    extension = ", `aborted`" if seen.get("aborted") else ""
    return f"ends, `{seen.get('finish')}`{extension}"


def _read(case: dict[str, Any]) -> str:
    seen, usage = case["seen"], case["seen"].get("usage")
    words = [f"`{seen['finish']}`" if seen.get("finish") else "read", f"usage {usage}" if usage else "no usage"]
    return ", ".join(words if not seen.get("error") else [_saw(seen)])


def _cut(upstream: dict[str, Any]) -> str:
    return "**not cut**" if upstream["cut_ms"] is None else f"cut after {upstream['cut_ms']:.0f} ms"


def _table(head: tuple[str, ...], body: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *body]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
