"""`python -m bench soak`: mixed traffic for some minutes; whatever is held after it is a leak."""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Console
from rich.status import Status

from bench.experiments.frame import last_line
from bench.experiments.serve import opened, strategy_of
from bench.experiments.soak import checks
from bench.experiments.soak.traffic import KINDS, RATE_PER_S, TOO_LARGE, Traffic
from bench.experiments.tables import minutes_left
from bench.system.embedded import temporary_folder
from bench.system.http import AnswerError, warm_up
from bench.system.procs import Child, ChildError
from bench.system.stores import Store

SAMPLE_S, LOG_S, POLL_S = 1.0, 30.0, 0.5
TTL_S, REMEMBER_S = 12.0, 5.0
"""Short, so that the wait for an empty store is short."""
FORM_NAMES = {
    "chat": "/chat/",
    "text": "/chat/ as bare text",
    "stream": "/v1/chat/completions streamed",
    "whole": "/v1/chat/completions whole",
}
LET_GO_S = 30.0
"""Within this time, idle kept-alive connections (5 s) and every record (TTL and a sweep) must be gone."""
Log = Callable[[str], None]
Memory = dict[int, list[checks.Sample]]


class SoakError(ChildError):
    """The soak could not be made; the message is one line: cause and next step."""


@dataclass(frozen=True)
class Bench:
    """The running processes, and the strategy."""

    service: Child
    mock: Child
    store: Store | None
    namespace: str
    strategy: str
    workers: int

    @property
    def sure_stops(self) -> bool:
        """Whether every abort must find its chat: a memory store is local to its worker."""
        return self.strategy != "none" and (self.workers == 1 or not self.strategy.startswith("memory"))


def find_leaks(console: Console, *, minutes: float, workers: int, backend: str, seed: int) -> list[str]:
    """Run the traffic; returns the leaks and wrong answers, a line each.

    Raises PlanError, SoakError, StoreError or ChildError.
    """
    strategy = strategy_of(backend)

    def log(line: str) -> None:
        console.print(line, highlight=False, soft_wrap=True)

    with contextlib.ExitStack() as stack:
        bench = _start(stack, strategy, workers, journal_rows=2 * int(minutes * 60 * RATE_PER_S) + 1000)
        traffic = Traffic(bench.service.url, seed, f"soak-{os.getpid()}", sure_stops=bench.sure_stops)
        log(f"{strategy}, {workers} workers, {RATE_PER_S:g} chats/s for {minutes:g} min")
        try:
            with console.status("starting the traffic") as status:
                return _soak(bench, traffic, minutes * 60, log, status)
        except (OSError, AnswerError) as error:
            bench.service.check()
            bench.mock.check()
            last = last_line(bench.service.log, "nothing")
            raise SoakError(f"{error}; last line of the service's log: {last}") from error


def _start(stack: contextlib.ExitStack, strategy: str, workers: int, journal_rows: int) -> Bench:
    folder, namespace = stack.enter_context(temporary_folder("soak")), f"stopwatch_soak_{os.getpid()}"
    url, store = opened(stack, strategy, namespace)
    arguments = ["mock_llm", "serve", "--port", "0", "--journal-rows", str(journal_rows)]
    mock = stack.enter_context(Child("mock_llm", arguments, folder / "mock_llm.log"))
    env = {"OPENAI_API_KEY": "unused", "OPENAI_BASE_URL": f"{mock.url}/v1", "API_KEYS": "", "LOG_LEVEL": "warning"}
    env |= {"ABORT_BACKEND": url, "ABORT_NAMESPACE": namespace, "WORKERS": str(workers), "MEMORY_WITH_WORKERS": "true"}
    env |= {"ABORT_TTL_S": str(TTL_S), "ABORT_REMEMBER_S": str(REMEMBER_S), "MAX_BODY_BYTES": str(len(TOO_LARGE) - 1)}
    arguments = ["server", "--host", "127.0.0.1", "--port", "0"]
    service = stack.enter_context(Child("server", arguments, folder / "server.log", env=env))
    return Bench(service, mock, store, namespace, strategy, workers)


def _soak(bench: Bench, traffic: Traffic, seconds: float, log: Log, status: Status) -> list[str]:
    warm_up(bench.service.url, 8 * bench.workers)
    pids = sorted(checks.worker_chats(bench.service, bench.workers))
    memory: Memory = {pid: [] for pid in pids}
    asyncio.run(_run(bench, traffic, memory, seconds, log=log, status=status))
    log(f"{traffic.started:,} chats: {', '.join(f'{traffic.counts[kind]:,} {kind}' for kind in KINDS)}")
    log(f"by form: {', '.join(f'{traffic.forms[form]:,} {name}' for form, name in FORM_NAMES.items())}")
    leaks = [f"wrong answer, {count} times: {what}" for what, count in sorted(traffic.wrong.items())]
    for pid, samples in memory.items():
        log(checks.memory_over_time(f"worker {pid}", samples))
        verdict, grows = checks.memory_verdict(f"worker {pid}", samples, traffic.started / seconds / bench.workers)
        log(verdict)
        leaks += [f"memory of {verdict}"] if grows else []
    status.update("waiting until everything is let go")
    counts: dict[str, Callable[[], int]] = {
        "answers the mock still sends": lambda: checks.open_at_witness(bench.mock),
        "connections to the upstream": lambda: checks.upstream_sockets(bench.service, bench.mock),
        "live chats of all workers": lambda: sum(checks.worker_chats(bench.service, bench.workers).values()),
        "records in the store": lambda: bench.store.records(bench.namespace) if bench.store else 0,
    }
    deadline = time.monotonic() + LET_GO_S
    for what, count in counts.items():
        while (left := count()) and time.monotonic() < deadline:
            time.sleep(POLL_S)
        log(f"{what}: {left}")
        leaks += [f"{left} {what}, {LET_GO_S:g} s after the traffic ended"] if left else []
    if sorted(checks.worker_chats(bench.service, bench.workers)) != pids:
        leaks.append("a worker died and was replaced")
    return leaks


async def _run(bench: Bench, traffic: Traffic, memory: Memory, seconds: float, *, log: Log, status: Status) -> None:
    """Run the traffic, and sample the workers' memory every second."""
    began, logged_s = time.monotonic(), 0.0
    running = asyncio.create_task(traffic.run(seconds))
    while not running.done():
        await asyncio.wait([running], timeout=SAMPLE_S)
        at_s = time.monotonic() - began
        bench.service.check()
        bench.mock.check()
        for pid, samples in memory.items():
            if (kb := checks.rss_kb(pid)) is not None:
                samples.append((at_s, kb))
        used = " ".join(f"{samples[-1][1] / 1024:.1f}" for samples in memory.values() if samples)
        wrong = f", {traffic.wrong.total()} wrong answers" if traffic.wrong else ""
        line = f"{minutes_left(seconds - at_s)}, {traffic.started:,} chats{wrong}, memory {used} MB"
        status.update(line)
        if at_s - logged_s >= LOG_S:
            logged_s = at_s
            log(line)
    await running
