"""What the measurements beside a run have in common: manifest, stores, services, and result files."""

import contextlib
import json
import secrets
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from bench.analysis import health
from bench.analysis.metrics import ChatMetrics, measure
from bench.load.driver import processes_for
from bench.record.files import replace_file
from bench.record.host import describe_commit, describe_host, describe_versions, utc_now
from bench.record.manifest import Manifest, ScenarioSettings, StoreInfo
from bench.record.schema import CaseRow, ChatRow
from bench.run.meter import Measured, Subject
from bench.run.rig import Kept, Rig, Say, StatusView, describe, instrument, note_case
from bench.run.subject import Side, describe_asgi, service_of
from bench.system.environment import URL_VARIABLES
from bench.system.procs import Child
from bench.system.stores import Store, open_store
from bench.workload.plan import Case, store_of

NO_SETTINGS: Mapping[str, str] = {}
POLL_S = 0.2  # seldom: a measurement shares the cores with this process


def start_store(
    stack: contextlib.ExitStack, kind: str, namespace: str = "", settings: Mapping[str, str] = NO_SETTINGS
) -> Store:
    """Start or connect to the store until `stack` closes; one that was given by URL is then cleared of `namespace`.

    Raises StoreError.
    """
    store = stack.enter_context(open_store(kind, settings))
    if namespace and store.how == "url":
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
    """The instrument, and the stores and services that are measured with it; they run until `stack` closes."""

    rig: Rig
    results: Kept
    manifest: Manifest
    say: Say
    stack: contextlib.ExitStack
    namespace: str = field(default_factory=lambda: f"stopwatch_bench_{secrets.token_hex(3)}")
    _stores: dict[str, Store] = field(default_factory=dict)

    def store(self, strategy: str) -> Store | None:
        """The strategy's store, started by the first call and noted in the manifest; None for one without a store."""
        kind = store_of(strategy)
        if kind in URL_VARIABLES and kind not in self._stores:
            self.say(f"starting {kind}")
            self._stores[kind] = start_store(self.stack, kind, self.namespace)
            self.manifest.stores[kind] = StoreInfo(**self._stores[kind].describe())
        return self._stores.get(kind or "")

    def start(self, strategy: str, workers: int, stack: contextlib.ExitStack | None = None) -> Subject:
        """Start the service with this strategy, until `stack` closes if one is given. Raises ChildError."""
        self.say(f"starting the service with {strategy}")
        store = self.store(strategy)
        traces, log = self.rig.scratch / strategy, self.results.logs / f"server-{strategy}.log"
        given: dict[str, Any] = {"namespace": self.namespace, "mock": self.rig.mock, "traces": traces, "log": log}
        started = service_of(strategy, workers, side=Side(), store=store, **given)
        service = (stack or self.stack).enter_context(started)
        self.manifest.asgi = self.manifest.asgi or describe_asgi(service)
        return self.subject(service, traces, store)

    def subject(self, service: Child, traces: Path | None = None, store: Store | None = None) -> Subject:
        """The running service as the target of a measurement."""
        return Subject(service, [Measured(Side(), self.results)], traces, store)

    def measure(self, case: Case, block: int, subject: Subject | None = None) -> tuple[Sequence[ChatRow], CaseRow]:
        """Measure a case, without a subject on the mock upstream; returns its chats and its row of cases.jsonl."""
        note_case(self.manifest, case)
        self.results.write_manifest(self.manifest)
        self.rig.meter.measure(case, block, subject or self.subject(self.rig.mock))
        return self.results.rows, self.results.case


@contextlib.contextmanager
def measuring(
    results: Kept,
    say: Say,
    label: str,
    settings: Mapping[str, Any],
    cases: Sequence[Case],
    *,
    seed: int,
    quick: bool = False,
) -> Iterator[Bench]:
    """Run an instrument that can load these cases within the block. Raises ChildError.

    The manifest is written at both ends of the block, as complete unless an error ended it.
    """
    manifest = describe(label, settings, seed=seed, quick=quick)
    try:
        results.write_manifest(manifest)
        with contextlib.ExitStack() as stack:
            view, processes = StatusView(say), processes_for(cases)
            rig = stack.enter_context(instrument(results.logs, view, processes=processes, seed=seed))
            yield Bench(rig, results, manifest, say, stack)
        manifest.complete = True
    finally:
        manifest.ended_utc = utc_now()
        results.write_manifest(manifest)


def provenance() -> dict[str, Any]:
    """`commit`, `dirty`, `host` and `versions` of a record."""
    commit, dirty = describe_commit()
    return {"commit": commit, "dirty": dirty, "host": describe_host(), "versions": describe_versions()}


def wait(child: Child, report: Callable[[float], None], deadline_s: float = float("inf")) -> int | None:
    """Wait for the child's end, and `report` the seconds so far; returns its exit code, None past the deadline."""
    began = time.monotonic()
    while (took_s := time.monotonic() - began) < deadline_s:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return child.process.wait(POLL_S)
        report(took_s)
    return None


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
