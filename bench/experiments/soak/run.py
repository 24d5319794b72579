"""`python -m bench soak`: mixed traffic for some minutes, then whatever is left over is a leak."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.text import Text

from bench.experiments.serve import opened, strategy_of
from bench.experiments.soak import checks
from bench.experiments.soak.traffic import KINDS, RATE_PER_S, TOO_LARGE, Traffic
from bench.system.embedded import temporary_folder
from bench.system.http import AnswerError, warm_up
from bench.system.procs import Child
from bench.system.stores import Store

SAMPLE_S = 1.0
SAY_S = 30.0
TTL_S, REMEMBER_S = 12.0, 5.0
"""Short, so that the wait for an empty store is short."""
FORM_WORDS = {
    "chat": "/chat/",
    "text": "/chat/ as bare text",
    "stream": "/v1/chat/completions streamed",
    "whole": "/v1/chat/completions whole",
}
LET_GO_S = 30.0
"""Within this, idle kept-alive connections (5 s) and every record (TTL and a sweep) must be gone."""


class SoakError(Exception):
    """The soak could not be made; the message is one line: cause and next step."""


@dataclass(frozen=True)
class Bench:
    """What runs, and what it was asked to do."""

    service: Child
    mock: Child
    store: Store | None
    namespace: str
    strategy: str
    workers: int

    @property
    def sure_stops(self) -> bool:
        """Whether every abort must find its chat: a memory of its own knows nothing of another worker's chats."""
        return self.strategy != "none" and (self.workers == 1 or not self.strategy.startswith("memory"))


def find_leaks(console: Console, *, minutes: float, workers: int, backend: str, seed: int) -> list[str]:
    """Run the traffic and look; gives what leaked or answered wrongly, a line each.

    Raises PlanError, SoakError, StoreError or ChildError.
    """
    strategy = strategy_of(backend)
    chats = int(minutes * 60 * RATE_PER_S)
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(temporary_folder("soak"))
        bench = _start(stack, folder, strategy, workers, journal_rows=2 * chats + 1000)
        traffic = Traffic(bench.service.url, seed, f"soak-{os.getpid()}", sure_stops=bench.sure_stops)
        console.print(f"{strategy}, {workers} workers, {RATE_PER_S:g} chats/s for {minutes:g} min", highlight=False)
        try:
            return _soak(console, bench, traffic, minutes * 60)
        except (OSError, AnswerError) as error:
            bench.service.check()
            bench.mock.check()
            raise SoakError(f"{error}; the service's last word: {_last_line(bench.service.log)}") from error


def _start(stack: contextlib.ExitStack, folder: Path, strategy: str, workers: int, journal_rows: int) -> Bench:
    namespace = f"stopwatch_soak_{os.getpid()}"
    url, store = stack.enter_context(opened(strategy))
    if store is not None and store.how == "url":  # our own server is gone with all it holds
        stack.callback(store.delete_namespace, namespace)
    arguments = ["mock_llm", "serve", "--port", "0", "--journal-rows", str(journal_rows)]
    mock = stack.enter_context(Child("mock_llm", arguments, folder / "mock_llm.log"))
    env = {
        "ABORT_BACKEND": url,
        "ABORT_NAMESPACE": namespace,
        "ABORT_TTL_S": str(TTL_S),
        "ABORT_REMEMBER_S": str(REMEMBER_S),
        "API_KEYS": "",
        "LOG_LEVEL": "warning",
        "OPENAI_API_KEY": "unused",
        "OPENAI_BASE_URL": f"{mock.url}/v1",
        "WORKERS": str(workers),
        "MAX_BODY_BYTES": str(len(TOO_LARGE) - 1),
        "MEMORY_WITH_WORKERS": "true",
    }
    arguments = ["server", "--host", "127.0.0.1", "--port", "0"]
    service = stack.enter_context(Child("server", arguments, folder / "server.log", env=env))
    return Bench(service, mock, store, namespace, strategy, workers)


def _soak(console: Console, bench: Bench, traffic: Traffic, seconds: float) -> list[str]:
    warm_up(bench.service.url, 8 * bench.workers)
    pids = sorted(checks.worker_chats(bench.service, bench.workers))
    memory: dict[int, list[checks.Sample]] = {pid: [] for pid in pids}
    asyncio.run(_run(console, traffic, memory, (bench.service, bench.mock), seconds))
    mix = ", ".join(f"{traffic.counts[kind]:,} {kind}" for kind in KINDS)
    console.print(f"{traffic.started:,} chats: {mix}", highlight=False, soft_wrap=True)
    ways = ", ".join(f"{traffic.forms[form]:,} {words}" for form, words in FORM_WORDS.items())
    console.print(f"asked for as: {ways}", highlight=False, soft_wrap=True)
    for pid, samples in memory.items():
        console.print(checks.memory_over_time(f"worker {pid}", samples), highlight=False, soft_wrap=True)
    leaks = [f"wrong answer, {count} times: {what}" for what, count in sorted(traffic.wrong.items())]
    for pid, samples in memory.items():
        words, grows = checks.memory_verdict(f"worker {pid}", samples, traffic.started / seconds / bench.workers)
        console.print(words, highlight=False, soft_wrap=True)
        if grows:
            leaks.append(f"memory of {words}")
    leaks += _still_held(console, bench)
    if sorted(checks.worker_chats(bench.service, bench.workers)) != pids:
        leaks.append("a worker died on the way and was replaced")
    return leaks


def _still_held(console: Console, bench: Bench) -> list[str]:
    """Wait until everything is let go; what is not, a line each."""
    looks: list[tuple[str, Callable[[], int]]] = [
        ("answers the mock still gives", lambda: checks.open_at_witness(bench.mock)),
        ("connections to the upstream", lambda: checks.upstream_sockets(bench.service, bench.mock)),
        ("live chats of all workers", lambda: sum(checks.worker_chats(bench.service, bench.workers).values())),
        ("records in the store", lambda: checks.records_left(bench.store, bench.namespace)),
    ]
    leaks = []
    deadline = time.monotonic() + LET_GO_S
    with console.status("waiting until everything is let go"):
        for what, count in looks:
            while (left := count()) and time.monotonic() < deadline:
                time.sleep(0.5)
            console.print(f"{what}: {left}", highlight=False)
            if left:
                leaks.append(f"{left} {what}, {LET_GO_S:g} s after the traffic ended")
    return leaks


async def _run(
    console: Console,
    traffic: Traffic,
    memory: dict[int, list[checks.Sample]],
    children: tuple[Child, ...],
    seconds: float,
) -> None:
    """The traffic, and beside it a look at memory every second."""
    began = time.monotonic()
    running = asyncio.create_task(traffic.run(seconds))
    said_s = 0.0
    with Live(console=console, refresh_per_second=2, transient=True) as live:
        while not running.done():
            await asyncio.wait([running], timeout=SAMPLE_S)
            at_s = time.monotonic() - began
            for child in children:
                child.check()
            now_kb = {pid: checks.rss_kb(pid) for pid in memory}
            for pid, kb in now_kb.items():
                if kb is not None:
                    memory[pid].append((at_s, kb))
            left_s = max(0.0, seconds - at_s)
            used = " ".join(f"{kb / 1024:.1f}" for kb in now_kb.values() if kb is not None)
            wrong = f", {traffic.wrong.total()} wrong answers" if traffic.wrong else ""
            line = (
                f"{int(left_s) // 60}:{int(left_s) % 60:02d} left, {traffic.started:,} chats{wrong}, memory {used} MB"
            )
            live.update(Text(line))
            if at_s - said_s >= SAY_S:
                said_s = at_s
                console.print(line, highlight=False, soft_wrap=True)
    await running


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "nothing")
