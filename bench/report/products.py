"""The table of products: how each target stopped in each scenario, as docs/products.md and a chart."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from bench.analysis.chat_outcome import LEAK_S
from bench.analysis.metrics import measure
from bench.analysis.ranking import value_of
from bench.analysis.reading import read_run
from bench.record.base import encode_line, read_file
from bench.record.files import replace_file
from bench.record.manifest import Manifest, ScenarioSettings, TargetInfo
from bench.record.reader import read_raw
from bench.record.schema import ChatRow
from bench.record.summary import Summary, SummaryCase
from bench.report.charts.products import draw_products
from bench.report.pages import environment
from bench.workload.strategies import is_foreign, target_of

STOP = "upstream_stop_ms"
EVIDENCE = "evidence.jsonl"
OF_A_STREAM = ("next_ttft_ms", "server_cpu_us_per_token")


@dataclass(frozen=True)
class Cell:
    """One contender in one scenario. Times in ms; None where nothing was measured."""

    case: SummaryCase
    expected: bool  # documented not to stop
    streams: bool  # its client reads a stream

    @property
    def never(self) -> int:
        """Stops whose upstream ran on to its end."""
        return self.case.missed

    def value(self, metric: str, key: str = "p50") -> float | None:
        """A statistic of a metric."""
        if metric in OF_A_STREAM and not self.streams:
            return None
        return value_of(self.case, metric, key)


class Total(NamedTuple):
    """One contender over all scenarios."""

    name: str
    expected: bool  # documented not to stop
    stops: int
    never: int
    dishonest: int
    slowest_ms: float | None  # the highest median


class Evidence(NamedTuple):
    """One chat whose stop was accepted while its upstream ran to the end; steps: ms after the stop, what happened."""

    contender: str
    scenario: str
    steps: list[tuple[float, str]]


def write_products(folder: Path, page: Path) -> Path:
    """Write products.md, its chart and the raw evidence into a run's folder, and the page. Returns the page."""
    run = read_run(folder)
    summary, manifest = read_file(folder / "summary.json", Summary), run.manifest
    evidence = _evidence(folder, manifest)
    scenarios = [name for name in manifest.scenarios if any(case.scenario == name for case in summary.cases)]
    cells = {
        (case.strategy, case.scenario): Cell(case, case.strategy.rpartition("/")[2] in info.never, info.streams)
        for case in summary.cases
        for info in [_info(case.strategy, manifest)]
    }
    names = sorted({name for name, _ in cells}, key=lambda name: (is_foreign(name), name))
    draw_products(folder, names, scenarios, cells)
    content = {
        "summary": summary,
        "manifest": manifest,
        "scenarios": [(name, manifest.scenarios[name].sentence) for name in scenarios],
        "names": names,
        "cells": cells,
        "totals": [_total(name, [cells[key] for key in cells if key[0] == name]) for name in names],
        "settings": {name: _settings(name, manifest) for name in names},
        "targets": {name: _info(name, manifest) for name in names},
        "evidence": [_timeline(row) for row in evidence],
        "leak_s": LEAK_S,
    }
    replace_file(folder / EVIDENCE, b"".join(encode_line(row) for row in evidence))
    pages = environment(escapes=False)
    pages.filters["cell"] = lambda text: " ".join(str(text).replace("|", "/").split())
    replace_file(page, pages.get_template("products.md.j2").render(content).encode())
    return page


def _total(name: str, cells: Sequence[Cell]) -> Total:
    medians = [p50 for cell in cells if (p50 := cell.value(STOP)) is not None]
    return Total(
        name, cells[0].expected, sum(cell.case.aborts for cell in cells), sum(cell.never for cell in cells),
        sum(cell.case.dishonest for cell in cells), max(medians, default=None),
    )  # fmt: skip


def _settings(name: str, manifest: Manifest) -> str:
    """`a=1, b=2`: the variables of a contender."""
    info = _info(name, manifest)
    values = {**info.variables, **info.stops.get(name.rpartition("/")[2], {})}
    return ", ".join(f"{key}={value}" for key, value in values.items()) or "defaults"


def _info(name: str, manifest: Manifest) -> TargetInfo:
    return manifest.targets.get(target_of(name), TargetInfo())


def _evidence(folder: Path, manifest: Manifest) -> list[ChatRow]:
    """One dishonest chat for each contender and scenario that has any."""
    found: dict[tuple[str, str], ChatRow] = {}
    for row in read_raw(folder).chats():
        settings = manifest.scenarios.get(row.scenario, ScenarioSettings())
        if is_foreign(row.strategy) and measure(row, settings).dishonest:
            found.setdefault((row.strategy, row.scenario), row)
    return list(found.values())


def _timeline(row: ChatRow) -> Evidence:
    """What happened to a chat, in order."""
    client, abort, witness = row.client, row.abort, row.witness
    sent_ns = abort.sent_ns if abort and abort.sent_ns else 0
    steps = [
        (client.sent_ns, "the client sent the chat"),
        (witness and witness.received_ns, "the upstream received its request"),
        (sent_ns, "the client sent the stop"),
        (abort and abort.ack_ns, f"the stop was answered: HTTP {abort and abort.status}, {abort and abort.outcome}"),
        (client.end_ns if client.end_ns and client.end_ns > sent_ns else None, "the client's answer ended"),
        (witness and witness.done_ns, _end_text(row, sent_ns)),
    ]
    steps += [(seen.at_ns, f"the service reported the state {seen.state}") for seen in (abort and abort.states) or ()]
    known = sorted((moment, text) for moment, text in steps if moment)
    return Evidence(row.strategy, row.scenario, [((at - sent_ns) / 1e6, text) for at, text in known])


def _end_text(row: ChatRow, sent_ns: int) -> str:
    tokens: Sequence[int] = row.witness.token_ns if row.witness else ()
    after = sum(token_ns > sent_ns for token_ns in tokens)
    return f"the upstream had written its whole answer, {after} of {len(tokens)} tokens after the stop"
