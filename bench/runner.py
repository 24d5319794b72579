"""Runs the cases: starts stores, mock and service, sends the load, collects the three timelines, writes the rows."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.embedded import temporary_folder
from bench.join import case_head, join, load_window, pacing_ms
from bench.load import run_load
from bench.plan import Case, delivery_of, store_of
from bench.procs import Child, ChildError
from bench.progress import View
from bench.records import Results, describe_commit, describe_host, describe_versions, utc_now
from bench.stores import Store, open_store
from bench.talk import AnswerError, ask, warm_up

SETTLE_S = 5.0
"""How long the last traces and closed connections are waited for after the load."""
BLOCK = 0
Row = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """What a run was asked to do; all of it stands in the manifest."""

    backend: str
    workers: int
    quick: bool
    seed: int
    label: str


class Run:
    """One invocation: `execute` measures everything and gives the results folder."""

    def __init__(self, plan: dict[str, list[Case]], settings: Settings, results: Results, console: Console) -> None:
        self._plan = plan
        self._settings = settings
        self._results = results
        self._cases = [case for cases in plan.values() for case in cases]
        self._view = View(self._cases, console)
        self._stores: dict[str, Store] = {}
        self._token = secrets.token_hex(3)  # a store of yours may remember the ids of an earlier run
        self._namespace = f"stopwatch_bench_{self._token}"
        self._manifest = self._describe()

    def execute(self) -> Path:
        """Measure every case and switch `latest`; the folder is given back.

        Raises StoreError, ChildError, or KeyboardInterrupt; finished cases stay, and the manifest says incomplete.
        """
        results = self._results
        results.write_manifest(self._manifest)
        try:
            with contextlib.ExitStack() as stack:
                stack.enter_context(self._view)
                self._measure_all(stack)
            self._manifest["complete"] = True
        finally:
            self._manifest["ended_utc"] = utc_now()
            results.write_manifest(self._manifest)
            if not (results.folder / "cases.jsonl").exists() and not any(results.logs.iterdir()):
                shutil.rmtree(results.folder)  # nothing was measured, and no log tells why
        results.publish()
        return results.folder

    def _measure_all(self, stack: contextlib.ExitStack) -> None:
        self._scratch = stack.enter_context(temporary_folder("run"))
        for kind in sorted({case.store for case in self._cases} & {"redis", "postgres"}, key=str):
            self._view.say(f"starting {kind}")
            opened = self._stores[str(kind)] = stack.enter_context(open_store(str(kind)))
            if opened.how == "url":  # our own servers are gone with all they hold
                stack.callback(opened.forget, self._namespace)
            self._manifest["stores"][str(kind)] = {"name": opened.name, "version": opened.version, "how": opened.how}
        self._view.say("starting the mock upstream")
        mock = Child("mock_llm", ["mock_llm", "serve", "--port", "0"], self._results.logs / "mock_llm.log")
        self._mock = stack.enter_context(mock)
        for strategy, cases in self._plan.items():
            store = self._stores.get(store_of(strategy) or "")
            if store is not None and store.kind == "postgres":
                self._measure_late_counting(strategy, cases, store)
                continue
            with self._service(strategy, store) as service:
                for case in cases:
                    before = store.ops() if store else 0
                    self._measure(case, service, partial(_ops_since, store, before))

    def _measure_late_counting(self, strategy: str, cases: list[Case], store: Store) -> None:
        """A service per case: PostgreSQL counts a backend's work for sure only when its connection has been closed.

        What a service costs that does nothing but start, warm up and stop is measured once and taken off.
        """
        idle = store.ops(settled=True)
        with self._service(strategy, store):
            pass
        idle = store.ops(settled=True) - idle
        for case in cases:
            before = store.ops(settled=True)
            with contextlib.ExitStack() as life:
                service = life.enter_context(self._service(strategy, store))

                def store_ops(life: contextlib.ExitStack = life, before: int = before) -> int:
                    life.close()
                    return max(0, store.ops(settled=True) - before - idle)

                self._measure(case, service, store_ops)

    @contextlib.contextmanager
    def _service(self, strategy: str, store: Store | None) -> Iterator[Child]:
        """The service under test, warmed up."""
        self._view.say(f"starting the service with {strategy}")
        delivery = delivery_of(strategy)
        backend = "none://"
        if delivery is not None:
            backend = store.strategy_url(delivery) if store else f"{store_of(strategy)}+{delivery}://"
        env = {
            "ABORT_NAMESPACE": self._namespace,
            "ABORT_BACKEND": backend,  # not an argument: it may hold a password, and arguments are for all to see
            "WORKERS": str(self._settings.workers),
            "OPENAI_BASE_URL": f"{self._mock.url}/v1",
            "OPENAI_API_KEY": "unused",
            "TRACE_DIR": str(self._scratch / strategy),
        }
        log = self._results.logs / f"server-{strategy}.log"
        with Child("server", ["server", "--host", "127.0.0.1", "--port", "0"], log, env=env) as service:
            try:
                self._manifest["asgi"] = {
                    "server": f"uvicorn {importlib.metadata.version('uvicorn')}",
                    "spec": ask(service.url, "/healthz")["asgi"].get("spec_version"),
                }
                warm_up(service.url, 8 * self._settings.workers)
            except (OSError, AnswerError) as error:
                service.check()
                raise ChildError(f"server with {strategy} cannot chat: {error}; its log is {log}") from error
            yield service

    def _measure(self, case: Case, service: Child, store_ops: Callable[[], int | None]) -> None:
        ask(self._mock.url, "/__mock/journal", "DELETE")
        cpu_s = service.cpu_s()
        clients = run_load(
            case,
            url=service.url,
            seed=self._settings.seed,
            request_prefix=f"{self._token}-{case.strategy}-{case.scenario.name}",
            scratch=self._scratch,
            log=self._results.logs / f"locust-{case.strategy}-{case.scenario.name}.log",
            beside=(self._mock, service),
            progress=lambda share: self._view.advance(case, share),
        )
        cpu_s = service.cpu_s() - cpu_s
        journal, traces = self._settled(case, clients)
        ops = store_ops()
        head = case_head(case, BLOCK)
        rows = join(head, clients, traces, journal)
        started_ns, ended_ns = load_window(clients)
        self._results.append(
            rows,
            {
                **head,
                "started_ns": started_ns,
                "ended_ns": ended_ns,
                "service_cpu_s": round(cpu_s, 3),
                "tokens": sum(len(row["client"]["token_ns"]) for row in rows),
                "store_ops": ops,
                "chats_planned": case.scenario.chats,
                "witness_late_p99_ms": pacing_ms(rows),
            },
        )
        self._view.finished(case, rows)

    def _settled(self, case: Case, clients: list[Row]) -> tuple[list[Row], list[Row]]:
        """Journal and traces, once every chat is over for the witness and written down by the service."""
        answered = {row["request_id"] for row in clients if row["client"]["status"] is not None}
        deadline = time.monotonic() + SETTLE_S
        while True:
            journal: list[Row] = ask(self._mock.url, "/__mock/journal")["rows"]
            files = (self._scratch / case.strategy).glob("*.jsonl")
            traces = [json.loads(line) for file in files for line in file.read_text().splitlines()]
            over = all(row["outcome"] != "open" for row in journal)
            written = answered <= {trace["request_id"] for trace in traces if trace["kind"] == "chat"}
            if (over and written) or time.monotonic() > deadline:
                return journal, traces
            time.sleep(0.05)

    def _describe(self) -> Row:
        commit, dirty = describe_commit()
        return {
            "label": self._settings.label,
            "started_utc": utc_now(),
            "ended_utc": None,
            "complete": False,
            "quick": self._settings.quick,
            "seed": self._settings.seed,
            "settings": {
                "backend": self._settings.backend,
                "workers": self._settings.workers,
                "quick": self._settings.quick,
                "strategies": list(self._plan),
            },
            "commit": commit,
            "dirty": dirty,
            "host": describe_host(),
            "versions": describe_versions(),
            "stores": {},
            "scenarios": {case.scenario.name: case.scenario.settings() for case in self._cases},
            "asgi": None,
        }


def _ops_since(store: Store | None, before: int) -> int | None:
    return store.ops() - before if store else None
