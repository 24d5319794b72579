"""What the measurements beside a run have in common: manifest, stores, services, and result files."""

from __future__ import annotations

import contextlib
import json
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from bench.analysis import health
from bench.analysis.metrics import ChatMetrics, measure
from bench.record.files import replace_file
from bench.record.host import utc_now
from bench.record.manifest import Manifest, ScenarioSettings, StoreInfo
from bench.record.schema import CaseRow, ChatRow
from bench.run.meter import Measured, Subject
from bench.run.rig import Kept, Rig, Say, describe, note_case
from bench.run.subject import Side, describe_asgi, service_of
from bench.system.environment import URL_VARIABLES
from bench.system.stores import Store, open_store
from bench.workload.plan import Case, store_of

NO_SETTINGS: Mapping[str, str] = {}


@contextlib.contextmanager
def recorded(
    results: Kept,
    label: str,
    settings: Mapping[str, Any],
    *,
    seed: int,
    quick: bool = False,
    cases: Iterable[Case] = (),
) -> Iterator[Manifest]:
    """The manifest of a measurement; it is written at both ends of the block, as complete unless an error ended it."""
    manifest = describe(label, settings, seed=seed, quick=quick)
    for case in cases:
        note_case(manifest, case)
    try:
        results.write_manifest(manifest)
        yield manifest
        manifest.complete = True
    finally:
        manifest.ended_utc = utc_now()
        results.write_manifest(manifest)


def start_store(
    stack: contextlib.ExitStack, kind: str, namespace: str, settings: Mapping[str, str] = NO_SETTINGS
) -> Store:
    """Start or connect to the store until `stack` closes; a store that was given by URL is then cleared of `namespace`.

    Raises StoreError.
    """
    store = stack.enter_context(open_store(kind, settings))
    if store.how == "url":
        stack.callback(store.delete_namespace, namespace)
    return store


def instrument_problems(case: CaseRow) -> list[str]:
    """Why the rows of a measured case cannot be used: an unhealthy instrument, or chats that were not sent."""
    dropped = [f"the load could not send {case.dropped} chats"] if case.dropped else []
    return health.problems(case) + dropped


def measured_chats(
    rows: Iterable[ChatRow], settings: ScenarioSettings
) -> tuple[list[ChatMetrics], list[float], Counter[str]]:
    """The chats of a case, their `upstream_stop_ms` as far as they count, and the number of chats by outcome."""
    chats = [measure(row, settings) for row in rows]
    stops_ms = [each.upstream_stop_ms for each in chats if each.upstream_stop_ms is not None]
    return chats, stops_ms, Counter(str(each.outcome) for each in chats)


@dataclass(frozen=True)
class Bench:
    """The rig, and the stores and services that are measured with it."""

    rig: Rig
    results: Kept
    manifest: Manifest
    say: Say
    namespace: str = field(default_factory=lambda: f"stopwatch_bench_{secrets.token_hex(3)}")

    def store(self, stack: contextlib.ExitStack, strategy: str) -> Store | None:
        """Start the strategy's store and note it in the manifest; None for a strategy without one."""
        kind = store_of(strategy)
        if kind not in URL_VARIABLES:
            return None
        self.say(f"starting {kind}")
        store = start_store(stack, kind, self.namespace)
        self.manifest.stores[kind] = StoreInfo(**store.describe())
        return store

    def subject(self, stack: contextlib.ExitStack, strategy: str, workers: int, store: Store | None) -> Subject:
        """Start the service with this strategy until `stack` closes. Raises ChildError."""
        self.say(f"starting the service with {strategy}")
        traces, log = self.rig.scratch / strategy, self.results.logs / f"server-{strategy}.log"
        started = service_of(
            strategy,
            workers,
            side=Side(),
            store=store,
            namespace=self.namespace,
            mock=self.rig.mock,
            traces=traces,
            log=log,
        )
        service = stack.enter_context(started)
        self.manifest.asgi = self.manifest.asgi or describe_asgi(service)
        return Subject(service, [Measured(Side(), self.results)], traces, store)

    def upstream(self) -> Subject:
        """The mock upstream itself as the target: what is measured without a service."""
        return Subject(self.rig.mock, [Measured(Side(), self.results)])

    def measure(self, case: Case, block: int, subject: Subject) -> tuple[Sequence[ChatRow], CaseRow]:
        """Measure a case; returns the rows of its chats and its row of cases.jsonl."""
        note_case(self.manifest, case)
        self.results.write_manifest(self.manifest)
        self.rig.meter.measure(case, block, subject)
        return self.results.rows, self.results.case


def last_line(log: Path, default: str = "starting") -> str:
    """The last line of a log that is not empty."""
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n") if log.exists() else []
    return next((" ".join(line.split()) for line in reversed(lines) if line.strip()), default)


def write_json(path: Path, value: Any, indent: int | None = 1) -> Path:
    """Write the file as a whole or leave the old one; its folder is made if absent. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(value, indent=indent, allow_nan=False, default=msgspec.to_builtins)
    replace_file(path, text.encode() + b"\n")
    return path
