"""One turn of `relay`: start a contender, load it, and take its CPU time over exactly the measured window."""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import selectors
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from bench.experiments.relay.report import CONTENDERS
from bench.experiments.relay.stream_load import Load
from bench.system.cpu_time import tree_cpu_ns
from bench.system.embedded import temporary_folder
from bench.system.environment import clean
from bench.system.http import AnswerError, request_json, warm_up
from bench.system.procs import Child
from bench.system.stores import Store, open_store

OURS = ("none", "redis-push", "redis-poll")
WINDOW_S = 3.0
RAMP_S, STARTS_PER_S = 1.0, 400.0
LOAD_DEADLINE_S = 60.0
HELD_STREAMS, HELD_ITL_MS = 1000, 200.0
Row = dict[str, Any]


class RelayError(Exception):
    """The measurement could not be made; the message is one line: cause and next step."""


@dataclass(frozen=True)
class Stage:
    """What every turn uses: the same mock, the same store, a folder for logs."""

    mock: Child
    store: Store
    namespace: str
    folder: Path

    def contender(self, name: str) -> Child:
        """One worker of this contender, not yet started."""
        env = {"OPENAI_BASE_URL": f"{self.mock.url}/v1", "OPENAI_API_KEY": "unused"}
        arguments = [f"bench.contenders.{name}"]
        if name in OURS:
            backend = "none://" if name == "none" else self.store.strategy_url(name.partition("-")[2])
            env |= {"ABORT_BACKEND": backend, "ABORT_NAMESPACE": self.namespace, "LOG_LEVEL": "warning"}
            env |= {"API_KEYS": "", "MAX_CHATS_PER_OWNER": "100000", "DRAIN_S": "0"}
            arguments = ["server", "--host", "127.0.0.1", "--port", "0", "--workers", "1"]
        return Child(name, arguments, self.folder / f"{name}.log", env=env)


@contextlib.contextmanager
def stage() -> Iterator[Stage]:
    """The mock and the store, and as many sockets as we may have (children inherit the limit)."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS calls its limit infinite and then refuses it
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    namespace = f"stopwatch_relay_{os.getpid()}"
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(temporary_folder("relay"))
        store = stack.enter_context(open_store("redis"))
        if store.how == "url":  # our own server is gone with all it holds
            stack.callback(store.delete_namespace, namespace)
        mock = stack.enter_context(Child("mock_llm", ["mock_llm", "serve", "--port", "0"], folder / "mock_llm.log"))
        yield Stage(mock, store, namespace, folder)


def order(round_number: int, names: Sequence[str] = CONTENDERS) -> list[str]:
    """The turns of one round, shuffled: none runs always first, or always after the same neighbour."""
    return random.Random(f"relay {round_number} {len(names)}").sample(names, len(names))


def take_turn(
    on: Stage,
    name: str,
    *,
    streams: int,
    itl_ms: float,
    window_s: float = WINDOW_S,
    meet: Callable[[], object] = lambda: None,
) -> Row:
    """Load one contender, after `meet` when it has started; gives a sample.

    contender, streams, cpu_us_per_chunk (user and system time of its process tree in the window), chunks_per_s,
    added_itl_ms (p50, p99, max of the gap between a client's chunks, less itl_ms), errors (streams refused or ended too
    early), silent (streams without an answer), client_cpu (the load's, of one core). Raises RelayError, ChildError.
    """
    with _warm(on, name) as child:
        needle = "text" if name == "naive" else "sse"
        load = Load(_port(child), streams, itl_ms, window_s, needle, ramp_s=min(RAMP_S, streams / STARTS_PER_S))
        meet()
        cpu_ns = 0
        with _running(load) as lines:
            for moment in lines:
                if moment == "open":
                    cpu_ns = tree_cpu_ns(child.process.pid)
                elif moment == "closed":
                    cpu_ns = tree_cpu_ns(child.process.pid) - cpu_ns
                else:
                    result = json.loads(moment)
        child.check()
    if not result["chunks"]:
        raise RelayError(f"{name} relayed nothing; try fewer --streams")
    return {"contender": name, "streams": streams, "cpu_us_per_chunk": cpu_ns / 1e3 / result["chunks"], **result}


def take_turns_together(on: Stage, names: Sequence[str], *, streams: int, itl_ms: float, window_s: float) -> list[Row]:
    """A sample of each of these, loaded at the same time, each with so many streams.

    What the machine does to one of them it does to the other: the finest way to tell two apart. Raises as `take_turn`.
    """
    meeting = threading.Barrier(len(names))

    def turn(name: str) -> Row:
        try:
            return take_turn(on, name, streams=streams, itl_ms=itl_ms, window_s=window_s, meet=meeting.wait)
        except BaseException:
            meeting.abort()  # nobody comes any more
            raise

    with ThreadPoolExecutor(len(names)) as threads:
        turns = [threads.submit(turn, name) for name in names]
    failed = [error for each in turns if (error := each.exception()) is not None]
    for error in sorted(failed, key=lambda each: isinstance(each, threading.BrokenBarrierError)):
        raise error
    return [each.result() for each in turns]


def hold_and_stop(on: Stage, *, streams: int = HELD_STREAMS, itl_ms: float = HELD_ITL_MS) -> Row:
    """One worker with redis-push holds many slow streams, then all are stopped at once.

    streams, errors, added_itl_ms, rss_kb_per_stream, unstopped, client_stop_ms and upstream_stop_ms (p50, max; from
    the first abort sent to the stream's end at the client, and to its connection lost at the witness).
    """
    request_json(on.mock.url, "/__mock/journal", "DELETE")
    with _warm(on, "redis-push") as child:
        empty_kb = _rss_kb(child)
        load = Load(_port(child), streams, itl_ms, 2 * WINDOW_S, ramp_s=2.0, id_prefix="held", abort=True)
        with _running(load) as lines:
            for moment in lines:
                if moment == "closed":
                    held_kb = _rss_kb(child)
                elif moment != "open":
                    result = json.loads(moment)
        child.check()
        sent_ns = result.pop("abort_sent_ns")
        rows = [row for row in request_json(on.mock.url, "/__mock/journal")["rows"] if row["id"].startswith("held-")]
    stop_ms = sorted(result.pop("stop_ms"))
    lost_ms = sorted((row["lost_ns"] - sent_ns) / 1e6 for row in rows if row["lost_ns"] is not None)
    return {
        "streams": streams,
        "itl_ms": itl_ms,
        "rss_kb_per_stream": (held_kb - empty_kb) / streams,
        "client_stop_ms": {"p50": _middle(stop_ms), "max": stop_ms[-1] if stop_ms else None},
        "upstream_stop_ms": {"p50": _middle(lost_ms), "max": lost_ms[-1] if lost_ms else None},
        "upstreams_cut": len(lost_ms),
        **result,
    }


@contextlib.contextmanager
def _warm(on: Stage, name: str) -> Iterator[Child]:
    with on.contender(name) as child:
        try:
            warm_up(child.url, 16)
        except (OSError, AnswerError) as error:
            child.check()
            raise RelayError(f"{name} cannot chat: {error}") from error
        yield child


@contextlib.contextmanager
def _running(load: Load) -> Iterator[Iterator[str]]:
    """The load's lines as they come; the process is gone afterwards, whatever happens."""
    command = [sys.executable, "-m", "bench.experiments.relay.stream_load", load.as_argument()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=clean(), start_new_session=True) as process:
        try:
            yield _lines(process)
        finally:
            process.kill()


def _lines(process: subprocess.Popen[bytes]) -> Iterator[str]:
    assert process.stdout is not None  # noqa: S101 - asked for above
    deadline = time.monotonic() + LOAD_DEADLINE_S
    said, count = b"", 0
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while count < 3:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise RelayError(f"the load did not end within {LOAD_DEADLINE_S:g} s; try fewer --streams")
            block = os.read(process.stdout.fileno(), 65536)
            if not block:
                raise RelayError("the load ended before it had measured; it says why above")
            *lines, said = (said + block).split(b"\n")
            for line in lines:
                count += 1
                yield line.decode()


def _port(child: Child) -> int:
    return int(child.url.rpartition(":")[2])


def _rss_kb(child: Child) -> float:
    """Resident memory of the one worker: the largest process of the tree."""
    root = psutil.Process(child.process.pid)
    return float(max(process.memory_info().rss for process in [root, *root.children(recursive=True)])) / 1024


def _middle(values: list[float]) -> float | None:
    return values[len(values) // 2] if values else None
