"""One turn of `relay`: start a contender, load it, and measure its CPU time over exactly the measured window."""

import contextlib
import json
import os
import random
import resource
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bench.experiments.frame import start_store
from bench.experiments.relay.stream_load import Load
from bench.experiments.tables import Row
from bench.system.cpu_time import tree_cpu_ns
from bench.system.embedded import temporary_folder
from bench.system.environment import clean
from bench.system.http import AnswerError, warm_up
from bench.system.procs import Child, ChildError
from bench.system.stores import Store

OURS = ("none", "redis-push", "redis-poll")
CONTENDERS = ("bare", "naive", *OURS)
PAIR = ("none", "redis-push")
"""The price of a chat without an abort: they differ by a few per cent, so they are also loaded at the same time."""
WINDOW_S = 3.0
RAMP_S, STARTS_PER_S = 1.0, 400.0
LOAD_DEADLINE_S = 60.0


class RelayError(ChildError):
    """The measurement could not be made; the message is one line: cause and next step."""


@dataclass(frozen=True)
class Stage:
    """What all turns share: the mock, the store, a folder for logs."""

    mock: Child
    store: Store
    namespace: str
    folder: Path

    def contender(self, name: str, workers: int = 1, **settings: str) -> Child:
        """This contender, not yet started; `workers` and `settings` are for ours."""
        env = {"OPENAI_BASE_URL": f"{self.mock.url}/v1", "OPENAI_API_KEY": "unused"}
        arguments = [f"bench.experiments.contenders.{name}"]
        if name in OURS:
            backend = "none://" if name == "none" else self.store.strategy_url(name.partition("-")[2])
            env |= {"ABORT_BACKEND": backend, "ABORT_NAMESPACE": self.namespace, "LOG_LEVEL": "warning"}
            env |= {"API_KEYS": "", "MAX_CHATS_PER_OWNER": "100000", "DRAIN_S": "0"} | settings
            arguments = ["server", "--host", "127.0.0.1", "--port", "0", "--workers", str(workers)]
        return Child(name, arguments, self.folder / f"{name}.log", env=env)


@contextlib.contextmanager
def stage(journal_rows: int = 20_000) -> Iterator[Stage]:
    """Start the mock and the store, and raise the limit of open files, which children inherit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS reports an infinite limit and refuses it
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    namespace = f"stopwatch_relay_{os.getpid()}"
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(temporary_folder("relay"))
        store = start_store(stack, "redis", namespace)
        arguments = ["mock_llm", "serve", "--port", "0", "--journal-rows", str(journal_rows)]
        mock = stack.enter_context(Child("mock_llm", arguments, folder / "mock_llm.log"))
        yield Stage(mock, store, namespace, folder)


def order(round_number: int, names: Sequence[str] = CONTENDERS) -> list[str]:
    """The turns of one round, shuffled: none is always first, or always after the same neighbour."""
    return random.Random(f"relay {round_number} {len(names)}").sample(names, len(names))


def take_turns(
    on: Stage, names: Sequence[str], *, streams: int, itl_ms: float, window_s: float = WINDOW_S
) -> list[Row]:
    """Load these contenders at the same time, each with `streams` streams; returns a sample of each: contender,
    streams, cpu_us_per_chunk (user and system time of its process tree in the window), and the load's result (see
    stream_load). All get the same disturbances: this resolves the smallest differences. Raises RelayError.
    """
    ramp_s = min(RAMP_S, streams / STARTS_PER_S)

    def sample(name: str, child: Child) -> Row:
        needle = "text" if name == "naive" else "sse"
        load = Load(urlsplit(child.url).port or 0, streams, itl_ms, window_s, needle, ramp_s)
        cpu_ns, result = offer(load, lambda: tree_cpu_ns(child.process.pid))
        child.check()
        if not result["chunks"]:
            raise RelayError(f"{name} relayed nothing; try fewer --streams")
        cpu_us = (cpu_ns[1] - cpu_ns[0]) / 1e3 / result["chunks"]
        return {"contender": name, "streams": streams, "cpu_us_per_chunk": cpu_us, **result}

    with contextlib.ExitStack() as stack:
        children = [stack.enter_context(warm(on, name)) for name in names]
        with ThreadPoolExecutor(len(names)) as threads:
            return list(threads.map(sample, names, children))


@contextlib.contextmanager
def warm(on: Stage, name: str, workers: int = 1) -> Iterator[Child]:
    """Start the contender, and have it serve some chats. Raises RelayError."""
    with on.contender(name, workers) as child:
        try:
            warm_up(child.url, 16 * workers)
        except (OSError, AnswerError) as error:
            child.check()
            raise RelayError(f"{name} cannot chat: {error}") from error
        yield child


def offer(load: Load, read: Callable[[], float]) -> tuple[list[float], Row]:
    """Run the load in its own process; returns `read()` at both ends of the window, and the load's result."""
    command = [sys.executable, "-m", "bench.experiments.relay.stream_load", json.dumps(asdict(load))]
    readings: list[float] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=clean(), start_new_session=True) as process:
        deadline = threading.Timer(LOAD_DEADLINE_S, process.kill)
        deadline.start()
        try:
            for line in process.stdout or ():
                if line.startswith(b"{"):
                    result: Row = json.loads(line)
                    return readings, result
                readings.append(read())  # `open` and `closed`
        finally:
            deadline.cancel()
            process.kill()
    raise RelayError(f"the load gave no result within {LOAD_DEADLINE_S:g} s; see above, or try fewer --streams")
